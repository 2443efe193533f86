// Bilinear sampling, zeros outside, -1 and 1 at the edges of the outer pixels: the core of deformable
// attention (arXiv 2010.04159), as ONNX's GridSample with its defaults.

#include "values.cuh"

/// values (N, C, height, width), grid (N, places, 2) of x and y in single precision -> samples (N, C,
/// places). The grid of blocks has a thread for each place, and a row for each image and channel.
extern "C" __global__ void sample(const Value* __restrict__ values, const float* __restrict__ grid,
                                  int channels, int height, int width, int places,
                                  Value* __restrict__ samples) {
    const int place = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (place >= places) {
        return;
    }
    const int row = static_cast<int>(blockIdx.y);
    const float* at = grid + 2LL * (static_cast<long long>(row / channels) * places + place);
    const float x = ((at[0] + 1.0F) * width - 1.0F) / 2.0F;
    const float y = ((at[1] + 1.0F) * height - 1.0F) / 2.0F;
    const float left = floorf(x);
    const float top = floorf(y);
    const Value* image = values + static_cast<long long>(row) * height * width;
    float sum = 0.0F;
    for (int corner = 0; corner < 4; ++corner) {
        const float column = left + (corner & 1);
        const float line = top + (corner >> 1);
        // Compared as floating-point numbers: places may lie farther out than integers reach.
        if (column >= 0.0F && column < width && line >= 0.0F && line < height) {
            const float share = (1.0F - fabsf(x - column)) * (1.0F - fabsf(y - line));
            sum += share * widened(image[static_cast<int>(line) * width + static_cast<int>(column)]);
        }
    }
    samples[static_cast<long long>(row) * places + place] = narrowed(sum);
}
