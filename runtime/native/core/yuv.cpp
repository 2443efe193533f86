#include "yuv.hpp"

#include <algorithm>

#include "vector_clones.hpp"

namespace argus {
namespace {

/// Half a product of 16-bit numbers, the form in which every processor multiplies eight or more at once.
std::int16_t high(int a, int b) { return static_cast<std::int16_t>(a * b >> 16); }

/// What a factor of luma (whose samples are shifted by 7 bits) and of chroma (by 8) has to be for sums in
/// 1/32 of a level: sample * factor * 2^5 is sample * 2^shift * (factor * 2^(21 - shift)) / 2^16.
constexpr int fixed(double factor, int shift) {
    return static_cast<int>(factor * static_cast<double>(1 << (21 - shift)) + 0.5);
}

// The matrix of BT.601 (Kr = 0.299, Kb = 0.114), with 219 steps of Y and 224 of U and V brought to 255.
constexpr double kRed = 0.299;
constexpr double kBlue = 0.114;
constexpr double kGreen = 1 - kRed - kBlue;
constexpr double kChroma = 255.0 / 224.0 * 2.0;
constexpr int kLuma = fixed(255.0 / 219.0, 7);
constexpr int kRedOfV = fixed(kChroma * (1 - kRed), 8);
constexpr int kBlueOfU = fixed(kChroma * (1 - kBlue), 8);
constexpr int kGreenOfV = fixed(kChroma * (1 - kRed) * kRed / kGreen, 8);
constexpr int kGreenOfU = fixed(kChroma * (1 - kBlue) * kBlue / kGreen, 8);

std::uint8_t to_level(int sum) {
    const auto level = static_cast<std::int16_t>(static_cast<std::int16_t>(sum) >> 5);
    return static_cast<std::uint8_t>(std::min<std::int16_t>(std::max<std::int16_t>(level, 0), 255));
}

/// What U and V, alternating (width,), add to the red, green and blue (width,) of the pixels.
ARGUS_VECTOR_CLONES
void to_terms(const std::uint8_t* __restrict chroma, std::size_t width, std::int16_t* __restrict red,
              std::int16_t* __restrict green, std::int16_t* __restrict blue) {
    for (std::size_t x = 0; x + 1 < width; x += 2) {
        const auto u = static_cast<std::int16_t>((chroma[x] - 128) * 256);
        const auto v = static_cast<std::int16_t>((chroma[x + 1] - 128) * 256);
        red[x] = red[x + 1] = high(v, kRedOfV);
        green[x] = green[x + 1] = static_cast<std::int16_t>(-high(u, kGreenOfU) - high(v, kGreenOfV));
        blue[x] = blue[x + 1] = high(u, kBlueOfU);
    }
}

/// Y (width,) and what U and V add -> the levels of each colour (width,).
ARGUS_VECTOR_CLONES
void to_levels(const std::uint8_t* __restrict luma, std::size_t width, const std::int16_t* __restrict red,
               const std::int16_t* __restrict green, const std::int16_t* __restrict blue,
               std::uint8_t* __restrict r, std::uint8_t* __restrict g, std::uint8_t* __restrict b) {
    for (std::size_t x = 0; x < width; ++x) {
        const auto above_black = static_cast<std::int16_t>(std::max(luma[x] - 16, 0) * 128);
        const int y = high(above_black, kLuma) + 16;  // half a level more, to round
        r[x] = to_level(y + red[x]);
        g[x] = to_level(y + green[x]);
        b[x] = to_level(y + blue[x]);
    }
}

}  // namespace

void YuvConverter::set_chroma(const std::uint8_t* chroma) {
    to_terms(chroma, red_.size(), red_.data(), green_.data(), blue_.data());
}

void YuvConverter::convert(const std::uint8_t* luma, std::uint8_t* levels) const {
    const std::size_t width = red_.size();
    to_levels(luma, width, red_.data(), green_.data(), blue_.data(), levels, levels + width,
              levels + 2 * width);
}

}  // namespace argus
