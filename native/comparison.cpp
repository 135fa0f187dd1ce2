// The step `compare`: a late interaction of the two sides of a pair. local/families/late.py describes the four comparisons,
// and computes the same in ONNX.

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>

#include "network.h"
#include "step.h"

namespace podium {
namespace {

// One side of a pair, without its [CLS], which takes part in the means only.
struct Side {
    const float* rows;
    const std::int32_t* ids;
    std::size_t tokens;
};

struct Compare final : Step {
    const char* name() const override { return "compare"; }

    Comparison comparison;

    void execute(Run& run) const override {
        const std::size_t width = run.width(inputs[0]);
        const float* rows = run.rows(inputs[0]);
        for (std::size_t text = 0; text < run.texts.count; ++text) {
            const std::size_t begin = run.texts.begin(text), middle = run.texts.second_side(text), end = run.texts.end(text);
            if (middle < begin + 2 || middle + 2 > end) throw std::out_of_range("a pair has no token on one of its sides");
            for (std::size_t token = begin; token < end; ++token)
                check_index("token id", run.texts.ids[token], comparison.vocabulary);
            const Side query{rows + (begin + 1) * width, run.texts.ids + begin + 1, middle - begin - 1};
            const Side document{rows + (middle + 1) * width, run.texts.ids + middle + 1, end - middle - 1};
            float* result = run.rows(output) + 4 * text;
            result[0] = cosine_of_means(run, query, document, width);
            result[1] = best_matches(run, query, document, width);
            write_lexical_matches(query, document, result + 2);
        }
    }

    static float norm(Run& run, const float* row, std::size_t width) {
        return std::max(std::sqrt(run.kernels.dot(row, row, width)), 1e-12f);
    }

    static float cosine_of_means(Run& run, const Side& query, const Side& document, std::size_t width) {
        float* query_mean = run.workspace.temporary.reserve(2 * width);
        float* document_mean = query_mean + width;
        write_mean(run.kernels, query.rows - width, query.tokens + 1, width, query_mean);
        write_mean(run.kernels, document.rows - width, document.tokens + 1, width, document_mean);
        const float norms = norm(run, query_mean, width) * norm(run, document_mean, width);
        return run.kernels.dot(query_mean, document_mean, width) / norms;
    }

    // The mean over the query's tokens, weighted by the softmax of their importance, of each token's highest cosine with a
    // token of the document.
    float best_matches(Run& run, const Side& query, const Side& document, std::size_t width) const {
        float* document_norms = run.workspace.temporary.reserve(document.tokens + query.tokens);
        float* importance = document_norms + document.tokens;
        for (std::size_t t = 0; t < document.tokens; ++t) document_norms[t] = norm(run, document.rows + t * width, width);
        float highest = -INFINITY;
        for (std::size_t q = 0; q < query.tokens; ++q) {
            importance[q] = run.kernels.dot(query.rows + q * width, comparison.importance, width) +
                            comparison.importance_bias + comparison.token_importance[query.ids[q]];
            highest = std::max(highest, importance[q]);
        }
        float total_weight = 0.0f, weighted_sum = 0.0f;
        for (std::size_t q = 0; q < query.tokens; ++q) {
            const float* row = query.rows + q * width;
            const float query_norm = norm(run, row, width);
            float best = -INFINITY;
            for (std::size_t t = 0; t < document.tokens; ++t) {
                const float product = run.kernels.dot(row, document.rows + t * width, width);
                best = std::max(best, product / (query_norm * document_norms[t]));
            }
            const float weight = std::exp(importance[q] - highest);
            total_weight += weight;
            weighted_sum += weight * best;
        }
        return weighted_sum / total_weight;
    }

    // Writes the share of the query's words that the document has, as BM25 counts them, and the share of its trigrams of
    // tokens. Both are relative to the sum of the query's inverse document frequencies.
    void write_lexical_matches(const Side& query, const Side& document, float* result) const {
        const auto same = [&](std::size_t q, std::size_t t) {
            return q < query.tokens && t < document.tokens &&
                   comparison.token_stem[query.ids[q]] == comparison.token_stem[document.ids[t]];
        };
        const auto piece_idf = [&](std::size_t q) {
            return q < query.tokens ? comparison.token_piece_idf[query.ids[q]] : 0.0f;
        };
        const float saturation =
            static_cast<float>(document.tokens) * (comparison.k1 * comparison.b / comparison.average_tokens) +
            comparison.k1 * (1.0f - comparison.b);
        float total_idf = 1e-6f, words = 0.0f, trigrams = 0.0f;
        for (std::size_t q = 0; q < query.tokens; ++q) {
            float count = 0.0f;
            bool has_trigram = false;
            for (std::size_t t = 0; t < document.tokens; ++t) {
                if (!same(q, t)) continue;
                count += 1.0f;
                has_trigram = has_trigram || (same(q + 1, t + 1) && same(q + 2, t + 2));
            }
            const float idf = comparison.token_idf[query.ids[q]];
            total_idf += idf;
            words += idf * (count * (comparison.k1 + 1.0f)) / (count + saturation);
            if (has_trigram) trigrams += piece_idf(q) + piece_idf(q + 1) + piece_idf(q + 2);
        }
        result[0] = words / total_idf;
        result[1] = trigrams / (total_idf * 3.0f);
    }
};

}  // namespace

int Network::compare(int input, const Comparison& comparison) {
    if (per_text(input)) throw std::invalid_argument("a comparison needs one row per token");
    auto step = std::make_unique<Compare>();
    step->comparison = comparison;
    return add_step(std::move(step), {input}, 4, true);
}

}  // namespace podium
