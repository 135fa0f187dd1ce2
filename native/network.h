// A network as a list of steps over rows of numbers, run on many texts at once without padding.
//
// Texts lie end to end. A step that works row by row runs on all their tokens; attention, means and heads go text by text,
// so what one text gives does not depend on the others, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels.h"

namespace podium {

// Texts as token ids. `offsets` has one number more than there are texts.
struct Texts {
    const std::int32_t* ids;
    const std::int32_t* segments;
    const std::int64_t* offsets;
    std::size_t count;

    std::size_t tokens() const { return static_cast<std::size_t>(offsets[count] - offsets[0]); }
    std::size_t begin(std::size_t text) const { return static_cast<std::size_t>(offsets[text]); }
    std::size_t end(std::size_t text) const { return static_cast<std::size_t>(offsets[text + 1]); }
    // Where a pair's second part begins: the last token of segment 0.
    std::size_t cut(std::size_t text) const;
};

// Rows of a table, float32 or float16.
struct Table {
    const void* rows;
    std::size_t count, width;
    bool half;
};

enum class Positions : int { none, counted, counted_by_side, after_padding };

struct Embedding {
    Table words;
    Table segments{};           // by segment id; by_segment false: its first row for all
    bool by_segment = false;
    Table places{};
    Positions positions = Positions::none;
    std::int32_t padding = 0;   // after_padding: tokens of this id stay at it and are not counted
};

struct LinearWeights {
    std::size_t inputs, outputs;
    const float* packed = nullptr;       // float32, or
    Int8Weights whole{};                 // int8
    const float* bias = nullptr;
};

struct Attention {
    AttentionShape shape;
    bool by_side = false;                // no token sees the other side of its pair
    const float* cos = nullptr;          // rotary positions: rows of size/2
    const float* sin = nullptr;
    std::size_t rotations = 0;           // how many rows of them there are
};

// The comparisons of a query's rows and a text's, as local/families/late.py describes them: four numbers a pair.
struct Comparison {
    const float* importance;             // (width,)
    float importance_bias;
    const float *token_importance, *token_idf, *token_piece_idf, *token_stem;  // (vocabulary,)
    std::size_t vocabulary;
    float k1, b, usual_tokens;
};

struct Run;
class Step;

// Memory of one run; kept for the next one.
class Workspace;

class Network {
  public:
    explicit Network(const Kernels& kernels);
    ~Network();

    // Each adds a step and returns the name of its rows.
    int embed(const Embedding& embedding);
    int norm(int x, const float* weight, const float* bias, float epsilon);
    int linear(int x, const LinearWeights& weights, Activation activation, int added);
    int attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
               const Attention& attention);
    int activate(int x, Activation activation);
    int gate(int x, Activation activation);
    int add(int x, int y);
    int first(int x);
    int mean(int x);
    int compare(int x, const Comparison& comparison);

    std::size_t width(int x) const;
    bool per_text(int x) const;
    void finish(int result);

    // Writes what each text gives: count × width(result). Safe to call from several threads at once.
    // `seconds`, if given, has a number for each step, to which the step's time is added.
    void run(const Texts& texts, float* result, double* seconds = nullptr) const;
    std::vector<const char*> step_names() const;

  private:
    friend struct Run;
    struct Slot {
        std::size_t width;
        bool per_text;
        int buffer = -1;
    };

    int add_step(std::unique_ptr<Step> step, std::vector<int> inputs, std::size_t width, bool per_text);
    const Slot& slot(int x) const;
    std::unique_ptr<Workspace> take() const;

    const Kernels& kernels_;
    std::vector<Slot> slots_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::size_t> buffer_widths_;
    int result_ = -1;
    mutable std::mutex lock_;
    mutable std::vector<std::unique_ptr<Workspace>> free_;
};

}  // namespace podium
