"""What TensorRT reads, where Q/DQ may stand, and how graphs come to keep to both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from argus_edge.errors import ExportError
from argus_edge.export.precision import int8_products, to_fp16
from argus_edge.export.rewrite import copied, sort_nodes
from argus_edge.export.sampling import PLACES
from argus_edge.export.sensitivity import return_to_float
from argus_edge.export.symmetric import to_symmetric_int8
from argus_edge.export.targets import CPU, TARGETS, TENSORRT
from argus_edge.export.targets.support import find_misses, support_tables
from argus_edge.export.targets.target import lower_opset
from argus_edge.export.targets.tensorrt import check_graphs, spell_equalities

Array = NDArray[Any]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
TEN, ELEVEN = support_tables()


def node(operation: str, *inputs: str, y: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(operation, list(inputs), [y], f"layer/{operation}", **attributes)


def model_of(
    nodes: Iterable[NodeProto],
    shape: tuple[int | str, ...] = (1, 4, 6, 6),
    constants: dict[str, Any] | None = None,
    opset: int = 20,
    kinds: tuple[int, int] = (FLOAT, FLOAT),
    result: tuple[int | str, ...] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", kinds[0], shape)],
        [helper.make_tensor_value_info("y", kinds[1], shape if result is None else result)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (constants or {}).items()],
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("com.own", 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


def run(model: onnx.ModelProto, **inputs: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: Array = session.run(None, inputs)[0]
    return answer


# -- the published tables ------------------------------------------------------------------------------------


def test_the_tables_are_of_both_ends() -> None:
    assert [table.tensorrt for table in support_tables()] == ["10.3", "11.2"]
    assert TEN.operators.keys() < ELEVEN.operators.keys()
    assert TENSORRT.opset == 20 == min(table.opset[1] for table in support_tables())
    assert TARGETS == {"cpu": CPU, "tensorrt": TENSORRT}


def test_what_is_read_passes() -> None:
    nodes = [node("Relu", "x", y="r"), node("Conv", "r", "w")]
    model = model_of(nodes, constants={"w": np.ones((4, 4, 1, 1), np.float32)})
    assert [find_misses(model, table) for table in support_tables()] == [[], []]
    check_graphs({"det": model, "half": to_fp16(model)})


TOPK = helper.make_node("TopK", ["x", "k"], ["y", "i"], "layer/TopK", sorted=0)
RESIZE = {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"}
SIZES = {"sizes": np.array([1, 4, 6, 6])}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (model_of([node("Relu", "x")], opset=21), [("opset", "9 to 20, not 21", "the graph")]),
        (model_of([node("Det", "x")], result=(1, 4)), [("Det", "an operator that TensorRT 10.3 reads")]),
        (model_of([node("STFT", "x", "")]), [("STFT", "an operator that TensorRT 10.3 reads")]),
        (model_of([node("Fold", "x", domain="com.own")]), [("com.own.Fold", "an operator of ONNX itself")]),
        (
            model_of([node("Relu", "x")], kinds=(TensorProto.DOUBLE, TensorProto.DOUBLE)),
            [
                ("input", "no DOUBLE (x)"),
                ("Relu", "no DOUBLE (y)"),
                ("Relu", "FP32, FP16, BF16, INT32, INT64"),
            ],
        ),
        (
            model_of([node("Relu", "x")], ("N", 4)),
            [("input", "a fixed shape of x"), ("Relu", "a fixed shape")],
        ),
        (
            model_of([node("Cast", "x", y="u", to=TensorProto.UINT8), node("Cast", "u", to=FLOAT)]),
            [("Cast", "UINT8 at the graph's inputs and outputs only (u)")],
        ),
        (
            model_of([TOPK], (1, 9000), {"k": np.array([3840])}, result=(1, 3840)),
            [("TopK", "sorted 1, not [0]"), ("TopK", "input 1 below 3840, not [3840]")],
        ),
        (
            model_of([node("Resize", "x", "", "", "sizes", **RESIZE)], constants=SIZES),
            [("Resize", "mode nearest or linear, not ['cubic']")],
        ),
        (
            model_of([node("Pad", "x", "p", "", "a")], constants={"p": np.zeros(2, int), "a": np.array([2])}),
            [("Pad", "no input 3")],
        ),
        (
            model_of([node("MaxPool", "x", kernel_shape=[1, 1], dilations=[2, 1])]),
            [("MaxPool", "dilations 1, not [2, 1]")],
        ),
        (
            model_of([node("ReduceMax", "x", "axes")], constants={}, result=(1, 1, 6, 6)),
            [("ReduceMax", "a constant as input 1")],
        ),
    ],
)
def test_what_is_not_read_is_named(model: onnx.ModelProto, expected: list[tuple[str, ...]]) -> None:
    found = find_misses(model, TEN)
    for operation, told, *where in expected:
        same = [m for m in found if m.operation == operation and m.expected.startswith(told)]
        assert same, found
        assert not where or same[0].where == where[0]
        assert where or same[0].where in ("x", f"layer/{model.graph.node[-1].op_type}", "layer/Cast")


def test_a_later_version_reads_more() -> None:
    axes = model_of([node("Pad", "x", "p", "", "a")], constants={"p": np.zeros(2, int), "a": np.array([2])})
    assert find_misses(axes, TEN)
    assert not find_misses(axes, ELEVEN)


def test_everything_is_told_at_once() -> None:
    first = model_of([node("GridSample", "x", "x"), node("Det", "x", y="z")], (1, 2, 2, 2))
    second = model_of([node("Equal", "x", "x")], kinds=(BOOL, BOOL), opset=21)
    with pytest.raises(ExportError) as error:
        check_graphs({"a": first, "b": second})
    told = str(error.value)
    assert "\n" not in told
    assert "a: GridSample layer/GridSample: expected Gather in its place" in told
    assert "a: Det layer/Det: expected an operator that TensorRT 11.2 reads (TensorRT 11.2)" in told
    assert "b: Equal layer/Equal: expected FP32, FP16, BF16, INT32, INT64, not BOOL (TensorRT 10.3)" in told
    assert "b: opset the graph: expected 9 to 20, not 21 (TensorRT 10.3)" in told


# -- Q/DQ ----------------------------------------------------------------------------------------------------

WEIGHTS = np.linspace(-1, 1, 4 * 4).astype(np.float32).reshape(4, 4, 1, 1)


def quantised(**changes: Any) -> onnx.ModelProto:
    """A Conv with pairs on both inputs, and one thing changed."""
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "w": WEIGHTS,
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "axis": 0,
        "name": "body/Conv",
        **changes,
    }
    axis, name = constants.pop("axis"), constants.pop("name")
    nodes = [
        node("QuantizeLinear", "x", "s", "z", y="q"),
        node("DequantizeLinear", "q", constants.pop("back", "s"), "z", y="d"),
        node("QuantizeLinear", "w", "ws", "wz", y="wq", axis=axis),
        node("DequantizeLinear", "wq", "ws", "wz", y="wd", axis=axis),
        helper.make_node("Conv", ["d", constants.pop("weight", "wd")], ["y"], name),
    ]
    return model_of([*nodes, *constants.pop("more", ())], constants=constants)


def test_pairs_on_both_inputs_pass() -> None:
    check_graphs({"det": quantised()})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"z": np.int8(3)}, "QuantizeLinear layer/QuantizeLinear: expected a constant int8 zero point of 0"),
        ({"z": np.uint8(0)}, "a constant int8 zero point of 0"),
        ({"s": np.float32(0)}, "a constant scale above 0"),
        ({"s": np.float32(np.nan)}, "a constant scale above 0"),
        ({"back": "t", "t": np.float32(0.2)}, "the scale of layer/QuantizeLinear"),
        ({"weight": "w"}, "Conv body/Conv: expected Q/DQ pairs on both inputs or on neither"),
        ({"axis": 1}, "a scale for each of the 4 channels along axis 0 of the weights"),
        ({"ws": np.float32(0.01), "wz": np.int8(0)}, "a scale for each of the 4 channels"),
        ({"s": np.full(4, 0.1, np.float32), "z": np.zeros(4, np.int8)}, "one scale for the activations"),
        ({"name": "classify/Conv"}, "Conv classify/Conv: expected float inputs, with no Q/DQ before them"),
        ({"more": [node("Relu", "d", y="r")]}, "Relu layer/Relu: expected float inputs"),
        ({"more": [node("Identity", "q", y="r")]}, "a DequantizeLinear, and nothing else, to read it"),
    ],
)
def test_a_misplaced_pair_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ExportError) as error:
        check_graphs({"det": quantised(**changes)})
    assert expected in str(error.value)


def network() -> onnx.ModelProto:
    """A product whose input a residual addition reads as well, one behind it, one that stays in float, and
    one of two constants.
    """
    rng = np.random.default_rng(0)
    constants = {f"w{i}": rng.normal(size=(8, 8)).astype(np.float32) for i in range(4)}
    constants["queries"] = rng.normal(size=(3, 8)).astype(np.float32)
    constants["b"] = rng.normal(size=8).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["p"], "ffn.0/MatMul_0"),
        helper.make_node("Add", ["p", "b"], ["pb"], "ffn.0/Add_1"),
        helper.make_node("Add", ["x", "pb"], ["sum"], "block/Add_2"),
        helper.make_node("MatMul", ["sum", "w1"], ["c"], "classify/MatMul_3"),
        helper.make_node("Softmax", ["c"], ["s"], "block/Softmax_4"),
        helper.make_node("MatMul", ["s", "w2"], ["m"], "ffn.1/MatMul_5"),
        helper.make_node("MatMul", ["queries", "w3"], ["k"], "query/MatMul_6"),
        helper.make_node("Add", ["m", "k"], ["y"], "block/Add_7"),
    ]
    return model_of(nodes, (3, 8), constants)


def test_int8_is_symmetric_and_only_products_read_it() -> None:
    model = network()
    rng = np.random.default_rng(1)
    frames = [rng.normal(size=(3, 8)).astype(np.float32) for _ in range(4)]
    small = TENSORRT.rest(to_symmetric_int8(model, [{"x": frame} for frame in frames]))
    check_graphs({"block": small})
    makers = {output: n for n in small.graph.node for output in n.output}
    products = {n.name: n for n in small.graph.node if n.op_type == "MatMul"}
    makers_of = {name: makers.get(n.input[0]) for name, n in products.items()}
    fed = {name: maker.op_type if maker else None for name, maker in makers_of.items()}
    assert fed["ffn.0/MatMul_0"] == fed["ffn.1/MatMul_5"] == "DequantizeLinear"
    assert fed["classify/MatMul_3"] != "DequantizeLinear"
    assert fed["query/MatMul_6"] is None
    types = {t.name: t.data_type for t in small.graph.initializer}
    scales = [n.input[1] for n in small.graph.node if n.op_type == "QuantizeLinear"]
    assert len(scales) == 4
    assert {types[name] for name in scales} == {TensorProto.FLOAT16}
    for frame in frames:
        exact, rounded = run(model, x=frame), run(small, x=frame)
        noise = np.sum((exact - rounded) ** 2) / np.sum(exact**2)
        assert -10 * np.log10(noise) > 25  # [dB]


def test_layers_of_it_are_returned_to_float() -> None:
    model = network()
    rng = np.random.default_rng(1)
    frames = [rng.normal(size=(3, 8)).astype(np.float32) for _ in range(4)]
    small = to_symmetric_int8(model, [{"x": frame} for frame in frames])
    assert int8_products(small) == ["ffn.0/MatMul_0", "ffn.1/MatMul_5"]
    returned = return_to_float(small, model, ["ffn.1/MatMul_5"])
    assert int8_products(returned) == ["ffn.0/MatMul_0"]
    check_graphs({"block": TENSORRT.rest(returned)})
    noise = [
        sum(float(np.sum((run(model, x=f) - run(m, x=f)) ** 2)) for f in frames) for m in (small, returned)
    ]
    assert noise[1] < noise[0]
    everything = return_to_float(returned, model, ["ffn.0/MatMul_0"])
    for frame in frames:
        np.testing.assert_array_equal(run(everything, x=frame), run(model, x=frame))


# -- spelling ------------------------------------------------------------------------------------------------


def sampled() -> onnx.ModelProto:
    """Two samplings of one module."""
    grid = np.float32(np.random.default_rng(0).integers(-512, 513, (1, 5, 4, 2)) / 512)  # exact in half
    nodes = [
        helper.make_node("Identity", ["g"], ["p"], "attention/Identity_3"),
        helper.make_node("GridSample", ["x", "p"], ["a"], "attention/GridSample_0"),
        helper.make_node("GridSample", ["x", "p"], ["b"], "attention/GridSample_1"),
        helper.make_node("Add", ["a", "b"], ["y"], "attention/Add_2"),
    ]
    return model_of(nodes, (1, 3, 80, 80), {"g": grid}, opset=21, result=(1, 3, 5, 4))


def test_samplings_have_names_of_their_own_and_places_stay_single() -> None:
    model = sampled()
    spelled = TENSORRT.spell(model)
    names = [n.name for n in spelled.graph.node]
    assert len(set(names)) == len(names)
    assert sum(PLACES in name for name in names) == 2 * 2 * 10
    assert spelled.opset_import[0].version == 20
    half = to_fp16(spelled)
    check_graphs({"fp32": spelled, "fp16": half})
    x = np.random.default_rng(1).normal(size=(1, 3, 80, 80)).astype(np.float32)
    expected = run(model, x=x)
    np.testing.assert_allclose(run(spelled, x=x), expected, atol=5e-5)
    # A place in half precision would be off by up to 1/32 px here, and what is sampled by ten times this.
    np.testing.assert_allclose(run(half, x=x), expected, atol=0.01)


def test_statistics_of_norms_stay_single() -> None:
    constants = {"scale": np.ones(4, np.float32), "shift": np.zeros(4, np.float32)}
    norm = node("GroupNormalization", "x", "scale", "shift", num_groups=2)
    half = to_fp16(TENSORRT.spell(model_of([norm], constants=constants, opset=21)))
    check_graphs({"norm": half})
    x = np.random.default_rng(0).normal(3000, 1, (1, 4, 6, 6)).astype(np.float32)
    groups = x.reshape(1, 2, -1)
    expected = (groups - groups.mean(-1, keepdims=True)) / groups.std(-1, keepdims=True)
    assert np.abs(run(half, x=x).reshape(groups.shape) - expected).max() < 2.5  # 3000 in half has a step of 2
    kept = next(n for n in half.graph.node if n.op_type == "InstanceNormalization")
    inferred = onnx.shape_inference.infer_shapes(half).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    assert types[kept.output[0]] == FLOAT


def test_floor_division_is_spelled_without_equal_of_bools() -> None:
    constants = {"zero": np.int64(0), "true": np.bool_(True), "false": np.bool_(False)}
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["negative"], "graph/Less_0"),
        helper.make_node("Equal", ["negative", "true"], ["is"], "graph/Equal_1"),
        helper.make_node("Equal", ["negative", "false"], ["not"], "graph/Equal_2"),
        helper.make_node("Equal", ["is", "not"], ["y"], "graph/Equal_3"),
    ]
    model = model_of(nodes, (3,), constants, kinds=(INT64, BOOL))
    x = np.array([-1, 0, 1])
    expected = run(model, x=x)
    assert spell_equalities(model) == 3
    check_graphs({"graph": model})
    np.testing.assert_array_equal(run(model, x=x), expected)


def test_equal_of_numbers_stays() -> None:
    model = model_of([node("Equal", "x", "x")], kinds=(FLOAT, BOOL))
    assert spell_equalities(model) == 0


def test_what_only_the_newer_opset_has_is_refused() -> None:
    constants = {"s": np.full((2, 6), 0.1, np.float32), "z": np.zeros((2, 6), np.int8)}
    blocked = node("QuantizeLinear", "x", "s", "z", block_size=3, axis=0)
    model = model_of([blocked], (6, 6), constants, opset=21, kinds=(FLOAT, TensorProto.INT8))
    with pytest.raises(ExportError, match="does not fit opset 20"):
        lower_opset(model, 20)


def test_nodes_are_put_in_order() -> None:
    model = model_of([node("Relu", "b"), node("Relu", "a", y="b"), node("Relu", "x", y="a")])
    in_order = copied(model)
    sort_nodes(in_order.graph)
    assert [n.output[0] for n in in_order.graph.node] == ["a", "b", "y"]
    onnx.checker.check_model(in_order)
    again = copied(in_order)
    sort_nodes(again.graph)
    assert again == in_order
