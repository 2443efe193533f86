#pragma once

#include <cstddef>
#include <vector>

namespace argus {

struct MapShape {
    int height;  // [cells]
    int width;   // [cells]
};

/// What the core of multi-scale deformable attention (arXiv 2010.04159) reads, all C-contiguous.
struct DeformableInputs {
    const float* value;            // (B, N, M, D): N the cells of all levels, level after level
    const float* places;           // (B, Q, M, L, P, 2): (x, y), -1 and 1 the outer edges of a level's map
    const float* weights;          // (B, Q, M, L, P)
    std::size_t queries;           // Q
    std::size_t heads;             // M
    std::size_t depth;             // D
    std::size_t points;            // P
    std::vector<MapShape> levels;  // (L,)

    /// N, the cells of all levels together.
    std::size_t cells() const;
};

/// Write rows [first, last) of the sums (B * Q, M * D): each the weighted sum, over levels and points, of
/// bilinear samples of its head's channels. Outside a map there are zeros.
///
/// Reads its inputs alone and writes those rows alone: calls with other rows may run at the same time.
void sample_deformable(const DeformableInputs& inputs, std::size_t first, std::size_t last, float* sums);

}  // namespace argus
