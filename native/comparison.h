// The comparison of a query's encoding with those of texts. local/late/comparison.py computes the same with numpy.
//
// Products of int8 vectors are exact. The float sums that follow have one order and are compiled once. So the results are equal
// on all instruction sets. The result of a text does not depend on the other texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "encoding.h"
#include "kernels.h"
#include "workspace.h"

namespace podium {

// A query that is prepared to be compared with many texts. Only one thread may use it at a time.
class Query {
  public:
    // The bytes of the encoding must live as long as the query.
    Query(const Kernels& kernels, const Encoding& encoding);

    const Encoding& encoding() const { return encoding_; }
    // Returns, for each query vector, the highest product with a vector of the text, 0 if the text has no vectors. Throws
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
    std::size_t columns_;                 // the number of vectors, rounded up to a multiple of MATCH_COLUMNS
    std::size_t quads_;                   // the number of groups of 4 dimensions
    Buffer<std::int8_t> packed_i8_;       // [quads][columns][4]
    Buffer<std::int32_t> corrections_;    // 128 times the sum of each vector, because 128 is added to the text's numbers
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
    std::vector<float> stems_;  // the stems of the text's tokens
};

}  // namespace podium
