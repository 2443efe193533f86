"""Validation of predictors whose answers are known, and the command line on a package and a checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import ArgusError, ImageError, InputError, TaskError
from argus_edge.package import ModelPackage, model_path, write_package
from argus_edge.results import DenseMap, Detections, Frame, LabelMap
from argus_edge.train.commands.evaluate import run
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.validate import CHUNK, evaluate, time_ratio, validate

TASKS = ("det", "seg", "depth")
SIZE = 48


def picture(number: int) -> Example:
    """One person before a wall; its grey value is its number."""
    x, y = 4 + number % 7, 2 + number % 5
    image = np.full((SIZE, SIZE, 3), number % 256, np.uint8)
    labels = np.full((SIZE, SIZE), SEG_CLASSES.index("wall"), np.uint8)
    labels[y : y + 30, x : x + 12] = SEG_CLASSES.index("person")
    depth = np.where(labels == SEG_CLASSES.index("person"), 2, 5).astype(np.float32)
    box = (float(x), float(y), float(x + 12), float(y + 30))
    person = LabelledObject(DET_CLASSES.index("person"), box, 360)
    return Example(f"picture {number}", image, (person,), labels, depth=depth)


def oracle(image: NDArray[np.uint8], depth_error: float = 0.0, pause: float = 0.0) -> Frame:
    """Answers with the truth, which the image's grey value names."""
    truth = picture(int(image[0, 0, 0]))
    time.sleep(pause)
    assert truth.objects is not None
    assert truth.labels is not None
    assert truth.depth is not None
    boxes = np.array([thing.box for thing in truth.objects], np.float32)
    classes = np.array([thing.class_id for thing in truth.objects], np.int32)
    return Frame(
        image.shape[0],
        image.shape[1],
        {
            "det": Detections(boxes, np.ones(len(boxes), np.float32), classes, DET_CLASSES),
            "seg": LabelMap(truth.labels, SEG_CLASSES),
            "depth": DenseMap(truth.depth + depth_error, "m"),
        },
    )


def test_a_perfect_predictor_gets_perfect_figures() -> None:
    figures = validate(oracle, map(picture, range(9)), TASKS)
    assert figures["det"]["AP"] == pytest.approx(1)
    assert figures["seg"]["mIoU"] == 1
    assert figures["depth"]["RMSE"] == 0
    assert figures["depth"]["delta1"] == 1
    assert [figures[task]["images"] for task in TASKS] == [9, 9, 9]


def test_only_the_tasks_asked_for_are_measured() -> None:
    assert list(validate(oracle, [picture(0)], ["seg"])) == ["seg"]


def test_predictors_share_the_images_and_take_turns() -> None:
    calls: list[str] = []

    def named(name: str, pause: float, error: float) -> Callable[[NDArray[np.uint8]], Frame]:
        def predict(image: NDArray[np.uint8]) -> Frame:
            calls.append(f"{name}{image[0, 0, 0]}")
            return oracle(image, error, pause)

        return predict

    predictors = {"a": named("a", 0.002, 0.5), "b": named("b", 0.008, 0.0)}
    found = evaluate(predictors, map(picture, range(4)), TASKS, warm_up=1)
    assert calls == ["a0", "b0", "a0", "b0", "b1", "a1", "a2", "b2", "b3", "a3"]
    assert found["a"].metrics["depth"]["RMSE"] == pytest.approx(0.5)
    assert found["b"].metrics["depth"]["RMSE"] == 0
    assert "mean over images" in found["a"].protocols["depth"]
    assert len(found["a"].frame_ms) == 4
    assert (found["a"].frame_ms >= 2).all()
    assert (found["b"].frame_ms >= 8).all()
    assert time_ratio(found["a"], found["b"]) > 1.5
    p = found["a"].percentiles()
    assert p["p50"] <= p["p90"] <= p["p99"]


def test_images_are_made_before_the_clock_runs() -> None:
    def slow() -> Iterator[Example]:
        for number in range(3):
            time.sleep(0.05)
            yield picture(number)

    found = evaluate({"a": oracle}, slow(), TASKS)["a"]
    assert (found.frame_ms < 40).all()


def test_more_images_than_a_chunk_are_all_used_and_shown() -> None:
    shown: list[None] = []
    pictures = [picture(number) for number in range(CHUNK + 3)]
    figures = validate(oracle, pictures, ["det"], lambda: shown.append(None))
    assert figures["det"]["images"] == CHUNK + 3
    assert len(shown) == CHUNK + 3


def test_no_image_gives_counts_only() -> None:
    found = evaluate({"a": oracle}, [], TASKS)["a"]
    assert found.metrics["seg"] == {"images": 0, "pixels": 0}
    assert found.percentiles() == {}
    with pytest.raises(InputError, match="without frames"):
        time_ratio(found, found)


