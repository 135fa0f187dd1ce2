// DeBERTa's attention of one text and one head: over contents, and over relative positions. Part of kernels.ipp.
//
// The product of a query i with the embedding of the position relative to a key j depends on j only through the distance i - j.
// So the embeddings are packed by distance, once for many texts, and a block of queries is multiplied with those distances
// that occur in it. A row of this product is that of a query for all keys, after a shift by the query's index in the block. For
// the other term, keys are multiplied with distances, which gives columns instead of rows, so these products are transposed.

namespace podium::PODIUM_ISA {
namespace {

// The number of keys that are multiplied with distances at a time: the rows of a tile, or two. The distances of these keys to a
// block of queries are about a third more than the queries.
constexpr std::size_t KEY_BLOCK = LANES == 16 ? 8 : 12;
constexpr std::size_t BAND = (QUERY_BLOCK + KEY_BLOCK - 1 + LANES - 1) / LANES * LANES;  // that number of distances

static_assert(KEY_BLOCK % 4 == 0 && QUERY_BLOCK % 4 == 0 && PANEL % 4 == 0, "products are transposed in blocks of 4 × 4");

// The scratch memory that follows HeadMemory: the embeddings of all distances as columns, in the order in which a row of
// products needs them, and products of a block of queries. All are offsets, except the strides.
struct DistanceMemory {
    std::size_t falling, distance_stride, rising, shifted, shifted_stride, band, transposed, size;

