#include "deformable.hpp"

#include <algorithm>
#include <cmath>

#include "vector_clones.hpp"

namespace argus {

std::size_t DeformableInputs::cells() const {
    std::size_t sum = 0;
    for (const MapShape& shape : levels) {
        sum += static_cast<std::size_t>(shape.height) * static_cast<std::size_t>(shape.width);
    }
    return sum;
}

namespace {

/// One head's channels in the map of one level.
struct HeadMap {
    const float* first;    // (D,) of the first cell
    std::ptrdiff_t step;   // from a cell's channels to the next cell's
    const float* outside;  // (D,) zeros: the channels of all that is not on the map
    MapShape shape;
};

/// Add `weight` times the sample at (x, y), in -1 to 1, to the `depth` channels of `sum`.
inline void add_sample(const HeadMap& map, float x, float y, float weight, std::size_t depth,
                       float* __restrict sum) {
    const auto width = static_cast<float>(map.shape.width);
    const auto height = static_cast<float>(map.shape.height);
    const float column = ((x + 1.0F) * width - 1.0F) * 0.5F;  // 0 is the first cell's centre
    const float row = ((y + 1.0F) * height - 1.0F) * 0.5F;
    if (!(column > -1.0F && column < width && row > -1.0F && row < height)) {
        return;
    }
    const float left = std::floor(column);
    const float top = std::floor(row);
    const float lower = weight * (row - top);
    const float upper = weight - lower;
    const float w01 = upper * (column - left);
    const float w11 = lower * (column - left);
    const float w00 = upper - w01;
    const float w10 = lower - w11;

    const auto i = static_cast<std::ptrdiff_t>(top);
    const auto j = static_cast<std::ptrdiff_t>(left);
    const std::ptrdiff_t next_row = map.shape.width * map.step;
    const std::ptrdiff_t at = i * next_row + j * map.step;
    const bool above = i >= 0;
    const bool below = i + 1 < map.shape.height;
    const bool before = j >= 0;
    const bool after = j + 1 < map.shape.width;
    const float* v00 = above && before ? map.first + at : map.outside;
    const float* v01 = above && after ? map.first + at + map.step : map.outside;
    const float* v10 = below && before ? map.first + at + next_row : map.outside;
    const float* v11 = below && after ? map.first + at + next_row + map.step : map.outside;
    for (std::size_t d = 0; d < depth; ++d) {
        sum[d] += w00 * v00[d] + w01 * v01[d] + w10 * v10[d] + w11 * v11[d];
    }
}

}  // namespace

ARGUS_VECTOR_CLONES
void sample_deformable(const DeformableInputs& inputs, std::size_t first, std::size_t last, float* sums) {
    const std::size_t heads = inputs.heads;
    const std::size_t depth = inputs.depth;
    const std::size_t reads = inputs.levels.size() * inputs.points;
    const std::size_t image_size = inputs.cells() * heads * depth;
    const std::vector<float> zeros(depth, 0.0F);
    for (std::size_t row = first; row < last; ++row) {
        const float* image = inputs.value + row / inputs.queries * image_size;
        for (std::size_t head = 0; head < heads; ++head) {
            const float* place = inputs.places + (row * heads + head) * reads * 2;
            const float* weight = inputs.weights + (row * heads + head) * reads;
            float* sum = sums + (row * heads + head) * depth;
            std::fill_n(sum, depth, 0.0F);
            HeadMap map{image + head * depth, static_cast<std::ptrdiff_t>(heads * depth), zeros.data(), {}};
            for (const MapShape& shape : inputs.levels) {
                map.shape = shape;
                for (std::size_t point = 0; point < inputs.points; ++point, place += 2, ++weight) {
                    add_sample(map, place[0], place[1], *weight, depth, sum);
                }
                map.first += shape.height * shape.width * map.step;
            }
        }
    }
}

}  // namespace argus
