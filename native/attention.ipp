// Attention of one text, head by head. Part of kernels.ipp.

namespace podium::PODIUM_ISA {
namespace {

constexpr std::size_t QUERY_BLOCK = 24;  // the products of this many queries with all keys fit into the L1 cache
constexpr float MASKED = -3.0e38f;       // replaces the product of a query and a key that it may not attend to

std::size_t round_up_to_lanes(std::size_t count) { return (count + SUM_LANES - 1) / SUM_LANES * SUM_LANES; }

std::size_t round_up_to_panels(std::size_t count) { return (count + PANEL - 1) / PANEL * PANEL; }

typedef float Four __attribute__((vector_size(16)));

// target[c * PANEL + t] = source[t * stride + c] for t and c below 4.
inline void transpose_4x4(const float* source, std::size_t stride, float* target) {
    Four rows[4];
    for (std::size_t t = 0; t < 4; ++t) std::memcpy(&rows[t], source + t * stride, sizeof(Four));
    const Four low_01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
    const Four high_01 = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
    const Four low_23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
    const Four high_23 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    const Four columns[4] = {
        __builtin_shufflevector(low_01, low_23, 0, 1, 4, 5), __builtin_shufflevector(low_01, low_23, 2, 3, 6, 7),
        __builtin_shufflevector(high_01, high_23, 0, 1, 4, 5), __builtin_shufflevector(high_01, high_23, 2, 3, 6, 7)};
    for (std::size_t c = 0; c < 4; ++c) std::memcpy(target + c * PANEL, &columns[c], sizeof(Four));
}

// Packs keys as [tokens/64][head_size][64], the layout of weights, so that products with queries add up over vectors of keys.
// `first` is the position of the first key. A last incomplete vector is filled with zeros.
void pack_keys(const float* k, std::size_t stride, std::size_t first, std::size_t tokens, std::size_t head_size, float* packed) {
    const std::size_t full_columns = head_size / 4 * 4, end = first + tokens;
    for (std::size_t position = first; position < end;) {
        float* panel = packed + position / PANEL * PANEL * head_size;
        const std::size_t lane = position % PANEL, left = end - position;
        const std::size_t count = left < PANEL - lane ? left : PANEL - lane, full_tokens = count / 4 * 4;
        for (std::size_t t = 0; t < full_tokens; t += 4)
            for (std::size_t c = 0; c < full_columns; c += 4)
                transpose_4x4(k + t * stride + c, stride, panel + c * PANEL + lane + t);
        for (std::size_t c = 0; c < head_size; ++c) {
            float* column = panel + c * PANEL + lane;
            for (std::size_t t = c < full_columns ? full_tokens : 0; t < count; ++t) column[t] = k[t * stride + c];
            for (std::size_t t = count; lane + t < round_up_to_lanes(lane + count); ++t) column[t] = 0.0f;
        }
        position += count;
        k += count * stride;
    }
}

// Copies a head's values to rows of `width` columns, which is head_size rounded up to whole vectors.
void pack_values(const float* v, std::size_t stride, std::size_t tokens, std::size_t head_size, std::size_t width,
                 float* packed) {
    for (std::size_t t = 0; t < tokens; ++t, packed += width) {
        std::memcpy(packed, v + t * stride, head_size * sizeof(float));
        for (std::size_t c = head_size; c < width; ++c) packed[c] = 0.0f;
    }
}

// Replaces a query's products with `count` keys, a multiple of SUM_LANES, by the numerators of their softmax, and returns the
// denominator. The query attends only to the keys first … last - 1. The numerator of any other key is 2^-126, which is
// negligible, because the largest numerator is 1.
float exponentiate(float* products, std::size_t count, std::size_t first, std::size_t last, float scale) {
    Floats most = broadcast(MASKED);
    for (std::size_t i = 0; i < count; i += LANES) {
        Floats values = load(products + i);
        if (i < first || i + LANES > last) {
            for (std::size_t lane = 0; lane < LANES; ++lane)
                if (i + lane < first || i + lane >= last) values[lane] = MASKED;
            store(products + i, values);
        }
        most = maximum(most, values);
    }
    const float log2_scale = scale * LOG2_E, highest = largest(most) * log2_scale;
    Sums sums = {};
    for (std::size_t i = 0; i < count; i += SUM_LANES)
        for (std::size_t v = 0; v < SUM_VECTORS; ++v) {
            float* product = products + i + v * LANES;
            const Floats weight = power_of_two(maximum(load(product) * log2_scale - highest, broadcast(-126.0f)));
            store(product, weight);
            sums.vectors[v] += weight;
        }
    return total(sums);
}

// The scratch memory has one head's keys and values, and the weights and sums of a block of queries.
struct HeadMemory {
    std::size_t weight_stride, width;
    std::size_t values, weights, sums, size;  // the offsets of these parts, which follow the keys, and the size of all parts

