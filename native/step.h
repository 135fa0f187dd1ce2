// The base class of steps, and what a step sees of the run that executes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "network.h"
#include "workspace.h"

namespace podium {

// One call of Network::run.
struct Run {
    const Network& network;
    const Kernels& kernels;
    const Texts& texts;
    Workspace& workspace;

    bool per_text(int slot) const { return network.slot(slot).per_text; }
    std::size_t row_count(int slot) const { return per_text(slot) ? texts.count : texts.tokens(); }
    std::size_t width(int slot) const { return network.slot(slot).width; }
    float* rows(int slot) const { return workspace.slots[static_cast<std::size_t>(network.slot(slot).buffer)].data(); }
};

class Step {
  public:
    virtual ~Step() = default;
    // Computes the rows of slot `output`. Its memory is not shared with any of the inputs.
    virtual void execute(Run& run) const = 0;
    // The kind of step, for profiles.
    virtual const char* name() const = 0;

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
