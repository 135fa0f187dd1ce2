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

struct Embed final : Step {
    const char* name() const override { return "embeddings"; }

    Embedding embedding;

    void run(Run& run) const override {
        const std::size_t width = embedding.words.width;
        float* row = run.at(output);
        float* looked_up = run.memory.numbers.sized(width);
        for (std::size_t text = 0; text < run.texts.count; ++text) {
            const std::size_t cut = embedding.positions == Positions::counted_by_side ? run.texts.cut(text) : 0;
            std::int64_t place = 0, real = 0;
            for (std::size_t at = run.texts.begin(text); at < run.texts.end(text); ++at, ++place, row += width) {
                const std::int32_t id = run.texts.ids[at];
                look_up(run, embedding.words, id, "token id", row);
                if (embedding.segments.rows) {
                    look_up(run, embedding.segments, embedding.by_segment ? run.texts.segments[at] : 0, "segment", looked_up);
                    run.kernels.add(looked_up, width, row);
                }
                if (embedding.positions == Positions::none) continue;
                std::int64_t here = place;
                if (embedding.positions == Positions::counted_by_side && cut && at >= cut)
                    here = static_cast<std::int64_t>(at - cut);
                if (embedding.positions == Positions::after_padding)
                    here = embedding.padding + (id == embedding.padding ? 0 : ++real);
                look_up(run, embedding.places, here, "position", looked_up);
                run.kernels.add(looked_up, width, row);
            }
        }
    }

    static void look_up(Run& run, const Table& table, std::int64_t at, const char* what, float* row) {
        if (at < 0 || static_cast<std::size_t>(at) >= table.count)
            throw std::out_of_range(std::string(what) + " " + std::to_string(at) + " is not among the model's " +
                                    std::to_string(table.count));
        const std::size_t from = static_cast<std::size_t>(at) * table.width;
        if (table.half)
            run.kernels.widen(static_cast<const std::uint16_t*>(table.rows) + from, table.width, row);
        else
            std::memcpy(row, static_cast<const float*>(table.rows) + from, table.width * sizeof(float));
    }
};

struct Norm final : Step {
    const char* name() const override { return "norm"; }

    const float *weight, *bias;
    float epsilon;

    void run(Run& run) const override {
        run.kernels.norm(run.at(inputs[0]), run.rows(output), run.width(output), weight, bias, epsilon, run.at(output));
    }
};

struct Linear final : Step {
    const char* name() const override { return weights.packed ? "linear float32" : "linear int8"; }

    LinearWeights weights;
    Activation activation;

    void run(Run& run) const override {
        const std::size_t rows = run.rows(output), outputs = weights.outputs;
        Epilogue epilogue;
        epilogue.bias = weights.bias;
        epilogue.activation = activation;
        if (inputs.size() > 1) {
            epilogue.added = run.at(inputs[1]);
            epilogue.added_stride = outputs;
        }
        const float* x = run.at(inputs[0]);
        if (weights.packed) {
            run.kernels.linear_f32(x, weights.inputs, rows, weights.inputs, weights.packed, outputs, epilogue, run.at(output),
                                   outputs);
            return;
        }
        const std::size_t stride = (weights.inputs + 3) / 4 * 4;
        Workspace& memory = run.memory;
        std::uint8_t* whole = memory.whole.sized(rows * stride);
        float* scales = memory.scales.sized(rows);
        std::int32_t* zeros = memory.zeros.sized(rows);
        run.kernels.quantise(x, rows, weights.inputs, whole, stride, scales, zeros);
        run.kernels.linear_i8({whole, stride, scales, zeros}, rows, weights.inputs, weights.whole, outputs, epilogue,
                              run.at(output), outputs);
    }
};

struct Attend final : Step {
    const char* name() const override { return "attention"; }

    std::size_t query_column, key_column, value_column;
    Attention attention;

    void run(Run& run) const override {
        for (std::size_t text = 0; text < run.texts.count; ++text) {
            const std::size_t begin = run.texts.begin(text), end = run.texts.end(text);
            const std::size_t cut = attention.by_side ? run.texts.cut(text) : begin;
            if (cut > begin) attend(run, text, begin, cut);
            attend(run, text, cut, end);
        }
    }

    void attend(Run& run, std::size_t text, std::size_t begin, std::size_t end) const {
        const std::size_t q_stride = run.width(inputs[0]), kv_stride = run.width(inputs[1]), tokens = end - begin;
        const bool only_first = run.network.per_text(output);
        const std::size_t first = begin - run.texts.begin(0), row = only_first ? text : first;
        float* q = run.at(inputs[0]) + row * q_stride + query_column;
        float* kv = run.at(inputs[1]) + first * kv_stride;
        const AttentionShape& shape = attention.shape;
        if (attention.cos) {
            if (tokens > attention.rotations)
                throw std::out_of_range("a text of " + std::to_string(tokens) + " tokens is longer than the model's " +
                                        std::to_string(attention.rotations) + " positions");
            // The first token is not rotated: its own row will do where it is the only query.
            if (!only_first) run.kernels.rotate(q, q_stride, tokens, shape.heads, shape.size, attention.cos, attention.sin);
            run.kernels.rotate(kv + key_column, kv_stride, tokens, shape.heads, shape.size, attention.cos, attention.sin);
        }
        const std::size_t width = run.width(output);
        run.kernels.attend(shape, q, q_stride, only_first ? 1 : tokens, kv + key_column, kv + value_column, kv_stride, tokens,
                           run.memory.scratch, run.at(output) + row * width, width);
    }
};