    DistanceMemory(const AttentionShape& shape, std::size_t capacity)
        : falling(HeadMemory(shape, capacity).size),
          // An odd number of cache lines, so that the rows of a table do not compete for the same part of the L1 cache.
          distance_stride((2 * capacity + KEY_BLOCK + BAND) / 32 * 32 + 48),
          rising(falling + distance_stride * shape.head_size), shifted(rising + distance_stride * shape.head_size),
          shifted_stride(round_up_to_panels(capacity) + 2 * SUM_LANES), band(shifted + QUERY_BLOCK * shifted_stride),
          transposed(band + KEY_BLOCK * BAND), size(transposed + QUERY_BLOCK * PANEL) {}
};

std::size_t disentangled_scratch(const AttentionShape& shape, std::size_t capacity) {
    return DistanceMemory(shape, capacity).size;
}

// Writes the embeddings `columns[0]` … `columns[count - 1]` of a table side by side. Most columns follow each other, or are
// repeated, because far distances share embeddings.
void pack_columns(const float* table, std::size_t table_stride, std::size_t rows, const std::int32_t* columns,
                  std::size_t count, float* packed, std::size_t packed_stride) {
    for (std::size_t c = 0; c < count;) {
        const std::int32_t first = columns[c], step = c + 1 < count && columns[c + 1] == first ? 0 : 1;
        std::size_t run = 1;
        while (c + run < count && columns[c + run] == first + step * static_cast<std::int32_t>(run)) ++run;
        const float* source = table + first;
        float* target = packed + c;
        for (std::size_t r = 0; r < rows; ++r, source += table_stride, target += packed_stride) {
            if (step)
                std::memcpy(target, source, run * sizeof(float));
            else
                for (std::size_t i = 0; i < run; ++i) target[i] = *source;
        }
        c += run;
    }
}

void pack_distances(const AttentionShape& shape, const RelativeTerms& terms, std::size_t capacity, float* scratch) {
    const DistanceMemory memory(shape, capacity);
    const std::size_t count = 2 * capacity - 1, skipped = terms.positions - capacity;
    const RelativeTerm &falling = terms.falling, &rising = terms.rising;
    if (falling.table)
        pack_columns(falling.table, falling.embeddings, shape.head_size, falling.columns + skipped, count,
                     scratch + memory.falling, memory.distance_stride);
    if (rising.table)
        pack_columns(rising.table, rising.embeddings, shape.head_size, rising.columns + skipped, count,
                     scratch + memory.rising + KEY_BLOCK, memory.distance_stride);
}

// Adds to the row of each query its products with the distances to all keys. `falling` begins with the distance of the last
// query of the block to the first key.
void add_query_products(std::size_t rows, const float* q, std::size_t q_stride, std::size_t head_size, const float* falling,
                        const DistanceMemory& memory, std::size_t count, float* shifted, float* products,
                        std::size_t products_stride) {
    multiply_f32(rows, q, q_stride, head_size, falling, memory.distance_stride, round_up_to_lanes(count + rows - 1), shifted,
                 memory.shifted_stride);
    for (std::size_t r = 0; r < rows; ++r) {
        const float* row = shifted + r * memory.shifted_stride + (rows - 1 - r);
        float* sums = products + r * products_stride;
        for (std::size_t c = 0; c < count; c += LANES) store(sums + c, load(sums + c) + load(row + c));
    }
}

// Adds to the column of each key its products with the distances of all queries of the block. `rising` begins with the distance
// of the first query to the first key.
void add_key_products(std::size_t rows, const float* k, std::size_t k_stride, std::size_t keys, std::size_t head_size,
                      const float* rising, const DistanceMemory& memory, float* scratch, float* products,
                      std::size_t products_stride) {
    float *band = scratch + memory.band, *transposed = scratch + memory.transposed;
    const std::size_t columns = (rows + KEY_BLOCK - 1 + LANES - 1) / LANES * LANES;
    for (std::size_t panel = 0; panel < keys; panel += PANEL) {
        const std::size_t end = keys - panel < PANEL ? keys - panel : PANEL;
        for (std::size_t begin = 0; begin < end; begin += KEY_BLOCK) {
            const std::size_t count = end - begin < KEY_BLOCK ? end - begin : KEY_BLOCK, key = panel + begin;
            multiply_f32(count, k + key * k_stride, k_stride, head_size, rising - key - (KEY_BLOCK - 1), memory.distance_stride, columns,
                         band, BAND);
            // Each row begins with the distance to the last key of the block, so the first query is one column later for each
            // earlier key.
            for (std::size_t i = 0; i < count; i += 4)
                for (std::size_t r = 0; r < rows; r += 4)
                    transpose_4x4(band + i * (BAND - 1) + KEY_BLOCK - 1 + r, BAND - 1, transposed + r * PANEL + begin + i);
        }
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < round_up_to_lanes(end); c += LANES) {
                float* sums = products + r * products_stride + panel + c;
                store(sums, load(sums) + load(transposed + r * PANEL + c));
            }
    }
}

void attend_disentangled(const AttentionShape& shape, const RelativeTerms& terms, const float* q, std::size_t q_stride,
                         std::size_t first_query, std::size_t queries, const float* k, std::size_t k_stride,
                         std::size_t tokens, std::size_t capacity, float* scratch, float* y, std::size_t y_stride) {
    const HeadMemory memory(shape, capacity);
    const DistanceMemory distances(shape, capacity);
    const float *keys = scratch, *values = scratch + memory.values;
    float *weights = scratch + memory.weights, *sums = scratch + memory.sums;
    const std::size_t width = memory.width, count = round_up_to_lanes(tokens);
    for (std::size_t r = 0; r < queries; r += QUERY_BLOCK, q += QUERY_BLOCK * q_stride, y += QUERY_BLOCK * y_stride) {
        const std::size_t rows = queries - r < QUERY_BLOCK ? queries - r : QUERY_BLOCK, position = first_query + r;
        multiply_keys(shape, rows, q, q_stride, keys, 0, count, weights, memory.weight_stride);
        if (terms.falling.table)
            add_query_products(rows, q, q_stride, shape.head_size, scratch + distances.falling + capacity - position - rows,
                               distances, count, scratch + distances.shifted, weights, memory.weight_stride);
        if (terms.rising.table)
            add_key_products(rows, k, k_stride, tokens, shape.head_size,
                             scratch + distances.rising + KEY_BLOCK + capacity - 1 + position, distances, scratch, weights,
                             memory.weight_stride);
        float totals[QUERY_BLOCK];
        for (std::size_t i = 0; i < rows; ++i)
            totals[i] = exponentiate(weights + i * memory.weight_stride, count, 0, tokens, shape.scale);
        multiply_f32(rows, weights, memory.weight_stride, tokens, values, width, width, sums, width);
        write_means(shape, rows, sums, width, totals, y, y_stride);
    }
}

}  // namespace
}  // namespace podium::PODIUM_ISA
