// The kinds of steps. For each one: a subclass of Step, which computes, and the method of Network that checks sizes and adds it.

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "network.h"
#include "step.h"

namespace podium {
namespace {

constexpr std::size_t MAX_NEIGHBOURS = 101;  // far more than models have

// Calls `handle(text, first, last)` for the texts to which the token rows begin … end - 1 belong, with the row of each text's
// first and last + 1 token in this range.
template <class Handle>
void for_each_text(const Texts& texts, std::size_t begin, std::size_t end, Handle handle) {
    const std::int64_t* next = std::upper_bound(texts.offsets, texts.offsets + texts.count, static_cast<std::int64_t>(begin));
    for (auto text = static_cast<std::size_t>(next - texts.offsets) - 1; begin < end; ++text) {
        const std::size_t last = std::min(texts.end(text), end);
        handle(text, begin, last);
        begin = last;
    }
}

// The number of tokens of the longest text.
std::size_t longest_text(const Texts& texts) {
    std::size_t longest = 0;
    for (std::size_t text = 0; text < texts.count; ++text)
        longest = std::max(longest, texts.end(text) - texts.begin(text));
    return longest;
}

struct Embed final : Step {
    const char* name() const override { return "embeddings"; }

    Embedding embedding;

    void execute(const Part& part) const override {
        float* row = part.rows(output);
        const auto write_rows = [&](std::size_t text, std::size_t first, std::size_t last) {
            std::int64_t not_padding = 0;
            if (embedding.position_kind == PositionKind::after_padding)
                for (std::size_t token = part.run.texts.begin(text); token < first; ++token)
                    not_padding += part.run.texts.ids[token] != embedding.padding_id;
            for (std::size_t token = first; token < last; ++token, row += embedding.tokens.width)
                write_row(part, text, token, not_padding, row);
        };
        for_each_text(part.run.texts, part.begin, part.end, write_rows);
    }

    void write_row(const Part& part, std::size_t text, std::size_t token, std::int64_t& not_padding, float* row) const {
        const Texts& texts = part.run.texts;
        const std::int32_t id = texts.ids[token];
        copy_row(part, embedding.tokens, "token id", id, row);
        if (embedding.segments.rows)
            add_row(part, embedding.segments, "segment", embedding.use_segment_ids ? texts.segments[token] : 0, row);
        if (embedding.position_kind == PositionKind::none) return;
        auto position = static_cast<std::int64_t>(token - texts.begin(text));
        if (embedding.position_kind == PositionKind::after_padding)
            position = embedding.padding_id + (id == embedding.padding_id ? 0 : ++not_padding);
        add_row(part, embedding.positions, "position", position, row);
    }

    static void copy_row(const Part& part, const Table& table, const char* index_name, std::int64_t index, float* row) {
        check_index(index_name, index, table.count);
        copy_numbers(part, table.kind, table.rows, static_cast<std::size_t>(index) * table.width, table.width, row);
        if (table.scales) scale_row(part, table, static_cast<std::size_t>(index), row);
    }

    // Copies `count` numbers of any kind as float32, beginning with the one at index `offset`.
    static void copy_numbers(const Part& part, NumberKind kind, const void* numbers, std::size_t offset, std::size_t count,
                             float* y) {
        if (kind == NumberKind::float32) {
            std::memcpy(y, static_cast<const float*>(numbers) + offset, count * sizeof(float));
        } else if (kind == NumberKind::float16 || kind == NumberKind::bfloat16) {
            const Half half = kind == NumberKind::bfloat16 ? Half::bfloat16 : Half::float16;
            part.run.kernels.widen(static_cast<const std::uint16_t*>(numbers) + offset, half, count, y);
        } else if (kind == NumberKind::int8) {
            const std::int8_t* values = static_cast<const std::int8_t*>(numbers) + offset;
            for (std::size_t i = 0; i < count; ++i) y[i] = static_cast<float>(values[i]);
        } else {
            const std::uint8_t* pairs = static_cast<const std::uint8_t*>(numbers) + offset / 2;
            for (std::size_t i = 0; i < count / 2; ++i) {
                y[2 * i] = static_cast<float>((pairs[i] & 15) - 8);
                y[2 * i + 1] = static_cast<float>((pairs[i] >> 4) - 8);
            }
        }
    }

