#include "normals.hpp"

#include <algorithm>
#include <cmath>

#include "vector_clones.hpp"

namespace argus {
namespace {

constexpr std::size_t kAxes = 3;

/// vectors (size, 3) -> 1 / length (size,), and 0 for those no longer than `shortest`.
ARGUS_VECTOR_CLONES
void inverse_lengths(const float* vectors, std::size_t size, float shortest, float* inverse) {
    for (std::size_t i = 0; i < size; ++i, vectors += kAxes) {
        const float length =
            std::sqrt(vectors[0] * vectors[0] + vectors[1] * vectors[1] + vectors[2] * vectors[2]);
        inverse[i] = length > shortest ? 1.0F / length : 0.0F;
    }
}

/// A line (source_size, 3) and one number more -> one of `columns.target_size` vectors and one number more.
/// Four numbers are mixed at once; the next vector overwrites the fourth.
void resize_vectors(const float* line, const Bilinear& columns, float* out) {
    for (std::size_t x = 0; x < columns.low.size(); ++x, out += kAxes) {
        const float* low = line + static_cast<std::size_t>(columns.low[x]) * kAxes;
        const float* high = line + static_cast<std::size_t>(columns.high[x]) * kAxes;
        for (std::size_t i = 0; i <= kAxes; ++i) {
            out[i] = between(low[i], high[i], columns.part[x]);
        }
    }
}

}  // namespace

void normals_to_image(const float* planes, const Placement& placement, float shortest, float* normals) {
    const Bilinear rows(placement.resized_height, placement.image_height);
    const Bilinear columns(placement.resized_width, placement.image_width);
    const auto input_width = static_cast<std::size_t>(placement.input_width);
    const auto plane = input_width * static_cast<std::size_t>(placement.input_height);
    const auto resized_width = static_cast<std::size_t>(placement.resized_width);
    const auto width = static_cast<std::size_t>(placement.image_width);

    std::vector<float> mixed(resized_width);
    std::vector<float> line(resized_width * kAxes + 1);
    std::vector<float> vectors(width * kAxes + 1);
    std::vector<float> inverse(width);
    for (std::size_t y = 0; y < rows.low.size(); ++y) {
        for (std::size_t axis = 0; axis < kAxes; ++axis) {
            const float* low = planes + axis * plane + static_cast<std::size_t>(rows.low[y]) * input_width;
            const float* high = planes + axis * plane + static_cast<std::size_t>(rows.high[y]) * input_width;
            mix_rows(low, high, rows.part[y], resized_width, mixed.data());
            for (std::size_t x = 0; x < resized_width; ++x) {
                line[x * kAxes + axis] = mixed[x];
            }
        }
        resize_vectors(line.data(), columns, vectors.data());
        inverse_lengths(vectors.data(), width, shortest, inverse.data());
        for (std::size_t x = 0; x < width; ++x) {
            for (std::size_t axis = 0; axis < kAxes; ++axis) {
                *normals++ = vectors[x * kAxes + axis] * inverse[x];
            }
        }
    }
}

}  // namespace argus
