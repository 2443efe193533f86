#include "letterbox.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "resample.hpp"

namespace argus {
namespace {

constexpr int kChannels = 3;

/// sums += weight * row, over `samples` neighbouring bytes. Everything hot is in here: kept bare so that the
/// compiler turns it into vector instructions.
void add_packed_row(const std::uint8_t* row, std::size_t samples, float weight, float* sums) {
    for (std::size_t i = 0; i < samples; ++i) {
        sums[i] += weight * static_cast<float>(row[i]);
    }
}

void add_strided_row(const ImageView& image, const std::uint8_t* row, float weight, float* sums) {
    for (int x = 0; x < image.width; ++x, row += image.pixel_stride) {
        for (int c = 0; c < kChannels; ++c) {
            *sums++ += weight * static_cast<float>(row[c * image.channel_stride]);
        }
    }
}

std::uint8_t to_level(float value) { return static_cast<std::uint8_t>(std::min(value + 0.5F, 255.0F)); }

/// One line of the resized image from `line`, image.width pixels already resized vertically. Channel c of the
/// line is written to channel `order[c]`.
void resize_line(const float* line, const Resampling& columns, const std::array<int, kChannels>& order,
                 int resized_width, std::uint8_t* out) {
    for (int x = 0; x < resized_width; ++x, out += kChannels) {
        const auto column = static_cast<std::size_t>(x);
        const float* weight = columns.weight(x);
        const float* sample = line + static_cast<std::size_t>(columns.first[column]) * kChannels;
        float sums[kChannels] = {};
        for (int k = 0; k < columns.count[column]; ++k, sample += kChannels) {
            for (int c = 0; c < kChannels; ++c) {
                sums[c] += weight[k] * sample[c];
            }
        }
        for (std::size_t c = 0; c < kChannels; ++c) {
            out[order[c]] = to_level(sums[c]);
        }
    }
}

void fill(const Rgb& colour, int pixels, std::uint8_t* out) {
    for (int i = 0; i < pixels; ++i) {
        out = std::copy(colour.begin(), colour.end(), out);
    }
}

void check(const ImageView& image, const ImageBuffer& input, int resized_height, int resized_width) {
    if (image.height < 1 || image.width < 1) {
        throw std::invalid_argument("image is empty");
    }
    if (resized_height < 1 || resized_width < 1 || resized_height > input.height ||
        resized_width > input.width) {
        throw std::invalid_argument("resized image of " + std::to_string(resized_height) + "x" +
                                    std::to_string(resized_width) + " px does not fit in an input of " +
                                    std::to_string(input.height) + "x" + std::to_string(input.width) + " px");
    }
}

}  // namespace

void letterbox(const ImageView& image, const ImageBuffer& input, int resized_height, int resized_width,
               const Rgb& padding) {
    check(image, input, resized_height, resized_width);
    const Resampling rows(image.height, resized_height);
    const Resampling columns(image.width, resized_width);

    // Packed RGB and BGR are both read forwards; the order of the channels is settled when writing.
    const bool packed = image.pixel_stride == kChannels && std::abs(image.channel_stride) == 1;
    const bool reversed = packed && image.channel_stride < 0;
    const std::uint8_t* origin = reversed ? image.data - (kChannels - 1) : image.data;
    const std::array<int, kChannels> order =
        reversed ? std::array<int, kChannels>{2, 1, 0} : std::array<int, kChannels>{0, 1, 2};

    std::vector<float> line(static_cast<std::size_t>(image.width) * kChannels);
    std::uint8_t* out = input.data;
    for (int y = 0; y < resized_height; ++y) {
        const auto row = static_cast<std::size_t>(y);
        std::fill(line.begin(), line.end(), 0.0F);
        for (int k = 0; k < rows.count[row]; ++k) {
            const std::uint8_t* source = origin + (rows.first[row] + k) * image.row_stride;
            if (packed) {
                add_packed_row(source, line.size(), rows.weight(y)[k], line.data());
            } else {
                add_strided_row(image, source, rows.weight(y)[k], line.data());
            }
        }
        resize_line(line.data(), columns, order, resized_width, out);
        fill(padding, input.width - resized_width,
             out + static_cast<std::ptrdiff_t>(resized_width) * kChannels);
        out += static_cast<std::ptrdiff_t>(input.width) * kChannels;
    }
    fill(padding, (input.height - resized_height) * input.width, out);
}

}  // namespace argus