    static void scale_row(const Part& part, const Table& table, std::size_t index, float* row) {
        float* scales = part.scratch.row_scales.reserve(table.blocks);
        copy_numbers(part, table.scale_kind, table.scales, index * table.blocks, table.blocks, scales);
        const std::size_t block_width = table.width / table.blocks;
        for (std::size_t block = 0; block < table.blocks; ++block)
            for (std::size_t i = 0; i < block_width; ++i) *row++ *= scales[block];
    }

    static void add_row(const Part& part, const Table& table, const char* index_name, std::int64_t index, float* row) {
        float* added = part.scratch.temporary.reserve(table.width);
        copy_row(part, table, index_name, index, added);
        part.run.kernels.add(added, table.width, row);
    }
};

struct Scale final : Step {
    const char* name() const override { return "scale"; }

    float factor;

    void execute(const Part& part) const override {
        const float* x = part.rows(inputs[0]);
        float* y = part.rows(output);
        for (std::size_t i = 0; i < part.count() * part.run.width(output); ++i) y[i] = x[i] * factor;
    }
};

struct Norm final : Step {
    const char* name() const override { return "norm"; }

    const float *weight, *bias;
    float epsilon;

    void execute(const Part& part) const override {
        part.run.kernels.norm(part.rows(inputs[0]), part.count(), part.run.width(output), weight, bias, epsilon,
                              part.rows(output));
    }
};

struct RmsNorm final : Step {
    const char* name() const override { return "norm"; }

    const float* weight;
    float epsilon;

    void execute(const Part& part) const override {
        part.run.kernels.rms_norm(part.rows(inputs[0]), part.count(), part.run.width(output), weight, epsilon,
                                  part.rows(output));
    }
};

struct Linear final : Step {
    const char* name() const override {
        return weights.packed_f32 ? "linear float32" : weights.packed_half ? "linear half" : "linear int8";
    }

    LinearWeights weights;
    Activation activation;

    void execute(const Part& part) const override {
        const std::size_t rows = part.count(), outputs = weights.outputs;
        const Kernels& kernels = part.run.kernels;
        const float* x = part.rows(inputs[0]);
        float* y = part.rows(output);
        const float* residual = inputs.size() > 1 ? part.rows(inputs[1]) : nullptr;
        const Epilogue epilogue{weights.bias, activation, residual, outputs};
        if (weights.packed_f32) {
            kernels.linear_f32(x, weights.inputs, rows, weights.inputs, weights.packed_f32, outputs, epilogue, y, outputs);
            return;
        }
        if (weights.packed_half) {
            kernels.linear_half(x, weights.inputs, rows, weights.inputs, weights.packed_half, weights.half, outputs, epilogue,
                                y, outputs);
            return;
        }
        if (weights.wide_inputs)
            multiply_wide(part, x, epilogue, y);
        else
            multiply_int8(part, x, epilogue, y);
    }

    std::size_t stride() const { return (weights.inputs + 3) / 4 * 4; }

    void multiply_int8(const Part& part, const float* x, const Epilogue& epilogue, float* y) const {
        const Kernels& kernels = part.run.kernels;
        const std::size_t rows = part.count();
        std::uint8_t* values = part.scratch.int8_values.reserve(rows * stride());
        float* scales = part.scratch.int8_scales.reserve(rows);
        std::int32_t* zero_points = part.scratch.int8_zero_points.reserve(rows);
        kernels.quantise(x, rows, weights.inputs, values, stride(), scales, zero_points);
        const Int8Rows int8_rows{values, stride(), scales, zero_points};
        kernels.linear_i8(int8_rows, rows, weights.inputs, weights.int8, weights.outputs, epilogue, y, weights.outputs);
    }

