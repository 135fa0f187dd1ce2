// Detects instruction sets: on x86 with CPUID (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A), on ARM
// by asking the operating system, because programs must not read the processor's registers.

#include "cpu.h"

#include <cstddef>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(_WIN32)
#include <windows.h>
#endif

namespace podium {
namespace {

#if defined(__x86_64__)

bool bit(unsigned word, int index) { return (word >> index) & 1u; }

// The registers that the operating system saves when it switches threads. Instructions on other registers must not be used.
unsigned saved_registers() {
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

Cpu detect() {
    Cpu detected;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return detected;
    const bool osxsave = bit(c, 27), avx = bit(c, 28), fma = bit(c, 12), f16c = bit(c, 29);
    if (!osxsave || !avx) return detected;
    const unsigned saved = saved_registers();
    const bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return detected;
    detected.avx2 = ymm && fma && f16c && bit(b, 5);
    detected.avx512 = zmm && detected.avx2 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    detected.avx512vnni = detected.avx512 && bit(c, 11);
    const unsigned subleaves = a;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) detected.avxvnni = detected.avx2 && bit(a, 4);
    return detected;
}

#elif defined(__aarch64__)

enum class Feature { dot_products, int8_matrices };

#if defined(__linux__)
// The bits are those of Linux's arch/arm64/include/uapi/asm/hwcap.h, which old headers do not have.
bool has(Feature feature) {
    return feature == Feature::dot_products ? getauxval(AT_HWCAP) >> 20 & 1 : getauxval(AT_HWCAP2) >> 13 & 1;
}
#elif defined(__APPLE__)
bool has(Feature feature) {
    const char* name = feature == Feature::dot_products ? "hw.optional.arm.FEAT_DotProd" : "hw.optional.arm.FEAT_I8MM";
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
#elif defined(_WIN32)
// PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE and PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE, which old headers do not have.
bool has(Feature feature) { return IsProcessorFeaturePresent(feature == Feature::dot_products ? 43 : 66); }
#else
bool has(Feature) { return false; }
#endif

Cpu detect() {
    Cpu detected;
    detected.neondot = has(Feature::dot_products);
    detected.neoni8mm = detected.neondot && has(Feature::int8_matrices);
    return detected;
}

#else

Cpu detect() { return {}; }

#endif

}  // namespace

const Cpu& cpu() {
    static const Cpu detected = detect();
    return detected;
}

}  // namespace podium
