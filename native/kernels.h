// The arithmetic of a network, as a table of functions: one table per instruction set, all compiled from kernels.ipp.
//
// Matrices are row-major float32. A row's result does not depend, bit for bit, on how many rows are computed with it.
// Weights are packed in panels of 64 outputs: float32 as [outputs/64][inputs][64], int8 as [outputs/64][inputs/4][64][4],
// both padded with zeros. Strides count elements between the beginnings of two rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace podium {

constexpr std::size_t PANEL = 64;
constexpr std::size_t MATCH_COLUMNS = 16;  // a query is padded to a multiple of this number of vectors: the lanes of AVX-512
constexpr std::size_t MATCH_BLOCK = 64;    // the number of a text's vectors whose float32 products are in memory at a time
constexpr std::size_t MAX_INT8_INPUTS = 65'000;  // a sum of more products, each at most 255 × 127, could exceed an int32

enum class Activation : int { none, gelu, gelu_tanh, relu, tanh, sigmoid, silu };

// What happens to a product before it is stored: + bias, then the activation, then + residual.
struct Epilogue {
    const float* bias = nullptr;
    Activation activation = Activation::none;
    const float* residual = nullptr;
    std::size_t residual_stride = 0;
};

struct Int8Weights {
    const std::int8_t* packed;
    const float* scales;          // one per output
    const std::int32_t* sums;     // sum of each output's int8 weights
};

// Quantised rows, each with its own scale and zero point: a value v stands for (v - zero_point) * scale.
struct Int8Rows {
    const std::uint8_t* values;
    std::size_t stride;           // inputs, rounded up to a multiple of 4
    const float* scales;
    const std::int32_t* zero_points;
};

// How 16 bits are a number: float32 without its lower half, or IEEE 754's binary16.
enum class Half : int { bfloat16, float16 };

struct AttentionShape {
    std::size_t heads, head_size; // head_size: columns of one head
    float scale;
    std::size_t window;           // how many tokens to either side a token attends to; 0: all
    bool causal = false;          // a token attends only to itself and earlier tokens; then there is no window
    bool int8 = false;            // products are those of int8 numbers; then it is not causal
};

// One of the two terms that relative positions add to the products of a head's queries and keys. The embeddings are the columns
// of `table`, of shape (head_size, embeddings), and those of the distances are columns[0] … columns[2 * positions - 2].
struct RelativeTerm {
    const float* table = nullptr;  // null if the model does not have this term
    std::size_t embeddings = 0;
    const std::int32_t* columns = nullptr;
};

// The distance of a query to a key is the query's position minus the key's.
struct RelativeTerms {
    RelativeTerm falling;          // multiplied by queries; the distances positions - 1, positions - 2 … 1 - positions
    RelativeTerm rising;           // multiplied by keys; the distances 1 - positions, 2 - positions … positions - 1
    std::size_t positions = 0;     // a text has at most as many tokens
};

struct Kernels {
    const char* name;

