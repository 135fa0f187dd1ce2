#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>

#include "network.h"
#include "step.h"

namespace podium {
namespace {

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

int Network::compare(int x, const Comparison& comparison) {
    if (per_text(x)) throw std::invalid_argument("a comparison takes every token's row");
    auto step = std::make_unique<Compare>();
    step->comparison = comparison;
    return add_step(std::move(step), {x}, 4, true);
}

}  // namespace podium