def test_bad_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="no task to evaluate"):
        validate(oracle, [picture(0)], [])
    with pytest.raises(TaskError, match="unknown"):
        validate(oracle, [picture(0)], ["detect"])


def test_a_model_of_other_classes_is_refused() -> None:
    with pytest.raises(InputError, match="the data's are"):
        validate(oracle, [picture(0)], ["det"], classes={"det": ("cat", "dog")})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano."""
    torch = pytest.importorskip("torch")
    from argus_edge.train.model.build import build_model
    from argus_edge.train.model.checkpoint import CheckpointInfo, save_checkpoint

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "nano"
    classes = {"det": DET_CLASSES, "seg": SEG_CLASSES}
    save_checkpoint(path, build_model("nano", TASKS, classes), CheckpointInfo("nano", TASKS, classes, 320))
    return path


@pytest.fixture(scope="module")
def twin_package(tiny_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny package once more, with the same graphs under the name of a second precision."""
    spec = tiny_package.spec
    files = {name: tiny_package.path / name for name in tiny_package.files if "component.json" not in name}
    components = {}
    for name, component in spec.components.items():
        variants = {**component.variants, "fp16": replace(component.variants["fp32"], precision="fp16")}
        components[name] = replace(component, variants=variants)
        files[model_path(name, "fp16")] = tiny_package.model_file(name, "fp32")
    path = tmp_path_factory.mktemp("packages") / "twin.argus"
    return write_package(path, replace(spec, components=components), files).path


def test_torch_predictor_answers_in_the_image_frame(checkpoint: Path) -> None:
    from argus_edge.train.model.checkpoint import load_checkpoint
    from argus_edge.train.predict import TorchPredictor

    model, info = load_checkpoint(checkpoint)
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    frame = TorchPredictor(model, info)(image)
    assert frame.seg.labels.shape == frame.depth.values.shape == (60, 100)
    assert frame.depth.unit == "m"
    assert frame.det.boxes[:, 2].max() <= 100
    assert frame.timings["total"] > 0
    assert list(TorchPredictor(model, info, ["depth"])(image).results) == ["depth"]
    with pytest.raises(TaskError, match="has no task 'seg'; it has: det"):
        TorchPredictor(model, replace(info, tasks=("det",)), ["seg"])
    with pytest.raises(ImageError):
        TorchPredictor(model, info)(image[..., 0])


def test_command_measures_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(checkpoint), "--scenes", "2", "--tasks", "det,depth", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["engine"] == "torch"
    assert report["precisions"]["fp32"]["metrics"]["depth"]["images"] == 2
    assert set(report["precisions"]["fp32"]["frame_ms"]) == {"p50", "p90", "p99"}
    assert list(report["protocols"]) == ["det", "depth"]
    assert report["comparisons"] == {}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_command_compares_precisions(
    engine: str, twin_package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(engine)
    arguments = [str(twin_package), "--scenes", "3", "--engine", engine, "--cache", str(tmp_path)]
    assert run([*arguments, "--precision", "fp32,fp16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["compared_with"] == "fp32"
    assert report["comparisons"]["fp16"]["kept"]["seg"]["mIoU"] == pytest.approx(1, abs=0.1)
    assert 0.05 < report["comparisons"]["fp16"]["frame_time_ratio"] < 20
    assert run([*arguments, "--precision", "fp32,fp16", "--per-class"]) == 0
    table = capsys.readouterr().out
    for text in (
        "fp16 keeps",
        "mIoU",
        "IoU/person",
        "p99",
        "COCO box AP",
        "frame time of fp16 by that of fp32",
    ):
        assert text in table


def test_command_says_what_is_wrong(checkpoint: Path, twin_package: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(tmp_path / "none")], "expected a checkpoint or model package"),
        ([str(tmp_path)], "manifest.json"),
        ([str(checkpoint), "--engine", "openvino"], "is a checkpoint, run by torch"),
        ([str(checkpoint), "--precision", "int8"], "is a checkpoint, run in fp32"),
        ([str(twin_package), "--engine", "torch"], "is not a checkpoint"),
        ([str(twin_package), "--precision", "int4"], "unknown precision 'int4'; expected fp32, fp16, int8"),
        ([str(twin_package), "--precision", "int8"], "has no precision 'int8'"),
        ([str(twin_package), "--tasks", "pose"], "no task 'pose'"),
    ):
        with pytest.raises(ArgusError, match=message):
            run(arguments)


@pytest.mark.parametrize("arguments", [["--scenes", "0"], ["--first-seed", "-1"], ["--tasks", "det,,seg"]])
def test_command_refuses_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run(["nano.argus", *arguments])
    assert leaving.value.code == 2
    assert "expected" in capsys.readouterr().err
