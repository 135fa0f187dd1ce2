// The kinds of steps. For each one: a subclass of Step, which computes, and the method of Network that checks sizes and adds it.

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

#include "network.h"
#include "step.h"

namespace podium {
namespace {

struct Embed final : Step {
    const char* name() const override { return "embeddings"; }

    Embedding embedding;

    void execute(Run& run) const override {
        const Texts& texts = run.texts;
        float* row = run.rows(output);
        for (std::size_t text = 0; text < texts.count; ++text) {
            std::int64_t not_padding = 0;
            for (std::size_t token = texts.begin(text); token < texts.end(text); ++token, row += embedding.tokens.width) {
                const std::int32_t id = texts.ids[token];
                copy_row(run, embedding.tokens, "token id", id, row);
                if (embedding.segments.rows)
                    add_row(run, embedding.segments, "segment", embedding.use_segment_ids ? texts.segments[token] : 0, row);
                if (embedding.position_kind == PositionKind::none) continue;
                std::int64_t position = static_cast<std::int64_t>(token - texts.begin(text));
                if (embedding.position_kind == PositionKind::after_padding)
                    position = embedding.padding_id + (id == embedding.padding_id ? 0 : ++not_padding);
                add_row(run, embedding.positions, "position", position, row);
            }
        }
    }

    static void copy_row(Run& run, const Table& table, const char* index_name, std::int64_t index, float* row) {
        check_index(index_name, index, table.count);
        copy_numbers(run, table.kind, table.rows, static_cast<std::size_t>(index) * table.width, table.width, row);
        if (table.scales) scale_row(run, table, static_cast<std::size_t>(index), row);
    }

