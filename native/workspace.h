// The memory of a run. The network keeps it for later runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
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

    // Returns memory for `count` elements. If it has to grow, the old content is lost.
    T* reserve(std::size_t count) {
        if (count > size_) {
            size_ = 0;
            data_.reset();
            const std::size_t lines = (count * sizeof(T) + CACHE_LINE - 1) / CACHE_LINE;
            data_.reset(static_cast<T*>(std::aligned_alloc(CACHE_LINE, lines * CACHE_LINE)));
            if (!data_) throw std::bad_alloc();
            size_ = count;
        }
        return data_.get();
    }
    T* data() const { return data_.get(); }
    std::size_t bytes() const { return size_ * sizeof(T); }

  private:
    static constexpr std::size_t CACHE_LINE = 64;
    struct Free {
        void operator()(T* data) const { std::free(data); }
    };
    std::unique_ptr<T, Free> data_;
    std::size_t size_ = 0;
};

// The memory of one run. Only one run, so only one thread, uses it at a time.
class Workspace {
  public:
    explicit Workspace(std::size_t slot_buffers) : slots(slot_buffers) {}

    std::vector<Buffer<float>> slots;  // rows of slots; slots that are not needed at the same time share one
    Buffer<std::uint8_t> int8_values;
    Buffer<float> int8_scales;
    Buffer<std::int32_t> int8_zero_points;
    Buffer<float> attention_scratch;
    Buffer<float> row_scales;          // of one row of an embedding table
    Buffer<float> temporary;           // for use within one step

    std::size_t bytes() const {
        std::size_t total = int8_values.bytes() + int8_scales.bytes() + int8_zero_points.bytes() +
                            attention_scratch.bytes() + row_scales.bytes() + temporary.bytes();
        for (const auto& buffer : slots) total += buffer.bytes();
        return total;
    }
};

}  // namespace podium
