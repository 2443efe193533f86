// Our operations for OpenVINO, as a library that its `add_extension` loads.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/core/parallel.hpp>
#include <openvino/op/op.hpp>
#include <utility>
#include <vector>

#include "core/deformable.hpp"

namespace {

/// The core of multi-scale deformable attention: see sample_deformable.
///
/// Inputs, all f32: value (B, N, M, D), places (B, Q, M, L, P, 2), weights (B, Q, M, L, P).
/// Output: (B, Q, M * D).
/// Attribute `shapes` (2 * L,): height and width of each level's map, which are N cells together.
class DeformableSampling : public ov::op::Op {
  public:
    OPENVINO_OP("DeformableSampling", "argus_edge");

    DeformableSampling() = default;

    DeformableSampling(const ov::OutputVector& inputs, std::vector<std::int64_t> shapes)
        : Op(inputs), shapes_(std::move(shapes)) {
        constructor_validate_and_infer_types();
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<DeformableSampling>(inputs, shapes_);
    }

    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("shapes", shapes_);
        return true;
    }

    void validate_and_infer_types() override {
        NODE_VALIDATION_CHECK(this, get_input_size() == 3, "takes value, places and weights");
        for (std::size_t port = 0; port < 3; ++port) {
            NODE_VALIDATION_CHECK(this, get_input_element_type(port) == ov::element::f32, "takes f32");
            NODE_VALIDATION_CHECK(this, get_input_partial_shape(port).is_static(), "takes static shapes");
        }
        const ov::Shape value = get_input_shape(0);
        const ov::Shape places = get_input_shape(1);
        const ov::Shape weights = get_input_shape(2);
        NODE_VALIDATION_CHECK(this, value.size() == 4 && places.size() == 6,
                              "takes (B, N, M, D), (B, Q, M, L, P, 2)");
        NODE_VALIDATION_CHECK(this, places[0] == value[0] && places[2] == value[2],
                              "has one batch and one number of heads");
        NODE_VALIDATION_CHECK(this, ov::Shape(places.begin(), places.end() - 1) == weights && places[5] == 2,
                              "takes one weight for each place (x, y)");
        NODE_VALIDATION_CHECK(this, places[3] > 0 && shapes_.size() == 2 * places[3],
                              "has a shape for each level");
        NODE_VALIDATION_CHECK(this, *std::min_element(shapes_.begin(), shapes_.end()) > 0,
                              "has no empty level");
        NODE_VALIDATION_CHECK(this, sizes().cells() == value[1], "has as many cells as its levels together");
        set_output_type(0, ov::element::f32, ov::Shape{value[0], places[1], value[2] * value[3]});
    }

    bool has_evaluate() const override { return true; }

    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        argus::DeformableInputs core = sizes();
        core.value = inputs[0].data<const float>();
        core.places = inputs[1].data<const float>();
        core.weights = inputs[2].data<const float>();
        float* sums = outputs[0].data<float>();
        const std::size_t rows = get_input_shape(0)[0] * core.queries;
        ov::parallel_nt(0, [&](std::size_t thread, std::size_t threads) {
            std::size_t first = 0;
            std::size_t last = rows;
            ov::splitter(rows, threads, thread, first, last);
            argus::sample_deformable(core, first, last, sums);
        });
        return true;
    }

  private:
    argus::DeformableInputs sizes() const {
        const ov::Shape value = get_input_shape(0);
        const ov::Shape places = get_input_shape(1);
        argus::DeformableInputs sizes{nullptr,  nullptr,  nullptr,   places[1],
                                      value[2], value[3], places[4], {}};
        for (std::size_t level = 0; level < shapes_.size(); level += 2) {
            sizes.levels.push_back({static_cast<int>(shapes_[level]), static_cast<int>(shapes_[level + 1])});
        }
        return sizes;
    }

    std::vector<std::int64_t> shapes_;
};

}  // namespace

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>{
    std::make_shared<ov::OpExtension<DeformableSampling>>()});
