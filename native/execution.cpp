// Threads that execute the phases of a run together.

#include "execution.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace podium {
namespace {

// The maximum number of rows of a block. It limits the memory of the slots that only one thread sees.
constexpr std::size_t MAX_ROWS = 256;
// Most blocks have a multiple of this many rows, so that they are divided into tiles of equal size.
constexpr std::size_t ROW_MULTIPLE = 6;

// How long a thread looks for a change of the phase before it sleeps. Waking it takes almost as long as a short text's phase.
constexpr std::chrono::microseconds AWAKE{100};

std::size_t divide_up(std::size_t number, std::size_t divisor) { return (number + divisor - 1) / divisor; }

}  // namespace

Execution::Execution(const Network& network, const Texts& texts, float* result, double* seconds)
    : Execution(network, texts, nullptr, result, seconds) {}

Execution::Execution(const Network& network, const Texts& texts, Prefix& prefix)
    : Execution(network, texts, &prefix, nullptr, nullptr) {}

Execution::Execution(const Network& network, const Texts& texts, Prefix* prefix, float* result, double* seconds)
    : network_(network), texts_(texts), prefix_(prefix), result_(result), seconds_(seconds),
      workspace_(network.take_workspace()), run_{network, network.kernels_, texts_, *workspace_, prefix},
      phase_count_(network.phases_.size()) {
    if (prefix) {  // No step after the last attention is needed.
        const std::size_t last_attention = network.attention_steps_.back();
        phase_count_ = 1;
        while (network.phases_[phase_count_ - 1].first != last_attention) ++phase_count_;
    }
    for (std::size_t i = 0; i < network.buffer_widths_.size(); ++i)
        workspace_->slots[i].reserve(texts.tokens() * network.buffer_widths_[i]);
}

Execution::~Execution() = default;

void Execution::begin_phase() {
    const Network::Phase& phase = network_.phases_[phase_];
    const Step& step = *network_.steps_[phase.first];
    begun_blocks_ = finished_blocks_ = 0;
    if (phase.is_row_wise) {
        unit_count_ = run_.row_count(step.output);
        const std::size_t least_blocks = std::max(divide_up(unit_count_, MAX_ROWS), threads_);
        block_size_ = divide_up(unit_count_, least_blocks);
        if (least_blocks > 1) block_size_ = std::min(divide_up(block_size_, ROW_MULTIPLE) * ROW_MULTIPLE, MAX_ROWS);
    } else {
        unit_count_ = step.unit_count(run_, threads_);
        block_size_ = 1;
    }
    block_count_ = divide_up(unit_count_, block_size_);
}

void Execution::execute(Scratch& scratch, std::size_t block) {
    using Clock = std::chrono::steady_clock;
    const Network::Phase& phase = network_.phases_[phase_];
    const std::size_t begin = block * block_size_;
    const Part part{run_, scratch, begin, std::min(begin + block_size_, unit_count_), unit_count_};
    if (phase.is_row_wise) {
        for (std::size_t i = 0; i < network_.local_buffer_widths_.size(); ++i)
            scratch.slots[i].reserve(part.count() * network_.local_buffer_widths_[i]);
    }
    for (std::size_t i = phase.first; i <= phase.last; ++i) {
        const Clock::time_point start = seconds_ ? Clock::now() : Clock::time_point();
        network_.steps_[i]->execute(part);
        if (seconds_) {
            const std::lock_guard<std::mutex> guard(mutex_);
            seconds_[i] += std::chrono::duration<double>(Clock::now() - start).count();
        }
    }
}

void Execution::end(bool is_complete) {
    has_ended_ = true;
    is_complete_ = is_complete;
    notify();
    if (!is_complete) return;
    if (prefix_) prefix_->is_complete = true;
    if (result_)
        std::memcpy(result_, run_.rows(network_.result_),
                    network_.result_rows(texts_) * network_.outputs() * sizeof(float));
    network_.return_workspace(std::move(workspace_));
}

void Execution::finish_block(std::exception_ptr error) {
    ++finished_blocks_;
    if (error && !error_) error_ = error;
    if (finished_blocks_ < begun_blocks_) return;
    if (is_cancelled_ || error_) {
        end(false);
    } else if (finished_blocks_ == block_count_) {
        ++phase_;
        if (phase_ == phase_count_) {
            end(true);
        } else {
            begin_phase();
            notify();
        }
    }
}

void Execution::cancel() {
    const std::lock_guard<std::mutex> guard(mutex_);
    is_cancelled_ = true;
    if (finished_blocks_ == begun_blocks_ && !has_ended_) end(false);
    notify();
}

void Execution::notify() {
    ++changes_;
    changed_.notify_all();
}

// Returns after a change, or if `leave` becomes true. It may also return without a reason.
void Execution::wait(std::unique_lock<std::mutex>& lock, const std::atomic<bool>* leave) {
    using Clock = std::chrono::steady_clock;
    const unsigned changes = changes_;
    lock.unlock();
    const Clock::time_point end = Clock::now() + AWAKE;
    while (changes_ == changes && !(leave && *leave) && Clock::now() < end) std::this_thread::yield();
    lock.lock();
    if (changes_ == changes && !(leave && *leave)) changed_.wait(lock);
}

bool Execution::work(const std::atomic<bool>* leave) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++threads_;
    if (!has_begun_ && !has_ended_) {
        has_begun_ = true;
        begin_phase();
    }
    std::unique_ptr<Scratch> scratch;
    while (!has_ended_ && !(leave && *leave)) {
        if (begun_blocks_ == block_count_ || is_cancelled_ || error_) {
            wait(lock, leave);  // Other threads are computing the last blocks.
            continue;
        }
        const std::size_t block = begun_blocks_++;
        lock.unlock();
        std::exception_ptr error;
        try {
            if (!scratch) scratch = network_.take_scratch();
            execute(*scratch, block);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        finish_block(error);
    }
    --threads_;
    if (scratch && !error_) network_.return_scratch(std::move(scratch));
    if (error_) std::rethrow_exception(error_);
    return is_complete_;
}

}  // namespace podium