    // x is scale * (256 * (high - 128) + low), so its product is the sum of two.
    void multiply_wide(const Part& part, const float* x, const Epilogue& epilogue, float* y) const {
        const Kernels& kernels = part.run.kernels;
        const std::size_t rows = part.count(), outputs = weights.outputs;
        std::uint8_t* high = part.scratch.int8_values.reserve(2 * rows * stride());
        std::uint8_t* low = high + rows * stride();
        float* scales = part.scratch.int8_scales.reserve(2 * rows);
        float* high_scales = scales + rows;
        std::int32_t* zero_points = part.scratch.int8_zero_points.reserve(2 * rows);
        kernels.quantise_wide(x, rows, weights.inputs, high, low, stride(), scales);
        for (std::size_t row = 0; row < rows; ++row) {
            high_scales[row] = 256.0f * scales[row];
            zero_points[row] = 0;
            zero_points[rows + row] = 128;
        }
        float* high_product = part.scratch.temporary.reserve(rows * outputs);
        Epilogue high_epilogue;
        high_epilogue.residual = epilogue.residual;
        high_epilogue.residual_stride = epilogue.residual_stride;
        kernels.linear_i8({high, stride(), high_scales, zero_points + rows}, rows, weights.inputs, weights.int8, outputs,
                          high_epilogue, high_product, outputs);
        kernels.linear_i8({low, stride(), scales, zero_points}, rows, weights.inputs, weights.int8, outputs,
                          {epilogue.bias, Activation::none, high_product, outputs}, y, outputs);
    }
};

struct TransformHeads final : Step {
    const char* name() const override { return "norm and rotation of heads"; }

    Heads heads;
    HeadTransform transform;
    bool last;

    void execute(const Part& part) const override {
        const std::size_t stride = part.run.width(output);
        float* rows = part.rows(output) + heads.first;
        if (transform.weight)
            for (std::size_t row = 0; row < part.count(); ++row) {
                float* x = rows + row * stride;
                part.run.kernels.rms_norm(x, heads.count, heads.size, transform.weight, transform.epsilon, x);
            }
        if (!transform.cos) return;
        const std::size_t prefix_tokens = part.run.prefix_tokens();
        const Texts& texts = part.run.texts;
        if (!part.run.per_text(output)) {
            const auto rotate_rows = [&](std::size_t text, std::size_t first, std::size_t end) {
                rotate(part, rows + (first - part.begin) * stride, end - first, prefix_tokens + first - texts.begin(text));
            };
            for_each_text(texts, part.begin, part.end, rotate_rows);
        } else if (last) {
            for (std::size_t text = part.begin; text < part.end; ++text, rows += stride)
                rotate(part, rows, 1, prefix_tokens + texts.end(text) - texts.begin(text) - 1);
        }  // else nothing: the rotation of position 0 is the identity
    }

    void rotate(const Part& part, float* rows, std::size_t count, std::size_t position) const {
        if (position + count > transform.positions)
            throw std::out_of_range("a text has " + std::to_string(position + count) + " tokens: the model has " +
                                    std::to_string(transform.positions) + " positions");
        const std::size_t offset = position * (heads.size / 2);
        part.run.kernels.rotate(rows, part.run.width(output), count, heads.count, heads.size, transform.cos + offset,
                                transform.sin + offset);
    }
};

// The units are key heads; if there are more threads than key heads, each key head has several units with parts of the queries.
struct Attend : Step {
    static constexpr std::size_t MIN_INT8_TOKENS = 64;

    const char* name() const override { return "attention"; }
    bool is_row_wise() const override { return false; }

    Attention attention;
    std::size_t layer;  // the number of attention steps before this one
    bool is_last;       // whether no attention step follows

    std::size_t unit_count(const Run&, std::size_t threads) const override {
        return attention.key_heads * ((threads + attention.key_heads - 1) / attention.key_heads);
    }

    void execute(const Part& part) const override {
        const std::size_t splits = part.total / attention.key_heads;
        for (std::size_t unit = part.begin; unit < part.end; ++unit) {
            const std::size_t key_head = unit / splits;
            if (part.run.new_prefix && unit % splits == 0) store_prefix(part.run, key_head);
            if (!part.run.new_prefix || !is_last) attend(part, key_head, unit % splits, splits);
        }
    }

