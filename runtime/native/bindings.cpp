#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include "core/letterbox.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Image = nb::ndarray<const std::uint8_t, nb::numpy, nb::shape<-1, -1, 3>, nb::device::cpu>;
using Input = nb::ndarray<std::uint8_t, nb::numpy, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

void letterbox(const Image& image, const Input& input, int resized_height, int resized_width,
               const argus::Rgb& padding) {
    const argus::ImageView view{image.data(),
                                static_cast<int>(image.shape(0)),
                                static_cast<int>(image.shape(1)),
                                image.stride(0),
                                image.stride(1),
                                image.stride(2)};
    const argus::ImageBuffer buffer{input.data(), static_cast<int>(input.shape(0)),
                                    static_cast<int>(input.shape(1))};
    argus::letterbox(view, buffer, resized_height, resized_width, padding);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The compiled core of argus_edge.runtime. Private: use the Python functions that wrap it.";

    m.def(
        "letterbox", &letterbox, "image"_a.noconvert(), "input"_a.noconvert(), "resized_height"_a,
        "resized_width"_a, "padding"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Resize `image` (H, W, 3) RGB, any strides, to (resized_height, resized_width) [px] at the top left\n"
        "of `input` (H, W, 3), which is written to, and fill the rest with the `padding` colour.\n"
        "Raises ValueError when the image is empty or the resized one does not fit.");
}
