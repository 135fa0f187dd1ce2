// Every kernel, for one instruction set: PODIUM_ISA names it, PODIUM_VECTOR_BYTES is its vectors' size, and PODIUM_DOT_…
// says how four products of bytes are added up (VNNI: one instruction; MADD: in 16 bits, which cannot saturate; PLAIN).

#include "kernels.h"
#include "simd.h"

namespace podium {
namespace PODIUM_ISA {
namespace {

// A tile of `Rows` rows by `Vectors` vectors of outputs is kept in registers: 24 of 32, or 12 and 8 of 16.
#if PODIUM_VECTOR_BYTES == 64
constexpr std::size_t VECTORS = 4, PRODUCTS = 24;
#elif PODIUM_VECTOR_BYTES == 32
constexpr std::size_t VECTORS = 2, PRODUCTS = 12;
#else
constexpr std::size_t VECTORS = 2, PRODUCTS = 8;
#endif
#if defined(PODIUM_DOT_MADD) && PODIUM_VECTOR_BYTES == 32
constexpr std::size_t PRODUCTS_I8 = 8;
#else
constexpr std::size_t PRODUCTS_I8 = PRODUCTS;
#endif

constexpr std::size_t AT_ONCE = 400 * 1024;  // bytes of rows that stay in the second cache while panels go by

std::size_t rows_at_once(std::size_t row_bytes) {
    const std::size_t rows = AT_ONCE / (row_bytes ? row_bytes : 1) / PRODUCTS * PRODUCTS;
    return rows < 2 * PRODUCTS ? 2 * PRODUCTS : rows;
}

Floats activated(Floats x, Activation activation) {
    switch (activation) {
        case Activation::gelu: return gelu(x);
        case Activation::gelu_tanh: return gelu_tanh(x);
        case Activation::relu: return larger(x, all(0.0f));
        case Activation::tanh: return hyperbolic_tangent(x);
        case Activation::sigmoid: return sigmoid(x);
        case Activation::silu: return x * sigmoid(x);
        case Activation::none: break;
    }
    return x;
}

void activate(const float* x, std::size_t count, Activation activation, float* y) {
    std::size_t at = 0;
    for (; at + LANES <= count; at += LANES) store(y + at, activated(load(x + at), activation));
    if (at < count) store_part(y + at, activated(load_part(x + at, count - at), activation), count - at);
}

// ---- products ----

template <std::size_t Rows, std::size_t Vectors>
inline void tile_f32(const float* x, std::size_t x_stride, std::size_t inputs, const float* w, std::size_t w_stride, float* y,
                     std::size_t y_stride) {
    Floats sums[Rows][Vectors] = {};
    for (std::size_t k = 0; k < inputs; ++k, w += w_stride) {
        Floats weights[Vectors];
        for (std::size_t v = 0; v < Vectors; ++v) weights[v] = load(w + v * LANES);
        for (std::size_t r = 0; r < Rows; ++r) {
            const Floats value = all(x[r * x_stride + k]);
            for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] += value * weights[v];
        }
    }
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t v = 0; v < Vectors; ++v) store(y + r * y_stride + v * LANES, sums[r][v]);
}

// Up to `Rows` rows by one tile's outputs; fewer rows go to a smaller tile, which adds up in the same order.
template <std::size_t Rows, std::size_t Vectors>
void rows_f32(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const float* w, std::size_t w_stride,
              float* y, std::size_t y_stride) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return rows_f32<Rows - 1, Vectors>(rows, x, x_stride, inputs, w, w_stride, y, y_stride);
    }
    tile_f32<Rows, Vectors>(x, x_stride, inputs, w, w_stride, y, y_stride);
}

template <std::size_t Vectors>
void columns_f32(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const float* w,
                 std::size_t w_stride, float* y, std::size_t y_stride) {
    constexpr std::size_t Rows = PRODUCTS / Vectors;
    for (std::size_t r = 0; r < rows; r += Rows) {
        const std::size_t now = rows - r < Rows ? rows - r : Rows;
        rows_f32<Rows, Vectors>(now, x + r * x_stride, x_stride, inputs, w, w_stride, y + r * y_stride, y_stride);
    }
}

// y = x w for any number of columns that is a multiple of LANES.
void multiply(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const float* w, std::size_t w_stride,
              std::size_t columns, float* y, std::size_t y_stride) {
    std::size_t c = 0;
    for (; c + VECTORS * LANES <= columns; c += VECTORS * LANES)
        columns_f32<VECTORS>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
    if constexpr (VECTORS > 2) {
        for (; c + 2 * LANES <= columns; c += 2 * LANES)
            columns_f32<2>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
    }
    for (; c < columns; c += LANES) columns_f32<1>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
}

