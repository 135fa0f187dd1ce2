namespace podium {
namespace PODIUM_ISA {
namespace {

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

}  // namespace
}  // namespace PODIUM_ISA
}  // namespace podium
