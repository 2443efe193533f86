#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace argus {

using Rgb = std::array<std::uint8_t, 3>;

/// An (height, width, 3) RGB image in memory that belongs to someone else. Strides are in bytes and may be
/// negative: a BGR frame read as image[:, :, ::-1] or a mirrored one needs no copy.
struct ImageView {
    const std::uint8_t* data;
    int height;  // [px]
    int width;   // [px]
    std::ptrdiff_t row_stride;
    std::ptrdiff_t pixel_stride;
    std::ptrdiff_t channel_stride;
};

/// A packed (height, width, 3) RGB image that is written to.
struct ImageBuffer {
    std::uint8_t* data;
    int height;  // [px]
    int width;   // [px]
};

/// Resizes `image` to (resized_height, resized_width) [px] with the filter of Resampling, rounds to whole
/// levels, puts it at the top left of `input` and fills the rest with `padding`.
/// Throws std::invalid_argument when the image is empty or the resized one is empty or larger than `input`.
void letterbox(const ImageView& image, const ImageBuffer& input, int resized_height, int resized_width,
               const Rgb& padding);

}  // namespace argus
