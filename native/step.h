// The base class of steps, and what a step sees of the run that executes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "network.h"
#include "prefix.h"
#include "workspace.h"

namespace podium {

// One run of a network, which several threads can compute together.
struct Run {
    const Network& network;
    const Kernels& kernels;
    const Texts& texts;
    Workspace& workspace;
    Prefix* new_prefix;  // where attention steps store the keys and values of the only text, null if they are not needed

    bool per_text(int slot) const { return network.slot(slot).per_text; }
    std::size_t row_count(int slot) const { return per_text(slot) ? texts.count : texts.tokens(); }
    std::size_t width(int slot) const { return network.slot(slot).width; }
    // The first row of a slot, whose rows all threads see.
    float* rows(int slot) const { return workspace.slots[static_cast<std::size_t>(network.slot(slot).buffer)].data(); }
    std::size_t prefix_tokens() const { return texts.prefix ? texts.prefix->tokens : 0; }
};

// The part of a step's work that one thread computes: the units begin … end - 1 of `total`. A unit is a row if the step works
// row by row.
struct Part {
    const Run& run;
    Scratch& scratch;
    std::size_t begin, end, total;

    std::size_t count() const { return end - begin; }
    // The row `begin` of a slot, for steps that work row by row.
    float* rows(int slot) const {
        const Network::Slot& s = run.network.slot(slot);
        const auto buffer = static_cast<std::size_t>(s.buffer);
        return s.is_local ? scratch.slots[buffer].data() : run.workspace.slots[buffer].data() + begin * s.width;
    }
};

class Step {
  public:
    virtual ~Step() = default;
    // Computes a part of the rows of slot `output`. Its memory is not shared with any of the inputs.
    virtual void execute(const Part& part) const = 0;
    // The kind of step, for profiles.
    virtual const char* name() const = 0;
    // Whether each row of the output depends only on the same row of the inputs.
    virtual bool is_row_wise() const { return true; }
    // For other steps, the number of units into which the work can be divided for this many threads.
    virtual std::size_t unit_count(const Run& run, std::size_t) const { return run.texts.count; }

    std::vector<int> inputs;  // slots
    int output = -1;          // slot
};

inline void check_index(const char* name, std::int64_t index, std::size_t count) {
    if (index < 0 || static_cast<std::size_t>(index) >= count)
        throw std::out_of_range(std::string(name) + " " + std::to_string(index) + " is out of range: the model has " +
                                std::to_string(count));
}

inline void write_mean(const Kernels& kernels, const float* rows, std::size_t count, std::size_t width, float* mean) {
    std::fill(mean, mean + width, 0.0f);
    for (std::size_t row = 0; row < count; ++row) kernels.add(rows + row * width, width, mean);
    for (std::size_t c = 0; c < width; ++c) mean[c] /= static_cast<float>(count);
}

}  // namespace podium