    // Lets the queries of one key head attend, for every text those in part `split`.
    virtual void attend(const Part& part, std::size_t key_head, std::size_t split, std::size_t splits) const {
        const Run& run = part.run;
        const Texts& texts = run.texts;
        const std::size_t prefix_tokens = run.prefix_tokens(), kv_stride = run.width(inputs[1]), size = attention.head_size;
        const std::size_t capacity = prefix_tokens + longest_text(texts);
        float* scratch = reserve_scratch(part, capacity);
        if (prefix_tokens) {
            const std::size_t columns = attention.key_heads * size;
            const float* k = texts.prefix->layers[layer].data() + key_head * size;
            run.kernels.pack_head(shape(false), k, k + columns, 2 * columns, 0, prefix_tokens, capacity, scratch);
        }
        for (std::size_t text = 0; text < texts.count; ++text) {
            const Queries queries = queries_of(run, text, split, splits);
            if (!queries.count) continue;
            const float* kv = run.rows(inputs[1]) + texts.begin(text) * kv_stride + key_head * size;
            const std::size_t keys = key_count(texts, text);
            const AttentionShape text_shape = shape(uses_int8(run, texts.end(text) - texts.begin(text)));
            run.kernels.pack_head(text_shape, kv + attention.key_column, kv + attention.value_column, kv_stride, prefix_tokens, keys,
                                  capacity, scratch);
            const std::size_t group = attention.heads / attention.key_heads;
            for (std::size_t head = key_head * group; head < (key_head + 1) * group; ++head)
                run.kernels.attend_head(
                    text_shape, run.rows(inputs[0]) + queries.row * run.width(inputs[0]) + attention.query_column + head * size,
                    run.width(inputs[0]), queries.position, queries.count, prefix_tokens + keys, capacity, scratch,
                    run.rows(output) + queries.row * run.width(output) + head * size, run.width(output));
        }
    }

    AttentionShape shape(bool int8) const {
        return {attention.heads, attention.head_size, attention.scale, attention.window, attention.causal, int8};
    }

    // Few queries do not make up for the time of quantising the keys.
    bool uses_int8(const Run& run, std::size_t tokens) const {
        return attention.int8 && !run.per_text(output) && tokens >= MIN_INT8_TOKENS && tokens <= MAX_INT8_INPUTS;
    }

    float* reserve_scratch(const Part& part, std::size_t capacity) const {
        std::size_t size = 0;
        for (const bool int8 : {false, attention.int8})
            size = std::max(size, part.run.kernels.attention_scratch(shape(int8), capacity));
        return part.scratch.attention.reserve(size);
    }

    // Consecutive queries of a text: the row of the first one, its position in the text, and their number.
    struct Queries {
        std::size_t row, position, count;
    };

    Queries queries_of(const Run& run, std::size_t text, std::size_t split, std::size_t splits) const {
        constexpr std::size_t BLOCK = 24;  // queries that are computed together
        const std::size_t begin = run.texts.begin(text), tokens = run.texts.end(text) - begin;
        if (run.per_text(output)) {
            const std::size_t position = attention.causal ? run.prefix_tokens() + tokens - 1 : 0;
            return {text, position, text % splits == split ? std::size_t{1} : 0};
        }
        const std::size_t blocks = (tokens + BLOCK - 1) / BLOCK;
        const std::size_t first = blocks * split / splits * BLOCK;
        const std::size_t last = std::min(blocks * (split + 1) / splits * BLOCK, tokens);
        return {begin + first, run.prefix_tokens() + first, last > first ? last - first : 0};
    }

    // The number of a text's own tokens to which its tokens may attend.
    std::size_t key_count(const Texts& texts, std::size_t text) const {
        std::size_t keys = texts.end(text) - texts.begin(text);
        if (attention.hides_segment_1)
            while (keys > 1 && texts.segments[texts.begin(text) + keys - 1]) --keys;
        return keys;
    }

    void store_prefix(const Run& run, std::size_t key_head) const {
        const std::size_t size = attention.head_size, columns = attention.key_heads * size, stride = run.width(inputs[1]);
        float* target = run.new_prefix->layers[layer].data() + key_head * size;
        const float* kv = run.rows(inputs[1]) + key_head * size;
        for (std::size_t token = 0; token < run.texts.tokens(); ++token, kv += stride, target += 2 * columns) {
            std::memcpy(target, kv + attention.key_column, size * sizeof(float));
            std::memcpy(target + columns, kv + attention.value_column, size * sizeof(float));
        }
    }
};

struct AttendDisentangled final : Attend {
    const char* name() const override { return "disentangled attention"; }

    RelativePositions relative;

