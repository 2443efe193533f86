// Bindings of what runs a package's graphs without the interpreter.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

#include "bindings.hpp"
#include "core/graph_executor.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Bytes = nb::ndarray<std::uint8_t, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tensor = nb::ndarray<const std::uint8_t, nb::numpy, nb::c_contig, nb::device::cpu>;

Bytes view(const argus::Buffer& buffer) { return Bytes(buffer.data(), {buffer.bytes()}); }

std::shared_ptr<argus::Work> make_work(const argus::GraphExecutor& executor, const Tensor& image,
                                       std::uint64_t tag) {
    auto work = std::make_shared<argus::Work>(image.nbytes(), executor.stages(), tag);
    std::memcpy(work->image.data(), image.data(), image.nbytes());
    return work;
}

}  // namespace

void bind_graphs(nb::module_& m) {
    nb::class_<argus::Work>(m, "Work")
        .def_ro("tag", &argus::Work::tag)
        .def(
            "output",
            [](const argus::Work& work, std::size_t stage, std::size_t index) {
                return view(work.outputs.at(stage).at(index));
            },
            "stage"_a, "index"_a, nb::rv_policy::reference_internal,
            "Bytes of a stage's answer, which live as long as they are looked at.")
        .def(
            "error", [](const argus::Work& work, std::size_t stage) { return work.errors.at(stage); },
            "stage"_a);
    nb::class_<argus::Graph>(m, "Graph")
        .def(
            "__init__",
            [](argus::Graph* graph, const std::string& library, const std::string& file,
               const argus::Graph::Settings& settings) {
                new (graph) argus::Graph(argus::load_engine_api(library), file, settings);
            },
            "library"_a, "file"_a, "settings"_a, nb::call_guard<nb::gil_scoped_release>());
    nb::class_<argus::GraphExecutor, argus::Executor>(m, "GraphExecutor")
        .def(nb::init<std::size_t, std::size_t>(), "image_bytes"_a, "most"_a)
        .def(
            "add",
            [](argus::GraphExecutor& executor, std::shared_ptr<argus::Graph> graph, std::string image,
               std::vector<std::string> features, std::vector<std::string> others,
               std::vector<std::string> outputs, bool answers) {
                executor.add(std::move(graph), {std::move(image), std::move(features), std::move(others),
                                                std::move(outputs), answers});
            },
            "graph"_a, "image"_a, "features"_a, "others"_a, "outputs"_a, "answers"_a,
            nb::call_guard<nb::gil_scoped_release>())
        .def(
            "add_batch",
            [](argus::GraphExecutor& executor, std::size_t stage, std::size_t frames,
               std::shared_ptr<argus::Graph> graph) { executor.add_batch(stage, frames, std::move(graph)); },
            "stage"_a, "frames"_a, "graph"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("set_prepare", &argus::GraphExecutor::set_prepare, "stage"_a, "prepare"_a.none(),
             "Have a callable (stage, work) run before a stage; None lets go of it.")
        .def(
            "input",
            [](const argus::GraphExecutor& executor, std::size_t stage, const std::string& name) {
                return view(executor.input(stage, name));
            },
            "stage"_a, "name"_a, nb::rv_policy::reference_internal)
        .def("work", &make_work, "image"_a, "tag"_a);
}
