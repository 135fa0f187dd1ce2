#include "network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace podium {

std::size_t Texts::cut(std::size_t text) const {
    std::size_t of_second = 0;
    for (std::size_t at = begin(text); at < end(text); ++at) of_second += segments[at] != 0;
    const std::size_t first = end(text) - begin(text) - of_second;
    return begin(text) + (first ? first - 1 : 0);
}

// ---- memory ----

namespace {

// Grows, never shrinks, and does not keep what it held when it grows.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    T* sized(std::size_t count) {
        if (count > size_) {
            std::free(data_);
            size_ = 0;
            data_ = static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
            if (!data_) throw std::bad_alloc();
            size_ = count;
        }
        return data_;
    }
    T* data() const { return data_; }
    std::size_t bytes() const { return size_ * sizeof(T); }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

constexpr std::size_t KEPT_BYTES = std::size_t{64} << 20;  // a workspace that grew beyond this is given back after its run

}  // namespace

class Workspace {
  public:
    std::vector<Buffer<float>> rows;
    Buffer<std::uint8_t> whole;
    Buffer<float> scales, numbers;
    Buffer<std::int32_t> zeros;
    std::vector<float> scratch;

    std::size_t bytes() const {
        std::size_t total = whole.bytes() + scales.bytes() + zeros.bytes() + numbers.bytes() + scratch.size() * sizeof(float);
        for (const auto& each : rows) total += each.bytes();
        return total;
    }
};

struct Run {
    const Network& network;
    const Kernels& kernels;
    const Texts& texts;
    Workspace& memory;

    std::size_t rows(int x) const { return network.slot(x).per_text ? texts.count : texts.tokens(); }
    std::size_t width(int x) const { return network.slot(x).width; }
    float* at(int x) const { return memory.rows[static_cast<std::size_t>(network.slot(x).buffer)].data(); }
};

// ---- steps ----

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

void mean_of(const Kernels& kernels, const float* rows, std::size_t count, std::size_t width, float* mean) {
    std::fill(mean, mean + width, 0.0f);
    for (std::size_t row = 0; row < count; ++row) kernels.add(rows + row * width, width, mean);
    for (std::size_t at = 0; at < width; ++at) mean[at] /= static_cast<float>(count);
}

struct Mean final : Step {
    const char* name() const override { return "mean"; }

    void run(Run& run) const override {
        const std::size_t width = run.width(output);
        for (std::size_t text = 0; text < run.texts.count; ++text)
            mean_of(run.kernels, run.at(inputs[0]) + (run.texts.begin(text) - run.texts.begin(0)) * width,
                    run.texts.end(text) - run.texts.begin(text), width, run.at(output) + text * width);
    }
};

struct Compare final : Step {
    const char* name() const override { return "compare"; }

    Comparison comparison;

    // One side of a pair, less its [CLS].
    struct Side {
        const float* rows;
        const std::int32_t* ids;
        std::size_t tokens;
    };

    void run(Run& run) const override {
        const std::size_t width = run.width(inputs[0]), base = run.texts.begin(0);
        for (std::size_t text = 0; text < run.texts.count; ++text) {
            const std::size_t begin = run.texts.begin(text), end = run.texts.end(text), cut = run.texts.cut(text);
            if (cut < begin + 2 || cut + 2 > end) throw std::out_of_range("a pair has no token on one of its sides");
            for (std::size_t at = begin; at < end; ++at)
                if (run.texts.ids[at] < 0 || static_cast<std::size_t>(run.texts.ids[at]) >= comparison.vocabulary)
                    throw std::out_of_range("token id " + std::to_string(run.texts.ids[at]) + " is not among the model's " +
                                            std::to_string(comparison.vocabulary));
            const float* x = run.at(inputs[0]);
            const auto side = [&](std::size_t from, std::size_t to) {
                return Side{x + (from + 1 - base) * width, run.texts.ids + from + 1, to - from - 1};
            };
            const Side asked = side(begin, cut), answer = side(cut, end);
            float* out = run.at(output) + 4 * text;
            float* means = run.memory.numbers.sized(2 * width);
            mean_of(run.kernels, asked.rows - width, asked.tokens + 1, width, means);
            mean_of(run.kernels, answer.rows - width, answer.tokens + 1, width, means + width);
            out[0] = run.kernels.dot(means, means + width, width) / (length(run, means, width) * length(run, means + width, width));
            out[1] = best_matches(run, asked, answer, width);
            words_and_runs(asked, answer, out + 2);
        }
    }

