#include "resample.hpp"

#include <algorithm>
#include <cmath>

namespace argus {

Resampling::Resampling(int source_size, int target_size) {
    const double step = static_cast<double>(source_size) / target_size;
    const double radius = std::max(step, 1.0);
    taps = 2 * static_cast<std::size_t>(std::ceil(radius)) + 2;
    first.reserve(static_cast<std::size_t>(target_size));
    count.reserve(static_cast<std::size_t>(target_size));
    weights.assign(static_cast<std::size_t>(target_size) * taps, 0.0F);

    for (int target = 0; target < target_size; ++target) {
        const double centre = (target + 0.5) * step;
        const int begin = std::max(0, static_cast<int>(std::floor(centre - radius + 0.5)));
        const int end = std::min(source_size, static_cast<int>(std::floor(centre + radius + 0.5)));
        double sum = 0.0;
        for (int source = begin; source < end; ++source) {
            sum += std::max(0.0, 1.0 - std::abs(source + 0.5 - centre) / radius);
        }
        float* row = weights.data() + static_cast<std::size_t>(target) * taps;
        for (int source = begin; source < end; ++source) {
            const double triangle = std::max(0.0, 1.0 - std::abs(source + 0.5 - centre) / radius);
            *row++ = static_cast<float>(triangle / sum);
        }
        first.push_back(begin);
        count.push_back(end - begin);
    }
}

}  // namespace argus
