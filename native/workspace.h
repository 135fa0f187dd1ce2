// The memory of a run. The network keeps it for later runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace podium {

// Uninitialised memory that grows and never shrinks.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&&) = default;

    // Returns memory for `count` elements. If it has to grow, the old content is lost.
    T* reserve(std::size_t count) {
        if (count > size_) {
            size_ = 0;
            data_.reset();
            const std::size_t lines = (count * sizeof(T) + CACHE_LINE - 1) / CACHE_LINE;
            // Not std::aligned_alloc, which Windows does not have.
            data_.reset(static_cast<T*>(::operator new(lines * CACHE_LINE, std::align_val_t{CACHE_LINE})));
            size_ = count;
        }
        return data_.get();
    }
    T* data() const { return data_.get(); }
    std::size_t bytes() const { return size_ * sizeof(T); }

  private:
    static constexpr std::size_t CACHE_LINE = 64;
    struct Free {
        void operator()(T* data) const { ::operator delete(data, std::align_val_t{CACHE_LINE}); }
    };
    std::unique_ptr<T, Free> data_;
    std::size_t size_ = 0;
};

inline std::size_t bytes_of(const std::vector<Buffer<float>>& buffers) {
    std::size_t total = 0;
    for (const auto& buffer : buffers) total += buffer.bytes();
    return total;
}

// The memory of one run, which all of its threads share: the rows of slots. Slots that are not needed at the same time share
// a buffer.
class Workspace {
  public:
    explicit Workspace(std::size_t slot_buffers) : slots(slot_buffers) {}

    std::vector<Buffer<float>> slots;

    std::size_t bytes() const { return bytes_of(slots); }
};

// The memory of one thread during a run.
class Scratch {
  public:
    explicit Scratch(std::size_t slot_buffers) : slots(slot_buffers) {}

    std::vector<Buffer<float>> slots;  // rows of slots that are needed only while this thread computes the same rows
    Buffer<std::uint8_t> int8_values;
    Buffer<float> int8_scales;
    Buffer<std::int32_t> int8_zero_points;
    Buffer<float> attention;
    Buffer<float> row_scales;          // of one row of an embedding table
    Buffer<float> temporary;           // for use within one step

    std::size_t bytes() const {
        return bytes_of(slots) + int8_values.bytes() + int8_scales.bytes() + int8_zero_points.bytes() + attention.bytes() +
               row_scales.bytes() + temporary.bytes();
    }
};

}  // namespace podium
