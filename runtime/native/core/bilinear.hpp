#pragma once

#include <cstddef>
#include <vector>

namespace argus {

/// How a map over the network's input reaches the image: up to the input's size, the padding cut off, on to
/// the size of the image, both steps bilinear.
struct Placement {
    int input_height, input_width;      // [px]
    int resized_height, resized_width;  // of the image inside the input [px]
    int image_height, image_width;      // [px]
};

/// Bilinear resizing of a line, pixel centres aligned and edges repeated: target t is
/// (1 - part[t]) * source[low[t]] + part[t] * source[high[t]].
struct Bilinear {
    Bilinear(int source, int target);

    int source_size, target_size;
    std::vector<int> low;     // (target_size,) not descending
    std::vector<int> high;    // (target_size,) low + 1, or low where there is no next sample
    std::vector<float> part;  // (target_size,)
    std::vector<int> start;   // (source_size + 1,) the first target whose `low` is at least the index
};

/// The four lines along which a map (height, width) over the network's input reaches the image.
struct MapToImage {
    MapToImage(int height, int width, const Placement& placement);

    Bilinear input_rows, input_columns;  // of the whole input
    Bilinear image_rows, image_columns;  // from the image's part of the input
};

inline float between(float low, float high, float part) { return low * (1.0F - part) + high * part; }

/// What lies `part` of the way from the row `low` to the row `high`, `size` values each.
void mix_rows(const float* low, const float* high, float part, std::size_t size, float* out);

/// `row`, of as many values as `columns` has sources, at its targets `begin` to `end`.
void resize_row(const float* row, const Bilinear& columns, int begin, int end, float* out);

/// A map at the size of the network's input: row by row, from the top down, of which two neighbours are kept.
class InputRows {
  public:
    /// Only columns `begin` to `end` are computed.
    InputRows(const float* map, const MapToImage& way, int begin, int end);

    const float* row(int i);

  private:
    const float* map_;
    const MapToImage& way_;
    int begin_, end_;
    int kept_[2] = {-1, -1};
    std::vector<float> mixed_;  // a row of the input as wide as the map
    std::vector<float> rows_;   // (2, input width)
};

/// Brings the image's part of a map (input height, input width) to the image: `values` (image_height,
/// image_width).
void map_to_image(const float* map, const Placement& placement, float* values);

}  // namespace argus
