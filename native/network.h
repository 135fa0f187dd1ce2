// A network: steps in order of execution, each of which computes rows from the rows of earlier steps.
//
// A step's output is called a slot: a float32 matrix with one row per token, or, after `first`, `last` or `mean`, one row per
// text. The texts of one run lie one after the other, without padding. A step that works row by row handles all of their
// tokens at once; attention and means go text by text. So the result of a text does not depend, bit for bit, on the texts that
// it is run with. README.md describes memory, threads, and how to add a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels.h"

namespace podium {

class Prefix;

// Texts, or pairs of texts, as token ids. Text i has the tokens offsets[i] … offsets[i + 1] - 1, at least one. With a prefix,
// these are the tokens that follow it.
struct Texts {
    const std::int32_t* ids;
    const std::int32_t* segments;  // per token; 0: in the first text of a pair, else: in the second one, or hidden
    const std::int64_t* offsets;   // count + 1 numbers, the first is 0
    std::size_t count;
    const Prefix* prefix = nullptr;

    std::size_t tokens() const { return static_cast<std::size_t>(offsets[count]); }
    std::size_t begin(std::size_t text) const { return static_cast<std::size_t>(offsets[text]); }
    std::size_t end(std::size_t text) const { return static_cast<std::size_t>(offsets[text + 1]); }
};

enum class NumberKind : int { float32, float16, bfloat16, int8, int4 };

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

// The weights of a product in one of three forms.
struct LinearWeights {
    std::size_t inputs, outputs;
    const float* packed_f32 = nullptr;
    const std::uint16_t* packed_half = nullptr;
    Half half = Half::bfloat16;
    Int8Weights int8{};
    // Inputs of int8 weights are quantised to 16 bits instead of 8, which takes two products. Their rare large numbers would
    // leave too few steps for the others.
    bool wide_inputs = false;
    const float* bias = nullptr;
};

// Some columns of a slot: `heads` heads of `head_size` columns, the first of which is `first`.
struct Heads {
    std::size_t first, count, size;
    std::size_t width() const { return count * size; }
};

// What happens to heads before they attend: RMSNorm of each head, if there are weights, then a rotation by the position.
struct HeadTransform {
    const float* weight = nullptr;  // head_size numbers; null: no norm
    float epsilon = 0.0f;
    const float* cos = nullptr;     // (positions, head_size / 2)
    const float* sin = nullptr;
    std::size_t positions = 0;
};

struct Attention {
    std::size_t heads, key_heads, head_size;  // each key head is shared by heads / key_heads consecutive heads
    std::size_t query_column, key_column, value_column;
    float scale;
    std::size_t window = 0;        // how many tokens to either side a token attends to; 0: all
    bool causal = false;           // a token attends only to itself and earlier tokens; then there is no window
    bool hides_segment_1 = false;  // no token attends to tokens of segment 1, which are the last ones of a text
    bool int8 = false;             // long texts attend with int8 products; then attention is not causal
};

// The embeddings of relative positions of all heads (RelativeTerms): the tables have the shape (heads, head_size, embeddings).
struct RelativePositions {
    RelativeTerms terms;
    // The terms of one head.
    RelativeTerms of_head(std::size_t head, std::size_t head_size) const {
        RelativeTerms own = terms;
        for (RelativeTerm* term : {&own.falling, &own.rising})
            if (term->table) term->table += head * head_size * term->embeddings;
        return own;
    }
};

class Execution;
class Scratch;
class Step;
class Workspace;

class Network {
  public:
    explicit Network(const Kernels& kernels);
    ~Network();

    // Each of these adds a step and returns its slot. They throw std::invalid_argument if sizes do not match. Weights are
    // not copied: they must live as long as the network.
    int embed(const Embedding& embedding);
    int scale(int input, float factor);
    int norm(int input, const float* weight, const float* bias, float epsilon);
    int rms_norm(int input, const float* weight, float epsilon);
    int linear(int input, const LinearWeights& weights, Activation activation, int residual);  // residual < 0: none
    // Transforms heads in place: the result has the memory of `input`, which no later step can read. If rows are one per text,
    // `last` says whether they are those of the last tokens, else they are those of the first.
    int transform_heads(int input, const Heads& heads, const HeadTransform& transform, bool last);
    // If queries have one row per text, it is that of the first token, or of the last token in causal attention.
    int attend(int queries, int keys, const Attention& attention);
    // The same over contents and relative positions (DeBERTa), where each head has its own keys, and no window.
    int attend_disentangled(int queries, int keys, const Attention& attention, const RelativePositions& relative);
    int activate(int input, Activation activation);
    int gate(int input, Activation activation);
    int add(int left, int right);
    int first(int input);
    int last(int input);
    int mean(int input);
    int join(const std::vector<int>& inputs);  // the columns of all inputs, side by side
    // The rows of `size` tokens side by side, of which a token is the middle one. Rows outside of its text are 0.
    int neighbours(int input, std::size_t size);

    // Makes `result` the network's result, which has one row per text or per token. No step can be added afterwards.
    void finish(int result);

    std::size_t width(int slot) const;
    bool per_text(int slot) const;  // whether a slot has one row per text, else one per token
    std::size_t outputs() const;    // width of the result
    std::size_t result_rows(const Texts& texts) const;
    std::vector<const char*> step_names() const;

    // The number of columns of the keys and values of each attention step.
    const std::vector<std::size_t>& attention_columns() const { return attention_columns_; }
    // Their sum: a token of a prefix has this many numbers. 0 if the network cannot share a prefix, because a token depends on
    // later ones, or on segments or a table of positions.
    std::size_t prefix_columns() const;

    // Writes the result, shape (result_rows, outputs). May be called from several threads at once. If `seconds` is not null, each
    // step's time is added to its element. Throws std::out_of_range if an id or a length exceeds the model's tables.
    void run(const Texts& texts, float* result, double* seconds = nullptr) const;

  private:
    friend struct Run;
    friend struct Part;
    friend class Execution;
    struct Slot {
        std::size_t width;
        bool per_text;             // one row per text, else one per token
        int storage;               // the slot whose memory this one has: itself, except after `transform_heads`
        int buffer = -1;           // index of the buffer that holds the rows
        bool is_local = false;     // the buffer is that of a thread and holds only the rows that it computes
        bool overwritten = false;
    };
    // Consecutive steps that work row by row, on the same rows; or a single other step.
    struct Phase {
        std::size_t first, last;   // steps
        bool is_row_wise;
    };

    const Slot& slot(int index) const;
    int add_attention(int queries, int keys, const Attention& attention, const RelativePositions* relative);
    int add_step(std::unique_ptr<Step> step, std::vector<int> inputs, std::size_t width, bool per_text);
    void make_phases();
    void assign_buffers();
    std::unique_ptr<Workspace> take_workspace() const;
    void return_workspace(std::unique_ptr<Workspace> workspace) const;
    std::unique_ptr<Scratch> take_scratch() const;
    void return_scratch(std::unique_ptr<Scratch> scratch) const;

    const Kernels& kernels_;
    std::vector<Slot> slots_;      // one per step
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<Phase> phases_;
    std::vector<std::size_t> buffer_widths_, local_buffer_widths_;
    std::vector<std::size_t> attention_steps_, attention_columns_;
    bool depends_on_earlier_ids_only_ = true;
    int result_ = -1;
    mutable std::mutex lock_;      // guards the vectors that follow
    mutable std::vector<std::unique_ptr<Workspace>> idle_workspaces_;
    mutable std::vector<std::unique_ptr<Scratch>> idle_scratches_;
};

}  // namespace podium