    void attend(const Part& part, std::size_t head, std::size_t split, std::size_t splits) const override {
        const Run& run = part.run;
        const Texts& texts = run.texts;
        const AttentionShape shape{attention.heads, attention.head_size, attention.scale, 0};
        const RelativeTerms terms = relative.of_head(head, attention.head_size);
        const std::size_t q_stride = run.width(inputs[0]), kv_stride = run.width(inputs[1]), stride = run.width(output);
        const std::size_t capacity = longest_text(texts), column = head * attention.head_size;
        if (capacity > terms.positions)
            throw std::out_of_range("a text has " + std::to_string(capacity) + " tokens: the model has " +
                                    std::to_string(terms.positions) + " positions");
        float* scratch = part.scratch.attention.reserve(run.kernels.disentangled_scratch(shape, capacity));
        run.kernels.pack_distances(shape, terms, capacity, scratch);
        for (std::size_t text = 0; text < texts.count; ++text) {
            const Queries queries = queries_of(run, text, split, splits);
            if (!queries.count) continue;
            const float* kv = run.rows(inputs[1]) + texts.begin(text) * kv_stride + column;
            const float *k = kv + attention.key_column, *v = kv + attention.value_column;
            const std::size_t keys = key_count(texts, text);
            run.kernels.pack_head(shape, k, v, kv_stride, 0, keys, capacity, scratch);
            run.kernels.attend_disentangled(
                shape, terms, run.rows(inputs[0]) + queries.row * q_stride + attention.query_column + column, q_stride,
                queries.position, queries.count, k, kv_stride, keys, capacity, scratch,
                run.rows(output) + queries.row * stride + column, stride);
        }
    }
};

struct Activate final : Step {
    const char* name() const override { return "activation"; }

    Activation activation;

    void execute(const Part& part) const override {
        part.run.kernels.activate(part.rows(inputs[0]), part.count() * part.run.width(output), activation, part.rows(output));
    }
};

struct Gate final : Step {
    const char* name() const override { return "gate"; }

    Activation activation;

    void execute(const Part& part) const override {
        part.run.kernels.gate(part.rows(inputs[0]), part.count(), part.run.width(output), activation, part.rows(output));
    }
};

struct Add final : Step {
    const char* name() const override { return "add"; }

    void execute(const Part& part) const override {
        const std::size_t count = part.count() * part.run.width(output);
        std::memcpy(part.rows(output), part.rows(inputs[0]), count * sizeof(float));
        part.run.kernels.add(part.rows(inputs[1]), count, part.rows(output));
    }
};

// Selects one token's row of each text.
struct Select final : Step {
    const char* name() const override { return last ? "last" : "first"; }
    bool is_row_wise() const override { return false; }

    bool last;

    void execute(const Part& part) const override {
        const Texts& texts = part.run.texts;
        const std::size_t width = part.run.width(output);
        for (std::size_t text = part.begin; text < part.end; ++text) {
            const std::size_t row = last ? texts.end(text) - 1 : texts.begin(text);
            std::memcpy(part.run.rows(output) + text * width, part.run.rows(inputs[0]) + row * width, width * sizeof(float));
        }
    }
};

struct Mean final : Step {
    const char* name() const override { return "mean"; }
    bool is_row_wise() const override { return false; }

    void execute(const Part& part) const override {
        const std::size_t width = part.run.width(output);
        for (std::size_t text = part.begin; text < part.end; ++text) {
            const std::size_t begin = part.run.texts.begin(text), tokens = part.run.texts.end(text) - begin;
            write_mean(part.run.kernels, part.run.rows(inputs[0]) + begin * width, tokens, width,
                       part.run.rows(output) + text * width);
        }
    }
};

struct Join final : Step {
    const char* name() const override { return "join"; }

    void execute(const Part& part) const override {
        const std::size_t width = part.run.width(output);
        float* target = part.rows(output);
        for (int input : inputs) {
            const std::size_t input_width = part.run.width(input);
            const float* rows = part.rows(input);
            for (std::size_t row = 0; row < part.count(); ++row)
                std::memcpy(target + row * width, rows + row * input_width, input_width * sizeof(float));
            target += input_width;
        }
    }
};

struct Neighbours final : Step {
    const char* name() const override { return "neighbours"; }
    bool is_row_wise() const override { return false; }

    std::size_t size;

