// Attention of one text with int8 products, head by head. Part of kernels.ipp.
//
// Keys and values are quantised to -127 … 127 after the middle of each column's range was subtracted: from the keys without a
// consequence, because it changes all products of a query by the same number; that of the values is added to the result. Keys
// have one scale, values one per column, and queries one per row. The weights of a query are rounded to 0 … 32767, where 32767 is
// the weight of the key with the highest product, and their higher and lower bytes are multiplied separately: with 8 bits, the
// many small weights of a long text would be lost. All of this depends on the text only, and the products are exact integers.

namespace podium::PODIUM_ISA {
namespace {

constexpr std::size_t QUERY_BLOCK_I8 = 12;  // a block's products with all keys fit into the L1 cache, together with the keys
constexpr std::int32_t QUERY_ZERO = 128;    // is added to a query's numbers, which are stored as unsigned bytes
constexpr float LOG2_MAX_WEIGHT = 14.999955971769559f;  // log2 32767

inline void store_ints(std::int32_t* target, Ints x) { std::memcpy(target, &x, sizeof x); }

// Loads the lanes before column `width` of a row. The others are 0.
inline Floats load_columns(const float* row, std::size_t column, std::size_t width) {
    return column + LANES <= width ? load(row + column)
                                   : load_partial(row + column, column < width ? width - column : 0);
}

inline Ints round_to_integers(Floats x) {
    const Floats shift = broadcast(ROUNDING_SHIFT);
    return (Ints)(x + shift) - (Ints)shift;
}

// Of the numbers up to ±`highest`, the one that becomes 1. Smaller numbers than 1e-30 count as zero: dividing by their scale would
// overflow.
inline float int8_scale(float highest) { return highest > 1.0e-30f ? highest / 127.0f : 1.0f; }

// The scratch memory of one head. Offsets are in bytes.
struct HeadMemoryI8 {
    std::size_t width, capacity;  // the columns of a head, and the tokens of a text, rounded up to whole vectors and panels
    std::size_t key_offsets, values, value_scales, value_centers, value_sums, key_scale;
    std::size_t products, weights, ones, sums, queries, row, size;

    HeadMemoryI8(const AttentionShape& shape, std::size_t tokens)
        : width(round_up_to_lanes(shape.head_size)), capacity(round_up_to_panels(tokens)), key_offsets(capacity * width),
          values(key_offsets + capacity * sizeof(std::int32_t)), value_scales(values + capacity * width),
          value_centers(value_scales + width * sizeof(float)), value_sums(value_centers + width * sizeof(float)),
          key_scale(value_sums + width * sizeof(std::int32_t)), products(key_scale + SUM_LANES * sizeof(float)),
          weights(products + QUERY_BLOCK_I8 * capacity * sizeof(std::int32_t)), ones(weights + 2 * QUERY_BLOCK_I8 * capacity),
          sums(ones + capacity), queries(sums + QUERY_BLOCK_I8 * width * sizeof(float)), row(queries + QUERY_BLOCK_I8 * width),
          size(row + width) {}
};

template <class T>
inline T* at(float* scratch, std::size_t offset) {
    return reinterpret_cast<T*>(reinterpret_cast<char*>(scratch) + offset);
}

// The range of each of LANES columns of a text's keys or values.
struct ColumnRange {
    Floats low, high, zero = broadcast(0.0f);  // a value times 0 is 0, or NaN if the value is not finite

