#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

namespace podium {

// Grows, never shrinks, and does not keep what it held when it grows.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    T* sized(std::size_t count) {
        if (count > size_) {
            std::free(data_);
            size_ = 0;
            data_ = static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
            if (!data_) throw std::bad_alloc();
            size_ = count;
        }
        return data_;
    }
    T* data() const { return data_; }
    std::size_t bytes() const { return size_ * sizeof(T); }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

class Workspace {
  public:
    std::vector<Buffer<float>> rows;
    Buffer<std::uint8_t> whole;
    Buffer<float> scales, numbers;
    Buffer<std::int32_t> zeros;
    std::vector<float> scratch;

    std::size_t bytes() const {
        std::size_t total = whole.bytes() + scales.bytes() + zeros.bytes() + numbers.bytes() + scratch.size() * sizeof(float);
        for (const auto& each : rows) total += each.bytes();
        return total;
    }
};

}  // namespace podium
