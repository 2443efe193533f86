"""GroupNorm: every spelling is found, every form answers as float64 does, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from argus_edge.export.groupnorm import STATISTICS, NormForm, find_group_norms, spell_group_norms
from argus_edge.runtime.engines import open_engine

Array = NDArray[Any]
SHAPE = (2, 12, 5, 7)
GROUPS, EPSILON = 4, 1e-3
FORMS: tuple[NormForm, ...] = ("native", "instance", "algebraic")
RNG = np.random.default_rng(0)
SCALE, SHIFT = RNG.normal(1, 0.5, 12).astype(np.float32), RNG.normal(0, 1, 12).astype(np.float32)


def reference(x: Array, groups: int = GROUPS, scale: Array = SCALE, shift: Array = SHIFT) -> Array:
    """The definition, in double precision."""
    images, channels = x.shape[:2]
    grouped = x.astype(np.float64).reshape(images, groups, -1)
    centred = grouped - grouped.mean(2, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(2, keepdims=True) + EPSILON)
    by_channel = (1, channels, 1, 1)
    return normed.reshape(x.shape) * scale.reshape(by_channel) + shift.reshape(by_channel)  # type: ignore[no-any-return]


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, Array], shape: Any = SHAPE) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def native(
    shape: Any = SHAPE, groups: int = GROUPS, scale: Array = SCALE, shift: Array = SHIFT
) -> onnx.ModelProto:
    node = helper.make_node(
        "GroupNormalization", ["x", "scale", "shift"], ["y"], "m.norm/GroupNormalization_3",
        num_groups=groups, epsilon=EPSILON,
    )  # fmt: skip
    return model_of([node], {"scale": scale, "shift": shift}, shape)


def node(operation: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operation, inputs.split(), [output], **attributes)


BY_CHANNEL: dict[str, Array] = {"scale": SCALE.reshape(-1, 1, 1), "shift": SHIFT.reshape(1, -1, 1, 1)}
GROUPED = np.array([0, GROUPS, -1], np.int64)
AFFINE = [node("Mul", "back scale", "scaled"), node("Add", "shift scaled", "y")]


def instance() -> onnx.ModelProto:
    """As torch wrote it before opset 18."""
    inner = RNG.normal(1, 0.5, GROUPS).astype(np.float32)
    repeats = SHAPE[1] // GROUPS
    outer = {
        "scale": BY_CHANNEL["scale"] / inner.repeat(repeats).reshape(-1, 1, 1),
        "shift": BY_CHANNEL["shift"] + BY_CHANNEL["scale"].reshape(1, -1, 1, 1) * 0,
    }
    nodes = [
        node("Reshape", "x groups", "g"),
        node("InstanceNormalization", "g inner zeros", "n", epsilon=EPSILON),
        node("Reshape", "n shape", "back"),
        *AFFINE,
    ]
    constants: dict[str, Array] = {
        "groups": GROUPED, "inner": inner, "zeros": np.zeros(GROUPS, np.float32),
    }  # fmt: skip
    return model_of(nodes, {**constants, "shape": np.array(SHAPE, np.int64), **outer})


def means(square: str, divide: str, differences: int) -> onnx.ModelProto:
    """Mean, difference, mean of squares, root, quotient."""
    second = "d" if differences == 1 else "d2"
    nodes = [
        node("Reshape", "x groups", "g"),
        node("ReduceMean", "g axes", "mean"),
        node("Sub", "g mean", "d"),
        *([node("Sub", "g mean", "d2")] if differences == 2 else []),
        node("Mul", "d d", "square") if square == "Mul" else node("Pow", "d two", "square"),
        node("ReduceMean", "square axes", "variance"),
        node("Add", "epsilon variance", "plus"),
        node("Sqrt", "plus", "root"),
    ]
    if divide == "Div":
        nodes += [node("Div", f"{second} root", "n")]
    elif divide == "Reciprocal":
        nodes += [node("Reciprocal", "root", "inverse"), node("Mul", f"inverse {second}", "n")]
    else:
        nodes += [node("Div", "one root", "inverse"), node("Mul", f"{second} inverse", "n")]
    constants: dict[str, Array] = {
        "groups": GROUPED, "axes": np.array([-1], np.int64), "two": np.array(2, np.float32),
        "epsilon": np.array([EPSILON], np.float32), "one": np.array(1, np.float32),
        "shape": np.array(SHAPE, np.int64),
    }  # fmt: skip
    nodes += [node("Reshape", "n shape", "back"), *AFFINE]
    read = {name for each in nodes for name in each.input}
    return model_of(nodes, {k: v for k, v in {**constants, **BY_CHANNEL}.items() if k in read})


SPELLINGS: dict[str, Callable[[], onnx.ModelProto]] = {
    "native": native,
    "instance": instance,
    "means, squares by Mul": lambda: means("Mul", "Div", 1),
    "means, squares by Pow, one difference for each use": lambda: means("Pow", "Div", 2),
    "means, inverse root": lambda: means("Mul", "Reciprocal", 1),
    "means, one by the root": lambda: means("Pow", "one", 2),
}


def evaluated(model: onnx.ModelProto, x: Array) -> Array:
    """What onnx's own reference implementation answers."""
    answers: Any = ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(answers[0])


