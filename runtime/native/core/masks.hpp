#pragma once

#include <cstdint>

#include "bilinear.hpp"

namespace argus {

/// Brings the finite logits of a mask, a map that `way` is for, to the image, bilinearly, and writes 1 where
/// they are positive into `mask` (image_height, image_width), which holds zeros. Returns how many ones there
/// are.
std::int64_t mask_to_image(const float* logits, const MapToImage& way, std::uint8_t* mask);

}  // namespace argus
