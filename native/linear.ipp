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

}  // namespace
}  // namespace PODIUM_ISA
}  // namespace podium