    static float length(Run& run, const float* row, std::size_t width) {
        return std::max(std::sqrt(run.kernels.dot(row, row, width)), 1e-12f);
    }

    // The mean over the query's tokens, weighted by importance, of the cosine to the text's token most like each.
    float best_matches(Run& run, const Side& asked, const Side& answer, std::size_t width) const {
        float* lengths = run.memory.numbers.sized(answer.tokens + asked.tokens);
        float* importance = lengths + answer.tokens;
        for (std::size_t t = 0; t < answer.tokens; ++t) lengths[t] = length(run, answer.rows + t * width, width);
        float highest = -INFINITY;
        for (std::size_t q = 0; q < asked.tokens; ++q) {
            importance[q] = run.kernels.dot(asked.rows + q * width, comparison.importance, width) +
                            comparison.importance_bias + comparison.token_importance[asked.ids[q]];
            highest = std::max(highest, importance[q]);
        }
        float total = 0.0f, weighted = 0.0f;
        for (std::size_t q = 0; q < asked.tokens; ++q) {
            const float* row = asked.rows + q * width;
            const float own = length(run, row, width);
            float best = -INFINITY;
            for (std::size_t t = 0; t < answer.tokens; ++t)
                best = std::max(best, run.kernels.dot(row, answer.rows + t * width, width) / (own * lengths[t]));
            const float weight = std::exp(importance[q] - highest);
            total += weight;
            weighted += weight * best;
        }
        return weighted / total;
    }

    // Shared words as BM25 counts them, and shared runs of three tokens; both over the idf of the whole query.
    void words_and_runs(const Side& asked, const Side& answer, float* out) const {
        const auto same = [&](std::size_t q, std::size_t t) {
            return q < asked.tokens && t < answer.tokens &&
                   comparison.token_stem[asked.ids[q]] == comparison.token_stem[answer.ids[t]];
        };
        const auto piece = [&](std::size_t q) { return q < asked.tokens ? comparison.token_piece_idf[asked.ids[q]] : 0.0f; };
        const float saturation =
            static_cast<float>(answer.tokens) * (comparison.k1 * comparison.b / comparison.usual_tokens) +
            comparison.k1 * (1.0f - comparison.b);
        float whole = 1e-6f, words = 0.0f, runs = 0.0f;
        for (std::size_t q = 0; q < asked.tokens; ++q) {
            float count = 0.0f;
            bool run_shared = false;
            for (std::size_t t = 0; t < answer.tokens; ++t) {
                if (!same(q, t)) continue;
                count += 1.0f;
                run_shared = run_shared || (same(q + 1, t + 1) && same(q + 2, t + 2));
            }
            const float idf = comparison.token_idf[asked.ids[q]];
            whole += idf;
            words += idf * (count * (comparison.k1 + 1.0f)) / (count + saturation);
            if (run_shared) runs += piece(q) + piece(q + 1) + piece(q + 2);
        }
        out[0] = words / whole;
        out[1] = runs / (whole * 3.0f);
    }
};

}  // namespace

// ---- the list of steps ----

Network::Network(const Kernels& kernels) : kernels_(kernels) {}

Network::~Network() = default;

const Network::Slot& Network::slot(int x) const {
    if (x < 0 || static_cast<std::size_t>(x) >= slots_.size()) throw std::invalid_argument("no step gave these rows");
    return slots_[static_cast<std::size_t>(x)];
}

