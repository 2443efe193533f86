#include "bilinear.hpp"

#include <algorithm>
#include <cmath>

#include "vector_clones.hpp"

namespace argus {

Bilinear::Bilinear(int source, int target) : source_size(source), target_size(target) {
    const double step = static_cast<double>(source) / target;
    for (int t = 0; t < target; ++t) {
        const double at = std::clamp((t + 0.5) * step - 0.5, 0.0, source - 1.0);
        const int below = static_cast<int>(std::floor(at));
        low.push_back(below);
        high.push_back(std::min(below + 1, source - 1));
        part.push_back(static_cast<float>(at - below));
        start.resize(static_cast<std::size_t>(below) + 1, t);
    }
    start.resize(static_cast<std::size_t>(source) + 1, target);
}

ARGUS_VECTOR_CLONES
void mix_rows(const float* low, const float* high, float part, std::size_t size, float* out) {
    for (std::size_t i = 0; i < size; ++i) {
        out[i] = between(low[i], high[i], part);
    }
}

MapToImage::MapToImage(int height, int width, const Placement& placement)
    : input_rows(height, placement.input_height),
      input_columns(width, placement.input_width),
      image_rows(placement.resized_height, placement.image_height),
      image_columns(placement.resized_width, placement.image_width) {}

InputRows::InputRows(const float* map, const MapToImage& way, int begin, int end)
    : map_(map),
      way_(way),
      begin_(begin),
      end_(end),
      mixed_(static_cast<std::size_t>(way.input_columns.source_size)),
      rows_(2 * way.input_columns.low.size()) {}

const float* InputRows::row(int i) {
    const Bilinear& rows = way_.input_rows;
    const Bilinear& columns = way_.input_columns;
    const auto index = static_cast<std::size_t>(i);
    float* out = rows_.data() + index % 2 * columns.low.size();
    if (kept_[index % 2] == i) {
        return out;
    }
    kept_[index % 2] = i;
    const auto map_row = [&](int y) { return map_ + static_cast<std::size_t>(y) * mixed_.size(); };
    mix_rows(map_row(rows.low[index]), map_row(rows.high[index]), rows.part[index], mixed_.size(),
             mixed_.data());
    for (int x = begin_; x < end_; ++x) {
        const auto at = static_cast<std::size_t>(x);
        out[x] = between(mixed_[static_cast<std::size_t>(columns.low[at])],
                         mixed_[static_cast<std::size_t>(columns.high[at])], columns.part[at]);
    }
    return out;
}

}  // namespace argus
