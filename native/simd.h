// A vector of floats as wide as the instruction set has, and the functions of it that a transformer needs.
// Written with the compiler's own vector types, so that one text serves every processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#if !defined(PODIUM_DOT_PLAIN)
#include <immintrin.h>
#endif

namespace podium {
namespace PODIUM_ISA {

typedef float Floats __attribute__((vector_size(PODIUM_VECTOR_BYTES)));
typedef std::int32_t Ints __attribute__((vector_size(PODIUM_VECTOR_BYTES)));
typedef std::int16_t Shorts __attribute__((vector_size(PODIUM_VECTOR_BYTES)));

constexpr std::size_t LANES = PODIUM_VECTOR_BYTES / sizeof(float);

static inline Floats load(const float* from) {
    Floats x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

static inline void store(float* to, Floats x) { std::memcpy(to, &x, sizeof x); }

static inline Ints load_ints(const void* from) {
    Ints x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

// The first `count` lanes, the rest filled with `rest`.
static inline Floats load_part(const float* from, std::size_t count, float rest = 0.0f) {
    float lanes[LANES];
    for (std::size_t at = 0; at < LANES; ++at) lanes[at] = rest;
    std::memcpy(lanes, from, count * sizeof(float));
    return load(lanes);
}

static inline void store_part(float* to, Floats x, std::size_t count) { std::memcpy(to, &x, count * sizeof(float)); }

static inline Floats all(float x) {
#if PODIUM_VECTOR_BYTES == 64
    return (Floats)_mm512_set1_ps(x);
#elif PODIUM_VECTOR_BYTES == 32
    return (Floats)_mm256_set1_ps(x);
#else
    return Floats{x, x, x, x};
#endif
}

// Where x is NaN so is the result: nothing that went wrong is to look like a number.
#if PODIUM_VECTOR_BYTES == 64
static inline Floats larger(Floats x, Floats y) { return (Floats)_mm512_max_ps((__m512)y, (__m512)x); }
static inline Floats smaller(Floats x, Floats y) { return (Floats)_mm512_min_ps((__m512)y, (__m512)x); }
#elif PODIUM_VECTOR_BYTES == 32
static inline Floats larger(Floats x, Floats y) { return (Floats)_mm256_max_ps((__m256)y, (__m256)x); }
static inline Floats smaller(Floats x, Floats y) { return (Floats)_mm256_min_ps((__m256)y, (__m256)x); }
#else
static inline Floats larger(Floats x, Floats y) { return y > x ? y : x; }
static inline Floats smaller(Floats x, Floats y) { return y < x ? y : x; }
#endif

// Lanes are put together half by half, always in the same order.
template <class Step>
static inline float folded(Floats x, Step step) {
#if PODIUM_VECTOR_BYTES == 64
    __m256 eight = step(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
#elif PODIUM_VECTOR_BYTES == 32
    __m256 eight = (__m256)x;
#endif
#if PODIUM_VECTOR_BYTES >= 32
    __m128 four = step(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = step(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(step(four, _mm_movehdup_ps(four)));
#else
    const Floats halves = step(x, Floats{x[2], x[3], x[2], x[3]});
    return step(halves, Floats{halves[1], halves[1], halves[1], halves[1]})[0];
#endif
}

static inline float sum(Floats x) {
    return folded(x, [](auto one, auto other) { return one + other; });
}

static inline float largest(Floats x) {
    return folded(x, [](auto one, auto other) { return other > one ? other : one; });
}

// 2^x for -126 <= x <= 127, to 3.7 units in the last place.
static inline Floats power_of_two(Floats x) {
    const Floats shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds, and leaves the whole number in the low bits
    const Floats rounded = x + shift;
    const Floats part = x - (rounded - shift);
    Floats power = part * 0.0013266970636323094f + 0.009675459936261177f;
    power = power * part + 0.05550742521882057f;
    power = power * part + 0.24022121727466583f;
    power = power * part + 0.6931469440460205f;
    power = power * part + 1.0000001192092896f;
    return (Floats)((Ints)power + ((Ints)rounded << 23));
}

// e^x; x is kept within what float32 can hold.
static inline Floats exponential(Floats x) {
    return power_of_two(smaller(larger(x * 1.44269504f, all(-126.0f)), all(127.0f)));
}

}  // namespace PODIUM_ISA
}  // namespace podium
