"""A checkpoint's way to a package: graphs, precision, parity, report, errors."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from argus_edge import Runtime
from argus_edge.errors import InputError, PackageError, ParityError, TaskError
from argus_edge.export import components
from argus_edge.export.calibration import CalibrationSet, sample_evenly, scene_set
from argus_edge.export.commands.export import run
from argus_edge.export.groupnorm import STATISTICS
from argus_edge.export.package import ExportSettings, check_tasks, export
from argus_edge.export.parity import FP32_BOUND
from argus_edge.export.precision import KEPT_FLOAT
from argus_edge.export.rewrite import GraphView
from argus_edge.export.trace import OPSET, Graph
from argus_edge.package import ModelPackage, parity_rows
from argus_edge.runtime.engines import open_engine
from argus_edge.spec import BACKBONE, ImageSpec
from argus_edge.train.data.scenes import render
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.checkpoint import CheckpointInfo
from argus_edge.train.predict import TorchPredictor

SIZE = 96
TASKS = ("det", "seg", "depth")
INT8_SQNR_DB = 15.0  # floor for the feature maps of a random nano; trained weights do better


def graph(package: ModelPackage, component: str, precision: str = "fp32") -> onnx.ModelProto:
    return onnx.load(package.model_file(component, precision))  # type: ignore[arg-type]


def operations(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def with_outputs(model: onnx.ModelProto, names: tuple[str, ...]) -> onnx.ModelProto:
    kept = [value for value in model.graph.output if value.name in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def test_boundary_is_what_the_contract_says(exported: ModelPackage) -> None:
    components = exported.spec.components
    assert [(s.name, s.dtype, s.shape) for s in components[BACKBONE].inputs] == [
        ("image", "uint8", (1, SIZE, SIZE, 3))
    ]
    assert {s.name: s.shape for s in components[BACKBONE].outputs} == {
        f"f{level}": (1, 192, SIZE // 4 >> level, SIZE // 4 >> level) for level in range(4)
    }
    assert {s.name: (s.dtype, s.shape) for s in components["det"].outputs} == {
        "boxes": ("float32", (1, 100, 4)),
        "scores": ("float32", (1, 100)),
        "classes": ("int32", (1, 100)),
    }
    assert {s.name: (s.dtype, s.shape) for s in components["seg"].outputs} == {
        "labels": ("uint8", (1, SIZE, SIZE))
    }
    assert {s.name: (s.dtype, s.shape) for s in components["depth"].outputs} == {
        "depth": ("float32", (1, SIZE, SIZE))
    }


def test_norms_are_spelled_for_cpus_and_shapes_static(exported: ModelPackage) -> None:
    model = graph(exported, BACKBONE)
    assert model.opset_import[0].version == OPSET >= 21
    counts = operations(model)
    means = [node for node in model.graph.node if node.name.endswith(f"{STATISTICS}ChannelMean")]
    assert len(means) == 10  # six in the spatial prior, four behind the projection
    assert "GroupNormalization" not in counts
    assert counts["LayerNormalization"] == 2 * 12 + 4 * 2 + 6 * 3
    assert "InstanceNormalization" not in counts
    for value in (*model.graph.input, *model.graph.output):
        assert all(dimension.dim_value > 0 for dimension in value.type.tensor_type.shape.dim)


def test_nodes_are_named_by_their_module_and_no_paths_remain(exported: ModelPackage) -> None:
    model = graph(exported, BACKBONE)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("adapter.injectors.0.attention.value/") for name in names)
    assert b"site-packages" not in model.SerializeToString()
    assert str(Path.cwd()).encode() not in model.SerializeToString()


@pytest.mark.parametrize("levels", [("f1", "f2", "f3"), ("f1",)])
def test_openvino_is_right_for_any_choice_of_maps(
    levels: tuple[str, ...], exported: ModelPackage, tmp_path: Path
) -> None:
    """Its answer once depended on which maps leave the backbone: F1 was wrong without F0."""
    chosen = with_outputs(graph(exported, BACKBONE), levels)
    onnx.save(chosen, tmp_path / "chosen.onnx")
    golden = exported.golden()
    assert golden is not None
    engine = open_engine("openvino", tmp_path / "chosen.onnx", threads=1, precision="fp32")
    found = engine.run({"image": golden.image})
    assert tuple(found) == levels
    for name, values in found.items():
        expected = golden.outputs[BACKBONE][name]
        assert np.abs(values - expected).max() <= FP32_BOUND * np.abs(expected).max()


def test_fp32_agrees_with_torch_on_every_engine(exported: ModelPackage) -> None:
    rows = [row for row in parity_rows(exported.spec.report) if row[0] == "fp32"]
    assert {engine for _, engine, *_ in rows} == {"openvino", "onnxruntime"}
    assert len(rows) == 2 * (4 + 3 + 1 + 1)
    for _, engine, output, error, _ in rows:
        assert error <= FP32_BOUND, f"{output} on {engine}: {error}"


def test_lower_precisions_stay_near(exported: ModelPackage) -> None:
    for precision, engine, output, _, sqnr in parity_rows(exported.spec.report):
        if output.startswith(f"{BACKBONE}.") and precision != "fp32":
            floor = INT8_SQNR_DB if precision == "int8" else 35.0
            assert sqnr is not None
            assert sqnr >= floor, f"{precision} {output} on {engine}: {sqnr} dB"


def test_fp16_halves_the_weights_and_int8_quarters_most(exported: ModelPackage) -> None:
    sizes = {p: exported.model_file(BACKBONE, p).stat().st_size for p in exported.spec.precisions}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["int8"] < 0.45 * sizes["fp32"]


def test_int8_leaves_the_sensitive_layers_in_float(exported: ModelPackage) -> None:
    for component in exported.spec.components:
        model = graph(exported, component, "int8")
        dequantised = {o for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
        products = [n for n in model.graph.node if n.op_type in ("MatMul", "Conv", "Gemm")]
        quantised = [n.name for n in products if len(n.input) > 1 and n.input[1] in dequantised]
        assert quantised, component
        assert not [name for name in quantised if KEPT_FLOAT.search(name)]
    layers = exported.spec.report["int8_layers"]
    assert isinstance(layers, dict)
    assert layers[BACKBONE]["int8"] > 60  # type: ignore[index, call-overload, operator]


def test_a_dry_run_names_every_file_and_writes_none(
    exported: ModelPackage, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dry.argus"
    precisions = ",".join(exported.spec.precisions)
    arguments = [str(checkpoint), "--tasks", ",".join(TASKS), "--precision", precisions, "--size", str(SIZE)]
    assert run([*arguments, "--out", str(out), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert told.startswith(f"{out} is new\n")
    files = {name for name in exported.files if not name.startswith("golden/")} | {"manifest.json"}
    named = {line.strip() for line in told.partition("\nfiles\n")[2].splitlines()}
    assert {str(out / name) for name in files} == {name for name in named if "golden/" not in name}


def test_report_and_quantisation_tell_where_the_package_comes_from(
    exported: ModelPackage, calibration: CalibrationSet
) -> None:
    quantisation = exported.spec.components["det"].variants["int8"].quantization
    assert quantisation is not None
    assert quantisation.calibration_images == 8
    assert quantisation.calibration_sha256 == calibration.sha256
    assert exported.spec.components["det"].variants["fp32"].quantization is None
    assert str(exported.spec.report["command"]).startswith("argus-export ")
    text = json.dumps({k: v for k, v in exported.spec.report.items() if k != "command"})
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_golden_sample_is_torchs_answer(exported: ModelPackage) -> None:
    with Runtime(exported, precision="fp32") as runtime:
        errors = runtime.golden_errors()
    assert errors
    assert all(error <= FP32_BOUND for error in errors.values())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_runtime_gives_torchs_results(
    engine: str, exported: ModelPackage, model_as_saved: Argus, info: CheckpointInfo
) -> None:
    image = np.ascontiguousarray(render(7, (90, 120)).image)
    expected = TorchPredictor(model_as_saved, info)(image)
    with Runtime(exported, engine=engine, precision="fp32", score_threshold=0.0) as runtime:
        frame = runtime(image)
    np.testing.assert_allclose(frame.depth.values, expected.depth.values, rtol=1e-4)
    assert np.mean(frame.seg.labels != expected.seg.labels) < 1e-3
    np.testing.assert_allclose(frame.det.scores, expected.det.scores, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_fp16_runs_one_task_alone(engine: str, exported: ModelPackage) -> None:
    image = np.ascontiguousarray(render(7, (90, 120)).image)
    with Runtime(exported, engine=engine, precision="fp16", tasks=["depth"]) as runtime:
        half = runtime(image).depth.values
    with Runtime(exported, engine=engine, precision="fp32", tasks=["depth"]) as runtime:
        np.testing.assert_allclose(half, runtime(image).depth.values, rtol=0.1)


def test_onnx_runtime_reads_the_package(exported: ModelPackage) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", minversion="1.32")
    context = onnxruntime.ModelPackageContext(str(exported.path))
    assert sorted(context.get_component_names()) == sorted(exported.spec.components)
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    session = context.select_component("seg", options).create_session()
    assert [value.name for value in session.get_outputs()] == ["labels"]


def test_fp32_that_differs_is_refused_and_leaves_nothing(
    exported: ModelPackage,
    model_as_saved: Argus,
    info: CheckpointInfo,
    calibration: CalibrationSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The traces are those of the exported package, one weight of F3's norm changed by a thousandth."""

    def traced(component: str, outputs: tuple[str, ...]) -> Graph:
        spec = exported.spec.components[component]
        kept = tuple(value for value in spec.outputs if value.name in outputs)
        return Graph(with_outputs(graph(exported, component), outputs), spec.inputs, kept)

    def changed_backbone(model: Argus, image: ImageSpec, levels: list[int]) -> Graph:
        assert (image, levels) == (ImageSpec(SIZE, SIZE), [1, 2, 3])
        backbone = traced(BACKBONE, ("f1", "f2", "f3"))
        name = "f3/scale"
        tensor = next(t for t in backbone.model.graph.initializer if t.name == name)
        values = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
        return backbone

    def same_decoder(name: str, head: nn.Module, backbone: Graph, persons: int) -> Graph:
        return traced(name, ("boxes", "scores", "classes"))

    monkeypatch.setattr(components, "trace_backbone", changed_backbone)
    monkeypatch.setattr(components, "trace_decoder", same_decoder)
    settings = ExportSettings(("det",), ("fp32",), "x")
    out = tmp_path / "x.argus"
    with pytest.raises(ParityError, match=r"backbone\.f3 on \w+: fp32 differs from torch by"):
        export(model_as_saved, info, settings, {ImageSpec(SIZE, SIZE): calibration}, out)
    assert not list(tmp_path.iterdir())


