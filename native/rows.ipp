// Kernels that work on each row by itself: quantisation, layer norm, gating, rotary positions, and element-wise operations.
// Part of kernels.ipp.

namespace podium::PODIUM_ISA {
namespace {

void quantise(const float* x, std::size_t rows, std::size_t width, std::uint8_t* values, std::size_t stride, float* scales,
              std::int32_t* zero_points) {
    const std::size_t full = width / LANES * LANES;
#if PODIUM_VECTOR_BYTES < 64
    const Floats shift = broadcast(ROUNDING_SHIFT);
#endif
    for (std::size_t r = 0; r < rows; ++r, x += width, values += stride) {
        // Four accumulators each, because with one every operation would wait for the one before it. A value times 0 is 0, or
        // NaN if the value is not finite.
        Floats lows[4] = {}, highs[4] = {}, zeros[4] = {};
        const auto update = [&](std::size_t i, Floats x_values) {
            lows[i] = minimum(lows[i], x_values);
            highs[i] = maximum(highs[i], x_values);
            zeros[i] += x_values * 0.0f;
        };
        std::size_t c = 0;
        for (; c + 4 * LANES <= full; c += 4 * LANES)
            for (std::size_t i = 0; i < 4; ++i) update(i, load(x + c + i * LANES));
        for (; c < full; c += LANES) update(0, load(x + c));
        if (full < width) update(1, load_partial(x + full, width - full));
        const Floats low = minimum(minimum(lows[0], lows[1]), minimum(lows[2], lows[3]));
        const Floats high = maximum(maximum(highs[0], highs[1]), maximum(highs[2], highs[3]));
        const Floats zero = (zeros[0] + zeros[1]) + (zeros[2] + zeros[3]);
        const float least = -largest(-low), most = largest(high);
        const float range = most - least;
        // A row with a smaller range counts as zero: dividing by its scale would overflow.
        const float scale = range > 1.0e-30f ? range / 255.0f : 1.0f, inverse = 1.0f / scale;
        const float zero_point = (-least * inverse + ROUNDING_SHIFT) - ROUNDING_SHIFT;  // 0 … 255
        // One NaN or infinity makes the whole row NaN, so that its score is refused and not merely wrong.
        const bool finite = total({zero}) == 0.0f && range <= 3.0e38f;
        scales[r] = finite ? scale : __builtin_nanf("");
        zero_points[r] = finite ? static_cast<std::int32_t>(zero_point) : 0;
        for (std::size_t i = 0; i < stride; i += LANES) {
            const std::size_t count = stride - i < LANES ? stride - i : LANES;
            const Floats row = i + LANES <= width ? load(x + i) : i < width ? load_partial(x + i, width - i) : broadcast(0.0f);
            const Floats shifted = maximum(row * inverse + zero_point, broadcast(0.0f));
#if PODIUM_VECTOR_BYTES == 64
            const __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32((__m512)shifted));  // saturates at 255
            std::memcpy(values + i, &bytes, count);
#else
            store_bytes(values + i, (Ints)(minimum(shifted, broadcast(255.0f)) + shift), count);
#endif
        }
    }
}

void quantise_wide(const float* x, std::size_t rows, std::size_t width, std::uint8_t* high, std::uint8_t* low,
                   std::size_t stride, float* scales) {
    const Floats shift = broadcast(ROUNDING_SHIFT);
    for (std::size_t r = 0; r < rows; ++r, x += width, high += stride, low += stride) {
        Floats most = broadcast(0.0f), zero = broadcast(0.0f);  // a value times 0 is 0, or NaN if the value is not finite
        for (std::size_t c = 0; c < width; c += LANES) {
            const Floats values = c + LANES <= width ? load(x + c) : load_partial(x + c, width - c);
            most = maximum(most, maximum(values, -values));
            zero += values * 0.0f;
        }
        const float highest = largest(most);
        // A row with smaller values counts as zero: dividing by its scale would overflow.
        const float scale = highest > 1.0e-30f ? highest / 32767.0f : 1.0f, inverse = 1.0f / scale;
        scales[r] = total({zero}) == 0.0f ? scale : __builtin_nanf("");
        for (std::size_t c = 0; c < stride; c += LANES) {
            const std::size_t count = stride - c < LANES ? stride - c : LANES;
            const Floats row = c + LANES <= width ? load(x + c) : c < width ? load_partial(x + c, width - c) : broadcast(0.0f);
            const Ints integers = (Ints)(row * inverse + shift) - (Ints)shift + 32768;
            store_bytes(high + c, integers >> 8, count);
            store_bytes(low + c, integers, count);
        }
    }
}

// Returns the sum of `term(x)` over a row, in four independent sums. A last incomplete vector is filled with `fill`.
template <class Term>
inline float sum_of_row(const float* x, std::size_t width, float fill, Term term) {
    Sums sums[4] = {};
    const auto add_lanes = [&](Sums& sum, const float* values) {
        for (std::size_t v = 0; v < SUM_VECTORS; ++v) sum.vectors[v] += term(load(values + v * LANES));
    };
    std::size_t c = 0;
    for (; c + 4 * SUM_LANES <= width; c += 4 * SUM_LANES)
        for (std::size_t i = 0; i < 4; ++i) add_lanes(sums[i], x + c + i * SUM_LANES);
    for (; c + SUM_LANES <= width; c += SUM_LANES) add_lanes(sums[0], x + c);
    if (c < width) {
        float last[SUM_LANES];
        for (float& value : last) value = fill;
        std::memcpy(last, x + c, (width - c) * sizeof(float));
        add_lanes(sums[1], last);
    }
    return total((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void norm(const float* x, std::size_t rows, std::size_t width, const float* weight, const float* bias, float epsilon,
          float* y) {
    const std::size_t full = width / LANES * LANES, rest = width - full;
    for (std::size_t r = 0; r < rows; ++r, x += width, y += width) {
        const float mean = sum_of_row(x, width, 0.0f, [](Floats values) { return values; }) / static_cast<float>(width);
        const auto squared_difference = [mean](Floats values) { return (values - mean) * (values - mean); };
        const float squares = sum_of_row(x, width, mean, squared_difference);
        const float inverse_deviation = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon);
        for (std::size_t c = 0; c < full; c += LANES) {
            const Floats value = (load(x + c) - mean) * inverse_deviation;
            store(y + c, multiply_add(value, load(weight + c), bias ? load(bias + c) : broadcast(0.0f)));
        }
        if (rest) {
            const Floats value = (load_partial(x + full, rest) - mean) * inverse_deviation;
            const Floats added = bias ? load_partial(bias + full, rest) : broadcast(0.0f);
            store_partial(y + full, multiply_add(value, load_partial(weight + full, rest), added), rest);
        }
    }
}

void rms_norm(const float* x, std::size_t rows, std::size_t width, const float* weight, float epsilon, float* y) {
    const std::size_t full = width / LANES * LANES, rest = width - full;
    for (std::size_t r = 0; r < rows; ++r, x += width, y += width) {
        const float squares = sum_of_row(x, width, 0.0f, [](Floats values) { return values * values; });
        const float inverse = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon);
        for (std::size_t c = 0; c < full; c += LANES) store(y + c, load(x + c) * inverse * load(weight + c));
        if (rest) store_partial(y + full, load_partial(x + full, rest) * inverse * load_partial(weight + full, rest), rest);
    }
}

void gate(const float* x, std::size_t rows, std::size_t width, Activation activation, float* y) {
    for (std::size_t r = 0; r < rows; ++r, x += 2 * width, y += width) {
        std::size_t c = 0;
        for (; c + LANES <= width; c += LANES)
            store(y + c, apply_activation(load(x + c), activation) * load(x + width + c));
        if (c < width) {
            const std::size_t rest = width - c;
            const Floats activated = apply_activation(load_partial(x + c, rest), activation);
            store_partial(y + c, activated * load_partial(x + width + c, rest), rest);
        }
    }
}

// Rotates `count` pairs of columns, at most LANES.
inline void rotate_lanes(float* left, float* right, const float* cos, const float* sin, std::size_t count) {
    const bool full = count == LANES;
    const auto lanes = [=](const float* source) { return full ? load(source) : load_partial(source, count); };
    const Floats left_values = lanes(left), right_values = lanes(right), cosines = lanes(cos), sines = lanes(sin);
    const Floats rotated_left = multiply_add(left_values, cosines, -(right_values * sines));
    const Floats rotated_right = multiply_add(right_values, cosines, left_values * sines);
    store_partial(left, rotated_left, full ? LANES : count);
    store_partial(right, rotated_right, full ? LANES : count);
}

void rotate(float* x, std::size_t stride, std::size_t rows, std::size_t heads, std::size_t head_size, const float* cos,
            const float* sin) {
    const std::size_t half = head_size / 2;
    for (std::size_t r = 0; r < rows; ++r, x += stride, cos += half, sin += half)
        for (std::size_t head = 0; head < heads; ++head) {
            float *left = x + head * head_size, *right = left + half;
            for (std::size_t c = 0; c < half; c += LANES)
                rotate_lanes(left + c, right + c, cos + c, sin + c, half - c < LANES ? half - c : LANES);
        }
}

void widen(const std::uint16_t* halves, Half half, std::size_t count, float* y) {
    std::size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(y + i, half == Half::bfloat16 ? load_bfloat16(halves + i) : load_float16(halves + i));
    if (i == count) return;
    std::uint16_t last[LANES] = {};
    std::memcpy(last, halves + i, (count - i) * sizeof(std::uint16_t));
    store_partial(y + i, half == Half::bfloat16 ? load_bfloat16(last) : load_float16(last), count - i);
}

void add(const float* x, std::size_t count, float* y) {
    for (std::size_t i = 0; i < count; ++i) y[i] += x[i];
}

float dot(const float* x, const float* y, std::size_t count) {
    Sums even = {}, odd = {};
    const auto add_products = [](Sums& sums, const float* left, const float* right) {
        for (std::size_t v = 0; v < SUM_VECTORS; ++v) sums.vectors[v] += load(left + v * LANES) * load(right + v * LANES);
    };
    std::size_t i = 0;
    for (; i + 2 * SUM_LANES <= count; i += 2 * SUM_LANES) {
        add_products(even, x + i, y + i);
        add_products(odd, x + i + SUM_LANES, y + i + SUM_LANES);
    }
    for (; i + SUM_LANES <= count; i += SUM_LANES) add_products(even, x + i, y + i);
    if (i < count) {
        float left[SUM_LANES] = {}, right[SUM_LANES] = {};
        std::memcpy(left, x + i, (count - i) * sizeof(float));
        std::memcpy(right, y + i, (count - i) * sizeof(float));
        add_products(even, left, right);
    }
    return total(even + odd);
}

}  // namespace
}  // namespace podium::PODIUM_ISA
