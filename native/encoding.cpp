#include "encoding.h"

#include <stdexcept>

namespace podium {
namespace {

constexpr std::size_t HEADER_BYTES = 24;
constexpr std::uint8_t VERSION = 1, HAS_WEIGHTS = 1;

// Whether no number is NaN or infinite: those have all bits of the exponent set. Without branches, so that it is vectorized.
bool are_finite(const std::uint8_t* numbers, std::size_t count) {
    constexpr std::uint32_t EXPONENT = 0x7F800000;
    std::uint32_t has_others = 0;
    for (std::size_t i = 0; i < count; ++i) has_others |= (number_at<std::uint32_t>(numbers, i) & EXPONENT) == EXPONENT;
    return !has_others;
}

}  // namespace

Encoding read_encoding(const std::uint8_t* data, std::size_t size) {
    const auto check = [](bool condition) {
        if (!condition) throw std::invalid_argument("the bytes are not an encoding, or are damaged");
    };
    check(size >= HEADER_BYTES);
    const std::uint8_t precision = data[1], flags = data[2];
    Encoding encoding{};
    encoding.dimensions = number_at<std::uint16_t>(data + 4, 0);
    encoding.mean_dimensions = number_at<std::uint16_t>(data + 6, 0);
    encoding.vectors = number_at<std::uint32_t>(data + 16, 0);
    encoding.ids = number_at<std::uint32_t>(data + 20, 0);
    check(data[0] == VERSION && precision <= 2 && !(flags & ~HAS_WEIGHTS) && encoding.dimensions);
    encoding.precision = static_cast<EncodingPrecision>(precision);
    const bool is_int8 = encoding.precision == EncodingPrecision::int8;
    // The counts have at most 32 bits, so none of these 64-bit sums overflows.
    std::uint64_t offset = HEADER_BYTES;
    const auto take = [&](std::uint64_t bytes) {
        const std::uint64_t begin = offset;
        offset += bytes;
        check(offset <= size);
        return data + begin;
    };
    if (is_int8) encoding.scales = take(4 * (std::uint64_t{encoding.vectors} + (encoding.mean_dimensions > 0)));
    encoding.token_ids = take(4 * std::uint64_t{encoding.ids});
    if (flags & HAS_WEIGHTS) encoding.weights = take(4 * std::uint64_t{encoding.vectors});
    const std::uint64_t mean_bytes = encoding.mean_dimensions * encoding.number_bytes();
    encoding.mean = take((mean_bytes + 3) / 4 * 4);
    encoding.rows = take(std::uint64_t{encoding.vectors} * encoding.dimensions * encoding.number_bytes());
    check(offset == size);
    check(!is_int8 || are_finite(encoding.scales, encoding.vectors + (encoding.mean_dimensions > 0)));
    return encoding;
}

}  // namespace podium