    ColumnRange(const float* rows, std::size_t stride, std::size_t count, std::size_t column, std::size_t width) {
        low = high = load_columns(rows, column, width);
        for (std::size_t t = 0; t < count; ++t) {
            const Floats values = load_columns(rows + t * stride, column, width);
            low = minimum(low, values);
            high = maximum(high, values);
            zero += values * 0.0f;
        }
    }
    Floats center() const { return low * 0.5f + high * 0.5f; }
    Floats reach() const { return high * 0.5f - low * 0.5f + zero; }  // how far a number can be from the center
};

// Calls `finish(row, vector, sums)` for a tile of 1 … MaxRows rows. The other parameters are those of `sum_products`.
template <std::size_t MaxRows, std::size_t Vectors, class Finish>
void finish_tile_i8(std::size_t rows, const std::uint8_t* x, std::size_t x_stride, std::size_t quads, const std::int8_t* w,
                    std::size_t w_stride, Finish finish) {
    if constexpr (MaxRows > 1) {
        if (rows < MaxRows) return finish_tile_i8<MaxRows - 1, Vectors>(rows, x, x_stride, quads, w, w_stride, finish);
    }
    Ints sums[MaxRows][Vectors];
    sum_products<MaxRows, Vectors>(x, x_stride, quads, w, w_stride, sums);
    PODIUM_UNROLL
    for (std::size_t r = 0; r < MaxRows; ++r) {
        PODIUM_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) finish(r, v, sums[r][v]);
    }
}

// Calls `finish(row, column, sums)` for whole tiles of `Vectors` vectors of columns, from column `c` on, and returns the first
// column that is left.
template <std::size_t Vectors, class Finish>
std::size_t finish_columns_i8(std::size_t c, std::size_t columns, std::size_t rows, const std::uint8_t* x,
                              std::size_t x_stride, std::size_t quads, const std::int8_t* w, std::size_t w_stride,
                              Finish finish) {
    constexpr std::size_t TileRows = ACCUMULATORS_INT8 / Vectors < QUERY_BLOCK_I8 ? ACCUMULATORS_INT8 / Vectors : QUERY_BLOCK_I8;
    for (; c + Vectors * LANES <= columns; c += Vectors * LANES)
        for (std::size_t r = 0; r < rows; r += TileRows)
            finish_tile_i8<TileRows, Vectors>(
                rows - r < TileRows ? rows - r : TileRows, x + r * x_stride, x_stride, quads, w + 4 * c, w_stride,
                [=](std::size_t row, std::size_t v, Ints sums) { finish(r + row, c + v * LANES, sums); });
    return c;
}

// Calls `finish(row, column, sums)` for all rows and columns, of which there is a multiple of LANES.
template <class Finish>
void multiply_i8(std::size_t columns, std::size_t rows, const std::uint8_t* x, std::size_t x_stride, std::size_t quads,
                 const std::int8_t* w, std::size_t w_stride, Finish finish) {
    std::size_t c = finish_columns_i8<TILE_VECTORS_INT8>(0, columns, rows, x, x_stride, quads, w, w_stride, finish);
    if constexpr (TILE_VECTORS_INT8 > 2) c = finish_columns_i8<2>(c, columns, rows, x, x_stride, quads, w, w_stride, finish);
    finish_columns_i8<1>(c, columns, rows, x, x_stride, quads, w, w_stride, finish);
}

// Packs keys as the weights of int8 products, [tokens/64][width/4][64][4].
void pack_keys_i8(const float* k, std::size_t stride, std::size_t tokens, std::size_t head_size, const HeadMemoryI8& memory,
                  float* scratch) {
    float *centers = at<float>(scratch, memory.products), *scale = at<float>(scratch, memory.key_scale);
    std::uint8_t *row = at<std::uint8_t>(scratch, memory.row), *ones = at<std::uint8_t>(scratch, memory.ones);
    Floats reach = broadcast(0.0f), zero = broadcast(0.0f);
    for (std::size_t c = 0; c < memory.width; c += LANES) {
        const ColumnRange range(k, stride, tokens, c, head_size);
        store(centers + c, range.center());
        reach = maximum(reach, range.reach());
        zero += range.zero;
    }
    *scale = int8_scale(largest(reach));
    const Floats inverse = broadcast(1.0f / *scale);
    *scale += total({zero});  // NaN if a number is not finite
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t c = 0; c < memory.width; c += LANES)
            store_bytes(row + c, round_to_integers((load_columns(k + t * stride, c, head_size) - load(centers + c)) * inverse),
                        LANES);
        char* word = at<char>(scratch, t / PANEL * PANEL * memory.width + t % PANEL * 4);
        for (std::size_t c = 0; c < memory.width; c += 4, word += 4 * PANEL) std::memcpy(word, row + c, 4);
    }
    std::memset(ones, ROW_OFFSET + 1, memory.width);
    for (std::size_t t = 0; t < tokens; t += LANES)
        multiply_i8(LANES, 1, ones, memory.width, memory.width / 4,
                    at<std::int8_t>(scratch, t / PANEL * PANEL * memory.width + t % PANEL * 4), 4 * PANEL,
                    [&](std::size_t, std::size_t, Ints sums) {
                        store_ints(at<std::int32_t>(scratch, memory.key_offsets) + t, (ROW_OFFSET - QUERY_ZERO) * sums);
                    });
}

