"""Pose in the runtime, in both modes: a spot of light inside a person's box must come out where it is.

The graphs are a few nodes: features are the red channel, heatmaps are the features of a person's region.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge import ModelPackage, Runtime
from argus_edge.errors import PackageError, TaskError
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.package import golden_files, model_path, write_package
from argus_edge.runtime import device, graphs
from argus_edge.runtime.decode import keypoints
from argus_edge.runtime.engines import engine_status, open_engine
from argus_edge.runtime.persons import ASPECT, WIDENING
from argus_edge.spec import ComponentSpec, ImageSpec, PackageSpec, TaskEntry, TensorSpec, VariantSpec

Mode = Literal["roi", "crop"]
SIDE, SLOTS = 64, 3
CROP = (64, 48)
IMAGE, CROP_IMAGE = ImageSpec(SIDE, SIDE), ImageSpec(*CROP)
F0 = TensorSpec("f0", "float32", (1, 1, SIDE, SIDE), "NCHW")
CROP_F0 = TensorSpec("f0", "float32", (1, 1, *CROP), "NCHW")
PERSONS = TensorSpec("persons", "float32", (SLOTS, 4), "KX")
CLASSES = ("ball", "person")
# Of the input: two people, a ball, and three people more, of falling scores.
BOXES = [[4, 4, 24, 44], [36, 8, 60, 46], [0, 0, 9, 9], [4, 4, 20, 60], [9, 9, 60, 60], [2, 2, 30, 30]]
SCORES = [0.95, 0.9, 0.85, 0.6, 0.5, 0.3]
PERSON = [1, 1, 0, 1, 1, 1]
FOUND = (
    TensorSpec("boxes", "float32", (1, 6, 4), "NKX"),
    TensorSpec("scores", "float32", (1, 6), "NK"),
    TensorSpec("classes", "int32", (1, 6), "NK"),
)
MASKS = TensorSpec("masks", "float32", (1, 6, SIDE // 4, SIDE // 4), "NKHW")
STRENGTHS = np.linspace(1.0, 0.5, 17)  # of the keypoints' heatmaps


def backbone_graph(g: Any, image: ImageSpec, feature: TensorSpec) -> bytes:
    x = g.add("Transpose", g.add("Cast", "image", to=1), perm=[0, 3, 1, 2])
    red = g.add("Slice", x, g.constant([0], np.int64), g.constant([1], np.int64), g.constant([1], np.int64))
    g.add("Div", red, g.constant(255.0), output="f0")
    data: bytes = g.model((image.tensor,), (feature,))
    return data


def detector_graph(g: Any, masks: bool) -> bytes:
    """The same boxes for every image."""
    nothing = g.add("Mul", g.add("ReduceMean", "f0", keepdims=0), g.constant(0.0))
    g.add("Add", g.constant(np.array([BOXES]) / SIDE), nothing, output="boxes")
    g.add("Add", g.constant([SCORES]), nothing, output="scores")
    g.add("Cast", g.add("Add", g.constant([PERSON]), nothing), to=6, output="classes")
    if masks:
        g.add("Add", g.constant(np.ones(MASKS.shape)), nothing, output="masks")
    data: bytes = g.model((F0,), (*FOUND, MASKS) if masks else FOUND)
    return data


def regions(g: Any) -> str:
    """`persons` -> the regions [px] that their crops show, out to the borders of their outermost pixels."""
    pixels = g.add("Mul", "persons", g.constant(float(SIDE)))
    g.split("Split", pixels, outputs=["low", "high"], axis=1, num_outputs=2)
    centre = g.add("Mul", g.add("Add", "low", "high"), g.constant(0.5))
    size = g.add("Sub", "high", "low")
    size = g.add("ReduceMax", g.add("Mul", size, g.constant([[1 / ASPECT, 1.0]])), g.constant([1], np.int64))
    factors = [ASPECT * CROP[1] / (CROP[1] - 1), CROP[0] / (CROP[0] - 1)]
    half = g.add("Mul", size, g.constant(np.array([factors]) * WIDENING / 2))
    both: str = g.add("Concat", g.add("Sub", centre, half), g.add("Add", centre, half), axis=1)
    return both


def pose_graph(g: Any, mode: Mode, count: int) -> bytes:
    x = "f0"
    if mode == "roi":
        x = g.add(
            "RoiAlign", "f0", regions(g), g.constant([0] * SLOTS, np.int64),
            output_height=CROP[0], output_width=CROP[1], sampling_ratio=1,
        )  # fmt: skip
    g.add("Conv", x, g.constant(STRENGTHS.reshape(17, 1, 1, 1)), output="heatmaps")
    heatmaps = TensorSpec("heatmaps", "float32", (count, 17, *CROP), "NCHW")
    inputs = (F0, PERSONS) if mode == "roi" else (CROP_F0,)
    data: bytes = g.model(inputs, (heatmaps,))
    return data


def run_reference(graph: bytes, known: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(graph))
    values = evaluator.run(None, {name: known[name] for name in evaluator.input_names})
    return dict(zip(evaluator.output_names, values, strict=True))


def golden(graphs_of: Mapping[str, bytes], mode: Mode) -> tuple[Any, dict[str, bytes]]:
    """A sample in which people and crop are not those that a detector would find."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, IMAGE.tensor.shape, dtype=np.uint8)
    answers = {"backbone": run_reference(graphs_of["backbone"], {"image": image})}
    if mode == "roi":
        inputs = {"pose": {"persons": np.array([[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 1, 1]], "f4")}}
        answers["pose"] = run_reference(graphs_of["pose"], {**answers["backbone"], **inputs["pose"]})
    else:
        crop = random.integers(0, 256, CROP_IMAGE.tensor.shape, dtype=np.uint8)
        inputs = {"crops": {"image": crop}}
        answers["crops"] = run_reference(graphs_of["crops"], inputs["crops"])
        answers["pose"] = run_reference(graphs_of["pose"], answers["crops"])
    return golden_files(image, answers, "fp32", inputs)


