// The highest product of each vector of a query with the vectors of a text. Part of kernels.ipp.
//
// The lanes are the query's vectors, so a product needs no sum over lanes, and the highest is a maximum lane by lane.

namespace podium::PODIUM_ISA {
namespace {

#if defined(PODIUM_DOT_VNNI) || defined(PODIUM_NEON)
constexpr std::size_t MATCH_ROWS = 8;  // the number of vectors of a text whose sums are in registers
#else
constexpr std::size_t MATCH_ROWS = 4;
#endif

template <std::size_t Rows>
inline Floats highest_of_rows(const std::uint8_t* rows, const float* scales, std::size_t quads, const std::int8_t* query,
                              std::size_t columns, Ints correction, Floats highest) {
    Ints sums[Rows][1];
    sum_products<Rows, 1>(rows, 4 * quads, quads, query, 4 * columns, sums);
    for (std::size_t r = 0; r < Rows; ++r)
        highest = maximum(highest, __builtin_convertvector(sums[r][0] - correction, Floats) * scales[r]);
    return highest;
}

void highest_i8(const std::uint8_t* rows, const float* scales, std::size_t count, std::size_t quads, const std::int8_t* query,
                const std::int32_t* corrections, std::size_t columns, float* highest) {
    for (std::size_t c = 0; c < columns; c += LANES) {
        const Ints correction = ROW_OFFSET == 128 ? Ints{} : load_ints(corrections + c);
        Floats best = broadcast(-__builtin_inff());
        std::size_t r = 0;
        for (; r + MATCH_ROWS <= count; r += MATCH_ROWS)
            best = highest_of_rows<MATCH_ROWS>(rows + 4 * r * quads, scales + r, quads, query + 4 * c, columns, correction, best);
        for (; r < count; ++r)
            best = highest_of_rows<1>(rows + 4 * r * quads, scales + r, quads, query + 4 * c, columns, correction, best);
        store(highest + c, best);
    }
}

void highest_f32(const float* rows, std::size_t count, std::size_t inputs, const float* query, std::size_t columns,
                 float* products, float* highest) {
    for (std::size_t c = 0; c < columns; ++c) highest[c] = -__builtin_inff();
    for (std::size_t begin = 0; begin < count; begin += MATCH_BLOCK) {
        const std::size_t block = count - begin < MATCH_BLOCK ? count - begin : MATCH_BLOCK;
        multiply_f32(block, rows + begin * inputs, inputs, inputs, query, columns, columns, products, columns);
        for (std::size_t r = 0; r < block; ++r)
            for (std::size_t c = 0; c < columns; c += LANES)
                store(highest + c, maximum(load(highest + c), load(products + r * columns + c)));
    }
}

}  // namespace
}  // namespace podium::PODIUM_ISA
