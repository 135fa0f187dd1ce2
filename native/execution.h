// One run of a network, which several threads can compute together.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>

#include "network.h"
#include "step.h"

namespace podium {

// The steps are executed in phases (Network::Phase). The work of a phase is divided into blocks: of rows if its steps work row by
// row, of one unit (see Part) otherwise. There are about as many blocks of rows as threads are working when the phase begins,
// and more if the rows of a block would take too much memory. The results do not depend on the division.
class Execution {
  public:
    // Computes the texts and writes the network's result, which must have enough room. `seconds` is as in Network::run.
    Execution(const Network& network, const Texts& texts, float* result, double* seconds);
    // Computes the keys and values of a prefix, which is the only text.
    Execution(const Network& network, const Texts& texts, Prefix& prefix);
    ~Execution();

    // Works until the run has ended, and returns whether its result is complete. Any number of threads may call this, at any
    // time. Returns false early if `leave` becomes true, or after `cancel`. Throws the first exception of any thread.
    bool work(const std::atomic<bool>* leave = nullptr);
    // Ends the run after the blocks that are being computed.
    void cancel();

  private:
    Execution(const Network& network, const Texts& texts, Prefix* prefix, float* result, double* seconds);
    // Computes a block of the current phase. Reads the phase and its sizes without the mutex: they do not change meanwhile.
    void execute(Scratch& scratch, std::size_t block);
    // The next functions are called with the mutex locked.
    void begin_phase();
    // Counts a block that has been computed, with its exception or null. The last one begins the next phase or ends the run.
    void finish_block(std::exception_ptr error);
    void end(bool is_complete);
    void wait(std::unique_lock<std::mutex>& lock, const std::atomic<bool>* leave);
    void notify();

    const Network& network_;
    const Texts texts_;
    Prefix* const prefix_;
    float* const result_;
    double* const seconds_;
    std::unique_ptr<Workspace> workspace_;
    const Run run_;

    std::mutex mutex_;                 // guards everything below, see `execute`
    std::condition_variable changed_;  // the phase has changed, or the run has ended
    std::atomic<unsigned> changes_{0};  // how often it was notified; also read without the mutex
    std::size_t threads_ = 0;          // how many are in `work`
    std::size_t phase_ = 0;
    std::size_t phase_count_;          // all phases, or those that a prefix needs
    std::size_t unit_count_ = 0;       // of the phase: rows, or the units of its only step
    std::size_t block_size_ = 1;       // in units
    std::size_t block_count_ = 0, begun_blocks_ = 0, finished_blocks_ = 0;
    bool has_begun_ = false, is_cancelled_ = false, has_ended_ = false, is_complete_ = false;
    std::exception_ptr error_;
};

}  // namespace podium