    // Copies `count` numbers of any kind as float32, beginning with the one at index `offset`.
    static void copy_numbers(Run& run, NumberKind kind, const void* numbers, std::size_t offset, std::size_t count, float* y) {
        if (kind == NumberKind::float32) {
            std::memcpy(y, static_cast<const float*>(numbers) + offset, count * sizeof(float));
        } else if (kind == NumberKind::float16) {
            run.kernels.widen(static_cast<const std::uint16_t*>(numbers) + offset, count, y);
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

    static void scale_row(Run& run, const Table& table, std::size_t index, float* row) {
        float* scales = run.workspace.row_scales.reserve(table.blocks);
        copy_numbers(run, table.scale_kind, table.scales, index * table.blocks, table.blocks, scales);
        const std::size_t block_width = table.width / table.blocks;
        for (std::size_t block = 0; block < table.blocks; ++block)
            for (std::size_t i = 0; i < block_width; ++i) *row++ *= scales[block];
    }

    static void add_row(Run& run, const Table& table, const char* index_name, std::int64_t index, float* row) {
        float* added = run.workspace.temporary.reserve(table.width);
        copy_row(run, table, index_name, index, added);
        run.kernels.add(added, table.width, row);
    }
};

struct Norm final : Step {
    const char* name() const override { return "norm"; }

    const float *weight, *bias;
    float epsilon;

    void execute(Run& run) const override {
        run.kernels.norm(run.rows(inputs[0]), run.row_count(output), run.width(output), weight, bias, epsilon,
                         run.rows(output));
    }
};

struct Linear final : Step {
    const char* name() const override { return weights.packed_f32 ? "linear float32" : "linear int8"; }

    LinearWeights weights;
    Activation activation;

    void execute(Run& run) const override {
        const std::size_t rows = run.row_count(output), outputs = weights.outputs;
        const float* x = run.rows(inputs[0]);
        float* y = run.rows(output);
        const float* residual = inputs.size() > 1 ? run.rows(inputs[1]) : nullptr;
        const Epilogue epilogue{weights.bias, activation, residual, outputs};
        if (weights.packed_f32) {
            run.kernels.linear_f32(x, weights.inputs, rows, weights.inputs, weights.packed_f32, outputs, epilogue, y, outputs);
            return;
        }
        const std::size_t stride = (weights.inputs + 3) / 4 * 4;
        std::uint8_t* values = run.workspace.int8_values.reserve(rows * stride);
        float* scales = run.workspace.int8_scales.reserve(rows);
        std::int32_t* zero_points = run.workspace.int8_zero_points.reserve(rows);
        run.kernels.quantise(x, rows, weights.inputs, values, stride, scales, zero_points);
        const Int8Rows int8_rows{values, stride, scales, zero_points};
        run.kernels.linear_i8(int8_rows, rows, weights.inputs, weights.int8, outputs, epilogue, y, outputs);
    }
};

struct Attend final : Step {
    const char* name() const override { return "attention"; }

    std::size_t query_column, key_column, value_column;
    Attention attention;

    void execute(Run& run) const override {
        for (std::size_t text = 0; text < run.texts.count; ++text) attend(run, text);
    }

    // Lets every token of a text attend to all of its tokens. If the output has one row per text, only the first token attends.
    void attend(Run& run, std::size_t text) const {
        const std::size_t begin = run.texts.begin(text), tokens = run.texts.end(text) - begin;
        const std::size_t q_stride = run.width(inputs[0]), kv_stride = run.width(inputs[1]);
        std::size_t keys = tokens;
        if (attention.hides_segment_1)
            while (keys > 1 && run.texts.segments[begin + keys - 1]) --keys;
        const bool first_only = run.per_text(output);
        const std::size_t query_row = first_only ? text : begin;
        const AttentionShape& shape = attention.shape;
        float* q = run.rows(inputs[0]) + query_row * q_stride + query_column;
        float* kv = run.rows(inputs[1]) + begin * kv_stride;
        if (attention.cos) {
            if (tokens > attention.rotary_positions)
                throw std::out_of_range("a text has " + std::to_string(tokens) + " tokens: the model has " +
                                        std::to_string(attention.rotary_positions) + " positions");
            // The rotation of position 0 is the identity, so a query of the first token needs none.
            if (!first_only) rotate(run, q, q_stride, tokens);
            rotate(run, kv + key_column, kv_stride, tokens);
        }
        const std::size_t width = run.width(output);
        float* scratch = run.workspace.attention_scratch.reserve(run.kernels.attention_scratch(shape, keys));
        run.kernels.attend(shape, q, q_stride, first_only ? 1 : tokens, kv + key_column, kv + value_column, kv_stride, keys,
                           scratch, run.rows(output) + query_row * width, width);
    }

    void rotate(Run& run, float* rows, std::size_t stride, std::size_t tokens) const {
        run.kernels.rotate(rows, stride, tokens, attention.shape.heads, attention.shape.head_size, attention.cos,
                           attention.sin);
    }
};

struct Activate final : Step {
    const char* name() const override { return "activation"; }

    Activation activation;

    void execute(Run& run) const override {
        run.kernels.activate(run.rows(inputs[0]), run.row_count(output) * run.width(output), activation, run.rows(output));
    }
};

struct Gate final : Step {
    const char* name() const override { return "gate"; }

    Activation activation;

    void execute(Run& run) const override {
        run.kernels.gate(run.rows(inputs[0]), run.row_count(output), run.width(output), activation, run.rows(output));
    }
};

struct Add final : Step {
    const char* name() const override { return "add"; }

    void execute(Run& run) const override {
        const std::size_t count = run.row_count(output) * run.width(output);
        std::memcpy(run.rows(output), run.rows(inputs[0]), count * sizeof(float));
        run.kernels.add(run.rows(inputs[1]), count, run.rows(output));
    }
};

struct First final : Step {
    const char* name() const override { return "first"; }

    void execute(Run& run) const override {
        const std::size_t width = run.width(output);
        const float* rows = run.rows(inputs[0]);
        float* first = run.rows(output);
        for (std::size_t text = 0; text < run.texts.count; ++text, first += width)
            std::memcpy(first, rows + run.texts.begin(text) * width, width * sizeof(float));
    }
};

struct Mean final : Step {
    const char* name() const override { return "mean"; }

    void execute(Run& run) const override {
        const std::size_t width = run.width(output);
        const float* rows = run.rows(inputs[0]);
        float* mean = run.rows(output);
        for (std::size_t text = 0; text < run.texts.count; ++text, mean += width) {
            const std::size_t begin = run.texts.begin(text), tokens = run.texts.end(text) - begin;
            write_mean(run.kernels, rows + begin * width, tokens, width, mean);
        }
    }
};

struct Join final : Step {
    const char* name() const override { return "join"; }

    void execute(Run& run) const override {
        const std::size_t width = run.width(output), count = run.row_count(output);
        float* target = run.rows(output);
        for (int input : inputs) {
            const std::size_t input_width = run.width(input);
            const float* rows = run.rows(input);
            for (std::size_t row = 0; row < count; ++row)
                std::memcpy(target + row * width, rows + row * input_width, input_width * sizeof(float));
            target += input_width;
        }
    }
};

}  // namespace

int Network::embed(const Embedding& embedding) {
    for (const Table* table : {&embedding.segments, &embedding.positions})
        if (table->rows && table->width != embedding.tokens.width)
            throw std::invalid_argument("the embedding tables have different widths");
    auto step = std::make_unique<Embed>();
    step->embedding = embedding;
    return add_step(std::move(step), {}, embedding.tokens.width, false);
}

int Network::norm(int input, const float* weight, const float* bias, float epsilon) {
    auto step = std::make_unique<Norm>();
    step->weight = weight;
    step->bias = bias;
    step->epsilon = epsilon;
    return add_step(std::move(step), {input}, width(input), per_text(input));
}

int Network::linear(int input, const LinearWeights& weights, Activation activation, int residual) {
    if (weights.inputs != width(input)) throw std::invalid_argument("the weights have another number of inputs than the rows have columns");
    if (residual >= 0 && (width(residual) != weights.outputs || per_text(residual) != per_text(input)))
        throw std::invalid_argument("the rows that are added have another shape than the product");
    auto step = std::make_unique<Linear>();
    step->weights = weights;
    step->activation = activation;
    std::vector<int> inputs = {input};
    if (residual >= 0) inputs.push_back(residual);
    return add_step(std::move(step), std::move(inputs), weights.outputs, per_text(input));
}

int Network::attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
                    const Attention& attention) {
    const std::size_t heads = attention.shape.heads, head_size = attention.shape.head_size;
    // Written so that no product or sum of these numbers, which come from Python, overflows.
    const std::size_t columns = head_size && heads <= width(keys) / head_size ? heads * head_size : 0;
    const auto fits = [&](int slot, std::size_t column) {
        return columns && columns <= width(slot) && column <= width(slot) - columns;
    };
    if (!fits(queries, query_column) || !fits(keys, key_column) || !fits(keys, value_column))
        throw std::invalid_argument("queries, keys or values have fewer columns than the heads");
    if (per_text(keys)) throw std::invalid_argument("keys need one row per token");
    if (attention.cos && head_size % 2) throw std::invalid_argument("rotary positions need heads of an even size");
    auto step = std::make_unique<Attend>();
    step->query_column = query_column;
    step->key_column = key_column;
    step->value_column = value_column;
    step->attention = attention;
    const int output = add_step(std::move(step), {queries, keys}, columns, per_text(queries));
    if (attention.cos) {
        slots_[static_cast<std::size_t>(keys)].overwritten = true;
        if (!per_text(queries)) slots_[static_cast<std::size_t>(queries)].overwritten = true;
    }
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
    return add_step(std::make_unique<First>(), {input}, width(input), true);
}

int Network::mean(int input) {
    if (per_text(input)) throw std::invalid_argument("a mean needs one row per token");
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

}  // namespace podium
