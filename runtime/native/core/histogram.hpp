#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace argus {

/// Counts of times [s] in classes 2 % wide, from a microsecond to a quarter of an hour: percentiles of any
/// number of them to 1 %, in a fixed amount of memory.
class Histogram {
  public:
    void add(double seconds) {
        const double place = std::log(std::max(seconds, kFirst) / kFirst) / std::log(kRatio);
        ++counts_[std::min(static_cast<std::size_t>(place), counts_.size() - 1)];
        ++total_;
        sum_ += seconds;
        largest_ = std::max(largest_, seconds);
    }

    /// The time that `share` of them, 0 to 1, do not exceed [s]; 0 when there are none.
    double percentile(double share) const {
        const double rank = share * static_cast<double>(total_);
        std::uint64_t below = 0;
        for (std::size_t place = 0; place < counts_.size(); ++place) {
            below += counts_[place];
            if (below > 0 && static_cast<double>(below) >= rank) {
                return std::min(kFirst * std::pow(kRatio, static_cast<double>(place) + 0.5), largest_);
            }
        }
        return 0;
    }

    std::uint64_t total() const { return total_; }
    double sum() const { return sum_; }
    double largest() const { return largest_; }

  private:
    static constexpr double kFirst = 1e-6;
    static constexpr double kRatio = 1.02;

    std::array<std::uint64_t, 1050> counts_{};
    std::uint64_t total_ = 0;
    double sum_ = 0;
    double largest_ = 0;
};

}  // namespace argus
