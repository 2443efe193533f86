"""All twelve tasks of nano in one package, and pose in both modes: torch, ONNX Runtime and OpenVINO agree."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from argus_edge import Runtime
from argus_edge.errors import TaskError
from argus_edge.export.commands.export import run
from argus_edge.export.parity import CROP_BOUND, FP32_BOUND
from argus_edge.package import ModelPackage, parity_rows
from argus_edge.results import Instances, Keypoints, PanopticMap
from argus_edge.spec import BACKBONE
from argus_edge.tasks import TASKS
from argus_edge.train.data.classes import SCENE_CLASSES, THINGS
from argus_edge.train.data.scenes import render
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from argus_edge.train.predict import TorchPredictor

SIZE = 96
ENGINES = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights for every task."""
    torch.manual_seed(0)
    model = build_model("nano", tuple(TASKS), SCENE_CLASSES).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # what starts at zero would hide mistakes
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("checkpoint") / "all"
    save_checkpoint(folder, model, CheckpointInfo("nano", tuple(TASKS), SCENE_CLASSES, SIZE, things=THINGS))
    return folder


def _exported(checkpoint: Path, out: Path, *arguments: str) -> ModelPackage:
    with contextlib.redirect_stdout(io.StringIO()):
        assert run([str(checkpoint), "--out", str(out), *arguments, "--no-report"]) == 0
    return ModelPackage.open(out)


@pytest.fixture(scope="module")
def package(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return _exported(everything, tmp_path_factory.mktemp("package") / "all.argus")


def test_det_and_inst_share_a_graph(package: ModelPackage) -> None:
    spec = package.spec
    assert set(spec.tasks) == set(TASKS)
    assert set(spec.components) == {BACKBONE, *TASKS} - {"det"}
    assert spec.tasks["det"].component == spec.tasks["inst"].component == "inst"
    assert spec.tasks["pan"].things == THINGS


def test_both_engines_equal_torch(package: ModelPackage) -> None:
    rows = list(parity_rows(package.spec.report))
    assert {engine for _, engine, *_ in rows} == set(ENGINES)
    for component, tensors in ((name, c.outputs) for name, c in package.spec.components.items()):
        for tensor in tensors:
            errors = [row[3] for row in rows if row[2] == f"{component}.{tensor.name}"]
            assert len(errors) == len(ENGINES)
            assert max(errors) <= FP32_BOUND


@pytest.mark.parametrize("engine", ENGINES)
def test_every_task_answers_in_the_frame_of_the_image(package: ModelPackage, engine: str) -> None:
    image = render(12, (120, 161)).image
    with Runtime(package, engine=engine, score_threshold=0.0) as runtime:
        frames = [runtime(image) for _ in range(2)]
        errors = runtime.golden_errors()
    assert errors is not None
    assert max(errors.values()) <= FP32_BOUND
    for frame in frames:
        assert set(frame.results) == set(TASKS)
        shapes = {
            frame.inst.masks.shape[1:], frame.pan.segment_ids.shape, frame.seg.labels.shape,
            frame.parse.labels.shape, frame.sal.values.shape, frame.edge.values.shape,
            frame.depth.values.shape, frame.normal.normals.shape[:2], frame.anom.maps.shape[1:],
        }  # fmt: skip
        assert shapes == {(120, 161)}
        assert frame.cls.probabilities.sum() == pytest.approx(1, abs=1e-4)
        assert np.allclose(np.linalg.norm(frame.normal.normals, axis=2), 1, atol=1e-4)
    assert np.array_equal(frames[0].depth.values, frames[1].depth.values)
    assert frames[0].draw(image).shape == image.shape


def test_the_runtime_answers_as_torch_does(everything: Path, package: ModelPackage) -> None:
    image = render(5, SIZE).image
    expected = TorchPredictor(*load_checkpoint(everything))(image)
    with Runtime(package, engine="onnxruntime", score_threshold=0.0) as runtime:
        frame = runtime(image)
    assert np.allclose(frame.depth.values, expected.depth.values, rtol=1e-3)
    assert np.allclose(frame.anom.maps, expected.anom.maps, atol=1e-3)
    assert np.mean(frame.parse.labels != expected.parse.labels) < 1e-3
    assert isinstance(frame.inst, Instances)
    assert isinstance(frame.pan, PanopticMap)
    assert isinstance(frame.pose, Keypoints)
    found, wanted = frame.pose, expected.pose
    shared = min(len(found), len(wanted))  # torch has more places for persons than the package
    assert np.allclose(found.boxes[:shared], wanted.boxes[:shared], atol=0.05)


@pytest.mark.parametrize("tasks", ["det", "det,pose"])
def test_pose_from_crops_and_det_alone(everything: Path, tmp_path: Path, tasks: str) -> None:
    package = _exported(everything, tmp_path / "x.argus", "--tasks", tasks, "--pose", "crop")
    image = render(3, (100, 120)).image
    with Runtime(package, score_threshold=0.0) as runtime:
        frame = runtime(image)
        errors = runtime.golden_errors()
    assert errors is not None
    for name, error in errors.items():
        assert error <= (CROP_BOUND if name.startswith("crop_backbone") else FP32_BOUND), name
    graphs = {BACKBONE, *tasks.split(",")} | ({"crop_backbone"} if "pose" in tasks else set())
    assert set(package.spec.components) == graphs
    assert "masks" not in {tensor.name for tensor in package.spec.components["det"].outputs}
    assert len(frame.det) > 0


def test_pose_needs_a_detector(everything: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="export it with det or inst"):
        run([str(everything), "--tasks", "pose", "--out", str(tmp_path / "x.argus")])
