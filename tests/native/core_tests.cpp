// Checks of the core without Python, meant to run under a sanitizer: exit status 0 when all hold.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "deformable.hpp"
#include "letterbox.hpp"
#include "masks.hpp"
#include "normals.hpp"
#include "panoptic.hpp"
#include "resample.hpp"
#include "ring.hpp"

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

// White frames of every format and any stride, allocated to the byte.
void camera_formats_are_read_inside_the_frame() {
    for (int height : {2, 34, 100}) {
        for (int width : {2, 32, 76}) {
            for (std::ptrdiff_t step : {1, 2, 5}) {
                const std::ptrdiff_t row = step * (width - 1) + 1;
                std::vector<std::uint8_t> nv12(static_cast<std::size_t>(height / 2 * 3 * row), 128);
                std::fill(nv12.begin(), nv12.begin() + height * row, std::uint8_t{235});
                std::vector<std::uint8_t> yuyv(static_cast<std::size_t>(2 * height * row), 128);
                std::fill(yuyv.begin(), yuyv.begin() + height * row, std::uint8_t{235});
                const argus::ImageView views[] = {
                    {nv12.data(), height, width, row, step, 0, argus::PixelFormat::nv12},
                    {yuyv.data(), height, width, row, step, height * row, argus::PixelFormat::yuyv},
                };
                for (const argus::ImageView& view : views) {
                    std::vector<std::uint8_t> out(32 * 48 * 3);
                    argus::letterbox(view, {out.data(), 32, 48}, 32, 48, {});
                    const auto white = [](std::uint8_t level) { return level >= 254; };
                    expect(std::all_of(out.begin(), out.end(), white), "white stays white");
                }
            }
        }
    }
}

// Bilinear sampling as a sum over every cell of the map, each weighted by a tent one cell wide.
double tent_sample(const float* value, std::size_t step, const argus::MapShape& shape, double x, double y) {
    double sum = 0;
    for (int i = 0; i < shape.height; ++i) {
        for (int j = 0; j < shape.width; ++j) {
            const double down = ((y + 1) * shape.height - 1) / 2 - i;
            const double right = ((x + 1) * shape.width - 1) / 2 - j;
            const double tent = std::max(0.0, 1 - std::abs(down)) * std::max(0.0, 1 - std::abs(right));
            sum += tent * static_cast<double>(value[static_cast<std::size_t>(i * shape.width + j) * step]);
        }
    }
    return sum;
}

// Two images, three levels, places far outside and at corners; buffers are allocated to the byte.
void deformable_sampling_sums_bilinear_samples() {
    const std::size_t images = 2;
    argus::DeformableInputs in{nullptr, nullptr, nullptr, 7, 3, 11, 2, {{5, 4}, {1, 3}, {1, 1}}};
    const std::size_t levels = in.levels.size();
    const std::size_t rows = images * in.queries;
    std::mt19937 random(0);
    std::uniform_real_distribution<float> numbers(-1.5F, 1.5F);
    const auto filled = [&](std::size_t size) {
        std::vector<float> values(size);
        std::generate(values.begin(), values.end(), [&] { return numbers(random); });
        return values;
    };
    const std::vector<float> value = filled(images * in.cells() * in.heads * in.depth);
    const std::vector<float> weights = filled(rows * in.heads * levels * in.points);
    std::vector<float> places = filled(weights.size() * 2);
    const float special[] = {-1, -1, 1, 1, -1, 1, 1e9F, -1e9F, 0, 0, INFINITY, 0};
    std::copy(std::begin(special), std::end(special), places.begin());
    in.value = value.data();
    in.places = places.data();
    in.weights = weights.data();
    std::vector<float> sums(rows * in.heads * in.depth);
    argus::sample_deformable(in, 5, rows, sums.data());
    argus::sample_deformable(in, 0, 5, sums.data());

    for (std::size_t index = 0; index < sums.size(); ++index) {
        const std::size_t head = index / in.depth % in.heads;
        const std::size_t image = index / in.depth / in.heads / in.queries;
        std::size_t read = index / in.depth * levels * in.points;
        const std::size_t step = in.heads * in.depth;
        const float* map = value.data() + image * in.cells() * step + head * in.depth + index % in.depth;
        double wanted = 0;
        for (const argus::MapShape& shape : in.levels) {
            for (std::size_t point = 0; point < in.points; ++point, ++read) {
                const auto x = static_cast<double>(places[2 * read]);
                const auto y = static_cast<double>(places[2 * read + 1]);
                wanted += static_cast<double>(weights[read]) * tent_sample(map, step, shape, x, y);
            }
            map += static_cast<std::size_t>(shape.height * shape.width) * step;
        }
        expect(std::abs(static_cast<double>(sums[index]) - wanted) < 1e-5, "samples are added up");
    }
}

