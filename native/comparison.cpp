#include "comparison.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace podium {
namespace {

void check(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

std::size_t checked_id(const Encoding& encoding, std::size_t index, std::size_t vocabulary) {
    const std::int32_t id = number_at<std::int32_t>(encoding.token_ids, index);
    check(id >= 0 && static_cast<std::size_t>(id) < vocabulary, "an encoding has a token id outside the vocabulary");
    return static_cast<std::size_t>(id);
}

// Adds 128 to numbers from -128 to 127. `target` does not overlap `numbers`, so the compiler vectorizes the loop.
void add_128(const std::uint8_t* __restrict numbers, std::size_t count, std::uint8_t* __restrict target) {
    for (std::size_t i = 0; i < count; ++i) target[i] = numbers[i] ^ 0x80u;
}

}  // namespace

Query::Query(const Kernels& kernels, const Encoding& encoding) : kernels_(kernels), encoding_(encoding) {
    columns_ = (encoding.vectors + MATCH_COLUMNS - 1) / MATCH_COLUMNS * MATCH_COLUMNS;
    quads_ = (encoding.dimensions + 3) / 4;
    highest_.reserve(columns_ + 1);
    if (encoding.precision == EncodingPrecision::int8)
        pack_int8();
    else
        pack_float32();
}

void Query::pack_int8() {
    std::int8_t* packed = packed_i8_.reserve(4 * quads_ * columns_ + 1);
    std::int32_t* corrections = corrections_.reserve(columns_ + 1);
    std::fill(packed, packed + 4 * quads_ * columns_, std::int8_t{0});
    std::fill(corrections, corrections + columns_, 0);
    for (std::size_t q = 0; q < encoding_.vectors; ++q)
        for (std::size_t d = 0; d < encoding_.dimensions; ++d) {
            const auto number = static_cast<std::int8_t>(encoding_.rows[q * encoding_.dimensions + d]);
            packed[(d / 4 * columns_ + q) * 4 + d % 4] = number;
            corrections[q] += 128 * number;
        }
}

void Query::pack_float32() {
    float* packed = packed_f32_.reserve(encoding_.dimensions * columns_ + 1);
    std::fill(packed, packed + encoding_.dimensions * columns_, 0.0f);
    const std::size_t count = encoding_.vectors * encoding_.dimensions;
    const float* rows = as_float32(encoding_, encoding_.rows, count, text_numbers_);
    for (std::size_t q = 0; q < encoding_.vectors; ++q)
        for (std::size_t d = 0; d < encoding_.dimensions; ++d) packed[d * columns_ + q] = rows[q * encoding_.dimensions + d];
    products_.reserve(MATCH_BLOCK * columns_ + 1);
}

const float* Query::as_float32(const Encoding& encoding, const std::uint8_t* numbers, std::size_t count,
                               Buffer<float>& target) const {
    float* floats = target.reserve(count + 1);
    if (encoding.precision == EncodingPrecision::float32) {
        std::memcpy(floats, numbers, 4 * count);
    } else {
        std::vector<std::uint16_t> halves(count + 1);
        std::memcpy(halves.data(), numbers, 2 * count);
        kernels_.widen(halves.data(), Half::float16, count, floats);
    }
    return floats;
}

const float* Query::highest_products(const Encoding& text) {
    check(text.precision == encoding_.precision && text.dimensions == encoding_.dimensions,
          "the encodings of a query and a text differ in precision or dimensions");
    float* highest = highest_.data();
    if (!text.vectors) {
        std::fill(highest, highest + columns_, 0.0f);
    } else if (text.precision != EncodingPrecision::int8) {
        const float* rows = as_float32(text, text.rows, text.vectors * text.dimensions, text_numbers_);
        kernels_.highest_f32(rows, text.vectors, text.dimensions, packed_f32_.data(), columns_, products_.data(), highest);
    } else {
        const std::size_t dimensions = text.dimensions, stride = 4 * quads_;
        float* scales = text_numbers_.reserve(text.vectors);
        std::memcpy(scales, text.scales, 4 * text.vectors);
        // 128 is added because one side of the processor's products of bytes is unsigned.
        std::uint8_t* values = text_values_.reserve(text.vectors * stride);
        if (stride == dimensions) {
            add_128(text.rows, text.vectors * stride, values);
        } else {
            std::fill(values, values + text.vectors * stride, std::uint8_t{0x80});
            for (std::size_t r = 0; r < text.vectors; ++r)
                add_128(text.rows + r * dimensions, dimensions, values + r * stride);
        }
        kernels_.highest_i8(values, scales, text.vectors, quads_, packed_i8_.data(), corrections_.data(), columns_, highest);
        for (std::size_t q = 0; q < encoding_.vectors; ++q) highest[q] *= number_at<float>(encoding_.scales, q);
    }
    return highest;
}

float Query::cosine_of_means(const Encoding& text) const {
    const std::size_t count = encoding_.mean_dimensions;
    check(count && text.mean_dimensions == count && text.precision == encoding_.precision,
          "the encodings of a query and a text have no means, or means of different sizes");
    if (text.precision != EncodingPrecision::int8) {
        Buffer<float> left, right;
        return kernels_.dot(as_float32(encoding_, encoding_.mean, count, left), as_float32(text, text.mean, count, right), count);
    }
    std::int32_t product = 0;
    for (std::size_t d = 0; d < count; ++d)
        product += static_cast<std::int8_t>(encoding_.mean[d]) * static_cast<std::int8_t>(text.mean[d]);
    const float query_scale = number_at<float>(encoding_.scales, encoding_.vectors);
    return static_cast<float>(product) * query_scale * number_at<float>(text.scales, text.vectors);
}

void max_sim(Query& query, const Encoding& text, float* result) {
    const float* highest = query.highest_products(text);
    float sum = 0.0f;
    for (std::size_t q = 0; q < query.encoding().vectors; ++q) sum += highest[q];
    *result = sum;
}

LateFeatures::LateFeatures(Query& query, const Lexical& lexical) : query_(query), lexical_(lexical) {
    const Encoding& encoding = query.encoding();
    check(encoding.weights && encoding.ids, "the encoding of a query has no weights or no token ids");
    for (std::size_t q = 0; q < encoding.ids; ++q) query_ids_.push_back(checked_id(encoding, q, lexical.vocabulary));
}

void LateFeatures::compare(const Encoding& text, float* result) {
    check(text.ids, "an encoding has no token ids");
    stems_.clear();
    for (std::size_t t = 0; t < text.ids; ++t) stems_.push_back(lexical_.stem[checked_id(text, t, lexical_.vocabulary)]);
    result[0] = query_.cosine_of_means(text);
    const float* highest = query_.highest_products(text);
    float sum = 0.0f;
    for (std::size_t q = 0; q < query_.encoding().vectors; ++q)
        sum += number_at<float>(query_.encoding().weights, q) * highest[q];
    result[1] = sum;
    write_lexical_matches(text.ids, result + 2);
}

// Writes the share of the query's words that the text has, as BM25 counts them, and the share of its runs of three tokens.
// Both are relative to the sum of the query's inverse document frequencies.
void LateFeatures::write_lexical_matches(std::size_t count, float* result) const {
    const std::size_t query_count = query_ids_.size();
    const auto same = [&](std::size_t q, std::size_t t) {
        return q < query_count && t < count && lexical_.stem[query_ids_[q]] == stems_[t];
    };
    const auto piece_idf = [&](std::size_t q) { return q < query_count ? lexical_.piece_idf[query_ids_[q]] : 0.0f; };
    const float saturation = static_cast<float>(count) * (lexical_.k1 * lexical_.b / lexical_.average_tokens) +
                             lexical_.k1 * (1.0f - lexical_.b);
    float total_idf = 1e-6f, words = 0.0f, runs = 0.0f;
    for (std::size_t q = 0; q < query_count; ++q) {
        const float stem = lexical_.stem[query_ids_[q]];
        const float matches = static_cast<float>(std::count(stems_.begin(), stems_.end(), stem));
        const float idf = lexical_.idf[query_ids_[q]];
        total_idf += idf;
        if (matches == 0.0f) continue;
        words += idf * (matches * (lexical_.k1 + 1.0f)) / (matches + saturation);
        bool has_run = false;
        for (std::size_t t = 0; t < count && !has_run; ++t) has_run = same(q, t) && same(q + 1, t + 1) && same(q + 2, t + 2);
        if (has_run) runs += piece_idf(q) + piece_idf(q + 1) + piece_idf(q + 2);
    }
    result[0] = words / total_idf;
    result[1] = runs / (total_idf * 3.0f);
}

}  // namespace podium
