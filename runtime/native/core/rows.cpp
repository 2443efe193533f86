#include "rows.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <type_traits>

namespace argus {
namespace {

constexpr int kColours = 3;

bool is_packed(const ImageView& image) {
    return image.format == PixelFormat::rgb && image.pixel_stride == kColours &&
           std::abs(image.channel_stride) == 1;
}

/// `count` samples that lie `step` apart, side by side. A step that the compiler knows it can vectorise.
template <typename Step>
void gather(const std::uint8_t* sample, int count, Step step, std::uint8_t* out) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        out[i] = sample[i * step];
    }
}

const ImageView& checked(const ImageView& image) {
    if (image.height < 1 || image.width < 1) {
        throw std::invalid_argument("image is empty");
    }
    const bool pairs_columns = image.format != PixelFormat::rgb;
    const bool pairs_rows = image.format == PixelFormat::nv12;
    if ((pairs_columns && image.width % 2 != 0) || (pairs_rows && image.height % 2 != 0)) {
        throw std::invalid_argument("pixels that share their colour in pairs need even sides");
    }
    return image;
}

}  // namespace

LevelRows::LevelRows(const ImageView& image, int kept)
    : image_(checked(image)),
      packed_(is_packed(image)),
      kept_(kept),
      yuv_(static_cast<std::size_t>(image.width)),
      levels_(packed_ ? 0
                      : static_cast<std::size_t>(kept) * static_cast<std::size_t>(image.width) * kColours),
      luma_(static_cast<std::size_t>(image.width)),
      chroma_(static_cast<std::size_t>(image.width)) {}

const std::uint8_t* LevelRows::row(int y) {
    if (packed_) {
        return image_.data + y * image_.row_stride - (reversed() ? kColours - 1 : 0);
    }
    const auto place = [this](int index) {
        const auto slot = static_cast<std::size_t>(index % kept_);
        return levels_.data() + slot * static_cast<std::size_t>(image_.width) * kColours;
    };
    for (; next_ <= y; ++next_) {
        write(next_, place(next_));
    }
    return place(y);
}

void LevelRows::write(int y, std::uint8_t* levels) {
    if (image_.format == PixelFormat::rgb) {
        for (int c = 0; c < kColours; ++c, levels += image_.width) {
            const std::uint8_t* colour = plane_row(y, c, luma_.data());
            std::copy(colour, colour + image_.width, levels);
        }
        return;
    }
    const bool yuyv = image_.format == PixelFormat::yuyv;
    const int chroma_row = yuyv ? y : image_.height + y / 2;
    if (chroma_row != chroma_row_) {
        yuv_.set_chroma(plane_row(chroma_row, yuyv ? 1 : 0, chroma_.data()));
        chroma_row_ = chroma_row;
    }
    yuv_.convert(plane_row(y, 0, luma_.data()), levels);
}

/// The samples (width,) of one channel in one row of the array, side by side: in `room` unless they are so.
const std::uint8_t* LevelRows::plane_row(int row, int channel, std::uint8_t* room) const {
    const std::uint8_t* sample = image_.data + row * image_.row_stride + channel * image_.channel_stride;
    if (image_.pixel_stride == 1) {
        return sample;
    }
    if (image_.pixel_stride == 2) {
        gather(sample, image_.width, std::integral_constant<std::ptrdiff_t, 2>(), room);
    } else {
        gather(sample, image_.width, image_.pixel_stride, room);
    }
    return room;
}

}  // namespace argus