// Bias, activation and what is added, on a tile that has just been stored and lies in the first cache.
void finish(const Epilogue& epilogue, std::size_t rows, std::size_t from, float* y, std::size_t y_stride) {
    for (std::size_t r = 0; r < rows; ++r) {
        float* row = y + r * y_stride;
        const float* added = epilogue.added ? epilogue.added + r * epilogue.added_stride + from : nullptr;
        for (std::size_t at = 0; at < PANEL; at += LANES) {
            Floats value = load(row + at);
            if (epilogue.bias) value += load(epilogue.bias + from + at);
            value = activated(value, epilogue.activation);
            if (added) value += load(added + at);
            store(row + at, value);
        }
    }
}

// The same where a panel has fewer outputs than its width: nothing beyond them is read or written.
void finish_part(const Epilogue& epilogue, std::size_t rows, std::size_t from, std::size_t outputs, const float* tile, float* y,
                 std::size_t y_stride) {
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t at = 0; at < outputs; at += LANES) {
            const std::size_t now = outputs - at < LANES ? outputs - at : LANES;
            Floats value = load(tile + r * PANEL + at);
            if (epilogue.bias) value += load_part(epilogue.bias + from + at, now);
            value = activated(value, epilogue.activation);
            if (epilogue.added) value += load_part(epilogue.added + r * epilogue.added_stride + from + at, now);
            store_part(y + r * y_stride + at, value, now);
        }
}

// Goes over blocks of rows, panels and tiles. `tile(first row, rows, panel, bias, to, stride)` computes one tile, and says
// whether it has added a bias that it was given.
template <std::size_t TileRows, class Tile>
void linear(std::size_t rows, std::size_t outputs, std::size_t block, const Epilogue& epilogue, float* y, std::size_t y_stride,
            Tile tile) {
    for (std::size_t begin = 0; begin < rows; begin += block) {
        const std::size_t end = rows - begin < block ? rows : begin + block;
        for (std::size_t from = 0; from < outputs; from += PANEL)
            for (std::size_t r = begin; r < end; r += TileRows) {
                const std::size_t now = end - r < TileRows ? end - r : TileRows;
                Epilogue here = epilogue;
                if (here.added) here.added += r * here.added_stride;
                float* to = y + r * y_stride + from;
                if (outputs - from >= PANEL) {
                    const bool has_bias = tile(r, now, from / PANEL, here.bias ? here.bias + from : nullptr, to, y_stride);
                    if (has_bias) here.bias = nullptr;
                    if (here.bias || here.added || here.activation != Activation::none) finish(here, now, from, to, y_stride);
                } else {
                    float part[TileRows * PANEL];
                    tile(r, now, from / PANEL, nullptr, part, PANEL);
                    finish_part(here, now, from, outputs - from, part, to, y_stride);
                }
            }
    }
}

void linear_f32(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const float* packed,
                std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride) {
    constexpr std::size_t Rows = PRODUCTS / VECTORS;
    linear<Rows>(rows, outputs, rows_at_once(inputs * sizeof(float)), epilogue, y, y_stride,
                 [&](std::size_t r, std::size_t now, std::size_t panel, const float*, float* to, std::size_t stride) {
                     const float* w = packed + panel * inputs * PANEL;
                     for (std::size_t c = 0; c < PANEL; c += VECTORS * LANES)
                         rows_f32<Rows, VECTORS>(now, x + r * x_stride, x_stride, inputs, w + c, PANEL, to + c, stride);
                     return false;
                 });
}

