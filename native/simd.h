// The vector types Floats and Ints, as wide as the instruction set's registers, with the operations that the kernels need.
// They are the compiler's own vector types, so the same source compiles for every processor; intrinsics are used only for
// operations that those types lack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(PODIUM_DOT_SMULL) || defined(PODIUM_DOT_SDOT) || defined(PODIUM_DOT_USMMLA)
#define PODIUM_NEON
#include <arm_neon.h>
#elif !defined(PODIUM_DOT_PLAIN)
#include <immintrin.h>
#endif

// Before a loop over an array of vectors: if it is not unrolled, the array is in memory instead of registers.
#if defined(__clang__)
#define PODIUM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PODIUM_UNROLL _Pragma("GCC unroll 32")
#endif

namespace podium::PODIUM_ISA {

typedef float Floats __attribute__((vector_size(PODIUM_VECTOR_BYTES)));
typedef std::int32_t Ints __attribute__((vector_size(PODIUM_VECTOR_BYTES)));
typedef std::int16_t Shorts __attribute__((vector_size(PODIUM_VECTOR_BYTES)));

constexpr std::size_t LANES = PODIUM_VECTOR_BYTES / sizeof(float);

// memcpy is how a vector is loaded from memory that is aligned to its elements only; it compiles to one unaligned move.
static inline Floats load(const float* source) {
    Floats x;
    std::memcpy(&x, source, sizeof x);
    return x;
}

static inline void store(float* target, Floats x) { std::memcpy(target, &x, sizeof x); }

static inline Ints load_ints(const void* source) {
    Ints x;
    std::memcpy(&x, source, sizeof x);
    return x;
}

// Loads the first `count` lanes; the others are `fill`.
static inline Floats load_partial(const float* source, std::size_t count, float fill = 0.0f) {
    float lanes[LANES];
    for (std::size_t lane = 0; lane < LANES; ++lane) lanes[lane] = fill;
    std::memcpy(lanes, source, count * sizeof(float));
    return load(lanes);
}

static inline void store_partial(float* target, Floats x, std::size_t count) {
    std::memcpy(target, &x, count * sizeof(float));
}

// Stores the lowest byte of each of the first `count` lanes.
static inline void store_bytes(std::uint8_t* target, Ints x, std::size_t count) {
#if PODIUM_VECTOR_BYTES == 64
    const __m128i bytes = _mm512_cvtepi32_epi8((__m512i)x);
    std::memcpy(target, &bytes, count);
#elif defined(PODIUM_NEON)
    const uint16x4_t halves = vmovn_u32((uint32x4_t)x);
    const uint8x8_t bytes = vmovn_u16(vcombine_u16(halves, halves));
    if (count == LANES)
        std::memcpy(target, &bytes, LANES);  // one instruction
    else
        std::memcpy(target, &bytes, count);
#else
    for (std::size_t lane = 0; lane < count; ++lane) target[lane] = static_cast<std::uint8_t>(x[lane]);
#endif
}

static inline std::int32_t sum_of_lanes(Ints x) {
#if PODIUM_VECTOR_BYTES == 64
    return _mm512_reduce_add_epi32((__m512i)x);
#else
    std::int32_t sum = 0;
    for (std::size_t lane = 0; lane < LANES; ++lane) sum += x[lane];
    return sum;
#endif
}

// Stores the higher and the lower bytes of the lanes of four vectors, which are 0 … 65535.
static inline void store_high_and_low_bytes(std::uint8_t* high, std::uint8_t* low, const Ints (&x)[4]) {
#if PODIUM_VECTOR_BYTES == 64
    const __m512i first = _mm512_packus_epi32((__m512i)x[0], (__m512i)x[1]);
    const __m512i second = _mm512_packus_epi32((__m512i)x[2], (__m512i)x[3]);
    const __m512i mask = _mm512_set1_epi16(255), order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i high_bytes = _mm512_packus_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(second, 8));
    const __m512i low_bytes = _mm512_packus_epi16(_mm512_and_si512(first, mask), _mm512_and_si512(second, mask));
    _mm512_storeu_si512(high, _mm512_permutexvar_epi32(order, high_bytes));
    _mm512_storeu_si512(low, _mm512_permutexvar_epi32(order, low_bytes));
#elif PODIUM_VECTOR_BYTES == 32
    const __m256i first = _mm256_packus_epi32((__m256i)x[0], (__m256i)x[1]);
    const __m256i second = _mm256_packus_epi32((__m256i)x[2], (__m256i)x[3]);
    const __m256i mask = _mm256_set1_epi16(255), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i high_bytes = _mm256_packus_epi16(_mm256_srli_epi16(first, 8), _mm256_srli_epi16(second, 8));
    const __m256i low_bytes = _mm256_packus_epi16(_mm256_and_si256(first, mask), _mm256_and_si256(second, mask));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high), _mm256_permutevar8x32_epi32(high_bytes, order));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), _mm256_permutevar8x32_epi32(low_bytes, order));
#else
    for (std::size_t v = 0; v < 4; ++v) {
        store_bytes(high + v * LANES, x[v] >> 8, LANES);
        store_bytes(low + v * LANES, x[v], LANES);
    }
#endif
}

// Loads LANES numbers of 16 bits as float32, which changes none of them.
static inline Floats load_bfloat16(const std::uint16_t* source) {
    typedef std::uint16_t Halves __attribute__((vector_size(PODIUM_VECTOR_BYTES / 2)));
    Halves halves;
    std::memcpy(&halves, source, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Ints) << 16);
}