    void (*linear_f32)(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const float* packed,
                       std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride);
    // The same with weights of 16 bits, whose products and sums are those of the float32 numbers that they are. In bfloat16, the
    // outputs of a panel have the order 0, 16, 1, 17, … 15, 31, 32, 48, …
    void (*linear_half)(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const std::uint16_t* packed,
                        Half half, std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride);
    void (*linear_i8)(const Int8Rows& x, std::size_t rows, std::size_t inputs, const Int8Weights& weights,
                      std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride);
    // Maps the range of each row's values, extended to include 0, onto 0 … 255.
    void (*quantise)(const float* x, std::size_t rows, std::size_t width, std::uint8_t* values, std::size_t stride,
                     float* scales, std::int32_t* zero_points);
    // Rounds each row's values to 16 bits, v = x / scale + 32768, and writes the higher and the lower bytes of v to two arrays.
    void (*quantise_wide)(const float* x, std::size_t rows, std::size_t width, std::uint8_t* high, std::uint8_t* low,
                          std::size_t stride, float* scales);
    void (*norm)(const float* x, std::size_t rows, std::size_t width, const float* weight, const float* bias,
                 float epsilon, float* y);
    // Divides each row by its root mean square, then multiplies its columns by the weights (RMSNorm). y can be x.
    void (*rms_norm)(const float* x, std::size_t rows, std::size_t width, const float* weight, float epsilon, float* y);
    void (*activate)(const float* x, std::size_t count, Activation activation, float* y);
    // y = activation(left half of each row of x) * right half; `width` is that of y.
    void (*gate)(const float* x, std::size_t rows, std::size_t width, Activation activation, float* y);
    // The attention of one text and one head, in two steps. `scratch` has `attention_scratch` floats for a text of at most
    // `capacity` tokens. `pack_head` packs the keys and values of the tokens `first` … `first + count` - 1, which must follow
    // the tokens that are already packed. `attend_head` lets the tokens `first_query` … `first_query + queries` - 1 attend to
    // the text's first `tokens` tokens. A query can follow the last of these; if its window has none of them, its result is 0.
    // In int8, all keys of a text are packed at once, because their mean is subtracted.
    std::size_t (*attention_scratch)(const AttentionShape& shape, std::size_t capacity);
    void (*pack_head)(const AttentionShape& shape, const float* k, const float* v, std::size_t kv_stride, std::size_t first,
                      std::size_t count, std::size_t capacity, float* scratch);
    void (*attend_head)(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t first_query,
                        std::size_t queries, std::size_t tokens, std::size_t capacity, float* scratch, float* y,
                        std::size_t y_stride);
    // The same with relative positions. `scratch` has `disentangled_scratch` floats. `pack_distances` packs the distances in
    // texts of at most `capacity` tokens, and `pack_head` the keys and values of one text. `k` are the same keys.
    std::size_t (*disentangled_scratch)(const AttentionShape& shape, std::size_t capacity);
    void (*pack_distances)(const AttentionShape& shape, const RelativeTerms& terms, std::size_t capacity, float* scratch);
    void (*attend_disentangled)(const AttentionShape& shape, const RelativeTerms& terms, const float* q, std::size_t q_stride,
                                std::size_t first_query, std::size_t queries, const float* k, std::size_t k_stride,
                                std::size_t tokens, std::size_t capacity, float* scratch, float* y, std::size_t y_stride);
    // Rotates the pairs of columns (c, c + head_size/2) of each head in place; cos and sin have rows of head_size/2.
    void (*rotate)(float* x, std::size_t stride, std::size_t rows, std::size_t heads, std::size_t head_size, const float* cos,
                   const float* sin);
    void (*widen)(const std::uint16_t* halves, Half half, std::size_t count, float* y);  // to float32
    void (*add)(const float* x, std::size_t count, float* y);                 // y += x
    float (*dot)(const float* x, const float* y, std::size_t count);
    // The highest product of each query vector with a vector of a text. `columns` is the number of query vectors, rounded up to
    // MATCH_COLUMNS. In int8, 128 has been added to the text's numbers, and `corrections` undo that. Both sides are padded
    // with zeros to whole quads of dimensions. The query, [quads][columns][4], has no scales: the caller multiplies by them.
    void (*highest_i8)(const std::uint8_t* rows, const float* scales, std::size_t count, std::size_t quads,
                       const std::int8_t* query, const std::int32_t* corrections, std::size_t columns, float* highest);
    // In float32, the query is [inputs][columns], and `products` has room for MATCH_BLOCK × columns elements.
    void (*highest_f32)(const float* rows, std::size_t count, std::size_t inputs, const float* query, std::size_t columns,
                        float* products, float* highest);
};

// The instruction sets that were compiled and that this processor supports, the fastest first. Never empty.
const std::vector<const Kernels*>& available_kernels();

}  // namespace podium
