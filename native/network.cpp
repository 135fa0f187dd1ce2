// The list of steps: building it, and assigning phases to steps and memory to slots. The steps themselves are in steps.cpp,
// and their execution is in execution.cpp.

#include "network.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "execution.h"
#include "step.h"
#include "workspace.h"

namespace podium {
namespace {

constexpr std::size_t MAX_IDLE_BYTES = std::size_t{64} << 20;  // larger memory is freed after its run

// Removes a free buffer and returns its index: the narrowest that is wide enough, else the widest, which then has to grow. If
// there is none, adds one.
int take_buffer(std::vector<int>& free, std::vector<std::size_t>& widths, std::size_t width) {
    if (free.empty()) {
        widths.push_back(0);
        return static_cast<int>(widths.size()) - 1;
    }
    const auto is_better = [&](int left, int right) {
        const std::size_t a = widths[static_cast<std::size_t>(left)], b = widths[static_cast<std::size_t>(right)];
        return (a >= width) != (b >= width) ? a >= width : a >= width ? a < b : a > b;
    };
    const auto best = std::min_element(free.begin(), free.end(), is_better);
    const int buffer = *best;
    free.erase(best);
    return buffer;
}

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
            throw std::invalid_argument("an input was overwritten by the norm or the rotary positions of an earlier step");
    step->inputs = std::move(inputs);
    step->output = static_cast<int>(slots_.size());
    slots_.push_back({width, per_text, step->output});
    steps_.push_back(std::move(step));
    return static_cast<int>(slots_.size()) - 1;
}

void Network::finish(int result) {
    if (result_ >= 0) throw std::invalid_argument("the network is finished");
    static_cast<void>(slot(result));  // throws if there is none
    result_ = result;
    make_phases();
    assign_buffers();
}

void Network::make_phases() {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const bool is_row_wise = steps_[i]->is_row_wise();
        const bool continues = is_row_wise && !phases_.empty() && phases_.back().is_row_wise &&
                               slots_[phases_.back().last].per_text == slots_[i].per_text;
        if (continues)
            phases_.back().last = i;
        else
            phases_.push_back({i, i, is_row_wise});
    }
}

// Assigns buffers to slots. The buffer of a slot that no later step reads is assigned to later slots; if threads share it, to
// slots of later phases, because within a phase one thread can be steps ahead of another. A slot is local if all steps that
// read it belong to the phase that computes it.
void Network::assign_buffers() {
    const auto storage_of = [&](int slot) { return static_cast<std::size_t>(slots_[static_cast<std::size_t>(slot)].storage); };
    std::vector<std::size_t> last_reader(slots_.size()), phase_of(slots_.size());
    for (std::size_t phase = 0; phase < phases_.size(); ++phase)
        for (std::size_t i = phases_[phase].first; i <= phases_[phase].last; ++i) phase_of[i] = phase;
    std::vector<bool> is_local(slots_.size(), true);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        last_reader[storage_of(steps_[i]->output)] = i;
        for (int input : steps_[i]->inputs) last_reader[storage_of(input)] = i;
        for (int input : steps_[i]->inputs)
            if (phase_of[storage_of(input)] != phase_of[i] || !phases_[phase_of[i]].is_row_wise)
                is_local[storage_of(input)] = false;
        if (!phases_[phase_of[i]].is_row_wise) is_local[storage_of(steps_[i]->output)] = false;
    }
    last_reader[storage_of(result_)] = steps_.size();
    is_local[storage_of(result_)] = false;
    std::vector<int> free_buffers[2];  // shared and local ones
    std::vector<int> read_buffers;     // shared ones that become free at the end of the phase
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const std::size_t storage = storage_of(steps_[i]->output);
        std::vector<std::size_t>& widths = is_local[storage] ? local_buffer_widths_ : buffer_widths_;
        std::vector<int>& free = free_buffers[is_local[storage]];
        if (storage == i) {
            slots_[i].buffer = take_buffer(free, widths, slots_[i].width);
            std::size_t& width = widths[static_cast<std::size_t>(slots_[i].buffer)];
            width = std::max(width, slots_[i].width);
        } else {
            slots_[i].buffer = slots_[storage].buffer;
        }
        slots_[i].is_local = is_local[storage];
        std::vector<std::size_t> read = {storage};
        for (int input : steps_[i]->inputs) read.push_back(storage_of(input));
        std::sort(read.begin(), read.end());
        read.erase(std::unique(read.begin(), read.end()), read.end());
        for (std::size_t input : read)
            if (last_reader[input] == i) (is_local[input] ? free_buffers[1] : read_buffers).push_back(slots_[input].buffer);
        if (phases_[phase_of[i]].last != i) continue;
        free_buffers[0].insert(free_buffers[0].end(), read_buffers.begin(), read_buffers.end());
        read_buffers.clear();
    }
}

std::size_t Network::prefix_columns() const {
    std::size_t total = 0;
    for (std::size_t columns : attention_columns_) total += columns;
    return depends_on_earlier_ids_only_ ? total : 0;
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

std::unique_ptr<Scratch> Network::take_scratch() const {
    const std::lock_guard<std::mutex> guard(lock_);
    if (idle_scratches_.empty()) return std::make_unique<Scratch>(local_buffer_widths_.size());
    std::unique_ptr<Scratch> scratch = std::move(idle_scratches_.back());
    idle_scratches_.pop_back();
    return scratch;
}

void Network::return_scratch(std::unique_ptr<Scratch> scratch) const {
    if (scratch->bytes() > MAX_IDLE_BYTES) return;
    const std::lock_guard<std::mutex> guard(lock_);
    idle_scratches_.push_back(std::move(scratch));
}

std::vector<const char*> Network::step_names() const {
    std::vector<const char*> names;
    for (const auto& step : steps_) names.push_back(step->name());
    return names;
}

void Network::run(const Texts& texts, float* result, double* seconds) const {
    static_cast<void>(outputs());  // throws if the network is not finished
    if (texts.count) Execution(*this, texts, result, seconds).work();
}

}  // namespace podium