def test_products_of_two_activations_stay_in_float(exported: ModelPackage) -> None:
    """Attention, for one: the second factor is neither a constant nor rounded."""
    found = 0
    for component in exported.spec.components:
        view = GraphView(onnx.load(exported.model_file(component, "int8")).graph)
        products = [n for n in view.producers.values() if n.op_type == "MatMul"]
        seconds = [(node.name, view.producers.get(node.input[1])) for node in products]
        rounded = [
            name
            for name, maker in seconds
            if maker is not None
            and maker.op_type == "DequantizeLinear"
            and view.constant(maker.input[0]) is None
        ]
        assert not rounded
        found += sum(maker is not None and maker.op_type != "DequantizeLinear" for _, maker in seconds)
    assert found >= 2 * 12  # the ViT's


def test_tasks_are_checked(info: CheckpointInfo) -> None:
    assert check_tasks((), info) == TASKS
    assert check_tasks(("seg", "seg"), info) == ("seg",)
    with pytest.raises(TaskError, match="no task 'pose'; it has: det"):
        check_tasks(("pose",), info)
    with pytest.raises(TaskError, match="no task 'depth'; it has: det"):
        check_tasks(("depth",), dataclasses.replace(info, tasks=("det",)))


def test_calibration_scenes_are_the_same_each_time(calibration: CalibrationSet) -> None:
    again = scene_set(8, ImageSpec(SIZE, SIZE), lambda: None)
    assert again.sha256 == calibration.sha256
    assert again.images[0].shape == (1, SIZE, SIZE, 3)