static inline float widen_float16(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16, shifted = (half & 0x7fffu) << 13;
    float value;
    std::memcpy(&value, &shifted, 4);
    value *= 5.192296858534828e+33f;  // 2^112, the difference of the exponents' biases; it makes subnormals right, too
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits |= sign;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline Floats load_float16(const std::uint16_t* source) {
#if PODIUM_VECTOR_BYTES == 64
    return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)));
#elif PODIUM_VECTOR_BYTES == 32
    return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
#elif defined(PODIUM_NEON)
    return (Floats)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(source)));
#else
    Floats values;
    for (std::size_t lane = 0; lane < LANES; ++lane) values[lane] = widen_float16(source[lane]);
    return values;
#endif
}

static inline Floats broadcast(float x) {
#if PODIUM_VECTOR_BYTES == 64
    return (Floats)_mm512_set1_ps(x);
#elif PODIUM_VECTOR_BYTES == 32
    return (Floats)_mm256_set1_ps(x);
#else
    return Floats{x, x, x, x};
#endif
}

// x * y + z, rounded once on every set but "portable". The compiler also fuses a product and the sum that it is added to, but not
// if the product is used twice, and if both sides of a sum are products, it selects one. So such sums are written with this.
static inline Floats multiply_add(Floats x, Floats y, Floats z) {
#if PODIUM_VECTOR_BYTES == 64
    return (Floats)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);
#elif PODIUM_VECTOR_BYTES == 32
    return (Floats)_mm256_fmadd_ps((__m256)x, (__m256)y, (__m256)z);
#elif defined(PODIUM_NEON)
    return (Floats)vfmaq_f32((float32x4_t)z, (float32x4_t)x, (float32x4_t)y);
#else
    return x * y + z;
#endif
}

// If x is NaN, so is the result (max_ps returns its second operand then): an error must never turn into a number.
#if PODIUM_VECTOR_BYTES == 64
static inline Floats maximum(Floats x, Floats y) { return (Floats)_mm512_max_ps((__m512)y, (__m512)x); }
static inline Floats minimum(Floats x, Floats y) { return (Floats)_mm512_min_ps((__m512)y, (__m512)x); }
#elif PODIUM_VECTOR_BYTES == 32
static inline Floats maximum(Floats x, Floats y) { return (Floats)_mm256_max_ps((__m256)y, (__m256)x); }
static inline Floats minimum(Floats x, Floats y) { return (Floats)_mm256_min_ps((__m256)y, (__m256)x); }
#else
static inline Floats maximum(Floats x, Floats y) { return y > x ? y : x; }
static inline Floats minimum(Floats x, Floats y) { return y < x ? y : x; }
#endif

// Reduces the lanes to one number by halving, always in the same order.
template <class Operation>
static inline float reduce(Floats x, Operation operation) {
#if PODIUM_VECTOR_BYTES == 64
    __m256 eight = operation(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
#elif PODIUM_VECTOR_BYTES == 32
    __m256 eight = (__m256)x;
#endif
#if PODIUM_VECTOR_BYTES >= 32
    __m128 four = operation(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = operation(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(operation(four, _mm_movehdup_ps(four)));
#else
    const Floats halves = operation(x, Floats{x[2], x[3], x[2], x[3]});
    return operation(halves, Floats{halves[1], halves[1], halves[1], halves[1]})[0];
#endif
}

static inline float largest(Floats x) {
    return reduce(x, [](auto left, auto right) { return right > left ? right : left; });
}

// Sums of many numbers have 16 lanes on every instruction set. So all of them add the numbers in the same order, and scores
// are the same to the last bit on every processor that fuses multiplications and additions.
constexpr std::size_t SUM_LANES = 16, SUM_VECTORS = SUM_LANES / LANES;

struct Sums {
    Floats vectors[SUM_VECTORS];
};

static inline Sums operator+(Sums x, const Sums& y) {
    for (std::size_t v = 0; v < SUM_VECTORS; ++v) x.vectors[v] += y.vectors[v];
    return x;
}

static inline float total(Sums sums) {
    for (std::size_t half = SUM_VECTORS / 2; half > 0; half /= 2)
        for (std::size_t v = 0; v < half; ++v) sums.vectors[v] += sums.vectors[v + half];
    return reduce(sums.vectors[0], [](auto left, auto right) { return left + right; });
}

constexpr float LOG2_E = 1.44269504f;  // e^x is 2^(x log2 e)

// Adding it to a float of less than 2^22 rounds that float to an integer, which is then in the low bits of the sum.
constexpr float ROUNDING_SHIFT = 12582912.0f;  // 1.5 * 2^23

// 2^x for -126 <= x <= 127, with an error of at most 3.7 units in the last place.
static inline Floats power_of_two(Floats x) {
    const Floats shift = broadcast(ROUNDING_SHIFT);
    const Floats rounded = x + shift;
    const Floats fraction = x - (rounded - shift);
    Floats power = fraction * 0.0013266970636323094f + 0.009675459936261177f;
    power = power * fraction + 0.05550742521882057f;
    power = power * fraction + 0.24022121727466583f;
    power = power * fraction + 0.6931469440460205f;
    power = power * fraction + 1.0000001192092896f;
    return (Floats)((Ints)power + ((Ints)rounded << 23));
}

}  // namespace podium::PODIUM_ISA