    void execute(const Part& part) const override {
        const std::size_t width = part.run.width(inputs[0]), side = size / 2;
        for (std::size_t text = part.begin; text < part.end; ++text) {
            const std::size_t begin = part.run.texts.begin(text), tokens = part.run.texts.end(text) - begin;
            const float* rows = part.run.rows(inputs[0]) + begin * width;
            float* target = part.run.rows(output) + begin * width * size;
            for (std::size_t token = 0; token < tokens; ++token)
                for (std::size_t i = 0; i < size; ++i, target += width) {
                    const std::size_t neighbour = token + i - side;  // wraps to a large number before the first token
                    if (neighbour < tokens)
                        std::memcpy(target, rows + neighbour * width, width * sizeof(float));
                    else
                        std::memset(target, 0, width * sizeof(float));
                }
        }
    }
};

// Written so that no product or sum of these numbers, which come from Python, overflows.
bool fits(std::size_t width, const Heads& heads) {
    if (!heads.count || !heads.size || heads.count > width / heads.size) return false;
    return heads.first <= width - heads.width();
}

}  // namespace

int Network::embed(const Embedding& embedding) {
    for (const Table* table : {&embedding.segments, &embedding.positions})
        if (table->rows && table->width != embedding.tokens.width)
            throw std::invalid_argument("the embedding tables have different widths");
    auto step = std::make_unique<Embed>();
    step->embedding = embedding;
    if (embedding.segments.rows || embedding.positions.rows) depends_on_earlier_ids_only_ = false;
    return add_step(std::move(step), {}, embedding.tokens.width, false);
}

int Network::scale(int input, float factor) {
    auto step = std::make_unique<Scale>();
    step->factor = factor;
    return add_step(std::move(step), {input}, width(input), per_text(input));
}

int Network::norm(int input, const float* weight, const float* bias, float epsilon) {
    auto step = std::make_unique<Norm>();
    step->weight = weight;
    step->bias = bias;
    step->epsilon = epsilon;
    return add_step(std::move(step), {input}, width(input), per_text(input));
}

int Network::rms_norm(int input, const float* weight, float epsilon) {
    auto step = std::make_unique<RmsNorm>();
    step->weight = weight;
    step->epsilon = epsilon;
    return add_step(std::move(step), {input}, width(input), per_text(input));
}

int Network::linear(int input, const LinearWeights& weights, Activation activation, int residual) {
    if (weights.inputs != width(input)) throw std::invalid_argument("the weights have another number of inputs than the rows have columns");
    if (residual >= 0 && (width(residual) != weights.outputs || per_text(residual) != per_text(input)))
        throw std::invalid_argument("the rows that are added have another shape than the product");
    if (weights.wide_inputs && activation != Activation::none)
        throw std::invalid_argument("a product with wide inputs has no activation");
    auto step = std::make_unique<Linear>();
    step->weights = weights;
    step->activation = activation;
    std::vector<int> inputs = {input};
    if (residual >= 0) inputs.push_back(residual);
    return add_step(std::move(step), std::move(inputs), weights.outputs, per_text(input));
}

int Network::transform_heads(int input, const Heads& heads, const HeadTransform& transform, bool last) {
    if (!fits(width(input), heads)) throw std::invalid_argument("the rows have fewer columns than the heads");
    if (transform.cos && heads.size % 2) throw std::invalid_argument("rotary positions need heads of an even size");
    auto step = std::make_unique<TransformHeads>();
    step->heads = heads;
    step->transform = transform;
    step->last = last;
    const int output = add_step(std::move(step), {input}, width(input), per_text(input));
    slots_[static_cast<std::size_t>(output)].storage = slot(input).storage;
    slots_[static_cast<std::size_t>(input)].overwritten = true;
    return output;
}

int Network::attend(int queries, int keys, const Attention& attention) {
    return add_attention(queries, keys, attention, nullptr);
}

int Network::attend_disentangled(int queries, int keys, const Attention& attention, const RelativePositions& relative) {
    if (attention.causal || attention.window || attention.key_heads != attention.heads)
        throw std::invalid_argument("attention over relative positions has no window, and as many heads of keys as of queries");
    if (!relative.terms.positions) throw std::invalid_argument("relative positions need at least one position");
    for (const RelativeTerm* term : {&relative.terms.falling, &relative.terms.rising})
        for (std::size_t i = 0; term->table && i < 2 * relative.terms.positions - 1; ++i)
            check_index("relative position", term->columns[i], term->embeddings);
    return add_attention(queries, keys, attention, &relative);
}

int Network::add_attention(int queries, int keys, const Attention& attention, const RelativePositions* relative) {
    const std::size_t size = attention.head_size;
    if (!fits(width(queries), {attention.query_column, attention.heads, size}) ||
        !fits(width(keys), {attention.key_column, attention.key_heads, size}) ||
        !fits(width(keys), {attention.value_column, attention.key_heads, size}))
        throw std::invalid_argument("queries, keys or values have fewer columns than the heads");
    if (attention.heads % attention.key_heads) throw std::invalid_argument("heads cannot share the key heads equally");
    if (per_text(keys)) throw std::invalid_argument("keys need one row per token");
    if (attention.causal && (attention.window || attention.hides_segment_1))
        throw std::invalid_argument("causal attention has no window and no hidden tokens");
    if (attention.causal && attention.int8) throw std::invalid_argument("causal attention has no int8 products");
    std::unique_ptr<Attend> step;
    if (relative) {
        auto disentangled = std::make_unique<AttendDisentangled>();
        disentangled->relative = *relative;
        step = std::move(disentangled);
    } else {
        step = std::make_unique<Attend>();
    }
    step->attention = attention;
    step->layer = attention_steps_.size();
    step->is_last = true;
    if (!attention_steps_.empty()) static_cast<Attend&>(*steps_[attention_steps_.back()]).is_last = false;
    const int output = add_step(std::move(step), {queries, keys}, attention.heads * size, per_text(queries));
    attention_steps_.push_back(static_cast<std::size_t>(output));
    attention_columns_.push_back(2 * attention.key_heads * size);
    if (!attention.causal) depends_on_earlier_ids_only_ = false;
    return output;
}

int Network::activate(int input, Activation activation) {
    auto step = std::make_unique<Activate>();
    step->activation = activation;
    return add_step(std::move(step), {input}, width(input), per_text(input));
}

int Network::gate(int input, Activation activation) {
    if (width(input) % 2) throw std::invalid_argument("a gate needs an even number of columns");
    auto step = std::make_unique<Gate>();
    step->activation = activation;
    return add_step(std::move(step), {input}, width(input) / 2, per_text(input));
}

int Network::add(int left, int right) {
    if (width(left) != width(right) || per_text(left) != per_text(right))
        throw std::invalid_argument("rows that are added have different shapes");
    return add_step(std::make_unique<Add>(), {left, right}, width(left), per_text(left));
}

int Network::first(int input) {
    if (per_text(input)) return input;
    auto step = std::make_unique<Select>();
    step->last = false;
    return add_step(std::move(step), {input}, width(input), true);
}

int Network::last(int input) {
    if (per_text(input)) throw std::invalid_argument("the last row needs one row per token");
    auto step = std::make_unique<Select>();
    step->last = true;
    return add_step(std::move(step), {input}, width(input), true);
}

int Network::mean(int input) {
    if (per_text(input)) throw std::invalid_argument("a mean needs one row per token");
    depends_on_earlier_ids_only_ = false;
    return add_step(std::make_unique<Mean>(), {input}, width(input), true);
}

int Network::join(const std::vector<int>& inputs) {
    if (inputs.empty()) throw std::invalid_argument("nothing to join");
    std::size_t joined_width = 0;
    for (int input : inputs) {
        if (per_text(input) != per_text(inputs.front()))
            throw std::invalid_argument("rows that are joined must be one per text, or one per token, on all sides");
        joined_width += width(input);
    }
    return add_step(std::make_unique<Join>(), inputs, joined_width, per_text(inputs.front()));
}

int Network::neighbours(int input, std::size_t size) {
    if (per_text(input)) throw std::invalid_argument("only tokens have neighbours");
    if (size % 2 == 0 || size > MAX_NEIGHBOURS) throw std::invalid_argument("the number of neighbours must be odd, and small");
    depends_on_earlier_ids_only_ = false;
    auto step = std::make_unique<Neighbours>();
    step->size = size;
    return add_step(std::move(step), {input}, size * width(input), false);
}

}  // namespace podium
