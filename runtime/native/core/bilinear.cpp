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

void resize_row(const float* row, const Bilinear& columns, int begin, int end, float* out) {
    for (int x = begin; x < end; ++x) {
        const auto at = static_cast<std::size_t>(x);
        out[x] = between(row[columns.low[at]], row[columns.high[at]], columns.part[at]);
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
    resize_row(mixed_.data(), columns, begin_, end_, out);
    return out;
}

void map_to_image(const float* map, const Placement& placement, float* values) {
    const Bilinear rows(placement.resized_height, placement.image_height);
    const Bilinear columns(placement.resized_width, placement.image_width);
    const auto map_row = [&](int y) {
        return map + static_cast<std::size_t>(y) * static_cast<std::size_t>(placement.input_width);
    };
    std::vector<float> mixed(static_cast<std::size_t>(placement.resized_width));
    for (std::size_t y = 0; y < rows.low.size(); ++y, values += placement.image_width) {
        mix_rows(map_row(rows.low[y]), map_row(rows.high[y]), rows.part[y], mixed.size(), mixed.data());
        resize_row(mixed.data(), columns, 0, placement.image_width, values);
    }
}

}  // namespace argus
