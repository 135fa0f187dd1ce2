// Matrix products with packed weights, in float32 and int8. Part of kernels.ipp.
//
// Three nested levels: rows in blocks that fit the L2 cache, weights in panels of 64 outputs, and tiles of a few rows by a
// few vectors of outputs, whose sums a microkernel keeps in registers while it goes over all inputs.

namespace podium::PODIUM_ISA {
namespace {

// Number of registers that hold a tile's sums (of 32 with AVX-512, else of 16), and how many of them one row takes.
#if PODIUM_VECTOR_BYTES == 64
constexpr std::size_t TILE_VECTORS = 4, ACCUMULATORS = 24;
#elif PODIUM_VECTOR_BYTES == 32
constexpr std::size_t TILE_VECTORS = 2, ACCUMULATORS = 12;
#else
constexpr std::size_t TILE_VECTORS = 2, ACCUMULATORS = 8;
#endif

// The same for int8. The remaining registers have weights and rows.
#if defined(PODIUM_DOT_MADD) && PODIUM_VECTOR_BYTES == 32
constexpr std::size_t TILE_VECTORS_INT8 = 2, ACCUMULATORS_INT8 = 8;  // MADD needs two registers for a vector of weights
#else
constexpr std::size_t TILE_VECTORS_INT8 = TILE_VECTORS, ACCUMULATORS_INT8 = ACCUMULATORS;
#endif
constexpr std::size_t TILE_COLUMNS = TILE_VECTORS * LANES;

constexpr std::size_t BLOCK_BYTES = 400 * 1024;  // rows of a block stay in the L2 cache while all panels are read

std::size_t rows_per_block(std::size_t row_bytes) {
    const std::size_t rows = BLOCK_BYTES / (row_bytes ? row_bytes : 1) / ACCUMULATORS * ACCUMULATORS;
    return rows < 2 * ACCUMULATORS ? 2 * ACCUMULATORS : rows;
}

// How weights are stored: as float32, or in 16 bits, which are widened to float32 when they are loaded. `tile` returns the
// address of a tile's weights for the first input, from that of its panel, and `load_vector` the tile's v-th vector.
struct Float32Weights {
    typedef float Stored;
    static inline const float* tile(const float* panel, std::size_t column) { return panel + column; }
    static inline Floats load_vector(const float* w, std::size_t v) { return load(w + v * LANES); }
};

struct Float16Weights {
    typedef std::uint16_t Stored;
    static inline const std::uint16_t* tile(const std::uint16_t* panel, std::size_t column) { return panel + column; }
    static inline Floats load_vector(const std::uint16_t* w, std::size_t v) { return load_float16(w + v * LANES); }
};

// Of each 32 outputs, the numbers of the outputs c and c + 16 share a word of 32 bits: that of c is the lower half. So one load,
// a shift and a mask make two vectors. `High` is whether a tile of at most 16 columns has the upper halves.
template <bool High>
struct Bfloat16Weights {
    typedef std::uint16_t Stored;
    static inline const std::uint16_t* tile(const std::uint16_t* panel, std::size_t column) {
        return panel + column / 32 * 32 + column % 16 * 2;
    }
    static inline Floats load_vector(const std::uint16_t* w, std::size_t v) {
        constexpr bool HAS_BOTH = TILE_COLUMNS >= 32;
        const Ints words = load_ints(w + 2 * LANES * (HAS_BOTH ? v / 2 : v));
        return (HAS_BOTH ? v % 2 == 1 : High) ? (Floats)(words & ~0xffff) : (Floats)(words << 16);
    }
};

template <class Weights, std::size_t Rows, std::size_t Vectors>
inline void microkernel_f32(const float* x, std::size_t x_stride, std::size_t inputs, const typename Weights::Stored* w,
                            std::size_t w_stride, float* y, std::size_t y_stride) {
    Floats sums[Rows][Vectors] = {};
    for (std::size_t k = 0; k < inputs; ++k, w += w_stride) {
        Floats weights[Vectors];
        for (std::size_t v = 0; v < Vectors; ++v) weights[v] = Weights::load_vector(w, v);
        for (std::size_t r = 0; r < Rows; ++r) {
            const Floats value = broadcast(x[r * x_stride + k]);
            for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] += value * weights[v];
        }
    }
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t v = 0; v < Vectors; ++v) store(y + r * y_stride + v * LANES, sums[r][v]);
}