struct Activate final : Step {
    const char* name() const override { return "activation"; }

    Activation activation;

    void run(Run& run) const override {
        run.kernels.activate(run.at(inputs[0]), run.rows(output) * run.width(output), activation, run.at(output));
    }
};

struct Gate final : Step {
    const char* name() const override { return "gate"; }

    Activation activation;

    void run(Run& run) const override {
        run.kernels.gate(run.at(inputs[0]), run.rows(output), run.width(output), activation, run.at(output));
    }
};

struct Add final : Step {
    const char* name() const override { return "add"; }

    void run(Run& run) const override {
        const std::size_t count = run.rows(output) * run.width(output);
        std::memcpy(run.at(output), run.at(inputs[0]), count * sizeof(float));
        run.kernels.add(run.at(inputs[1]), count, run.at(output));
    }
};

struct First final : Step {
    const char* name() const override { return "first"; }

    void run(Run& run) const override {
        const std::size_t width = run.width(output);
        for (std::size_t text = 0; text < run.texts.count; ++text)
            std::memcpy(run.at(output) + text * width,
                        run.at(inputs[0]) + (run.texts.begin(text) - run.texts.begin(0)) * width, width * sizeof(float));
    }
};

struct Mean final : Step {
    const char* name() const override { return "mean"; }

    void run(Run& run) const override {
        const std::size_t width = run.width(output);
        for (std::size_t text = 0; text < run.texts.count; ++text)
            mean_of(run.kernels, run.at(inputs[0]) + (run.texts.begin(text) - run.texts.begin(0)) * width,
                    run.texts.end(text) - run.texts.begin(text), width, run.at(output) + text * width);
    }
};

}  // namespace

int Network::embed(const Embedding& embedding) {
    for (const Table* table : {&embedding.segments, &embedding.places})
        if (table->rows && table->width != embedding.words.width)
            throw std::invalid_argument("tables of embeddings differ in width");
    auto step = std::make_unique<Embed>();
    step->embedding = embedding;
    return add_step(std::move(step), {}, embedding.words.width, false);
}

int Network::norm(int x, const float* weight, const float* bias, float epsilon) {
    auto step = std::make_unique<Norm>();
    step->weight = weight;
    step->bias = bias;
    step->epsilon = epsilon;
    return add_step(std::move(step), {x}, width(x), per_text(x));
}

int Network::linear(int x, const LinearWeights& weights, Activation activation, int added) {
    if (weights.inputs != width(x)) throw std::invalid_argument("weights take another number of columns than there are");
    // Beyond this the sums of 255 × 127 would leave 32 bits.
    if (!weights.packed && weights.inputs > 65'000) throw std::invalid_argument("too many columns for int8");
    if (added >= 0 && (width(added) != weights.outputs || per_text(added) != per_text(x)))
        throw std::invalid_argument("what is added has another shape");
    auto step = std::make_unique<Linear>();
    step->weights = weights;
    step->activation = activation;
    std::vector<int> inputs = {x};
    if (added >= 0) inputs.push_back(added);
    return add_step(std::move(step), std::move(inputs), weights.outputs, per_text(x));
}

int Network::attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
                    const Attention& attention) {
    const std::size_t columns = attention.shape.heads * attention.shape.size;
    if (!columns || query_column + columns > width(queries) || key_column + columns > width(keys) ||
        value_column + columns > width(keys) || per_text(keys) || (per_text(queries) && attention.by_side))
        throw std::invalid_argument("queries, keys and values do not have these heads");
    if (attention.cos && attention.shape.size % 2) throw std::invalid_argument("rotated heads have an even size");
    auto step = std::make_unique<Attend>();
    step->query_column = query_column;
    step->key_column = key_column;
    step->value_column = value_column;
    step->attention = attention;
    return add_step(std::move(step), {queries, keys}, columns, per_text(queries));
}

int Network::activate(int x, Activation activation) {
    auto step = std::make_unique<Activate>();
    step->activation = activation;
    return add_step(std::move(step), {x}, width(x), per_text(x));
}

int Network::gate(int x, Activation activation) {
    if (width(x) % 2) throw std::invalid_argument("a gate takes an even number of columns");
    auto step = std::make_unique<Gate>();
    step->activation = activation;
    return add_step(std::move(step), {x}, width(x) / 2, per_text(x));
}

int Network::add(int x, int y) {
    if (width(x) != width(y) || per_text(x) != per_text(y)) throw std::invalid_argument("what is added has another shape");
    return add_step(std::make_unique<Add>(), {x, y}, width(x), per_text(x));
}

int Network::first(int x) {
    if (per_text(x)) return x;
    return add_step(std::make_unique<First>(), {x}, width(x), true);
}

int Network::mean(int x) {
    if (per_text(x)) throw std::invalid_argument("there is one row a text already");
    return add_step(std::make_unique<Mean>(), {x}, width(x), true);
}

}  // namespace podium