// Packs values as [tokens/4][width][4], so that products with weights add up over vectors of columns.
void pack_values_i8(const float* v, std::size_t stride, std::size_t tokens, std::size_t head_size, const HeadMemoryI8& memory,
                    float* scratch) {
    for (std::size_t c = 0; c < memory.width; c += LANES) {
        const ColumnRange range(v, stride, tokens, c, head_size);
        const Floats center = range.center();
        Floats scale = range.reach();
        for (std::size_t lane = 0; lane < LANES; ++lane) scale[lane] = int8_scale(scale[lane]);
        store(at<float>(scratch, memory.value_scales) + c, scale + range.zero);  // NaN if a number is not finite
        store(at<float>(scratch, memory.value_centers) + c, center);
        const Floats inverse = 1.0f / scale;
        for (std::size_t t = 0; t < tokens; t += 4) {
            Ints words = {};
            for (std::size_t i = 0; i < 4 && t + i < tokens; ++i) {
                const Floats values = load_columns(v + (t + i) * stride, c, head_size);
                words |= (round_to_integers((values - center) * inverse) & 0xff) << (8 * i);
            }
            std::memcpy(at<char>(scratch, memory.values + t * memory.width + 4 * c), &words, sizeof words);
        }
    }
}

// Rounds a query to -127 … 127, adds QUERY_ZERO, and writes `padded_width` bytes, a multiple of LANES. Returns the scale, which is
// NaN if a number is not finite.
float quantise_query(const float* q, std::size_t width, std::size_t padded_width, std::uint8_t* bytes) {
    Floats most = broadcast(0.0f), zero = broadcast(0.0f);
    for (std::size_t c = 0; c < padded_width; c += LANES) {
        const Floats values = load_columns(q, c, width);
        most = maximum(most, maximum(values, -values));
        zero += values * 0.0f;
    }
    const float scale = int8_scale(largest(most));
    const Floats inverse = broadcast(1.0f / scale);
    for (std::size_t c = 0; c < padded_width; c += LANES)
        store_bytes(bytes + c, round_to_integers(load_columns(q, c, width) * inverse) + QUERY_ZERO, LANES);
    return scale + total({zero});
}

// 2^x for x <= 15 with a relative error of at most 1e-4.
inline Floats approximate_power_of_two(Floats x) {
    const Floats shift = broadcast(ROUNDING_SHIFT);
    const Floats clamped = maximum(x, broadcast(-20.0f));
    const Floats rounded = clamped + shift;
    const Floats fraction = clamped - (rounded - shift);
    Floats power = fraction * 0.055838282946220126f + 0.24263947854625845f;
    power = power * fraction + 0.6931367338836214f;
    power = power * fraction + 0.9999245569508709f;
    return (Floats)((Ints)power + ((Ints)rounded << 23));
}