def write_pose_package(
    path: Path, new_graph: Callable[[], Any], mode: Mode, masks: bool = False, count: int | None = None
) -> ModelPackage:
    """det (or det and inst from one component) and pose. `count` is the number of persons in the heatmaps."""
    count = count or (SLOTS if mode == "roi" else 1)
    data = {
        "backbone": backbone_graph(new_graph(), IMAGE, F0),
        "found": detector_graph(new_graph(), masks),
        "pose": pose_graph(new_graph(), mode, count),
    }
    fp32 = {"fp32": VariantSpec("fp32")}
    heatmaps = TensorSpec("heatmaps", "float32", (count, 17, *CROP), "NCHW")
    components = {
        "backbone": ComponentSpec((IMAGE.tensor,), (F0,), fp32),
        "found": ComponentSpec((F0,), (*FOUND, MASKS) if masks else FOUND, fp32),
        "pose": ComponentSpec((F0, PERSONS) if mode == "roi" else (CROP_F0,), (heatmaps,), fp32),
    }
    if mode == "crop":
        data["crops"] = backbone_graph(new_graph(), CROP_IMAGE, CROP_F0)
        components["crops"] = ComponentSpec((CROP_IMAGE.tensor,), (CROP_F0,), fp32)
    tasks = {
        "pose": TaskEntry("pose", KEYPOINT_NAMES, backbone="backbone" if mode == "roi" else "crops"),
        "det": TaskEntry("found", CLASSES),
    }
    if masks:
        tasks["inst"] = TaskEntry("found", CLASSES)
    sample, files = golden(data, mode)
    models: dict[str, Path | bytes] = {model_path(name, "fp32"): graph for name, graph in data.items()}
    return write_package(path, PackageSpec(mode, IMAGE, tasks, components, sample), {**models, **files})


