#pragma once

#include <array>
#include <cstdint>

#include "rows.hpp"

namespace argus {

using Rgb = std::array<std::uint8_t, 3>;

/// A packed (height, width, 3) RGB image that is written to.
struct ImageBuffer {
    std::uint8_t* data;
    int height;  // [px]
    int width;   // [px]
};

/// Resizes `image` to (resized_height, resized_width) [px] with the filter of Resampling, rounds to whole
/// levels, puts it at the top left of `input` and fills the rest with `padding`.
/// Throws std::invalid_argument for an image that LevelRows refuses, or when the resized one is empty or
/// larger than `input`.
void letterbox(const ImageView& image, const ImageBuffer& input, int resized_height, int resized_width,
               const Rgb& padding);

}  // namespace argus