// Writes the higher and the lower bytes of the weights of `count` keys for a query that attends to the keys first … last - 1. The
// products times `scale` are the logarithms to base 2 of the weights. Returns the sum of the weights.
std::int32_t write_weights(const std::int32_t* products, std::size_t count, std::size_t first, std::size_t last, float scale,
                           std::uint8_t* high, std::uint8_t* low) {
    constexpr std::size_t GROUP = 4;  // vectors that are computed together
    const std::size_t begin = first / LANES * LANES, end = (last + LANES - 1) / LANES * LANES;
    Ints lanes;
    for (std::size_t lane = 0; lane < LANES; ++lane) lanes[lane] = static_cast<std::int32_t>(lane);
    const Ints first_lanes = lanes - static_cast<std::int32_t>(first), last_lanes = lanes - static_cast<std::int32_t>(last);
    const auto is_edge = [=](std::size_t i) { return i < first || i + LANES > last; };
    const auto is_used = [=](std::size_t i) {
        const auto offset = static_cast<std::int32_t>(i);
        return (first_lanes + offset >= 0) & (last_lanes + offset < 0);
    };
    Ints most = Ints{} - 0x7fffffff;
    for (std::size_t i = begin; i < end; i += LANES) {
        Ints values = load_ints(products + i);
        if (is_edge(i)) values = is_used(i) ? values : most;
        most = values > most ? values : most;
    }
    const float highest = largest(__builtin_convertvector(most, Floats));
    const Floats factor = broadcast(scale), offset = broadcast(highest * scale - LOG2_MAX_WEIGHT);
    const Floats shift = broadcast(ROUNDING_SHIFT);
    const auto rounded_weights = [=](std::size_t i) {
        const Floats logarithms = __builtin_convertvector(load_ints(products + i), Floats) * factor - offset;
        return (Ints)(approximate_power_of_two(logarithms) + shift) - (Ints)shift;
    };
    Ints sums = {};
    std::size_t i = begin;
    const auto write_edge = [&]() __attribute__((always_inline)) {
        const Ints rounded = rounded_weights(i) & is_used(i);
        sums += rounded;
        store_bytes(high + i, rounded >> 8, LANES);
        store_bytes(low + i, rounded, LANES);
        i += LANES;
    };
    const auto write_zeros = [=](std::size_t from, std::size_t to) {
        if (from == to) return;
        std::memset(high + from, 0, to - from);
        std::memset(low + from, 0, to - from);
    };
    write_zeros(0, begin);
    if (begin < first) write_edge();
    for (; i + GROUP * LANES <= last; i += GROUP * LANES) {
        Ints rounded[GROUP];
        PODIUM_UNROLL
        for (std::size_t v = 0; v < GROUP; ++v) {
            rounded[v] = rounded_weights(i + v * LANES);
            sums += rounded[v];
        }
        store_high_and_low_bytes(high + i, low + i, rounded);
    }
    while (i < end) write_edge();
    write_zeros(end, count);
    return sum_of_lanes(sums);
}

void pack_head_i8(const AttentionShape& shape, const float* k, const float* v, std::size_t kv_stride, std::size_t tokens,
                  std::size_t capacity, float* scratch) {
    const HeadMemoryI8 memory(shape, capacity);
    pack_keys_i8(k, kv_stride, tokens, shape.head_size, memory, scratch);
    pack_values_i8(v, kv_stride, tokens, shape.head_size, memory, scratch);
}

