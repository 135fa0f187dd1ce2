// Detects instruction sets with CPUID (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A).

#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
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

#else

Cpu detect() { return {}; }

#endif

}  // namespace

const Cpu& cpu() {
    static const Cpu detected = detect();
    return detected;
}

}  // namespace podium
