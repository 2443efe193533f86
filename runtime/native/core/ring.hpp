#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace argus {

/// The last so many of what was pushed. All its memory is taken at the start, so that a process that runs for
/// days does not grow while the ring fills.
template <typename T>
class Ring {
  public:
    /// `typical`: one whose own memory, such as that of its vectors, suffices for most.
    Ring(std::size_t most, const T& typical) : items_(most, typical) {}

    void push(const T& item) {
        if (!items_.empty()) {
            items_[pushed_++ % items_.size()] = item;  // an assignment, which keeps the memory
        }
    }

    /// The oldest first.
    std::vector<T> items() const {
        std::vector<T> found;
        const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(pushed_, items_.size()));
        found.reserve(count);
        for (std::uint64_t index = pushed_ - count; index < pushed_; ++index) {
            found.push_back(items_[index % items_.size()]);
        }
        return found;
    }

  private:
    std::vector<T> items_;
    std::uint64_t pushed_ = 0;
};

}  // namespace argus