def run(model: onnx.ModelProto, x: Array, engine: str, folder: Path) -> Array:
    file = folder / "model.onnx"
    onnx.save(model, file)
    opened = open_engine(engine, file, threads=1, precision="fp32")
    answer = np.array(opened.run({"x": x})["y"])
    opened.close()
    return answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_becomes_every_form(spelling: str, form: NormForm) -> None:
    model = SPELLINGS[spelling]()
    x = RNG.normal(0.5, 2, SHAPE).astype(np.float32)
    before = evaluated(model, x)
    np.testing.assert_allclose(before, reference(x), atol=1e-5)  # the test's own spelling is right
    assert spell_group_norms(model, form) == 1
    onnx.checker.check_model(model, full_check=True)
    after = evaluated(model, x)
    np.testing.assert_allclose(after, reference(x), atol=2e-5)
    expected = {"native": "GroupNormalization", "instance": "InstanceNormalization", "algebraic": "Conv"}
    assert expected[form] in {n.op_type for n in model.graph.node}
    read = {name for n in model.graph.node for name in n.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("channels", "groups"), [(12, 1), (12, 12), (48, 8)])
def test_engines_answer_as_double_precision(
    form: NormForm, engine: str, channels: int, groups: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    scale, shift = (
        rng.normal(1, 0.5, channels).astype(np.float32),
        rng.normal(0, 1, channels).astype(np.float32),
    )
    shape = (1, channels, 20, 24)
    model = native(shape, groups, scale, shift)
    spell_group_norms(model, form)
    x = rng.normal(0, 2, shape).astype(np.float32)
    wanted = reference(x, groups, scale, shift)
    assert np.abs(run(model, x, engine, tmp_path) - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("mean", "spread", "bound"), [(30.0, 1.0, 1e-3), (3.0, 1e-3, 1e-2), (5.0, 0.0, 1e-3)]
)
def test_algebraic_statistics_stand_large_means_and_flat_images(
    engine: str, mean: float, spread: float, bound: float, tmp_path: Path
) -> None:
    # mean(x^2) - mean(x)^2 cancels: digits are lost as (mean / spread)^2, but a flat image must stay finite.
    model = native((1, 12, 40, 40))
    spell_group_norms(model, "algebraic")
    x = (mean + spread * np.random.default_rng(2).standard_normal((1, 12, 40, 40))).astype(np.float32)
    answer = run(model, x, engine, tmp_path)
    assert np.isfinite(answer).all()
    assert np.abs(answer - reference(x)).max() <= bound


def test_statistics_are_named_so_that_quantisation_leaves_them() -> None:
    model = native()
    spell_group_norms(model, "algebraic")
    names = [n.name for n in model.graph.node]
    assert len(set(names)) == len(names)
    others = [name for name in names if not name.startswith(f"m.norm{STATISTICS}")]
    assert others == ["m.norm/Scaled", "m.norm/Shifted"]


def test_what_is_no_group_norm_stays() -> None:
    other = means("Mul", "Div", 1)
    mean = next(n for n in other.graph.node if n.op_type == "ReduceMean")
    # The mean leaves the graph as well, so its nodes cannot go.
    other.graph.output.append(
        helper.make_tensor_value_info(mean.output[0], TensorProto.FLOAT, (2, GROUPS, 1))
    )
    by_image = instance()
    by_image.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([1, 8, -1], np.int64), "groups"))
    half = native()
    for tensor in (*half.graph.input, *half.graph.output):
        tensor.type.tensor_type.elem_type = TensorProto.FLOAT16
    for model in (other, half):
        before = model.SerializeToString(deterministic=True)
        assert find_group_norms(model) == []
        assert spell_group_norms(model, "algebraic") == 0
        assert model.SerializeToString(deterministic=True) == before
    assert find_group_norms(by_image) == []


def test_all_of_a_graph_are_found_and_the_rest_keeps_its_order() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("GroupNormalization", "a scale shift", "b", num_groups=GROUPS, epsilon=EPSILON),
        node("Sigmoid", "b", "c"),
        node("GroupNormalization", "c scale shift", "d", num_groups=GROUPS, epsilon=EPSILON),
        node("Neg", "d", "y"),
    ]
    model = model_of(nodes, {"scale": SCALE, "shift": SHIFT})
    # Exporters note the shapes; onnx itself infers none behind a GroupNormalization.
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, SHAPE))
    x = RNG.normal(size=SHAPE).astype(np.float32)
    before = evaluated(model, x)
    assert spell_group_norms(model, "instance") == 2
    assert [n.op_type for n in model.graph.node if n.op_type in ("Relu", "Sigmoid", "Neg")] == [
        "Relu",
        "Sigmoid",
        "Neg",
    ]
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(evaluated(model, x), before, atol=2e-5)