void attend_head_i8(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t first_query,
                    std::size_t queries, std::size_t tokens, std::size_t capacity, float* scratch, float* y,
                    std::size_t y_stride) {
    const HeadMemoryI8 memory(shape, capacity);
    const std::size_t width = memory.width;
    const std::int8_t *keys = at<std::int8_t>(scratch, 0), *values = at<std::int8_t>(scratch, memory.values);
    const float *value_scales = at<float>(scratch, memory.value_scales), *centers = at<float>(scratch, memory.value_centers);
    const std::int32_t* key_offsets = at<std::int32_t>(scratch, memory.key_offsets);
    std::int32_t *value_sums = at<std::int32_t>(scratch, memory.value_sums), *products = at<std::int32_t>(scratch, memory.products);
    std::uint8_t *bytes = at<std::uint8_t>(scratch, memory.queries), *weights = at<std::uint8_t>(scratch, memory.weights);
    std::uint8_t* ones = at<std::uint8_t>(scratch, memory.ones);
    float* sums = at<float>(scratch, memory.sums);
    const float scale = *at<float>(scratch, memory.key_scale) * shape.scale * LOG2_E;
    for (std::size_t r = 0; r < queries; r += QUERY_BLOCK_I8, q += QUERY_BLOCK_I8 * q_stride, y += QUERY_BLOCK_I8 * y_stride) {
        const std::size_t rows = queries - r < QUERY_BLOCK_I8 ? queries - r : QUERY_BLOCK_I8;
        const KeyRange range(shape, first_query + r, rows, tokens);
        const std::size_t count = round_up_to_lanes(range.end - range.begin);
        float scales[QUERY_BLOCK_I8], factors[QUERY_BLOCK_I8];
        for (std::size_t i = 0; i < rows; ++i)
            scales[i] = scale * quantise_query(q + i * q_stride, shape.head_size, width, bytes + i * width);
        for (std::size_t c = 0; c < count; c += PANEL) {
            const std::size_t key = range.begin + c;
            const std::size_t stride = memory.capacity;
            const auto store_products = [=](std::size_t row, std::size_t column, Ints products_sum) {
                store_ints(products + row * stride + c + column, products_sum + load_ints(key_offsets + key + column));
            };
            multiply_i8(count - c < PANEL ? count - c : PANEL, rows, bytes, width, width / 4, keys + key * width, 4 * PANEL,
                        store_products);
        }
        for (std::size_t i = 0; i < rows; ++i) {
            const auto [first, last] = range.of_query(first_query + r + i);
            std::uint8_t *high = weights + i * memory.capacity, *low = high + rows * memory.capacity;
            factors[i] = 0.0f;  // the result if the query follows the last token by more than the window
            if (first >= last) {
                std::memset(high, 0, count);
                std::memset(low, 0, count);
                continue;
            }
            const std::int32_t sum =
                write_weights(products + i * memory.capacity, count, first, last, scales[i], high, low);
            factors[i] = scales[i] < 1.0e30f ? 1.0f / static_cast<float>(sum) : __builtin_nanf("");
        }
        const std::size_t quads = (range.end - range.begin + 3) / 4;
        const std::int8_t* first_values = values + range.begin * width;
        if constexpr (ROW_OFFSET != 0) {  // the products must be with weights, not with weights - ROW_OFFSET
            std::memset(ones, ROW_OFFSET + 1, 4 * quads);
            multiply_i8(width, 1, ones, memory.capacity, quads, first_values, 4 * width,
                        [=](std::size_t, std::size_t column, Ints products_sum) { store_ints(value_sums + column, products_sum); });
        }
        // The first rows have the higher bytes of the weights, and as many others the lower bytes.
        const auto store_sums = [=](std::size_t row, std::size_t column, Ints products_sum) {
            if constexpr (ROW_OFFSET != 0) products_sum += ROW_OFFSET * load_ints(value_sums + column);
            const bool is_high = row < rows;
            float* target = sums + (is_high ? row : row - rows) * width + column;
            const Floats converted = __builtin_convertvector(products_sum, Floats);
            store(target, is_high ? converted * 256.0f : load(target) + converted);
        };
        multiply_i8(width, 2 * rows, weights, memory.capacity, quads, first_values, 4 * width, store_sums);
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t c = 0; c < shape.head_size; c += LANES) {
                const Floats center = factors[i] != 0.0f ? load(centers + c) : broadcast(0.0f);
                const Floats result = multiply_add(load(sums + i * width + c), load(value_scales + c) * factors[i], center);
                float* target = y + i * y_stride + c;
                if (c + LANES <= shape.head_size)
                    store(target, result);
                else
                    store_partial(target, result, shape.head_size - c);
            }
    }
}

std::size_t attention_scratch(const AttentionShape& shape, std::size_t capacity) {
    return shape.int8 ? (HeadMemoryI8(shape, capacity).size + sizeof(float) - 1) / sizeof(float) : HeadMemory(shape, capacity).size;
}

void pack_head(const AttentionShape& shape, const float* k, const float* v, std::size_t kv_stride, std::size_t first,
               std::size_t count, std::size_t capacity, float* scratch) {
    if (shape.int8)
        pack_head_i8(shape, k, v, kv_stride, count, capacity, scratch);
    else
        pack_head_f32(shape, k, v, kv_stride, first, count, capacity, scratch);
}

void attend_head(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t first_query,
                 std::size_t queries, std::size_t tokens, std::size_t capacity, float* scratch, float* y,
                 std::size_t y_stride) {
    const auto attend = shape.int8 ? attend_head_i8 : attend_head_f32;
    attend(shape, q, q_stride, first_query, queries, tokens, capacity, scratch, y, y_stride);
}

}  // namespace
}  // namespace podium::PODIUM_ISA
