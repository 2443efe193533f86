#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace argus {

/// How long something takes [s], learnt from its past runs: their mean and spread, recent ones counting most.
class Cost {
  public:
    void add(double seconds) {
        ++runs_;
        trust_ = 1;
        if (runs_ > kSettled) {  // a single hiccup says little
            seconds = std::min(seconds, kHiccup * mean_);
        }
        const double share = std::max(1.0 / static_cast<double>(runs_), kMemory);
        const double step = seconds - mean_;
        mean_ += share * step;
        variance_ = (1 - share) * (variance_ + share * step * step);
    }

    /// [s]; 0 before the first run.
    double mean() const { return mean_; }

    /// What a run is expected to take [s].
    double expected() const { return trust_ * mean_; }

    /// What a run rarely exceeds [s].
    double upper() const { return trust_ * (mean_ + 2 * std::sqrt(variance_)); }

    /// It was not run because it would take too long. What was learnt once must not hold for ever: after some
    /// hundred times it is tried again.
    void doubt() { trust_ *= kDoubt; }

    std::uint64_t runs() const { return runs_; }

  private:
    static constexpr double kMemory = 0.05;  // share of the newest run, once there were many
    static constexpr double kHiccup = 3;     // times the mean
    static constexpr std::uint64_t kSettled = 10;
    static constexpr double kDoubt = 0.9995;

    std::uint64_t runs_ = 0;
    double mean_ = 0;
    double variance_ = 0;
    double trust_ = 1;
};

}  // namespace argus
