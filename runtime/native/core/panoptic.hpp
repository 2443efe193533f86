#pragma once

#include <cstdint>
#include <vector>

#include "bilinear.hpp"

namespace argus {

/// A mask that competes for the pixels of the image: finite logits over the network's input, and its score.
struct Contender {
    const float* logits;
    float score;
};

/// In pixels.
struct Shares {
    std::int64_t area = 0;  // where the mask's probability is at least one half
    std::int64_t won = 0;   // where score x probability is the greatest
    std::int64_t kept = 0;  // both
};

/// Gives every pixel of the image to the contender with the greatest score x probability, of equals to the
/// first. `winners` (image_height, image_width) holds its place in `contenders`, counted from 1: negative
/// where the pixel is not in its mask, 0 without any contender. Masks are brought to the image bilinearly
/// along `way`.
std::vector<Shares> compete(const std::vector<Contender>& contenders, const MapToImage& way,
                            std::int32_t* winners);

}  // namespace argus
