#include "bindings.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <algorithm>
#include <stdexcept>

#include "core/letterbox.hpp"
#include "core/masks.hpp"
#include "core/normals.hpp"
#include "core/panoptic.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using argus::PixelFormat;

template <typename Shape>
using Image = nb::ndarray<const std::uint8_t, nb::numpy, Shape, nb::device::cpu>;
using Input = nb::ndarray<std::uint8_t, nb::numpy, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

template <PixelFormat format, typename Shape>
void letterbox(const Image<Shape>& image, const Input& input, int resized_height, int resized_width,
               const argus::Rgb& padding) {
    const auto rows = static_cast<int>(image.shape(0));
    const argus::ImageView view{image.data(),
                                format == PixelFormat::nv12 ? rows / 3 * 2 : rows,
                                static_cast<int>(image.shape(1)),
                                image.stride(0),
                                image.stride(1),
                                image.ndim() == 3 ? image.stride(2) : 0,
                                format};
    const argus::ImageBuffer buffer{input.data(), static_cast<int>(input.shape(0)),
                                    static_cast<int>(input.shape(1))};
    argus::letterbox(view, buffer, resized_height, resized_width, padding);
}

template <PixelFormat format, typename Shape>
void def_letterbox(nb::module_& m, const char* name, const char* doc) {
    m.def(name, &letterbox<format, Shape>, "image"_a.noconvert(), "input"_a.noconvert(), "resized_height"_a,
          "resized_width"_a, "padding"_a, nb::call_guard<nb::gil_scoped_release>(), doc);
}

template <typename Number, int... sides>
using Array = nb::ndarray<Number, nb::numpy, nb::shape<sides...>, nb::c_contig, nb::device::cpu>;
using Logits = Array<const float, -1, -1, -1>;
using Indices = Array<const std::int64_t, -1>;

argus::Placement placed(const std::array<int, 2>& input, const std::array<int, 2>& resized,
                        const std::array<int, 2>& image) {
    const auto fits = [](int inner, int outer) { return inner >= 1 && inner <= outer; };
    if (!fits(resized[0], input[0]) || !fits(resized[1], input[1]) || image[0] < 1 || image[1] < 1) {
        throw std::invalid_argument(
            "an image inside the network's input has at least one pixel, and no more than it");
    }
    return {input[0], input[1], resized[0], resized[1], image[0], image[1]};
}

template <typename Map>
void require_size(const Map& map, std::size_t height, std::size_t width) {
    if (map.shape(map.ndim() - 2) != height || map.shape(map.ndim() - 1) != width) {
        throw std::invalid_argument("the result is not of the image's size");
    }
}

const float* mask_of(const Logits& logits, std::int64_t index) {
    if (index < 0 || index >= static_cast<std::int64_t>(logits.shape(0))) {
        throw std::invalid_argument("there is no mask of this index");
    }
    return logits.data() + index * logits.stride(0);
}

void masks_to_image(const Logits& logits, const Indices& chosen, const std::array<int, 2>& input,
                    const std::array<int, 2>& resized, const std::array<int, 2>& image,
                    const Array<std::uint8_t, -1, -1, -1>& masks, const Array<std::int64_t, -1>& areas) {
    const argus::MapToImage way(static_cast<int>(logits.shape(1)), static_cast<int>(logits.shape(2)),
                                placed(input, resized, image));
    require_size(masks, way.image_rows.part.size(), way.image_columns.part.size());
    if (masks.shape(0) != chosen.shape(0) || areas.shape(0) != chosen.shape(0)) {
        throw std::invalid_argument("there is not one result for each mask");
    }
    std::uint8_t* mask = masks.data();
    for (std::size_t i = 0; i < chosen.shape(0); ++i) {
        areas(i) = argus::mask_to_image(mask_of(logits, chosen(i)), way, mask);
        mask += areas(i) > 0 ? masks.stride(0) : 0;
    }
}

void compete(const Logits& logits, const Array<const float, -1>& scores, const Indices& chosen,
             const std::array<int, 2>& input, const std::array<int, 2>& resized,
             const std::array<int, 2>& image, const Array<std::int32_t, -1, -1>& winners,
             const Array<std::int64_t, -1, 3>& shares) {
    const argus::MapToImage way(static_cast<int>(logits.shape(1)), static_cast<int>(logits.shape(2)),
                                placed(input, resized, image));
    require_size(winners, way.image_rows.part.size(), way.image_columns.part.size());
    if (scores.shape(0) != logits.shape(0) || shares.shape(0) != chosen.shape(0)) {
        throw std::invalid_argument("there is not one score and one result for each mask");
    }
    std::vector<argus::Contender> contenders;
    for (std::size_t i = 0; i < chosen.shape(0); ++i) {
        const float* mask = mask_of(logits, chosen(i));
        contenders.push_back({mask, scores(static_cast<std::size_t>(chosen(i)))});
    }
    std::int64_t* out = shares.data();
    for (const argus::Shares& each : argus::compete(contenders, way, winners.data())) {
        for (const std::int64_t pixels : {each.area, each.won, each.kept}) {
            *out++ = pixels;
        }
    }
}