// sums += the four products in each lane of bytes, unsigned (x) times signed (w).
#if defined(PODIUM_DOT_VNNI)
struct Weights {
    Ints bytes;
    explicit Weights(const std::int8_t* from) : bytes(load_ints(from)) {}
};
// As instructions of our own: from the intrinsics GCC 12 spills the sums to memory on every step.
inline Ints dot(Ints sums, std::int32_t x, const Weights& w) {
    const Ints value = (Ints)all(0.0f) + x;
#if PODIUM_VECTOR_BYTES == 64
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(value), "v"(w.bytes));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(value), "x"(w.bytes));
#endif
    return sums;
}
#elif defined(PODIUM_DOT_MADD)
struct Weights {
    Shorts even, odd;
    explicit Weights(const std::int8_t* from) {
        const Shorts both = (Shorts)load_ints(from);
        even = (both << 8) >> 8;
        odd = both >> 8;
    }
};
inline Ints dot(Ints sums, std::int32_t x, const Weights& w) {
    const Ints value = (Ints)all(0.0f) + x;
    const Ints even = value & 0x00ff00ff, odd = (value >> 8) & 0x00ff00ff;
#if PODIUM_VECTOR_BYTES == 64
    return sums + (Ints)_mm512_madd_epi16((__m512i)even, (__m512i)w.even) + (Ints)_mm512_madd_epi16((__m512i)odd, (__m512i)w.odd);
#else
    return sums + (Ints)_mm256_madd_epi16((__m256i)even, (__m256i)w.even) + (Ints)_mm256_madd_epi16((__m256i)odd, (__m256i)w.odd);
#endif
}
#else
struct Weights {
    const std::int8_t* bytes;
    explicit Weights(const std::int8_t* from) : bytes(from) {}
};
inline Ints dot(Ints sums, std::int32_t x, const Weights& w) {
    std::uint8_t values[4];
    std::memcpy(values, &x, 4);
    for (std::size_t lane = 0; lane < LANES; ++lane) {
        std::int32_t here = 0;
        for (std::size_t at = 0; at < 4; ++at) here += values[at] * w.bytes[4 * lane + at];
        sums[lane] += here;
    }
    return sums;
}
#endif

template <std::size_t Rows, std::size_t Vectors>
inline void tile_i8(const Int8Rows& x, std::size_t first, std::size_t fours, const std::int8_t* w, const float* scales,
                    const std::int32_t* column_sums, const float* bias, float* y, std::size_t y_stride) {
    Ints sums[Rows][Vectors] = {};
    const std::uint8_t* rows = x.whole + first * x.stride;
    for (std::size_t k = 0; k < fours; ++k, w += 4 * PANEL) {
        for (std::size_t v = 0; v < Vectors; ++v) __builtin_prefetch(w + 8 * 4 * PANEL + v * 4 * LANES);
        const auto weights = [&](std::size_t v) { return Weights(w + v * 4 * LANES); };
        const Weights first_weights = weights(0), second = weights(1 % Vectors), third = weights(2 % Vectors),
                      fourth = weights(3 % Vectors);
        const Weights* const four[4] = {&first_weights, &second, &third, &fourth};
        for (std::size_t r = 0; r < Rows; ++r) {
            std::int32_t value;
            std::memcpy(&value, rows + r * x.stride + 4 * k, 4);
            for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = dot(sums[r][v], value, *four[v]);
        }
    }
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t v = 0; v < Vectors; ++v) {
            const Ints whole = sums[r][v] - x.zeros[first + r] * load_ints(column_sums + v * LANES);
            const Floats value = __builtin_convertvector(whole, Floats) * (x.scales[first + r] * load(scales + v * LANES));
            store(y + r * y_stride + v * LANES, bias ? value + load(bias + v * LANES) : value);
        }
}

template <std::size_t Rows, std::size_t Vectors>
void rows_i8(std::size_t now, const Int8Rows& x, std::size_t first, std::size_t fours, const std::int8_t* w,
             const float* scales, const std::int32_t* sums, const float* bias, float* y, std::size_t y_stride) {
    if constexpr (Rows > 1) {
        if (now < Rows) return rows_i8<Rows - 1, Vectors>(now, x, first, fours, w, scales, sums, bias, y, y_stride);
    }
    tile_i8<Rows, Vectors>(x, first, fours, w, scales, sums, bias, y, y_stride);
}

void linear_i8(const Int8Rows& x, std::size_t rows, std::size_t inputs, const Int8Weights& weights, std::size_t outputs,
               const Epilogue& epilogue, float* y, std::size_t y_stride) {
    constexpr std::size_t Rows = PRODUCTS_I8 / VECTORS;
    const std::size_t fours = (inputs + 3) / 4;
    linear<Rows>(rows, outputs, rows_at_once(x.stride), epilogue, y, y_stride,
                 [&](std::size_t r, std::size_t now, std::size_t panel, const float* bias, float* to, std::size_t stride) {
                     const std::int8_t* w = weights.packed + panel * fours * 4 * PANEL;
                     for (std::size_t c = 0; c < PANEL; c += VECTORS * LANES)
                         rows_i8<Rows, VECTORS>(now, x, r, fours, w + 4 * c, weights.scales + panel * PANEL + c,
                                                weights.sums + panel * PANEL + c, bias ? bias + c : nullptr, to + c, stride);
                     return true;
                 });
}

