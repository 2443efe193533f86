#include "letterbox.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "resample.hpp"
#include "vector_clones.hpp"

namespace argus {
namespace {

constexpr std::size_t kColours = 3;
constexpr std::uint32_t kOne = 1 << 16;  // a weight of 1
constexpr float kLevel = 1 << 8;         // a level in the sums of a line

/// The weights of a target as whole numbers that add up to kOne, or one less where a single weight would not
/// fit: each the difference of two rounded sums, so that rounding does not add up.
void whole_weights(const float* weight, int count, std::vector<std::uint16_t>& out) {
    double sum = 0;
    std::uint32_t before = 0;
    out.clear();
    for (int k = 0; k < count; ++k) {
        sum += static_cast<double>(weight[k]);
        const auto after = static_cast<std::uint32_t>(std::lround(sum * kOne));
        out.push_back(static_cast<std::uint16_t>(std::min(after - before, kOne - 1)));
        before = after;
    }
}

/// sums += weight * row, over `size` neighbouring levels: in 1/256 of a level, what is below cut off. Nearly
/// all the work is here. 16 bits are enough, and the compiler makes one multiplication of many levels of it.
ARGUS_VECTOR_CLONES
void add_row(const std::uint8_t* __restrict row, std::size_t size, std::uint16_t weight,
             std::uint16_t* __restrict sums) {
    for (std::size_t i = 0; i < size; ++i) {
        const auto level = static_cast<std::uint16_t>(row[i] << 8);
        const auto part = static_cast<std::uint16_t>(static_cast<std::uint32_t>(level) * weight >> 16);
        sums[i] = static_cast<std::uint16_t>(sums[i] + part);
    }
}

/// `size` sums -> levels as fractions, `step` places apart; half of what `count` sums cut off is given back.
ARGUS_VECTOR_CLONES
void to_fractions(const std::uint16_t* sums, std::size_t size, int count, std::size_t step, float* out) {
    const float missing = 0.5F * static_cast<float>(count);
    for (std::size_t i = 0; i < size; ++i) {
        out[i * step] = (static_cast<float>(sums[i]) + missing) / kLevel;
    }
}

/// The sums of a line, as `rows` lie, -> levels (width, 3).
void to_line(const std::vector<std::uint16_t>& sums, const LevelRows& rows, int count, float* line) {
    if (rows.packed()) {
        to_fractions(sums.data(), sums.size(), count, 1, line);
        return;
    }
    const std::size_t width = sums.size() / kColours;
    for (std::size_t c = 0; c < kColours; ++c) {
        to_fractions(sums.data() + c * width, width, count, kColours, line + c);
    }
}

/// A line of the image (width, 3) -> one of the resized image, (resized_width, 3) levels and one number more.
/// Four numbers are added where three are meant, for a processor adds four at once; the next pixel overwrites
/// the fourth. Two sums run side by side, so that neither waits for itself.
void resize_line(const float* line, const Resampling& columns, int resized_width, float* resized) {
    constexpr std::size_t kLanes = 4;
    for (int x = 0; x < resized_width; ++x, resized += kColours) {
        const auto column = static_cast<std::size_t>(x);
        const float* weight = columns.weight(x);
        const float* sample = line + static_cast<std::size_t>(columns.first[column]) * kColours;
        float even[kLanes] = {};
        float odd[kLanes] = {};
        for (int k = 0; k < columns.count[column]; k += 2, sample += 2 * kColours) {
            for (std::size_t i = 0; i < kLanes; ++i) {
                even[i] += weight[k] * sample[i];
            }
            for (std::size_t i = 0; i < kLanes; ++i) {
                odd[i] += weight[k + 1] * sample[kColours + i];
            }
        }
        for (std::size_t i = 0; i < kLanes; ++i) {
            resized[i] = even[i] + odd[i];
        }
    }
}

ARGUS_VECTOR_CLONES
void to_levels(const float* values, std::size_t size, std::uint8_t* levels) {
    for (std::size_t i = 0; i < size; ++i) {
        levels[i] = static_cast<std::uint8_t>(std::min(values[i] + 0.5F, 255.0F));
    }
}

void swap_red_and_blue(std::uint8_t* levels, std::size_t size) {
    for (std::size_t i = 0; i < size; i += kColours) {
        std::swap(levels[i], levels[i + 2]);
    }
}

void fill(const Rgb& colour, int pixels, std::uint8_t* out) {
    for (int i = 0; i < pixels; ++i) {
        out = std::copy(colour.begin(), colour.end(), out);
    }
}

void check(const ImageBuffer& input, int resized_height, int resized_width) {
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
    check(input, resized_height, resized_width);
    const Resampling vertical(image.height, resized_height);
    const Resampling horizontal(image.width, resized_width);
    LevelRows rows(image, static_cast<int>(vertical.taps));

    const auto levels = static_cast<std::size_t>(resized_width) * kColours;
    std::vector<std::uint16_t> weights;
    std::vector<std::uint16_t> sums(static_cast<std::size_t>(image.width) * kColours);
    std::vector<float> line(sums.size() + 2 * kColours);  // an odd number of weights reads one pixel more
    std::vector<float> resized(levels + 1);
    std::uint8_t* out = input.data;
    for (int y = 0; y < resized_height; ++y) {
        const auto target = static_cast<std::size_t>(y);
        const int count = vertical.count[target];
        whole_weights(vertical.weight(y), count, weights);
        std::fill(sums.begin(), sums.end(), std::uint16_t{0});
        for (int k = 0; k < count; ++k) {
            add_row(rows.row(vertical.first[target] + k), sums.size(), weights[static_cast<std::size_t>(k)],
                    sums.data());
        }
        to_line(sums, rows, count, line.data());
        resize_line(line.data(), horizontal, resized_width, resized.data());
        to_levels(resized.data(), levels, out);
        if (rows.reversed()) {
            swap_red_and_blue(out, levels);
        }
        fill(padding, input.width - resized_width, out + levels);
        out += static_cast<std::size_t>(input.width) * kColours;
    }
    fill(padding, (input.height - resized_height) * input.width, out);
}

}  // namespace argus
