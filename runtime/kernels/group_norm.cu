// GroupNorm (arXiv 1803.08494) of a tensor (N, C, H, W): y = (x - mean) / sqrt(variance + EPSILON) * scale +
// shift.
//
// A block takes one group of one image, whose values lie side by side: once for the statistics, once more,
// from what is still cached, for the result. THREADS is the size of a block, PACK the values that are read at
// once.

#include "values.cuh"

struct alignas(PACK * sizeof(Value)) Pack {
    Value values[PACK];
};

/// The sum of `part` over the threads of the block, in each of them.
__device__ float block_sum(float part, float* parts) {
    __syncthreads();  // nobody reads the parts of the sum before any more
    parts[threadIdx.x] = part;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < half) {
            parts[threadIdx.x] += parts[threadIdx.x + half];
        }
    }
    __syncthreads();
    return parts[0];
}

/// scale and shift (C,); a group has `size` channels of `places` values, which PACK divides. The grid has N *
/// C / size blocks in the order of x.
extern "C" __global__ void group_norm(const Value* __restrict__ x, const Value* __restrict__ scale,
                                      const Value* __restrict__ shift, int channels, int size, int places,
                                      Value* __restrict__ y) {
    __shared__ float parts[THREADS];
    const int packs = size * places / PACK;
    const int first = static_cast<int>(blockIdx.x) * size % channels;
    const Pack* from = reinterpret_cast<const Pack*>(x) + static_cast<long long>(blockIdx.x) * packs;
    Pack* to = reinterpret_cast<Pack*>(y) + static_cast<long long>(blockIdx.x) * packs;
    // Differences from one of the values: squares of large numbers that differ little would lose all places.
    const float pivot = widened(from[0].values[0]);
    float sum = 0.0F;
    float squares = 0.0F;
    for (int i = threadIdx.x; i < packs; i += THREADS) {
        const Pack pack = from[i];
        for (int k = 0; k < PACK; ++k) {
            const float difference = widened(pack.values[k]) - pivot;
            sum += difference;
            squares += difference * difference;
        }
    }
    const float count = static_cast<float>(size) * static_cast<float>(places);
    const float mean = block_sum(sum, parts) / count;
    const float variance = fmaxf(block_sum(squares, parts) / count - mean * mean, 0.0F);
    const float inverse = 1.0F / sqrtf(variance + EPSILON);
    for (int i = threadIdx.x; i < packs; i += THREADS) {
        const int channel = first + i * PACK / places;
        const float factor = widened(scale[channel]) * inverse;
        const float offset = widened(shift[channel]) - mean * factor;
        Pack pack = from[i];
        for (int k = 0; k < PACK; ++k) {
            pack.values[k] = narrowed((widened(pack.values[k]) - pivot) * factor + offset);
        }
        to[i] = pack;
    }
}
