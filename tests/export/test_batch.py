"""Graphs for several images at once give each image the answer that those for one give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import pytest

from argus_edge import Runtime
from argus_edge.errors import ExportError, TaskError
from argus_edge.export.batch import check_batches, in_batches, one_by_one, quantised_like
from argus_edge.export.commands.export import run
from argus_edge.export.engines import opened
from argus_edge.export.parity import compare
from argus_edge.export.precision import int8_products
from argus_edge.export.targets import CPU
from argus_edge.export.trace import trace_backbone, trace_decoder
from argus_edge.package import ModelPackage, model_path, write_package
from argus_edge.runtime.engines import Array
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import BACKBONE, ComponentSpec, ImageSpec, PackageSpec, Precision, VariantSpec
from argus_edge.train.data.scenes import render
from argus_edge.train.model.argus import Argus
from tests.runtime.scheduling.test_cameras import at_once, run_cameras

SIZE = 96
ENGINES = ("openvino", "onnxruntime")
PARTS = (BACKBONE, "det")

Graphs = dict[str, onnx.ModelProto]


@pytest.fixture(scope="module")
def one(exported: ModelPackage) -> dict[str, Graphs]:
    """Precision -> component -> its graph for one image."""
    return {
        precision: {name: onnx.load(exported.model_file(name, precision)) for name in PARTS}
        for precision in ("fp32", "int8")
    }


@pytest.fixture(scope="module")
def two(model_as_saved: Argus, exported: ModelPackage, one: dict[str, Graphs]) -> dict[str, Graphs]:
    """The same for two."""
    levels = [int(tensor.name[1:]) for tensor in exported.spec.components[BACKBONE].outputs]
    backbone = trace_backbone(model_as_saved, ImageSpec(SIZE, SIZE, batch=2), levels)
    det = trace_decoder("det", model_as_saved.head("det"), backbone)
    fp32 = {name: CPU.spell(graph.model) for name, graph in zip(PARTS, (backbone, det), strict=True)}
    int8 = {name: quantised_like(one["int8"][name], one["fp32"][name], fp32[name]) for name in PARTS}
    return {"fp32": fp32, "int8": int8}


@pytest.fixture(scope="module")
def frames() -> list[Array]:
    image = ImageSpec(SIZE, SIZE)
    return [preprocess(render(seed, size=SIZE).image, image)[0] for seed in (3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_each_image_gets_its_answer(
    one: dict[str, Graphs],
    two: dict[str, Graphs],
    frames: list[Array],
    engine: str,
    precision: Precision,
    tmp_path: Path,
) -> None:
    alone = [answers(one[precision], engine, precision, frame, tmp_path) for frame in frames]
    (batch,) = in_batches(frames, 2)
    together = one_by_one([answers(two[precision], engine, precision, batch, tmp_path)], 2)
    for component in PARTS:
        left, right = ([each[component] for each in side] for side in (alone, together))
        found = compare(left, right)
        assert {name: off.error for name, off in found.items() if not off.error <= 1e-4} == {}
    # ... and not that of the other image.
    assert not np.allclose(alone[0][BACKBONE]["f3"], together[1][BACKBONE]["f3"], rtol=1e-2)


def answers(
    graphs: Graphs, engine: str, precision: Precision, images: Array, scratch: Path
) -> dict[str, dict[str, Array]]:
    found: dict[str, dict[str, Array]] = {}
    known: Mapping[str, Array] = {"image": images}
    for name, graph in graphs.items():
        # Several threads share out two images otherwise, which may move a value by a step of int8.
        with opened(engine, graph, precision, scratch, threads=1) as network:
            outputs = network.run({tensor.name: known[tensor.name] for tensor in graph.graph.input})
            known = found[name] = {key: np.array(values) for key, values in outputs.items()}
    return found


@pytest.mark.slow
def test_the_same_layers_are_in_int8(one: dict[str, Graphs], two: dict[str, Graphs]) -> None:
    for component in PARTS:
        left, right = one["int8"][component], two["int8"][component]
        onnx.checker.check_model(right, full_check=True)
        assert int8_products(left)
        assert len(int8_products(right)) == len(int8_products(left))
        assert scales(right) == scales(left)


def scales(model: onnx.ModelProto) -> set[bytes]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return {onnx.numpy_helper.to_array(constants[node.input[1]]).tobytes() for node in rounded}


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "precision"), [("openvino", "int8"), ("onnxruntime", "fp32")])
def test_two_cameras_get_what_each_would_get_alone(
    two_cameras: ModelPackage, engine: str, precision: Precision
) -> None:
    images = [[render(seed, size=SIZE).image for seed in seeds] for seeds in (range(12), range(12, 24))]
    with Runtime(two_cameras, engine, precision, threads=1, score_threshold=0) as runtime:
        expected = [[runtime(image) for image in camera] for camera in images]
    with Runtime(two_cameras, engine, precision, threads=1, score_threshold=0, batch=2) as runtime:
        got = run_cameras(runtime, images)
        assert at_once(runtime, BACKBONE) > 0
    for one, other in zip(chain(*expected), chain(*got), strict=True):
        np.testing.assert_allclose(other.det.scores, one.det.scores, atol=1e-3)
        same = np.abs(other.det.boxes - one.det.boxes).max(axis=1) < 0.1  # [px]; equal scores may swap
        assert np.mean(same) > 0.9


@pytest.fixture(scope="module")
def two_cameras(
    exported: ModelPackage,
    one: dict[str, Graphs],
    two: dict[str, Graphs],
    tmp_path_factory: pytest.TempPathFactory,
) -> ModelPackage:
    """A package of these graphs."""
    components: dict[int, dict[str, ComponentSpec]] = {1: {}, 2: {}}
    files = {}
    for images, graphs in ((1, one), (2, two)):
        for name in PARTS:
            declared = exported.spec.components[name]
            inputs, outputs = (
                tuple(replace(tensor, shape=(images, *tensor.shape[1:])) for tensor in tensors)
                for tensors in (declared.inputs, declared.outputs)
            )
            variants = {f"{precision}-{images}": VariantSpec(precision) for precision in ("fp32", "int8")}
            components[images][name] = ComponentSpec(inputs, outputs, variants)
            for variant, its in variants.items():
                files[model_path(name, variant)] = graphs[its.precision][name].SerializeToString()
    image, tasks = exported.spec.input, {"det": exported.spec.tasks["det"]}
    other_sizes = {replace(image, batch=2): components[2]}
    spec = PackageSpec("two", image, tasks, components[1], other_sizes=other_sizes)
    return write_package(tmp_path_factory.mktemp("batch") / "two.argus", spec, files)


def test_another_network_is_not_taken_for_it(one: dict[str, Graphs]) -> None:
    with pytest.raises(ExportError, match="torch traced other products"):
        quantised_like(one["int8"]["det"], one["fp32"]["det"], one["fp32"][BACKBONE])


def test_frames_in_batches_and_apart_again() -> None:
    frames = [np.full((1, 2, 2, 3), value, np.uint8) for value in range(3)]
    batches = in_batches(frames, 2)
    assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [[0, 1], [2, 0]]
    apart = one_by_one([{"backbone": {"f0": batch}} for batch in batches], 3)
    for frame, answer in zip(frames, apart, strict=True):
        np.testing.assert_array_equal(answer["backbone"]["f0"], frame)
    (filled,) = in_batches(frames[:1], 3)
    assert filled.shape == (3, 2, 2, 3)


def test_pose_is_of_one_image() -> None:
    check_batches((), ["det", "pose"])
    with pytest.raises(TaskError, match="'pose' reads the persons of one image"):
        check_batches((4,), ["det", "pose"])


@pytest.mark.parametrize("batch", ["0", "two", "257"])
def test_a_batch_is_a_number(checkpoint: Path, batch: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([str(checkpoint), "--batch", batch])
    assert "--batch" in capsys.readouterr().err


def test_a_dry_run_lists_its_files(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x.argus")
    assert run([str(checkpoint), "--tasks", "seg", "--batch", "4", "--dry-run", "--out", out]) == 0
    told = capsys.readouterr().out
    assert "models/seg/fp32-4x96x96/model.onnx" in told
    assert "the same for 4 images at once" in told