// ---- rows ----

void quantise(const float* x, std::size_t rows, std::size_t width, std::uint8_t* whole, std::size_t stride, float* scales,
              std::int32_t* zeros) {
    const std::size_t full = width / LANES * LANES;
#if PODIUM_VECTOR_BYTES < 64
    const Floats shift = all(12582912.0f);
#endif
    for (std::size_t r = 0; r < rows; ++r, x += width, whole += stride) {
        // Four of each, since one would wait for itself.
        Floats lows[4] = {}, highs[4] = {}, nothings[4] = {};
        const auto seen = [&](std::size_t which, Floats values) {
            lows[which] = smaller(lows[which], values);
            highs[which] = larger(highs[which], values);
            nothings[which] += values * 0.0f;
        };
        std::size_t begin = 0;
        for (; begin + 4 * LANES <= full; begin += 4 * LANES)
            for (std::size_t which = 0; which < 4; ++which) seen(which, load(x + begin + which * LANES));
        for (; begin < full; begin += LANES) seen(0, load(x + begin));
        if (full < width) seen(1, load_part(x + full, width - full));
        const Floats low = smaller(smaller(lows[0], lows[1]), smaller(lows[2], lows[3]));
        const Floats high = larger(larger(highs[0], highs[1]), larger(highs[2], highs[3]));
        const Floats nothing = (nothings[0] + nothings[1]) + (nothings[2] + nothings[3]);
        const float least = -largest(-low), most = largest(high);
        const float range = most - least;
        // Below this range a row is as good as zero, and could not be divided by.
        const float scale = range > 1.0e-30f ? range / 255.0f : 1.0f, inverse = 1.0f / scale;
        const float zero = (-least * inverse + 12582912.0f) - 12582912.0f;  // 0 … 255
        // NaN or infinity anywhere makes the whole row NaN, which whoever reads the score refuses.
        const bool sound = sum(nothing) == 0.0f && range <= 3.0e38f;
        scales[r] = sound ? scale : __builtin_nanf("");
        zeros[r] = sound ? static_cast<std::int32_t>(zero) : 0;
        for (std::size_t at = 0; at < stride; at += LANES) {
            const std::size_t now = stride - at < LANES ? stride - at : LANES;
            const Floats values = at + LANES <= width ? load(x + at) : at < width ? load_part(x + at, width - at) : all(0.0f);
            const Floats placed = larger(values * inverse + zero, all(0.0f));
#if PODIUM_VECTOR_BYTES == 64
            const __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32((__m512)placed));  // which stops at 255
            std::memcpy(whole + at, &bytes, now);
#else
            const Ints bits = (Ints)(smaller(placed, all(255.0f)) + shift) & 0xff;
            for (std::size_t lane = 0; lane < now; ++lane) whole[at + lane] = static_cast<std::uint8_t>(bits[lane]);
#endif
        }
    }
}

// The sum over a row of what `value` makes of it, in four sums that do not wait for each other.
template <class Value>
inline float added_up(const float* x, std::size_t width, float rest, Value value) {
    Floats sums[4] = {};
    std::size_t at = 0;
    for (; at + 4 * LANES <= width; at += 4 * LANES)
        for (std::size_t which = 0; which < 4; ++which) sums[which] += value(load(x + at + which * LANES));
    for (; at + LANES <= width; at += LANES) sums[0] += value(load(x + at));
    if (at < width) sums[1] += value(load_part(x + at, width - at, rest));
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void norm(const float* x, std::size_t rows, std::size_t width, const float* weight, const float* bias, float epsilon,
          float* y) {
    const std::size_t full = width / LANES * LANES, rest = width - full;
    for (std::size_t r = 0; r < rows; ++r, x += width, y += width) {
        const float mean = added_up(x, width, 0.0f, [](Floats values) { return values; }) / static_cast<float>(width);
        const float squares = added_up(x, width, mean, [mean](Floats values) { return (values - mean) * (values - mean); });
        const float deviation = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon);
        for (std::size_t at = 0; at < full; at += LANES) {
            Floats value = (load(x + at) - mean) * deviation * load(weight + at);
            if (bias) value += load(bias + at);
            store(y + at, value);
        }
        if (rest) {
            Floats value = (load_part(x + full, rest) - mean) * deviation * load_part(weight + full, rest);
            if (bias) value += load_part(bias + full, rest);
            store_part(y + full, value, rest);
        }
    }
}