std::size_t Network::width(int x) const { return slot(x).width; }

bool Network::per_text(int x) const { return slot(x).per_text; }

int Network::add_step(std::unique_ptr<Step> step, std::vector<int> inputs, std::size_t width, bool per_text) {
    if (result_ >= 0) throw std::invalid_argument("the network is finished");
    if (!width) throw std::invalid_argument("rows have at least one column");
    for (int x : inputs) slot(x);
    step->inputs = std::move(inputs);
    step->output = static_cast<int>(slots_.size());
    slots_.push_back({width, per_text});
    steps_.push_back(std::move(step));
    return static_cast<int>(slots_.size()) - 1;
}

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

int Network::compare(int x, const Comparison& comparison) {
    if (per_text(x)) throw std::invalid_argument("a comparison takes every token's row");
    auto step = std::make_unique<Compare>();
    step->comparison = comparison;
    return add_step(std::move(step), {x}, 4, true);
}

// Rows that are no longer read give their memory to rows that come later.
void Network::finish(int result) {
    if (!per_text(result)) throw std::invalid_argument("the result has a row for every token");
    std::vector<std::size_t> last_read(slots_.size(), 0);
    for (std::size_t at = 0; at < steps_.size(); ++at)
        for (int x : steps_[at]->inputs) last_read[static_cast<std::size_t>(x)] = at;
    last_read[static_cast<std::size_t>(result)] = steps_.size();
    std::vector<int> free_buffers;
    for (std::size_t at = 0; at < steps_.size(); ++at) {
        Slot& made = slots_[static_cast<std::size_t>(steps_[at]->output)];
        if (free_buffers.empty()) {
            free_buffers.push_back(static_cast<int>(buffer_widths_.size()));
            buffer_widths_.push_back(0);
        }
        made.buffer = free_buffers.back();
        free_buffers.pop_back();
        std::size_t& widest = buffer_widths_[static_cast<std::size_t>(made.buffer)];
        widest = std::max(widest, made.width);
        std::vector<int> done = steps_[at]->inputs;
        std::sort(done.begin(), done.end());
        done.erase(std::unique(done.begin(), done.end()), done.end());
        for (int x : done)
            if (last_read[static_cast<std::size_t>(x)] == at) free_buffers.push_back(slots_[static_cast<std::size_t>(x)].buffer);
    }
    result_ = result;
}

std::unique_ptr<Workspace> Network::take() const {
    const std::lock_guard<std::mutex> held(lock_);
    if (free_.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> last = std::move(free_.back());
    free_.pop_back();
    return last;
}

std::vector<const char*> Network::step_names() const {
    std::vector<const char*> names;
    for (const auto& step : steps_) names.push_back(step->name());
    return names;
}

void Network::run(const Texts& texts, float* result, double* seconds) const {
    if (result_ < 0) throw std::invalid_argument("the network is not finished");
    for (std::size_t text = 0; text < texts.count; ++text)
        if (texts.end(text) <= texts.begin(text)) throw std::invalid_argument("a text has no tokens");
    if (!texts.count) return;
    std::unique_ptr<Workspace> memory = take();
    memory->rows.resize(buffer_widths_.size());
    for (std::size_t at = 0; at < buffer_widths_.size(); ++at) memory->rows[at].sized(texts.tokens() * buffer_widths_[at]);
    Run now{*this, kernels_, texts, *memory};
    for (std::size_t at = 0; at < steps_.size(); ++at) {
        if (!seconds) {
            steps_[at]->run(now);
            continue;
        }
        const auto began = std::chrono::steady_clock::now();
        steps_[at]->run(now);
        seconds[at] += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }
    std::memcpy(result, now.at(result_), texts.count * width(result_) * sizeof(float));
    if (memory->bytes() <= KEPT_BYTES) {
        const std::lock_guard<std::mutex> held(lock_);
        free_.push_back(std::move(memory));
    }
}

}  // namespace podium
