#include "network.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "step.h"
#include "workspace.h"

namespace podium {

namespace {

constexpr std::size_t KEPT_BYTES = std::size_t{64} << 20;  // a workspace that grew beyond this is given back after its run

}  // namespace

std::size_t Texts::cut(std::size_t text) const {
    std::size_t of_second = 0;
    for (std::size_t at = begin(text); at < end(text); ++at) of_second += segments[at] != 0;
    const std::size_t first = end(text) - begin(text) - of_second;
    return begin(text) + (first ? first - 1 : 0);
}

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