// Computes a tile of 1 … MaxRows rows with the microkernel for that many. All of them add up in the same order, so a row's
// result does not depend on the number of rows.
template <class Weights, std::size_t MaxRows, std::size_t Vectors>
void tile_f32(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const typename Weights::Stored* w,
              std::size_t w_stride, float* y, std::size_t y_stride) {
    if constexpr (MaxRows > 1) {
        if (rows < MaxRows)
            return tile_f32<Weights, MaxRows - 1, Vectors>(rows, x, x_stride, inputs, w, w_stride, y, y_stride);
    }
    microkernel_f32<Weights, MaxRows, Vectors>(x, x_stride, inputs, w, w_stride, y, y_stride);
}

// Computes all rows of one column of tiles.
template <std::size_t Vectors>
void tile_column_f32(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const float* w,
                     std::size_t w_stride, float* y, std::size_t y_stride) {
    constexpr std::size_t TileRows = ACCUMULATORS / Vectors;
    for (std::size_t r = 0; r < rows; r += TileRows) {
        const std::size_t count = rows - r < TileRows ? rows - r : TileRows;
        tile_f32<Float32Weights, TileRows, Vectors>(count, x + r * x_stride, x_stride, inputs, w, w_stride, y + r * y_stride,
                                                    y_stride);
    }
}

// y = x w, for any number of columns that is a multiple of LANES. w is row-major, not packed.
void multiply_f32(std::size_t rows, const float* x, std::size_t x_stride, std::size_t inputs, const float* w,
                  std::size_t w_stride, std::size_t columns, float* y, std::size_t y_stride) {
    std::size_t c = 0;
    for (; c + TILE_COLUMNS <= columns; c += TILE_COLUMNS)
        tile_column_f32<TILE_VECTORS>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
    if constexpr (TILE_VECTORS > 2) {
        for (; c + 2 * LANES <= columns; c += 2 * LANES)
            tile_column_f32<2>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
    }
    for (; c < columns; c += LANES) tile_column_f32<1>(rows, x, x_stride, inputs, w + c, w_stride, y + c, y_stride);
}

// Applies the epilogue in place to `rows` rows of one panel, which were just stored and are still in the L1 cache.
void apply_epilogue(const Epilogue& epilogue, std::size_t rows, std::size_t first_output, float* y, std::size_t y_stride) {
    for (std::size_t r = 0; r < rows; ++r) {
        float* row = y + r * y_stride;
        const float* residual = epilogue.residual ? epilogue.residual + r * epilogue.residual_stride + first_output : nullptr;
        for (std::size_t c = 0; c < PANEL; c += LANES) {
            Floats value = load(row + c);
            if (epilogue.bias) value += load(epilogue.bias + first_output + c);
            value = apply_activation(value, epilogue.activation);
            if (residual) value += load(residual + c);
            store(row + c, value);
        }
    }
}

// Does the same for a last panel with fewer than 64 outputs, from `tile` to y: memory past the last output is not touched.
void apply_epilogue_partial(const Epilogue& epilogue, std::size_t rows, std::size_t first_output, std::size_t outputs,
                            const float* tile, float* y, std::size_t y_stride) {
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < outputs; c += LANES) {
            const std::size_t lanes = outputs - c < LANES ? outputs - c : LANES;
            Floats value = load(tile + r * PANEL + c);
            if (epilogue.bias) value += load_partial(epilogue.bias + first_output + c, lanes);
            value = apply_activation(value, epilogue.activation);
            if (epilogue.residual)
                value += load_partial(epilogue.residual + r * epilogue.residual_stride + first_output + c, lanes);
            store_partial(y + r * y_stride + c, value, lanes);
        }
}

