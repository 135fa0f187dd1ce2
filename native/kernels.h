// The arithmetic, as a table of functions: one table per instruction set, all compiled from kernels.ipp.
//
// Rows are row-major float32. No result of a row depends on how many rows are computed with it, bit for bit.
// Weights are packed in panels of 64 outputs: float32 as [outputs/64][inputs][64], int8 as [outputs/64][inputs/4][64][4],
// both filled up with zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace podium {

constexpr std::size_t PANEL = 64;

enum class Activation : int { none, gelu, gelu_tanh, relu, tanh, sigmoid, silu };

// What is done to a product before it is stored: + bias, activation, + added.
struct Epilogue {
    const float* bias = nullptr;
    Activation activation = Activation::none;
    const float* added = nullptr;
    std::size_t added_stride = 0;
};

struct Int8Weights {
    const std::int8_t* packed;
    const float* scales;          // one per output
    const std::int32_t* sums;     // of each output's weights
};

// One row's whole numbers q stand for (q - zero) * scale.
struct Int8Rows {
    const std::uint8_t* whole;
    std::size_t stride;           // inputs, filled up to a multiple of 4
    const float* scales;
    const std::int32_t* zeros;
};

struct AttentionShape {
    std::size_t heads, size;      // size: columns of one head
    float scale;
    std::size_t window;           // how far a token sees to either side; 0: everything
};

struct Kernels {
    const char* name;

    void (*linear_f32)(const float* x, std::size_t x_stride, std::size_t rows, std::size_t inputs, const float* packed,
                       std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride);
    void (*linear_i8)(const Int8Rows& x, std::size_t rows, std::size_t inputs, const Int8Weights& weights,
                      std::size_t outputs, const Epilogue& epilogue, float* y, std::size_t y_stride);
    // Per row: the range of its values and 0 onto 0 … 255.
    void (*quantise)(const float* x, std::size_t rows, std::size_t width, std::uint8_t* whole, std::size_t stride,
                     float* scales, std::int32_t* zeros);
    void (*norm)(const float* x, std::size_t rows, std::size_t width, const float* weight, const float* bias,
                 float epsilon, float* y);
    void (*activate)(const float* x, std::size_t count, Activation activation, float* y);
    // y = activation(left half of each row) * right half
    void (*gate)(const float* x, std::size_t rows, std::size_t width, Activation activation, float* y);
    // One text: `queries` rows from its first token on attend to all of its `tokens`.
    void (*attend)(const AttentionShape& shape, const float* q, std::size_t q_stride, std::size_t queries, const float* k,
                   const float* v, std::size_t kv_stride, std::size_t tokens, std::vector<float>& scratch, float* y,
                   std::size_t y_stride);
    // Rotates pairs of columns (c, c + size/2) of each head in place; cos and sin have rows of size/2.
    void (*rotate)(float* x, std::size_t stride, std::size_t rows, std::size_t heads, std::size_t size, const float* cos,
                   const float* sin);
    void (*widen)(const std::uint16_t* halves, std::size_t count, float* y);
    void (*add)(const float* x, std::size_t count, float* y);          // y += x
    float (*dot)(const float* x, const float* y, std::size_t count);
};

// The instruction sets that were compiled and that this processor has, the best first. Never empty.
const std::vector<const Kernels*>& available_kernels();

}  // namespace podium