// A mask and vectors at every relation of sizes; results are allocated to the byte.
void maps_of_any_size_reach_any_image() {
    std::mt19937 random(1);
    std::normal_distribution<float> numbers(0, 3);
    const argus::Placement placements[] = {{32, 48, 32, 48, 90, 135}, {32, 48, 32, 20, 11, 7},
                                           {32, 48, 1, 48, 1, 400},   {32, 48, 32, 1, 77, 1},
                                           {1, 1, 1, 1, 5, 6},        {32, 48, 17, 48, 1, 1}};
    for (const argus::Placement& placement : placements) {
        const auto pixels = static_cast<std::size_t>(placement.image_height * placement.image_width);
        std::vector<float> logits(3 * 8 * 12);
        std::generate(logits.begin(), logits.end(), [&] { return numbers(random); });
        const argus::MapToImage way(8, 12, placement);
        std::vector<std::uint8_t> mask(pixels);
        const std::int64_t area = argus::mask_to_image(logits.data(), way, mask.data());
        expect(area == std::count(mask.begin(), mask.end(), 1), "the pixels of a mask are counted");

        std::vector<std::int32_t> winners(pixels, 9);
        const auto shares =
            argus::compete({{logits.data(), 0.9F}, {logits.data() + 96, 0.8F}, {logits.data() + 192, 0.7F}},
                           way, winners.data());
        const auto won = shares[0].won + shares[1].won + shares[2].won;
        expect(won == static_cast<std::int64_t>(pixels), "every pixel is won");
        expect(shares[0].area == area, "a mask has one area");
        expect(argus::compete({}, way, winners.data()).empty() && winners.back() == 0, "nobody wins nothing");

        std::vector<float> planes(3 *
                                  static_cast<std::size_t>(placement.input_height * placement.input_width));
        std::generate(planes.begin(), planes.end(), [&] { return numbers(random); });
        std::vector<float> values(pixels);
        argus::map_to_image(planes.data(), placement, values.data());
        expect(std::abs(values[0]) <= 20 && std::isfinite(values.back()), "values lie between those given");

        std::vector<float> normals(3 * pixels);
        argus::normals_to_image(planes.data(), placement, 1e-6F, normals.data());
        const float* last = normals.data() + normals.size() - 3;
        const float length = last[0] * last[0] + last[1] * last[1] + last[2] * last[2];
        expect(std::abs(length - 1) < 1e-4F, "vectors have length 1");
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
    const argus::ImageView odd{pixel, 1, 1, 1, 1, 1, argus::PixelFormat::yuyv};
    const argus::ImageBuffer input{pixel, 1, 1};
    expect(refuses([&] { argus::letterbox(empty, input, 1, 1, {}); }), "an empty image is refused");
    expect(refuses([&] { argus::letterbox(odd, input, 1, 1, {}); }), "half a pair of pixels is refused");
    expect(refuses([&] { argus::letterbox(image, input, 0, 1, {}); }), "an empty result is refused");
    expect(refuses([&] { argus::letterbox(image, input, 1, 2, {}); }),
           "a result that does not fit is refused");
}

void a_ring_keeps_the_last_in_the_memory_of_the_first() {
    const std::vector<int> typical(3);
    argus::Ring<std::vector<int>> ring(4, typical);
    expect(ring.items().empty(), "what a ring is made of is not in it");
    for (int number = 0; number < 6; ++number) {
        ring.push({number});
        expect(ring.items().size() == static_cast<std::size_t>(std::min(number + 1, 4)), "a ring is bounded");
    }
    expect(ring.items() == std::vector<std::vector<int>>{{2}, {3}, {4}, {5}}, "the oldest come first");
    argus::Ring<int>(0, 0).push(1);
}

}  // namespace

int main() {
    weights_add_up_to_one_and_stay_inside();
    every_size_and_stride_is_read_inside_the_image();
    camera_formats_are_read_inside_the_frame();
    impossible_sizes_are_refused();
    maps_of_any_size_reach_any_image();
    deformable_sampling_sums_bilinear_samples();
    a_ring_keeps_the_last_in_the_memory_of_the_first();
    return 0;
}