// Iterates over blocks of rows, panels, and groups of TileRows rows. `compute(first row, rows, panel, bias, target, stride)`
// computes those rows of a panel, and returns whether it has added the bias, so that the epilogue does not.
template <std::size_t TileRows, class Compute>
void for_each_tile(std::size_t rows, std::size_t outputs, std::size_t block_rows, const Epilogue& epilogue, float* y,
                   std::size_t y_stride, Compute compute) {
    for (std::size_t begin = 0; begin < rows; begin += block_rows) {
        const std::size_t end = rows - begin < block_rows ? rows : begin + block_rows;
        for (std::size_t first_output = 0; first_output < outputs; first_output += PANEL)
            for (std::size_t r = begin; r < end; r += TileRows) {
                const std::size_t count = end - r < TileRows ? end - r : TileRows, panel = first_output / PANEL;
                Epilogue remaining = epilogue;
                if (remaining.residual) remaining.residual += r * remaining.residual_stride;
                float* target = y + r * y_stride + first_output;
                if (outputs - first_output >= PANEL) {
                    const float* bias = remaining.bias ? remaining.bias + first_output : nullptr;
                    if (compute(r, count, panel, bias, target, y_stride)) remaining.bias = nullptr;
                    if (remaining.bias || remaining.residual || remaining.activation != Activation::none)
                        apply_epilogue(remaining, count, first_output, target, y_stride);
                } else {
                    float tile[TileRows * PANEL];
                    compute(r, count, panel, nullptr, tile, PANEL);
                    apply_epilogue_partial(remaining, count, first_output, outputs - first_output, tile, target, y_stride);
                }
            }
    }
}

// `Even` and `Odd` are how weights are stored for tiles that begin at even and at odd multiples of 16 columns.
template <class Even, class Odd = Even>
void linear(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const typename Even::Stored* packed,
            std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride) {
    constexpr std::size_t TileRows = ACCUMULATORS / TILE_VECTORS;
    for_each_tile<TileRows>(
        rows, outputs, rows_per_block(inputs * sizeof(float)), epilogue, y, y_stride,
        [&](std::size_t r, std::size_t count, std::size_t panel, const float*, float* target, std::size_t stride) {
            const typename Even::Stored* w = packed + panel * inputs * PANEL;
            for (std::size_t c = 0; c < PANEL; c += TILE_COLUMNS) {
                const auto tile = c / 16 % 2 ? tile_f32<Odd, TileRows, TILE_VECTORS> : tile_f32<Even, TileRows, TILE_VECTORS>;
                tile(count, x + r * x_stride, x_stride, inputs, Even::tile(w, c), PANEL, target + c, stride);
            }
            return false;
        });
}

void linear_f32(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const float* packed,
                std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride) {
    linear<Float32Weights>(x, x_stride, rows, inputs, packed, outputs, epilogue, y, y_stride);
}

void linear_half(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const std::uint16_t* packed,
                 Half half, std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride) {
    const auto compute = half == Half::float16 ? linear<Float16Weights> : linear<Bfloat16Weights<false>, Bfloat16Weights<true>>;
    compute(x, x_stride, rows, inputs, packed, outputs, epilogue, y, y_stride);
}

// For each way to multiply bytes: `sum_products` adds up the products of a tile. The lane of each row and output is the sum of
// (byte of the row - ROW_OFFSET) * weight. `quads` is the number of groups of 4 inputs; `rows` have `stride` bytes, and the
// weights of consecutive groups are `w_stride` bytes apart.
constexpr std::int32_t ROW_OFFSET = 0;

// WeightVector is the form in which a vector of int8 weights is held in registers. `add_products` adds to each lane of `sums` the
// products of the 4 unsigned bytes of x and the lane's 4 signed weights.
#if defined(PODIUM_DOT_VNNI)
typedef Ints WeightVector;
inline WeightVector load_weights(const std::int8_t* w) { return load_ints(w); }
inline Ints add_products(Ints sums, std::int32_t x, const WeightVector& weights) {
    const Ints values = (Ints)broadcast(0.0f) + x;
#if PODIUM_VECTOR_BYTES == 64
    return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)values, (__m512i)weights);
#else
    return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)values, (__m256i)weights);
#endif
}
#elif defined(PODIUM_DOT_MADD)
// Bytes are widened to 16 bits: VPMADDUBSW, which multiplies bytes, saturates its sums of two products.
struct WeightVector {
    Shorts even, odd;
};
inline WeightVector load_weights(const std::int8_t* w) {
    const Shorts pairs = (Shorts)load_ints(w);
    return {(pairs << 8) >> 8, pairs >> 8};
}
inline Ints add_products(Ints sums, std::int32_t x, const WeightVector& weights) {
    const Ints values = (Ints)broadcast(0.0f) + x;
    const Ints even = values & 0x00ff00ff, odd = (values >> 8) & 0x00ff00ff;
#if PODIUM_VECTOR_BYTES == 64
    return sums + (Ints)_mm512_madd_epi16((__m512i)even, (__m512i)weights.even) +
           (Ints)_mm512_madd_epi16((__m512i)odd, (__m512i)weights.odd);
#else
    return sums + (Ints)_mm256_madd_epi16((__m256i)even, (__m256i)weights.even) +
           (Ints)_mm256_madd_epi16((__m256i)odd, (__m256i)weights.odd);
#endif
}
#else
typedef const std::int8_t* WeightVector;
inline WeightVector load_weights(const std::int8_t* w) { return w; }
inline Ints add_products(Ints sums, std::int32_t x, const WeightVector& weights) {
    std::uint8_t values[4];
    std::memcpy(values, &x, 4);
    for (std::size_t lane = 0; lane < LANES; ++lane) {
        std::int32_t products = 0;
        for (std::size_t i = 0; i < 4; ++i) products += values[i] * weights[4 * lane + i];
        sums[lane] += products;
    }
    return sums;
}
#endif

