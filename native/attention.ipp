namespace podium {
namespace PODIUM_ISA {
namespace {

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
}  // namespace PODIUM_ISA
}  // namespace podium
