// A network: steps in order of execution, each of which computes rows from the rows of earlier steps.
//
// A step's output is called a slot: a float32 matrix with one row per token, or, after `first` or `mean`, one row per text.
// The texts of one run lie one after the other, without padding. A step that works row by row handles all of their tokens at
// once; attention and means go text by text. So the result of a text does not depend, bit for bit, on the texts that it is
// run with. README.md describes memory, threads, and how to add a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels.h"

namespace podium {

// Texts, or pairs of texts, as token ids. Text i has the tokens offsets[i] … offsets[i + 1] - 1, at least one.
struct Texts {
    const std::int32_t* ids;
    const std::int32_t* segments;  // per token; 0: in the first text of a pair, else: in the second one, or hidden
    const std::int64_t* offsets;   // count + 1 numbers, the first is 0
    std::size_t count;

    std::size_t tokens() const { return static_cast<std::size_t>(offsets[count]); }
    std::size_t begin(std::size_t text) const { return static_cast<std::size_t>(offsets[text]); }
    std::size_t end(std::size_t text) const { return static_cast<std::size_t>(offsets[text + 1]); }
};

enum class NumberKind : int { float32, float16, int8, int4 };

// An embedding table. The whole numbers of int8 and int4 are multiplied by scales: `blocks` float32 or float16 per row, each for
// the same number of columns. A byte of int4 has two numbers, to which 8 was added: that of the lower column in its low bits.
struct Table {
    const void* rows;
    std::size_t count, width;
    NumberKind kind;
    const void* scales = nullptr;
    NumberKind scale_kind = NumberKind::float32;
    std::size_t blocks = 0;
};

// How a token's position is counted: not at all; from 0; or from the padding id + 1, where padding tokens stay at the padding
// id and are not counted (RoBERTa).
enum class PositionKind : int { none, counted, after_padding };

// A token's row is the sum of one row of each table. Without `rows`, a table is left out.
struct Embedding {
    Table tokens;
    Table segments{};
    bool use_segment_ids = false;  // false: every token gets row 0 of `segments`
    Table positions{};
    PositionKind position_kind = PositionKind::none;
    std::int32_t padding_id = 0;
};

struct LinearWeights {
    std::size_t inputs, outputs;
    const float* packed_f32 = nullptr;  // if null, the weights are int8
    Int8Weights int8{};
    const float* bias = nullptr;
};

struct Attention {
    AttentionShape shape;
    bool hides_segment_1 = false;  // no token attends to tokens of segment 1, which are the last ones of a text
    const float* cos = nullptr;    // rotary positions: (rotary_positions, head_size / 2); null: none
    const float* sin = nullptr;
    std::size_t rotary_positions = 0;
};

struct Run;
class Step;
class Workspace;

class Network {
  public:
    explicit Network(const Kernels& kernels);
    ~Network();

    // Each of these adds a step and returns its slot. They throw std::invalid_argument if sizes do not match. Weights are
    // not copied: they must live as long as the network.
    int embed(const Embedding& embedding);
    int norm(int input, const float* weight, const float* bias, float epsilon);
    int linear(int input, const LinearWeights& weights, Activation activation, int residual);  // residual < 0: none
    // Rotary positions are applied to the queries and keys in place, so no later step can read those slots.
    int attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
               const Attention& attention);
    int activate(int input, Activation activation);
    int gate(int input, Activation activation);
    int add(int left, int right);
    int first(int input);
    int mean(int input);
    int join(const std::vector<int>& inputs);  // the columns of all inputs, side by side

    // Makes `result` the network's result, which has one row per text or per token. No step can be added afterwards.
    void finish(int result);

    std::size_t width(int slot) const;
    bool per_text(int slot) const;  // whether a slot has one row per text, else one per token
    std::size_t outputs() const;    // width of the result
    std::size_t result_rows(const Texts& texts) const;
    std::vector<const char*> step_names() const;

    // Writes the result, shape (result_rows, outputs). May be called from several threads at once. If `seconds` is not null, each
    // step's time is added to its element. Throws std::out_of_range if an id or a length exceeds the model's tables.
    void run(const Texts& texts, float* result, double* seconds = nullptr) const;

  private:
    friend struct Run;
    struct Slot {
        std::size_t width;
        bool per_text;             // one row per text, else one per token
        int buffer = -1;           // index of the workspace's buffer that holds the rows
        bool overwritten = false;  // by rotary positions
    };

    const Slot& slot(int index) const;
    int add_step(std::unique_ptr<Step> step, std::vector<int> inputs, std::size_t width, bool per_text);
    std::unique_ptr<Workspace> take_workspace() const;
    void return_workspace(std::unique_ptr<Workspace> workspace) const;

    const Kernels& kernels_;
    std::vector<Slot> slots_;      // one per step
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::size_t> buffer_widths_;
    int result_ = -1;
    mutable std::mutex lock_;      // guards idle_workspaces_
    mutable std::vector<std::unique_ptr<Workspace>> idle_workspaces_;
};

}  // namespace podium
