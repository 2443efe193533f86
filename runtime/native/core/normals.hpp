#pragma once

#include "bilinear.hpp"

namespace argus {

/// Brings three planes (3, input height, input width) of vectors over the network's input to the image,
/// bilinearly, and each vector back to length 1: `normals` (image_height, image_width, 3). One that is no
/// longer than `shortest` becomes 0.
void normals_to_image(const float* planes, const Placement& placement, float shortest, float* normals);

}  // namespace argus