@pytest.fixture(scope="module", params=["roi", "crop"])
def package(
    request: pytest.FixtureRequest, new_graph: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> ModelPackage:
    mode: Mode = request.param
    return write_pose_package(tmp_path_factory.mktemp("pose") / f"{mode}.argus", new_graph, mode)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    status = engine_status(name)
    if not status.available:
        pytest.skip(status.reason or name)
    return name


def spots(*points: tuple[float, float], height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """An image with a round spot at each point xy [px], of sigma 4 px."""
    y, x = np.mgrid[:height, :width]
    light = np.max([np.exp(-((x - px) ** 2 + (y - py) ** 2) / 32) for px, py in points], axis=0)
    return np.repeat(np.round(255 * light).astype(np.uint8)[..., None], 3, axis=2)


def test_keypoints_come_out_where_they_are(engine: str, package: ModelPackage) -> None:
    """The image is twice as large as the input; its spots lie in the first two boxes."""
    first, second = (20.0, 60.0), (100.0, 40.0)
    with Runtime(package, engine=engine, threads=1, score_threshold=0.88) as runtime:
        pose = runtime(spots(first, second)).pose
    np.testing.assert_allclose(pose.boxes, 2 * np.array(BOXES[:2]), atol=1e-3)
    assert np.abs(pose.points[0] - first).max() < 0.35
    assert np.abs(pose.points[1] - second).max() < 0.35
    np.testing.assert_allclose(pose.scores / pose.scores[:, :1], np.tile(STRENGTHS, (2, 1)), rtol=1e-4)
    assert pose.scores[:, 0].min() > 0.85  # of 1: resizing flattens the spots
    means = pose.scores.mean(axis=1)
    np.testing.assert_allclose(pose.person_scores, SCORES[:2] * means, rtol=1e-5)
    assert pose.names == KEYPOINT_NAMES


def test_the_layout_of_the_image_in_memory_does_not_matter(package: ModelPackage) -> None:
    image = spots((20, 60), (100, 40))
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    with Runtime(package, threads=1) as runtime:
        expected = runtime(image).pose.points
        for same in (np.asfortranarray(image), bgr[:, :, ::-1]):
            np.testing.assert_array_equal(runtime(same).pose.points, expected)


def test_the_best_people_are_taken(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "MAX_CROPS", 4)
    monkeypatch.setattr(keypoints, "DOUBLE", 2.0)  # the same spot makes doubles of some
    with Runtime(package, threads=1) as runtime:
        pose = runtime(spots((20, 60))).pose
    people = [index for index, person in enumerate(PERSON) if person]
    count = SLOTS if "pose" in package.spec.extra_inputs else 4
    boxes = np.clip(2 * np.array(BOXES, float)[people[:count]], 0, [128, 96, 128, 96])
    np.testing.assert_allclose(pose.boxes, boxes, atol=1e-3)


def test_pose_follows_the_detector(package: ModelPackage) -> None:
    with Runtime(package, threads=1) as runtime:
        assert runtime.tasks == ("pose", "det")
        frame = runtime(spots((20, 60)))
        stages = ["det", "det.decode", "pose", "pose.decode"]
        assert list(frame.timings) == ["preprocess", "backbone", *stages, "wait", "total"]
        assert list(frame.results) == ["det", "pose"]
    with Runtime(package, threads=1, tasks=["pose"]) as runtime:
        alone = runtime(spots((20, 60)))
    assert list(alone.results) == ["pose"]
    np.testing.assert_array_equal(alone.pose.points, frame.pose.points)
    with pytest.raises(TaskError, match="'det' was not run"):
        _ = alone.det


def test_nobody_there(package: ModelPackage) -> None:
    with Runtime(package, threads=1, score_threshold=1.0) as runtime:
        frame = runtime(spots((20, 60)))
    assert len(frame.det) == len(frame.pose) == 0
    assert frame.pose.points.shape == (0, 17, 2)
    assert frame.pose.scores.shape == (0, 17)


def test_a_frame_outlives_the_next_one(engine: str, package: ModelPackage) -> None:
    with Runtime(package, engine=engine, threads=1) as runtime:
        pose = runtime(spots((20, 60))).pose
        kept = pose.points.copy(), pose.scores.copy()
        runtime(spots((100, 40)))
    np.testing.assert_array_equal(pose.points, kept[0])
    np.testing.assert_array_equal(pose.scores, kept[1])


def test_the_recorded_answers_come_out(engine: str, package: ModelPackage) -> None:
    with Runtime(package, engine=engine, threads=1) as runtime:
        errors = runtime.golden_errors()
    assert errors is not None
    assert {"backbone.f0", "pose.heatmaps"} <= errors.keys()
    assert ("crops.f0" in errors) == ("crops" in package.spec.extra_inputs)
    assert max(errors.values()) <= 1e-4


def test_a_component_of_two_tasks_runs_once(
    new_graph: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_pose_package(tmp_path / "both.argus", new_graph, "roi", masks=True)
    runs: Counter[str] = Counter()

    def counted(name: str, file: Path, **settings: Any) -> Any:
        engine = open_engine(name, file, **settings)
        run = engine.run

        def count(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            runs[file.parent.parent.name] += 1
            return run(inputs)

        engine.run = count  # type: ignore[method-assign]
        return engine

    monkeypatch.setattr(graphs, "open_engine", counted)
    with Runtime(package, "onnxruntime", threads=1) as runtime:
        assert runs == {"backbone": 1, "found": 1, "pose": 1}  # the blank frame
        frame = runtime(spots((20, 60)))
    assert runs == {"backbone": 2, "found": 2, "pose": 2}
    np.testing.assert_array_equal(frame.det.boxes, frame.inst.boxes)
    assert frame.inst.masks.shape == (6, 96, 128)


def test_pose_without_a_detector_of_people_is_refused(new_graph: Callable[[], Any], tmp_path: Path) -> None:
    package = write_pose_package(tmp_path / "pose.argus", new_graph, "roi")
    files = {model_path(name, "fp32"): package.model_file(name, "fp32") for name in package.spec.components}
    cows = {**package.spec.tasks, "det": TaskEntry("found", ("ball", "cow"))}
    alone = {"pose": package.spec.tasks["pose"]}
    for name, tasks in (("cows", cows), ("alone", alone)):
        used = {"backbone", *(entry.component for entry in tasks.values())}
        components = {component: c for component, c in package.spec.components.items() if component in used}
        spec = replace(package.spec, name=name, tasks=tasks, components=components, golden=None)
        chosen = {model_path(component, "fp32"): files[model_path(component, "fp32")] for component in used}
        unfit = write_package(tmp_path / f"{name}.argus", spec, chosen)
        with pytest.raises(
            TaskError, match=f"'pose' needs a detector of the class 'person', .*'{name}' has none"
        ):
            Runtime(unfit, threads=1)
    with Runtime(tmp_path / "cows.argus", threads=1, tasks=["det"]) as runtime:
        assert runtime(spots((20, 60))).det.class_names == ("ball", "cow")


@pytest.mark.parametrize(("mode", "count"), [("roi", 1), ("crop", 2)])
def test_heatmaps_for_another_number_of_people_are_refused(
    new_graph: Callable[[], Any], tmp_path: Path, mode: Mode, count: int
) -> None:
    package = write_pose_package(tmp_path / "good.argus", new_graph, mode)
    files = {model_path(name, "fp32"): package.model_file(name, "fp32") for name in package.spec.components}
    pose = package.spec.components["pose"]
    outputs = (replace(pose.outputs[0], shape=(count, 17, *CROP)),)
    components = {**package.spec.components, "pose": replace(pose, outputs=outputs)}
    spec = replace(package.spec, components=components, golden=None)
    with pytest.raises(PackageError, match="'pose' gives heatmaps of"):
        Runtime(write_package(tmp_path / "bad.argus", spec, files), threads=1)
