// Sums of int8 products on 64-bit ARM. Part of linear.ipp.

namespace podium::PODIUM_ISA {
namespace {

#if defined(PODIUM_DOT_USMMLA)

constexpr std::int32_t ROW_OFFSET = 0;

template <bool OneQuad>
inline uint8x8_t load_bytes(const std::uint8_t* row) {
    if constexpr (!OneQuad) return vld1_u8(row);
    std::uint32_t quad;
    std::memcpy(&quad, row, 4);
    return vcreate_u8(quad);
}

// USMMLA multiplies two rows by two outputs, 8 bytes of each, and has the four sums in one register. Packed weights have 4 bytes
// of an output side by side, so two loads are zipped.
template <bool OneQuad, std::size_t Rows, std::size_t Vectors>
__attribute__((always_inline)) inline void add_eight_bytes(const std::uint8_t* rows, std::size_t stride, const std::int8_t* w,
                                                           std::size_t w_stride,
                                                           int32x4_t (&sums)[(Rows + 1) / 2][2 * Vectors]) {
    int8x16_t outputs[2 * Vectors];
    PODIUM_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
        const int32x4_t low = (int32x4_t)load_ints(w + v * 4 * LANES);
        const int32x4_t high = OneQuad ? vdupq_n_s32(0) : (int32x4_t)load_ints(w + w_stride + v * 4 * LANES);
        outputs[2 * v] = vreinterpretq_s8_s32(vzip1q_s32(low, high));
        outputs[2 * v + 1] = vreinterpretq_s8_s32(vzip2q_s32(low, high));
    }
    PODIUM_UNROLL
    for (std::size_t pair = 0; pair < (Rows + 1) / 2; ++pair) {
        const std::uint8_t* row = rows + 2 * pair * stride;
        const std::uint8_t* next = 2 * pair + 1 < Rows ? row + stride : row;  // a last row without a next one is multiplied twice
        const uint8x16_t x = vcombine_u8(load_bytes<OneQuad>(row), load_bytes<OneQuad>(next));
        PODIUM_UNROLL
        for (std::size_t i = 0; i < 2 * Vectors; ++i) sums[pair][i] = vusmmlaq_s32(sums[pair][i], x, outputs[i]);
    }
}

template <std::size_t Rows, std::size_t Vectors>
inline void sum_products(const std::uint8_t* rows, std::size_t stride, std::size_t quads, const std::int8_t* w,
                         std::size_t w_stride, Ints (&sums)[Rows][Vectors]) {
    int32x4_t squares[(Rows + 1) / 2][2 * Vectors] = {};
    std::size_t k = 0;
    for (; k + 2 <= quads; k += 2, rows += 8, w += 2 * w_stride)
        add_eight_bytes<false, Rows, Vectors>(rows, stride, w, w_stride, squares);
    if (k < quads) add_eight_bytes<true, Rows, Vectors>(rows, stride, w, w_stride, squares);
    PODIUM_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
        PODIUM_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) {
            const int64x2_t left = vreinterpretq_s64_s32(squares[r / 2][2 * v]);
            const int64x2_t right = vreinterpretq_s64_s32(squares[r / 2][2 * v + 1]);
            sums[r][v] = (Ints)(r % 2 ? vzip2q_s64(left, right) : vzip1q_s64(left, right));
        }
    }
}

#else

constexpr std::int32_t ROW_OFFSET = 128;  // the products are those of signed bytes

#if defined(PODIUM_DOT_SDOT)
typedef int32x4_t PartialSums;

template <int Quad>
inline void add_quad(PartialSums& sums, int8x16_t weights, int8x16_t row) {
    sums = vdotq_laneq_s32(sums, weights, row, Quad);
}

inline Ints complete(PartialSums sums) { return (Ints)sums; }
#else
// Each register has the sums of two outputs, in two parts. The product of two signed bytes fits into 16 bits.
struct PartialSums {
    int32x4_t low, high;
};

template <int Quad>
inline void add_quad(PartialSums& sums, int8x16_t weights, int8x16_t row) {
    const int8x16_t quads = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(row), Quad));
    sums.low = vpadalq_s16(sums.low, vmull_s8(vget_low_s8(weights), vget_low_s8(quads)));
    sums.high = vpadalq_s16(sums.high, vmull_high_s8(weights, quads));
}

inline Ints complete(PartialSums sums) { return (Ints)vpaddq_s32(sums.low, sums.high); }
#endif

template <int Quad, std::size_t Rows, std::size_t Vectors>
__attribute__((always_inline)) inline void add_quads(const int8x16_t (&rows)[Rows], const std::int8_t* w,
                                                     PartialSums (&sums)[Rows][Vectors]) {
    int8x16_t weights[Vectors];
    PODIUM_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) weights[v] = vld1q_s8(w + v * 4 * LANES);
    PODIUM_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
        PODIUM_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) add_quad<Quad>(sums[r][v], weights[v], rows[r]);
    }
}

template <std::size_t Rows, std::size_t Vectors>
inline void sum_products(const std::uint8_t* rows, std::size_t stride, std::size_t quads, const std::int8_t* w,
                         std::size_t w_stride, Ints (&sums)[Rows][Vectors]) {
    PartialSums partial[Rows][Vectors] = {};
    int8x16_t values[Rows];
    const uint8x16_t offset = vdupq_n_u8(ROW_OFFSET);
    std::size_t k = 0;
    for (; k + 4 <= quads; k += 4, rows += 16, w += 4 * w_stride) {
        PODIUM_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) values[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(rows + r * stride), offset));
        add_quads<0>(values, w, partial);
        add_quads<1>(values, w + w_stride, partial);
        add_quads<2>(values, w + 2 * w_stride, partial);
        add_quads<3>(values, w + 3 * w_stride, partial);
    }
    for (; k < quads; ++k, rows += 4, w += w_stride) {
        PODIUM_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) {
            std::uint32_t quad;
            std::memcpy(&quad, rows + r * stride, 4);
            values[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(quad)), offset));
        }
        add_quads<0>(values, w, partial);
    }
    PODIUM_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
        PODIUM_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = complete(partial[r][v]);
    }
}

#endif

}  // namespace
}  // namespace podium::PODIUM_ISA
