// Checks of the core without Python, meant to run under a sanitizer: exit status 0 when all hold.

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "letterbox.hpp"
#include "resample.hpp"

namespace {

void expect(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::exit(1);
    }
}

void weights_add_up_to_one_and_stay_inside() {
    for (int source : {1, 2, 3, 7, 64, 321, 4096}) {
        for (int target : {1, 2, 5, 64, 320}) {
            const argus::Resampling line(source, target);
            for (int t = 0; t < target; ++t) {
                const auto index = static_cast<std::size_t>(t);
                const int count = line.count[index];
                const float* weight = line.weight(t);
                expect(count >= 1 && static_cast<std::size_t>(count) <= line.taps, "weights fit their room");
                expect(line.first[index] >= 0 && line.first[index] + count <= source, "samples exist");
                const float sum = std::accumulate(weight, weight + count, 0.0F);
                expect(sum > 0.9999F && sum < 1.0001F, "weights add up to 1");
            }
        }
    }
}

// Images are allocated to the byte, so that a sanitizer sees any step outside.
void every_size_and_stride_is_read_inside_the_image() {
    const argus::Rgb padding{1, 2, 3};
    for (int height : {1, 2, 33, 100}) {
        for (int width : {1, 3, 32, 75}) {
            const std::ptrdiff_t row = 3 * width;
            const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height * row), 200);
            const std::uint8_t* begin = pixels.data();
            const std::uint8_t* last_row = begin + (height - 1) * row;
            const argus::ImageView views[] = {
                {begin, height, width, row, 3, 1},                 // RGB
                {begin + 2, height, width, row, 3, -1},            // BGR
                {last_row + row - 3, height, width, -row, -3, 1},  // turned by 180 degrees
                {begin, height, width, row, 3, 0},                 // one channel three times
            };
            for (const argus::ImageView& view : views) {
                std::vector<std::uint8_t> out(32 * 48 * 3);
                argus::letterbox(view, {out.data(), 32, 48}, 20, 48, padding);
                expect(out[0] == 200 && out[20 * 48 * 3 - 1] == 200, "a flat image stays flat");
                expect(out[20 * 48 * 3] == 1 && out.back() == 3, "the rest is padding");
            }
        }
    }
}

template <typename Function>
bool refuses(Function function) {
    try {
        function();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

void impossible_sizes_are_refused() {
    std::uint8_t pixel[3] = {};
    const argus::ImageView image{pixel, 1, 1, 3, 3, 1};
    const argus::ImageView empty{pixel, 0, 1, 3, 3, 1};
    const argus::ImageBuffer input{pixel, 1, 1};
    expect(refuses([&] { argus::letterbox(empty, input, 1, 1, {}); }), "an empty image is refused");
    expect(refuses([&] { argus::letterbox(image, input, 0, 1, {}); }), "an empty result is refused");
    expect(refuses([&] { argus::letterbox(image, input, 1, 2, {}); }),
           "a result that does not fit is refused");
}

}  // namespace

int main() {
    weights_add_up_to_one_and_stay_inside();
    every_size_and_stride_is_read_inside_the_image();
    impossible_sizes_are_refused();
    return 0;
}
