// The network's input of one frame: what native/core/letterbox.cpp computes, one pixel by each thread.
//
// The weights of the triangle filter are those of native/core/resample.hpp, in single precision and made
// where they are used: a table would be read as often as the levels are.

/// The samples of a line that one target sample is made of.
struct Taps {
    int begin;
    int end;
    float centre;
    float radius;

    __device__ Taps(int source_size, int target_size, int target) {
        const float step = static_cast<float>(source_size) / target_size;
        radius = step > 1.0F ? step : 1.0F;
        centre = (target + 0.5F) * step;
        const int first = static_cast<int>(floorf(centre - radius + 0.5F));
        const int last = static_cast<int>(floorf(centre + radius + 0.5F));
        begin = first > 0 ? first : 0;
        end = last < source_size ? last : source_size;
    }

    __device__ float weight(int sample) const {
        const float distance = fabsf(sample + 0.5F - centre) / radius;
        return distance < 1.0F ? 1.0F - distance : 0.0F;
    }
};

/// image (height, width, 3) -> input (input_height, input_width, 3), with the image resized at its top left
/// and the colour `padding` (0xBBGGRR) in the rest. `red` is the place of red among an image's channels: 0,
/// or 2 in BGR. The grid has a thread for each pixel of the input.
extern "C" __global__ void letterbox(const unsigned char* __restrict__ image, int height, int width, int red,
                                     unsigned char* __restrict__ input, int input_height, int input_width,
                                     int resized_height, int resized_width, unsigned int padding) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= input_width || y >= input_height) {
        return;
    }
    unsigned char* pixel = input + 3 * (y * input_width + x);
    if (x >= resized_width || y >= resized_height) {
        for (int channel = 0; channel < 3; ++channel) {
            pixel[channel] = static_cast<unsigned char>(padding >> (8 * channel));
        }
        return;
    }
    const Taps rows(height, resized_height, y);
    const Taps columns(width, resized_width, x);
    float sums[3] = {0.0F, 0.0F, 0.0F};
    float total = 0.0F;
    for (int row = rows.begin; row < rows.end; ++row) {
        const unsigned char* sample = image + 3 * (row * width + columns.begin);
        for (int column = columns.begin; column < columns.end; ++column, sample += 3) {
            const float weight = rows.weight(row) * columns.weight(column);
            total += weight;
            sums[0] += weight * sample[red];
            sums[1] += weight * sample[1];
            sums[2] += weight * sample[2 - red];
        }
    }
    for (int channel = 0; channel < 3; ++channel) {
        pixel[channel] = static_cast<unsigned char>(fminf(sums[channel] / total + 0.5F, 255.0F));
    }
}