void gate(const float* x, std::size_t rows, std::size_t width, Activation activation, float* y) {
    for (std::size_t r = 0; r < rows; ++r, x += 2 * width, y += width) {
        std::size_t at = 0;
        for (; at + LANES <= width; at += LANES)
            store(y + at, activated(load(x + at), activation) * load(x + width + at));
        if (at < width)
            store_part(y + at,
                       activated(load_part(x + at, width - at), activation) * load_part(x + width + at, width - at),
                       width - at);
    }
}

void rotate(float* x, std::size_t stride, std::size_t rows, std::size_t heads, std::size_t size, const float* cos,
            const float* sin) {
    const std::size_t half = size / 2;
    for (std::size_t r = 0; r < rows; ++r, x += stride, cos += half, sin += half)
        for (std::size_t head = 0; head < heads; ++head) {
            float *left = x + head * size, *right = left + half;
            for (std::size_t at = 0; at < half; ++at) {
                const float l = left[at], h = right[at];
                left[at] = l * cos[at] - h * sin[at];
                right[at] = h * cos[at] + l * sin[at];
            }
        }
}

void widen(const std::uint16_t* halves, std::size_t count, float* y) {
    std::size_t at = 0;
#if PODIUM_VECTOR_BYTES >= 32
    for (; at + 8 <= count; at += 8)
        _mm256_storeu_ps(y + at, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + at))));
#endif
    for (; at < count; ++at) {
        const std::uint32_t half = halves[at], sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
        const std::uint32_t scaled = rest << 13;
        float value;
        std::memcpy(&value, &scaled, 4);
        value *= 5.192296858534828e+33f;  // 2^112: the exponents' biases apart; numbers below the normal ones come out right
        std::uint32_t bits;
        std::memcpy(&bits, &value, 4);
        bits |= sign;
        std::memcpy(y + at, &bits, 4);
    }
}

void add(const float* x, std::size_t count, float* y) {
    for (std::size_t at = 0; at < count; ++at) y[at] += x[at];
}

float dot(const float* x, const float* y, std::size_t count) {
    Floats added = all(0.0f), more = all(0.0f);
    std::size_t at = 0;
    for (; at + 2 * LANES <= count; at += 2 * LANES) {
        added += load(x + at) * load(y + at);
        more += load(x + at + LANES) * load(y + at + LANES);
    }
    for (; at + LANES <= count; at += LANES) added += load(x + at) * load(y + at);
    if (at < count) added += load_part(x + at, count - at) * load_part(y + at, count - at);
    return sum(added + more);
}

// ---- attention ----

constexpr std::size_t ROWS = 24;  // queries whose products with all keys lie in the first cache at once

std::size_t filled_up(std::size_t count) { return (count + LANES - 1) / LANES * LANES; }

typedef float Four __attribute__((vector_size(16)));

// to[c * PANEL + t] = from[t * stride + c] for four by four.
inline void turn_four(const float* from, std::size_t stride, float* to) {
    Four rows[4];
    for (std::size_t t = 0; t < 4; ++t) std::memcpy(&rows[t], from + t * stride, sizeof(Four));
    const Four low = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5), high = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
    const Four low2 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5), high2 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    const Four columns[4] = {
        __builtin_shufflevector(low, low2, 0, 1, 4, 5), __builtin_shufflevector(low, low2, 2, 3, 6, 7),
        __builtin_shufflevector(high, high2, 0, 1, 4, 5), __builtin_shufflevector(high, high2, 2, 3, 6, 7)};
    for (std::size_t c = 0; c < 4; ++c) std::memcpy(to + c * PANEL, &columns[c], sizeof(Four));
}

// Keys as [tokens/64][size][64], so that products with them are sums over vectors; the rest of the last vector is zero.
void pack_keys(const float* k, std::size_t stride, std::size_t tokens, std::size_t size, float* to) {
    const std::size_t fours = size / 4 * 4;
    for (std::size_t from = 0; from < tokens; from += PANEL, k += PANEL * stride, to += size * PANEL) {
        const std::size_t now = tokens - from < PANEL ? tokens - from : PANEL, whole = now / 4 * 4;
        for (std::size_t t = 0; t < whole; t += 4)
            for (std::size_t c = 0; c < fours; c += 4) turn_four(k + t * stride + c, stride, to + c * PANEL + t);
        for (std::size_t c = 0; c < size; ++c) {
            for (std::size_t t = c < fours ? whole : 0; t < now; ++t) to[c * PANEL + t] = k[t * stride + c];
            for (std::size_t t = now; t < filled_up(now); ++t) to[c * PANEL + t] = 0.0f;
        }
    }
}

