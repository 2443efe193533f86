#pragma once

#include <cstddef>
#include <vector>

namespace argus {

/// Weights that bring a line of `source_size` samples to `target_size` samples.
///
/// Antialiased triangle filter, the "bilinear" of PIL and of torchvision with antialias=True: sample i covers
/// [i, i + 1), and when the line shrinks the triangle widens by as much, so that every source sample counts.
/// Target sample t is the sum over k of weight(t)[k] * source[first[t] + k]; the weights of a target add up
/// to 1.
struct Resampling {
    Resampling(int source_size, int target_size);

    const float* weight(int target) const { return weights.data() + static_cast<std::size_t>(target) * taps; }

    std::size_t taps;            // room per target, an even number: what is not used is 0
    std::vector<int> first;      // (target_size,) first source sample
    std::vector<int> count;      // (target_size,) number of source samples
    std::vector<float> weights;  // (target_size, taps)
};

}  // namespace argus
