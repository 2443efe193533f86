#include "bindings.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include "core/letterbox.hpp"

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

}  // namespace

NB_MODULE(_native, m) {
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

    bind_scheduling(m);
    bind_graphs(m);
}
