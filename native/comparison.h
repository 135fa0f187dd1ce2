// The comparison of a query's encoding with those of texts. local/late/comparison.py computes the same with numpy.
//
// Products of int8 vectors are exact, and the sums after them are in one order and compiled once, so the results are equal on
// all instruction sets. Those of a text do not depend on the other texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "encoding.h"
#include "kernels.h"
#include "workspace.h"

namespace podium {

// A query, ready to be compared with many texts. For one thread.
class Query {
  public:
    // The bytes of the encoding must live as long as the query.
    Query(const Kernels& kernels, const Encoding& encoding);

    const Encoding& encoding() const { return encoding_; }
    // Returns each query vector's highest product with a vector of the text, 0 if the text has none. Throws
    // std::invalid_argument if the two encodings have different precisions or dimensions.
    const float* highest_products(const Encoding& text);
    // Returns the product of the two means.
    float cosine_of_means(const Encoding& text) const;

  private:
    void pack_int8();
    void pack_float32();
    const float* as_float32(const Encoding& encoding, const std::uint8_t* numbers, std::size_t count, Buffer<float>& target) const;

    const Kernels& kernels_;
    Encoding encoding_;
    std::size_t columns_, quads_;         // vectors rounded up to MATCH_COLUMNS; groups of 4 dimensions
    Buffer<std::int8_t> packed_i8_;       // [quads][columns][4]
    Buffer<std::int32_t> corrections_;    // 128 times the sum of each vector, because the text's numbers get 128 added
    Buffer<float> packed_f32_;            // [dimensions][columns]
    Buffer<std::uint8_t> text_values_;
    Buffer<float> text_numbers_, products_, highest_;
};

// The sum of a query's highest products.
void max_sim(Query& query, const Encoding& text, float* result);

// Tables with a number per token of the vocabulary, and the constants of BM25.
struct Lexical {
    const float *idf, *piece_idf, *stem;
    std::size_t vocabulary;
    float k1, b, average_tokens;
};

// Four comparisons: the cosine of the means, the weighted sum of the highest products, shared words, shared runs.
class LateFeatures {
  public:
    LateFeatures(Query& query, const Lexical& lexical);
    void compare(const Encoding& text, float* result);  // 4 numbers

  private:
    void write_lexical_matches(std::size_t count, float* result) const;

    Query& query_;
    const Lexical& lexical_;
    std::vector<std::size_t> query_ids_;
    std::vector<float> stems_;  // of the text's tokens
};

}  // namespace podium