def test_samples_spread_over_the_whole_set() -> None:
    items = [np.full(1, i, np.uint8) for i in range(10)]
    assert [int(item[0]) for item in sample_evenly(items, 4)] == [0, 3, 6, 9]
    assert len(sample_evenly(items[:2], 4)) == 2


class TestCommand:
    def test_it_prints_the_figures(self, printed_and_exported: tuple[str, ModelPackage]) -> None:
        printed, package = printed_and_exported
        assert "seg.labels" in printed
        assert tuple(package.spec.tasks) == TASKS
        assert tuple(package.spec.precisions) == ("fp32", "fp16", "int8")

    def test_an_existing_package_is_kept(self, checkpoint: Path, exported: ModelPackage) -> None:
        with pytest.raises(PackageError, match="exists already; add --overwrite"):
            run([str(checkpoint), "--tasks", "seg", "--out", str(exported.path)])

    def test_what_is_no_package_is_not_overwritten(self, checkpoint: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(PackageError, match="not a sound model package"):
            run([str(checkpoint), "--tasks", "seg", "--overwrite", "--out", str(tmp_path)])
        assert (tmp_path / "thesis.txt").is_file()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--precision", "int4"], "expected one or more of fp32, fp16, int8"),
            (["--precision", ""], "expected one or more"),
            (["--tasks", "pose"], "no task 'pose'"),
            (["--tasks", "flow"], "unknown task 'flow'"),
            (["--tasks", ","], "expected names with commas"),
            (["--pose", "crop", "--persons", "4"], "is for --pose roi"),
            (["--persons", "0"], "expected 1 to"),
            (["--size", "100"], "multiple of 32"),
            (["--size", "64"], "at least 96 for det, seg, depth"),
            (["--calibration", "nowhere"], "there is no such file or folder"),
            (["--calibration", "coco:nowhere"], "nowhere"),
            (["--precision", "int8", "--calibration-images", "0"], "at least 1"),
            (["--parity-images", "0"], "--parity-images 0: expected at least 1"),
            (["--eval-data", "nowhere"], "expected LAYOUT:PATH"),
        ],
    )
    def test_wrong_arguments_are_refused_before_any_work(
        self, arguments: list[str], message: str, checkpoint: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=message):
            run([str(checkpoint), *arguments, "--out", str(tmp_path / "x.argus")])
        assert not list(tmp_path.iterdir())
