#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "yuv.hpp"

namespace argus {

/// What the samples of an image are. YUV is BT.601 in limited range, as cameras give it.
enum class PixelFormat {
    rgb,   // three levels for each pixel
    nv12,  // all rows of Y, below them half as many, in which U and V of 2 x 2 pixels alternate
    yuyv,  // for each pixel Y, and U or V, in turn, of two pixels
};

/// A (height, width) image in memory that belongs to someone else: an array (rows, width, channels) of 3
/// channels for RGB, 2 for YUYV and 1 for NV12, which has half as many rows again. Strides are in bytes and
/// may be negative: a BGR frame read as image[:, :, ::-1] or a mirrored one needs no copy.
struct ImageView {
    const std::uint8_t* data;
    int height;  // [px]
    int width;   // [px]
    std::ptrdiff_t row_stride;
    std::ptrdiff_t pixel_stride;
    std::ptrdiff_t channel_stride;
    PixelFormat format = PixelFormat::rgb;
};

/// The rows of an image as levels of red, green and blue, whatever its format and strides. Rows of packed RGB
/// and BGR are read where they lie. Others are written once, one colour after the other.
/// Throws std::invalid_argument when the image is empty, or has an odd side and a format that allows none.
class LevelRows {
  public:
    LevelRows(const ImageView& image, int kept);

    /// The 3 * width levels of row y. Rows are asked for from the top down; the last `kept` stay valid.
    const std::uint8_t* row(int y);

    /// Whether a row holds one pixel after the other, and not all its reds, then its greens, then its blues.
    bool packed() const { return packed_; }

    /// Whether they lie the other way round, blue first.
    bool reversed() const { return packed_ && image_.channel_stride < 0; }

  private:
    void write(int y, std::uint8_t* levels);
    const std::uint8_t* plane_row(int row, int channel, std::uint8_t* room) const;

    ImageView image_;
    bool packed_;
    int kept_;
    int next_ = 0;         // the first row that has not been written
    int chroma_row_ = -1;  // the one that `yuv_` knows
    YuvConverter yuv_;
    std::vector<std::uint8_t> levels_;         // (kept, 3, width)
    std::vector<std::uint8_t> luma_, chroma_;  // (width,) room for samples that do not lie side by side
};

}  // namespace argus
