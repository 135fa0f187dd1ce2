// The keys and values of the first tokens of texts that begin with the same tokens.
#pragma once

#include <cstddef>
#include <vector>

#include "workspace.h"

namespace podium {

// Filled by one run over the prefix. After that, it is only read, by runs over the texts that follow it.
class Prefix {
  public:
    Prefix(std::size_t tokens, std::size_t layers) : tokens(tokens), layers(layers) {}

    const std::size_t tokens;
    std::vector<Buffer<float>> layers;  // per attention step: (tokens, columns of keys, then of values)
    bool is_complete = false;
};

}  // namespace podium