void map_to_image(const Array<const float, -1, -1>& map, const std::array<int, 2>& resized,
                  const Array<float, -1, -1>& values) {
    const std::array<int, 2> input{static_cast<int>(map.shape(0)), static_cast<int>(map.shape(1))};
    const std::array<int, 2> image{static_cast<int>(values.shape(0)), static_cast<int>(values.shape(1))};
    argus::map_to_image(map.data(), placed(input, resized, image), values.data());
}

void normals_to_image(const Array<const float, 3, -1, -1>& planes, const std::array<int, 2>& resized,
                      float shortest, const Array<float, -1, -1, 3>& normals) {
    const std::array<int, 2> input{static_cast<int>(planes.shape(1)), static_cast<int>(planes.shape(2))};
    const std::array<int, 2> image{static_cast<int>(normals.shape(0)), static_cast<int>(normals.shape(1))};
    argus::normals_to_image(planes.data(), placed(input, resized, image), shortest, normals.data());
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // what lives as long as the interpreter is nobody's defect
    m.doc() = "The compiled core of argus_edge.runtime. Private: use the Python functions that wrap it.";

    def_letterbox<PixelFormat::rgb, nb::shape<-1, -1, 3>>(
        m, "letterbox",
        "Resize `image` (H, W, 3) RGB, any strides, to (resized_height, resized_width) [px] at the top left\n"
        "of `input` (H, W, 3), which is written to, and fill the rest with the `padding` colour.\n"
        "Raises ValueError when the image is empty or the resized one does not fit.");
    def_letterbox<PixelFormat::nv12, nb::shape<-1, -1>>(
        m, "letterbox_nv12",
        "As `letterbox`, of an image (3 H / 2, W) NV12. Raises ValueError for odd sides as well.");
    def_letterbox<PixelFormat::yuyv, nb::shape<-1, -1, 2>>(
        m, "letterbox_yuyv",
        "As `letterbox`, of an image (H, W, 2) YUYV. Raises ValueError for an odd width as well.");
    m.def(
        "masks_to_image", &masks_to_image, "logits"_a.noconvert(), "chosen"_a.noconvert(), "input"_a,
        "resized"_a, "image"_a, "masks"_a.noconvert(), "areas"_a.noconvert(),
        nb::call_guard<nb::gil_scoped_release>(),
        "Bring the finite logits (K, h, w) of N `chosen` masks from the network's input to the image, sizes\n"
        "(height, width) [px], and set to 1 in `masks` (N, H, W) zeros where they are positive. `areas` "
        "(N,)\n"
        "holds how many pixels those are; a mask without any has no place in `masks`.\n"
        "Raises ValueError for sizes and indices that do not fit.");
    m.def("compete", &compete, "logits"_a.noconvert(), "scores"_a.noconvert(), "chosen"_a.noconvert(),
          "input"_a, "resized"_a, "image"_a, "winners"_a.noconvert(), "shares"_a.noconvert(),
          nb::call_guard<nb::gil_scoped_release>(),
          "Give every pixel of the image to the one of N `chosen` masks, finite logits (K, h, w) over the\n"
          "network's input, with the greatest score x probability: its place from 1 in `winners` (H, W),\n"
          "negative outside of the mask, 0 when N is 0. `shares` (N, 3) holds pixels: of the mask, won, and "
          "won\n"
          "inside of it. Sizes and errors as of `masks_to_image`.");
    m.def("map_to_image", &map_to_image, "map"_a.noconvert(), "resized"_a, "values"_a.noconvert(),
          nb::call_guard<nb::gil_scoped_release>(),
          "Bring a map (h, w) over the network's input to the image, `values` (H, W). Raises ValueError for\n"
          "sizes that do not fit.");
    m.def("normals_to_image", &normals_to_image, "planes"_a.noconvert(), "resized"_a, "shortest"_a,
          "normals"_a.noconvert(), nb::call_guard<nb::gil_scoped_release>(),
          "Bring vectors (3, h, w) over the network's input to the image, `normals` (H, W, 3), and back to\n"
          "length 1; one no longer than `shortest` becomes 0. Raises ValueError for sizes that do not fit.");

    bind_scheduling(m);
    bind_graphs(m);
}