void pack_values(const float* v, std::size_t stride, std::size_t tokens, std::size_t size, std::size_t width, float* to) {
    for (std::size_t t = 0; t < tokens; ++t, to += width) {
        std::memcpy(to, v + t * stride, size * sizeof(float));
        for (std::size_t c = size; c < width; ++c) to[c] = 0.0f;
    }
}

// Turns one row's products into weights that are not yet divided by their sum, which is returned. Keys outside
// first … last weigh 2^-126, which is nothing beside the 1 of the largest.
float soften(float* row, std::size_t count, std::size_t first, std::size_t last, float scale) {
    Floats most = all(-3.0e38f);
    for (std::size_t at = 0; at < count; at += LANES) {
        Floats products = load(row + at);
        if (at < first || at + LANES > last) {
            for (std::size_t lane = 0; lane < LANES; ++lane)
                if (at + lane < first || at + lane >= last) products[lane] = -3.0e38f;
            store(row + at, products);
        }
        most = larger(most, products);
    }
    const float in_powers = scale * 1.44269504f, highest = largest(most) * in_powers;
    Floats total = all(0.0f);
    for (std::size_t at = 0; at < count; at += LANES) {
        const Floats weight = power_of_two(larger(load(row + at) * in_powers - highest, all(-126.0f)));
        store(row + at, weight);
        total += weight;
    }
    return sum(total);
}

void attend(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t queries, const float* k,
            const float* v, std::size_t kv_stride, std::size_t tokens, std::vector<float>& scratch, float* y,
            std::size_t y_stride) {
    const std::size_t panels = (tokens + PANEL - 1) / PANEL, width = filled_up(shape.size);
    const std::size_t key_floats = panels * shape.size * PANEL, value_floats = tokens * width;
    const std::size_t needed = key_floats + value_floats + ROWS * panels * PANEL + ROWS * width;
    if (scratch.size() < needed) scratch.resize(needed);
    float *keys = scratch.data(), *values = keys + key_floats, *weights = values + value_floats;
    float* mixed = weights + ROWS * panels * PANEL;
    for (std::size_t head = 0; head < shape.heads; ++head) {
        const std::size_t column = head * shape.size;
        pack_keys(k + column, kv_stride, tokens, shape.size, keys);
        pack_values(v + column, kv_stride, tokens, shape.size, width, values);
        for (std::size_t r = 0; r < queries; r += ROWS) {
            const std::size_t now = queries - r < ROWS ? queries - r : ROWS;
            // With a window only the panels that some row of this block sees are multiplied.
            const std::size_t reach = shape.window ? shape.window : tokens;
            const std::size_t from = r > reach ? (r - reach) / PANEL * PANEL : 0;
            const std::size_t to = r + now + reach < tokens ? r + now + reach : tokens;
            const std::size_t count = filled_up(to - from);
            for (std::size_t c = 0; c < count; c += PANEL)
                multiply(now, q + r * q_stride + column, q_stride, shape.size, keys + (from + c) * shape.size, PANEL,
                         count - c < PANEL ? count - c : PANEL, weights + c, panels * PANEL);
            float totals[ROWS];
            for (std::size_t row = 0; row < now; ++row) {
                const std::size_t at = r + row, first = at > from + reach ? at - reach - from : 0;
                const std::size_t last = at + reach + 1 < to ? at + reach + 1 - from : to - from;
                totals[row] = soften(weights + row * panels * PANEL, count, first, last, shape.scale);
            }
            multiply(now, weights, panels * PANEL, to - from, values + from * width, width, width, mixed, width);
            for (std::size_t row = 0; row < now; ++row) {
                const float share = 1.0f / totals[row];
                float* out = y + (r + row) * y_stride + column;
                for (std::size_t c = 0; c < shape.size; ++c) out[c] = mixed[row * width + c] * share;
            }
        }
    }
}

}  // namespace

#define PODIUM_NAME_(x) #x
#define PODIUM_NAME(x) PODIUM_NAME_(x)

extern const Kernels kernels;
const Kernels kernels = {PODIUM_NAME(PODIUM_ISA), linear_f32, linear_i8, quantise, norm, activate, gate,
                         attend, rotate, widen, add, dot};

}  // namespace PODIUM_ISA
}  // namespace podium
