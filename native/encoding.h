// The packed encoding of a text: podium/local/late/encoding.py describes the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace podium {

// A little-endian number at any address: encodings lie in mapped files, without alignment.
template <class T>
T number_at(const std::uint8_t* numbers, std::size_t index) {
    T number;
    std::memcpy(&number, numbers + index * sizeof(T), sizeof(T));
    return number;
}

enum class EncodingPrecision : int { float32, float16, int8 };

// Pointers into the bytes of an encoding.
struct Encoding {
    EncodingPrecision precision;
    std::size_t dimensions, mean_dimensions, vectors, ids;
    const std::uint8_t* scales;   // float32 per vector, then the mean's; null unless int8
    const std::uint8_t* token_ids;
    const std::uint8_t* weights;  // float32 per vector, or null
    const std::uint8_t* mean;
    const std::uint8_t* rows;

    std::size_t number_bytes() const {
        return precision == EncodingPrecision::float32 ? 4 : precision == EncodingPrecision::float16 ? 2 : 1;
    }
};

// Throws std::invalid_argument unless `size` is exactly the size of the encoding that the header describes.
Encoding read_encoding(const std::uint8_t* data, std::size_t size);

}  // namespace podium
