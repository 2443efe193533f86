"""Validation of predictors whose answers are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import argus_edge.train.validate as validation
from argus_edge.errors import ImageError, InputError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import DenseMap, Detections, Frame, Keypoints, LabelMap
from argus_edge.runtime.persons import Persons, find_persons
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.metrics import TASK_METRICS, DepthMetrics, DepthProtocol, TaskMetric
from argus_edge.train.metrics.keypoint_ap import MAX_PERSONS
from argus_edge.train.relabel import match_classes
from argus_edge.train.truth import true_people
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


def test_torch_predictor_looks_at_all_people_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from argus_edge.keypoints import KEYPOINT_NAMES
    from argus_edge.train.model.build import build_model
    from argus_edge.train.model.checkpoint import CheckpointInfo
    from argus_edge.train.predict import TorchPredictor

    torch.manual_seed(0)
    tasks, classes = ("det", "pose"), {"det": DET_CLASSES, "pose": KEYPOINT_NAMES}
    predictor = TorchPredictor(
        build_model("nano", tasks, classes), CheckpointInfo("nano", tasks, classes, 96), ["pose"]
    )
    count = MAX_PERSONS + 3
    boxes = np.array([[i, i, i + 20, i + 30] for i in range(count)], np.float32)
    people = Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int32), ("person",))
    frame = predictor(np.zeros((64, 64, 3), np.uint8), people)
    assert len(frame.pose) == count
    assert np.allclose(frame.pose.boxes, boxes)
    limits: list[int] = []

    def find(found: Detections, limit: int, letterbox: Letterbox) -> Persons:
        limits.append(limit)
        return find_persons(found, limit, letterbox)

    monkeypatch.setattr("argus_edge.train.predict.find_persons", find)
    predictor(np.zeros((64, 64, 3), np.uint8))
    assert limits == [MAX_PERSONS]


def test_people_of_the_truth_are_handed_to_the_predictor() -> None:
    told: list[Detections] = []

    def predict(image: NDArray[np.uint8], people: Detections) -> Frame:
        told.append(people)
        nobody = np.zeros((0, 17, 2), np.float32)
        none = np.zeros(0, np.float32)
        return Frame(
            SIZE, SIZE, {"pose": Keypoints(nobody, nobody[..., 0], np.zeros((0, 4), np.float32), none)}
        )

    def person(seen: int, crowd: bool) -> LabelledObject:
        points = np.full((17, 3), seen, np.float32)
        return LabelledObject(4, (1, 2, 11, 32), 300, crowd, keypoints=points)

    objects = (person(2, False), person(0, False), person(2, True), LabelledObject(0, (0, 0, 5, 5), 25))
    example = replace(picture(0), objects=objects)
    (found,) = evaluate({"a": predict}, [example], ["pose"], people=true_people, warm_up=0).values()
    assert [people.boxes.tolist() for people in told] == [[[1, 2, 11, 32]]]
    assert "true boxes" in found.protocols["pose"]
    (found,) = evaluate({"a": lambda image: predict(image, told[0])}, [example], ["pose"]).values()
    assert "the model's detector finds" in found.protocols["pose"]
    told_of = {"pose": "at most 8 people, as exported"}
    (found,) = evaluate(
        {"a": lambda image: predict(image, told[0])}, [example], ["pose"], notes=told_of
    ).values()
    assert found.protocols["pose"].endswith("detector finds; at most 8 people, as exported")


def test_large_pictures_are_read_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "CHUNK_BYTES", 2 * validation._bytes(picture(0)) - 1)
    read: list[int] = []
    seen: list[int] = []

    def samples() -> Iterator[Example]:
        for number in range(5):
            read.append(number)
            yield picture(number)

    def predict(image: NDArray[np.uint8]) -> Frame:
        seen.append(len(read))
        return oracle(image)

    evaluate({"a": predict}, samples(), TASKS, warm_up=0)
    assert seen == [2, 2, 4, 4, 5]


def test_images_that_cannot_be_used_are_stepped_over() -> None:
    steps: list[None] = []
    samples = [None, picture(0), None, picture(1), None]
    (found,) = evaluate({"a": oracle}, samples, TASKS, lambda: steps.append(None)).values()
    assert (len(found.frame_ms), len(steps)) == (2, len(samples))


def test_what_an_example_takes_counts_masks_and_maps() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    plain = replace(picture(0), objects=())
    masked = replace(plain, objects=(LabelledObject(0, (0, 0, 1, 1), 1, mask=mask),) * 3)
    assert validation._bytes(masked) - validation._bytes(plain) == 3 * mask.nbytes
    assert validation._bytes(plain) == sum(
        each.nbytes for each in (plain.image, plain.labels, plain.depth) if each is not None
    )


def test_a_set_s_own_metric_and_shared_classes_are_used() -> None:
    table = match_classes("seg", SEG_CLASSES, ("wall", "human"), {"human": "person"}, shared=True)
    labels = np.where(picture(3).labels == SEG_CLASSES.index("person"), 1, 0).astype(np.uint8)
    labels[:, :3] = 255
    example = replace(picture(3), labels=labels)
    near = DepthProtocol(maximum=3.0)
    metrics = {**TASK_METRICS, "depth": TaskMetric(lambda _: DepthMetrics(near), ("RMSE",))}
    shown: list[tuple[str, int]] = []

    def sees_the_sky_too(image: NDArray[np.uint8]) -> Frame:
        frame = oracle(image)
        assert isinstance(frame.results["seg"], LabelMap)
        wrong = frame.seg.labels.copy()
        wrong[:, 40:] = SEG_CLASSES.index("sky")
        return replace(frame, results={**frame.results, "seg": LabelMap(wrong, SEG_CLASSES)})

    (found,) = evaluate(
        {"a": sees_the_sky_too},
        [example],
        ["seg", "depth"],
        metrics=metrics,
        tables={"seg": table},
        watch=lambda task, e, result, truth: shown.append((task, int(truth.max()))),
        warm_up=0,
    ).values()
    wall = SIZE * (SIZE - 3) - 30 * 12
    assert found.metrics["seg"]["IoU/person"] == 1
    assert found.metrics["seg"]["IoU/wall"] == pytest.approx((wall - 8 * SIZE) / wall)
    assert found.metrics["seg"]["mIoU"] == pytest.approx((1 + (wall - 8 * SIZE) / wall) / 2)
    assert "IoU/sky" not in found.metrics["seg"]
    assert found.protocols["seg"].endswith(
        "2 of 9 classes counted; classes: wall, person; truth's human as person"
    )
    assert found.protocols["depth"] == DepthMetrics(near).protocol
    assert found.metrics["depth"]["pixels"] == 30 * 12
    assert shown == [("seg", 255), ("depth", 5)]
