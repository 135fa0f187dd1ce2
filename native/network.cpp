// The list of steps: building it, assigning memory to slots, and running it. The steps themselves are in steps.cpp.

#include "network.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "step.h"
#include "workspace.h"

namespace podium {
namespace {

constexpr std::size_t MAX_IDLE_BYTES = std::size_t{64} << 20;  // a larger workspace is freed after its run

}  // namespace

Network::Network(const Kernels& kernels) : kernels_(kernels) {}

Network::~Network() = default;

const Network::Slot& Network::slot(int index) const {
    if (index < 0 || static_cast<std::size_t>(index) >= slots_.size())
        throw std::invalid_argument("an input is not the output of an earlier step");
    return slots_[static_cast<std::size_t>(index)];
}

std::size_t Network::width(int index) const { return slot(index).width; }

bool Network::per_text(int index) const { return slot(index).per_text; }

std::size_t Network::outputs() const {
    if (result_ < 0) throw std::invalid_argument("the network is not finished");
    return width(result_);
}

std::size_t Network::result_rows(const Texts& texts) const {
    static_cast<void>(outputs());  // throws if the network is not finished
    return per_text(result_) ? texts.count : texts.tokens();
}

int Network::add_step(std::unique_ptr<Step> step, std::vector<int> inputs, std::size_t width, bool per_text) {
    if (result_ >= 0) throw std::invalid_argument("the network is finished");
    if (!width) throw std::invalid_argument("a step's output needs at least one column");
    for (int input : inputs)
        if (slot(input).overwritten)
            throw std::invalid_argument("an input was overwritten by the rotary positions of an earlier step");
    step->inputs = std::move(inputs);
    step->output = static_cast<int>(slots_.size());
    slots_.push_back({width, per_text});
    steps_.push_back(std::move(step));
    return static_cast<int>(slots_.size()) - 1;
}

// Assigns buffers to slots. The buffer of a slot that no later step reads is assigned to later slots.
void Network::finish(int result) {
    if (result_ >= 0) throw std::invalid_argument("the network is finished");
    static_cast<void>(slot(result));  // throws if there is none
    std::vector<std::size_t> last_reader(slots_.size(), 0);
    for (std::size_t i = 0; i < steps_.size(); ++i)
        for (int input : steps_[i]->inputs) last_reader[static_cast<std::size_t>(input)] = i;
    last_reader[static_cast<std::size_t>(result)] = steps_.size();
    std::vector<int> free_buffers;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        Slot& output = slots_[static_cast<std::size_t>(steps_[i]->output)];
        if (free_buffers.empty()) {
            free_buffers.push_back(static_cast<int>(buffer_widths_.size()));
            buffer_widths_.push_back(0);
        }
        output.buffer = free_buffers.back();
        free_buffers.pop_back();
        std::size_t& buffer_width = buffer_widths_[static_cast<std::size_t>(output.buffer)];
        buffer_width = std::max(buffer_width, output.width);
        std::vector<int> inputs = steps_[i]->inputs;
        std::sort(inputs.begin(), inputs.end());
        inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
        for (int input : inputs)
            if (last_reader[static_cast<std::size_t>(input)] == i)
                free_buffers.push_back(slots_[static_cast<std::size_t>(input)].buffer);
    }
    result_ = result;
}

std::unique_ptr<Workspace> Network::take_workspace() const {
    const std::lock_guard<std::mutex> guard(lock_);
    if (idle_workspaces_.empty()) return std::make_unique<Workspace>(buffer_widths_.size());
    std::unique_ptr<Workspace> workspace = std::move(idle_workspaces_.back());
    idle_workspaces_.pop_back();
    return workspace;
}

void Network::return_workspace(std::unique_ptr<Workspace> workspace) const {
    if (workspace->bytes() > MAX_IDLE_BYTES) return;
    const std::lock_guard<std::mutex> guard(lock_);
    idle_workspaces_.push_back(std::move(workspace));
}

std::vector<const char*> Network::step_names() const {
    std::vector<const char*> names;
    for (const auto& step : steps_) names.push_back(step->name());
    return names;
}

void Network::run(const Texts& texts, float* result, double* seconds) const {
    using Clock = std::chrono::steady_clock;
    const std::size_t result_columns = outputs();
    if (!texts.count) return;
    // If a step throws, the workspace is freed.
    std::unique_ptr<Workspace> workspace = take_workspace();
    for (std::size_t i = 0; i < buffer_widths_.size(); ++i) workspace->slots[i].reserve(texts.tokens() * buffer_widths_[i]);
    Run run{*this, kernels_, texts, *workspace};
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const Clock::time_point start = seconds ? Clock::now() : Clock::time_point();
        steps_[i]->execute(run);
        if (seconds) seconds[i] += std::chrono::duration<double>(Clock::now() - start).count();
    }
    std::memcpy(result, run.rows(result_), result_rows(texts) * result_columns * sizeof(float));
    return_workspace(std::move(workspace));
}

}  // namespace podium