    HeadMemory(const AttentionShape& shape, std::size_t capacity)
        : weight_stride(round_up_to_panels(capacity)), width(round_up_to_lanes(shape.head_size)),
          values(weight_stride * shape.head_size), weights(values + capacity * width),
          sums(weights + QUERY_BLOCK * weight_stride), size(sums + QUERY_BLOCK * width) {}
};

// The keys to which a block of queries attends: `begin` … `end` - 1, of which `begin` is the first of a panel.
struct KeyRange {
    std::size_t reach, reach_right;  // how many keys to the left and to the right of itself a query attends to
    std::size_t begin, end;

    KeyRange(const AttentionShape& shape, std::size_t position, std::size_t rows, std::size_t tokens) {
        const std::size_t longest = position + rows > tokens ? position + rows : tokens;
        reach = shape.window && shape.window < longest ? shape.window : longest;
        reach_right = shape.causal ? 0 : reach;
        end = position + rows + reach_right < tokens ? position + rows + reach_right : tokens;
        begin = position > reach ? (position - reach < end ? position - reach : end - 1) / PANEL * PANEL : 0;
    }

    struct Keys {
        std::size_t first, last;  // relative to `begin`; there are none if first >= last
    };

    Keys of_query(std::size_t position) const {
        return {position > begin + reach ? position - reach - begin : 0,
                position + reach_right + 1 < end ? position + reach_right + 1 - begin : end - begin};
    }
};

void pack_head_f32(const AttentionShape& shape, const float* k, const float* v, std::size_t kv_stride, std::size_t first,
                   std::size_t count, std::size_t capacity, float* scratch) {
    const HeadMemory memory(shape, capacity);
    pack_keys(k, kv_stride, first, count, shape.head_size, scratch);
    pack_values(v, kv_stride, count, shape.head_size, memory.width, scratch + memory.values + first * memory.width);
}

// Multiplies a block of queries with the keys `begin` … `begin + count` - 1. `begin` is the first key of a panel.
inline void multiply_keys(const AttentionShape& shape, std::size_t rows, const float* q, std::size_t q_stride, const float* keys,
                          std::size_t begin, std::size_t count, float* products, std::size_t products_stride) {
    for (std::size_t c = 0; c < count; c += PANEL)
        multiply_f32(rows, q, q_stride, shape.head_size, keys + (begin + c) * shape.head_size, PANEL,
                     count - c < PANEL ? count - c : PANEL, products + c, products_stride);
}

// Divides the weighted sums of values by the sums of the weights.
inline void write_means(const AttentionShape& shape, std::size_t rows, const float* sums, std::size_t width, const float* totals,
                        float* y, std::size_t y_stride) {
    for (std::size_t i = 0; i < rows; ++i) {
        const float inverse = 1.0f / totals[i];
        for (std::size_t c = 0; c < shape.head_size; ++c) y[i * y_stride + c] = sums[i * width + c] * inverse;
    }
}

void attend_head_f32(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t first_query,
                     std::size_t queries, std::size_t tokens, std::size_t capacity, float* scratch, float* y,
                     std::size_t y_stride) {
    const HeadMemory memory(shape, capacity);
    const float *keys = scratch, *values = scratch + memory.values;
    float *weights = scratch + memory.weights, *sums = scratch + memory.sums;
    const std::size_t width = memory.width;
    for (std::size_t r = 0; r < queries; r += QUERY_BLOCK, q += QUERY_BLOCK * q_stride, y += QUERY_BLOCK * y_stride) {
        const std::size_t rows = queries - r < QUERY_BLOCK ? queries - r : QUERY_BLOCK, position = first_query + r;
        // Only those panels of keys are multiplied that a query of this block attends to.
        const KeyRange range(shape, position, rows, tokens);
        const std::size_t begin = range.begin, end = range.end;
        const std::size_t count = round_up_to_lanes(end - begin);
        multiply_keys(shape, rows, q, q_stride, keys, begin, count, weights, memory.weight_stride);
        float totals[QUERY_BLOCK];
        for (std::size_t i = 0; i < rows; ++i) {
            const auto [first, last] = range.of_query(position + i);
            // In causal attention, the weights of later tokens are exactly 0. So the result of a token does not depend on how
            // many later tokens there are.
            const std::size_t used = shape.causal ? round_up_to_lanes(last) : count;
            float* products = weights + i * memory.weight_stride;
            totals[i] = 1.0f;
            if (first < last)
                totals[i] = exponentiate(products, used, first, last, shape.scale);
            else  // the query follows the last token by more than the window
                std::memset(products, 0, count * sizeof(float));
            if (shape.causal) std::memset(products + last, 0, (count - last) * sizeof(float));
        }
        multiply_f32(rows, weights, memory.weight_stride, end - begin, values + begin * width, width, width, sums, width);
        write_means(shape, rows, sums, width, totals, y, y_stride);
    }
}

}  // namespace
}  // namespace podium::PODIUM_ISA
