#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "network.h"
#include "workspace.h"

namespace podium {

struct Run {
    const Network& network;
    const Kernels& kernels;
    const Texts& texts;
    Workspace& memory;

    std::size_t rows(int x) const { return network.slot(x).per_text ? texts.count : texts.tokens(); }
    std::size_t width(int x) const { return network.slot(x).width; }
    float* at(int x) const { return memory.rows[static_cast<std::size_t>(network.slot(x).buffer)].data(); }
};

class Step {
  public:
    virtual ~Step() = default;
    virtual void run(Run& run) const = 0;
    virtual const char* name() const = 0;

    std::vector<int> inputs;
    int output = -1;
};

inline void mean_of(const Kernels& kernels, const float* rows, std::size_t count, std::size_t width, float* mean) {
    std::fill(mean, mean + width, 0.0f);
    for (std::size_t row = 0; row < count; ++row) kernels.add(rows + row * width, width, mean);
    for (std::size_t at = 0; at < width; ++at) mean[at] /= static_cast<float>(count);
}

}  // namespace podium