template <std::size_t Rows, std::size_t Vectors>
inline void sum_products(const std::uint8_t* rows, std::size_t stride, std::size_t quads, const std::int8_t* w,
                         std::size_t w_stride, Ints (&sums)[Rows][Vectors]) {
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = Ints{};
    for (std::size_t k = 0; k < quads; ++k, w += w_stride) {
        for (std::size_t v = 0; v < Vectors; ++v) __builtin_prefetch(w + 8 * w_stride + v * 4 * LANES);
        WeightVector weights[Vectors];
        for (std::size_t v = 0; v < Vectors; ++v) weights[v] = load_weights(w + v * 4 * LANES);
        for (std::size_t r = 0; r < Rows; ++r) {
            std::int32_t value;
            std::memcpy(&value, rows + r * stride + 4 * k, 4);
            for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = add_products(sums[r][v], value, weights[v]);
        }
    }
}

// w, scales, weight_sums and bias begin at the tile's first output.
template <std::size_t Rows, std::size_t Vectors>
inline void microkernel_i8(const Int8Rows& x, std::size_t first_row, std::size_t quads, const std::int8_t* w,
                           const float* scales, const std::int32_t* weight_sums, const float* bias, float* y,
                           std::size_t y_stride) {
    Ints sums[Rows][Vectors];
    sum_products<Rows, Vectors>(x.values + first_row * x.stride, x.stride, quads, w, 4 * PANEL, sums);
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t v = 0; v < Vectors; ++v) {
            const Ints exact = sums[r][v] - (x.zero_points[first_row + r] - ROW_OFFSET) * load_ints(weight_sums + v * LANES);
            const Floats scale = x.scales[first_row + r] * load(scales + v * LANES);
            const Floats value = __builtin_convertvector(exact, Floats) * scale;
            store(y + r * y_stride + v * LANES, bias ? value + load(bias + v * LANES) : value);
        }
}

template <std::size_t MaxRows, std::size_t Vectors>
void tile_i8(std::size_t rows, const Int8Rows& x, std::size_t first_row, std::size_t quads, const std::int8_t* w,
             const float* scales, const std::int32_t* weight_sums, const float* bias, float* y, std::size_t y_stride) {
    if constexpr (MaxRows > 1) {
        if (rows < MaxRows)
            return tile_i8<MaxRows - 1, Vectors>(rows, x, first_row, quads, w, scales, weight_sums, bias, y, y_stride);
    }
    microkernel_i8<MaxRows, Vectors>(x, first_row, quads, w, scales, weight_sums, bias, y, y_stride);
}

void linear_i8(const Int8Rows& x, std::size_t rows, std::size_t inputs, const Int8Weights& weights, std::size_t outputs,
               const Epilogue& epilogue, float* y, std::size_t y_stride) {
    constexpr std::size_t TileRows = ACCUMULATORS_INT8 / TILE_VECTORS_INT8;
    const std::size_t quads = (inputs + 3) / 4;
    for_each_tile<TileRows>(
        rows, outputs, rows_per_block(x.stride), epilogue, y, y_stride,
        [&](std::size_t r, std::size_t count, std::size_t panel, const float* bias, float* target, std::size_t stride) {
            const std::int8_t* w = weights.packed + panel * quads * 4 * PANEL;
            for (std::size_t c = 0; c < PANEL; c += TILE_VECTORS_INT8 * LANES) {
                const std::size_t output = panel * PANEL + c;
                tile_i8<TileRows, TILE_VECTORS_INT8>(count, x, r, quads, w + 4 * c, weights.scales + output, weights.sums + output,
                                                     bias ? bias + c : nullptr, target + c, stride);
            }
            return true;
        });
}

}  // namespace
}  // namespace podium::PODIUM_ISA
