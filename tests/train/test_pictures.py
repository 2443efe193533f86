"""The worst images: which are kept, how they look, and where they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.results import AnomalyMap, DenseMap, Detections, Frame, LabelMap
from argus_edge.runtime.draw import draw_apart
from argus_edge.tasks import TASKS
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example, LabelledObject, truth_of
from argus_edge.train.data.rendered import scene_example, surface_example
from argus_edge.train.data.scenes import render
from argus_edge.train.metrics import TASK_METRICS, AnomalyTruth, TaskMetric
from argus_edge.train.pictures import (
    GAP,
    INDEX,
    OURS,
    WorstImages,
    draw_both,
    prepare_folder,
    write_pictures,
)
from argus_edge.train.truth import true_result
from argus_edge.train.validate import make_metric

SIZE = 24


def worst_images(count: int) -> WorstImages:
    return WorstImages(count, TASK_METRICS, SCENE_CLASSES, make_metric)


def add_labels(worst: WorstImages, name: str, wrong: int) -> None:
    """A picture of wall with `wrong` rows predicted as sky."""
    labels = np.full((SIZE, SIZE), 2, np.uint8)
    predicted = labels.copy()
    predicted[:wrong] = 0
    example = Example(name, np.full((SIZE, SIZE, 3), 90, np.uint8), labels=labels)
    worst.add("seg", example, LabelMap(predicted, SCENE_CLASSES["seg"]), labels)


def add_depth(worst: WorstImages, name: str, error: float) -> None:
    depth = np.full((SIZE, SIZE), 5, np.float32)
    example = Example(name, np.zeros((SIZE, SIZE, 3), np.uint8), depth=depth)
    worst.add("depth", example, DenseMap(depth + np.float32(error), "m"), depth)


def test_the_lowest_figures_are_kept_worst_first() -> None:
    worst = worst_images(3)
    for name, wrong in (("a", 3), ("b", 9), ("c", 0), ("d", 6), ("e", 9), ("f", 1)):
        add_labels(worst, name, wrong)
    found = worst.pictures()
    assert [(p.rank, p.image) for p in found] == [(1, "b"), (2, "e"), (3, "d")]  # of equals the first
    assert all(p.figure == "mIoU" for p in found)
    assert found[0].value == pytest.approx(((SIZE - 9) / SIZE + 0) / 2)


def test_of_errors_the_highest_are_kept() -> None:
    metrics = {"depth": TaskMetric(TASK_METRICS["depth"].make, ("RMSE",), frozenset({"RMSE"}))}
    worst = WorstImages(2, metrics, {}, partial(make_metric, metrics=metrics))
    for name, error in (("near", 0.1), ("far", 2.0), ("middle", 1.0)):
        add_depth(worst, name, error)
    assert [p.image for p in worst.pictures()] == ["far", "middle"]
    assert [p.value for p in worst.pictures()] == pytest.approx([2, 1])


def test_images_without_a_figure_are_counted() -> None:
    worst = worst_images(5)
    nothing = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), SCENE_CLASSES["det"]
    )
    example = Example("empty", np.zeros((SIZE, SIZE, 3), np.uint8), ())
    worst.add("det", example, nothing, truth_of("det", example))
    assert worst.pictures() == []
    assert worst.without == {"det": 1}


def test_anomalies_are_ranked_by_their_pixels() -> None:
    worst = worst_images(2)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:4] = True
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    categories = SCENE_CLASSES["anom"]
    for name, sign in (("found", 1), ("missed", -1)):
        example = Example(name, image, anomaly=AnomalyTruth(categories[1], mask))
        maps = np.tile(sign * (mask - np.float32(0.5)), (len(categories), 1, 1)).astype(np.float32)
        result = AnomalyMap(maps, np.zeros(len(categories), np.float32), categories)
        worst.add("anom", example, result, example.anomaly)
    assert [(p.image, p.figure, p.value) for p in worst.pictures()] == [
        ("missed", "pixel_AUROC", 0),
        ("found", "pixel_AUROC", 1),
    ]


def decoded(data: bytes) -> Any:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_prediction_and_truth_are_drawn_alike() -> None:
    worst = worst_images(2)
    add_labels(worst, "right", 0)
    add_labels(worst, "wrong", 20)
    wrong, right = (decoded(p.png) for p in worst.pictures())
    side = (right.shape[1] - GAP) // 2
    below = right.shape[0] - side  # under the lines of text
    left, other = right[below:, :side], right[below:, -side:]
    assert np.array_equal(left, other)
    assert not np.array_equal(wrong[below:, :side], wrong[below:, -side:])
    assert np.array_equal(wrong[below:, -side:], other)
    assert right[:below].max() > 150  # letters


def test_depth_is_shown_in_the_colours_of_the_truth(scene: Example) -> None:
    assert scene.depth is not None
    truth = true_result("depth", scene, ())
    assert isinstance(truth, DenseMap)
    prediction, drawn = draw_both("depth", scene, DenseMap(truth.values * 2, "m"), ())
    height, width = scene.depth.shape
    ((_, alone),) = draw_apart(scene.image, Frame(height, width, {"depth": truth}))
    assert np.array_equal(drawn, alone)
    assert not np.array_equal(prediction, drawn)  # twice as far is not the same picture
    near = truth.values.copy()
    near[0, 0] += 1
    prediction, _ = draw_both("depth", scene, DenseMap(near, "m"), ())
    assert np.array_equal(prediction[1:], drawn[1:])


@pytest.fixture(scope="module")
def scene() -> Example:
    return scene_example(render(3, (SIZE * 4, SIZE * 5)), tuple(TASKS))


@pytest.mark.parametrize("task", TASKS)
def test_truth_of_every_task_is_drawn_and_is_perfect(task: str, scene: Example) -> None:
    example = surface_example(5, "wood", True, 96) if task == "anom" else scene
    names: Sequence[str] = SCENE_CLASSES.get(task, ())
    result = true_result(task, example, names)
    assert result is not None
    height, width = example.image.shape[:2]
    ((_, drawn),) = draw_apart(example.image, Frame(height, width, {task: result}))
    assert drawn.shape == example.image.shape
    assert task == "cls" or not np.array_equal(drawn, example.image)
    if task in ("det", "inst", "pan", "seg", "parse", "sal", "depth", "normal", "pose"):
        metric = make_metric(task)
        metric.update(result, truth_of(task, example))
        assert metric.result()[TASK_METRICS[task].primary] == pytest.approx(int(task != "normal"), abs=1e-3)


def test_scenes_tell_about_parts_where_people_are_shown() -> None:
    scenes = [render(seed, 64) for seed in range(12)]
    told = [scene_example(scene, ("parse",)).parts is not None for scene in scenes]
    assert told == [bool((scene.labels == SCENE_CLASSES["seg"].index("person")).any()) for scene in scenes]
    assert len(set(told)) == 2


def test_nothing_is_drawn_of_what_is_not_told() -> None:
    example = Example("plain", np.zeros((4, 4, 3), np.uint8))
    assert all(true_result(task, example, ()) is None for task in TASKS)


def test_boxes_that_leave_the_image_are_cut_off_in_the_picture() -> None:
    thing = LabelledObject(0, (-5, -5, SIZE + 9, 4), 100)
    result = true_result(
        "det", Example("x", np.zeros((SIZE, SIZE, 3), np.uint8), (thing,)), SCENE_CLASSES["det"]
    )
    assert isinstance(result, Detections)
    assert result.boxes.tolist() == [[0, 0, SIZE, 4]]


def test_large_photographs_become_pictures_of_a_size_to_be_looked_at() -> None:
    worst = worst_images(1)
    labels = np.full((1500, 3000), 2, np.uint8)
    example = Example("large", np.zeros((1500, 3000, 3), np.uint8), labels=labels)
    worst.add("seg", example, LabelMap(labels, SCENE_CLASSES["seg"]), labels)
    height, width, _ = decoded(worst.pictures()[0].png).shape
    assert width == 2 * 960 + GAP
    assert height < 600


def test_file_names_are_safe_and_differ(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "worst"
    names = ("../../etc/passwd", "a b.jpg", "a/b.jpg", "é" * 300, "con\x00\n.png", "")
    worst = worst_images(9)
    for number, name in enumerate(names):
        add_labels(worst, name, number)
    files = write_pictures(folder, worst.pictures())
    assert len(set(files)) == len(names)
    assert {path.name for path in folder.iterdir()} == {path.name for path in files} | {INDEX}
    assert all(path.parent == folder and OURS.fullmatch(path.name) and len(path.name) < 120 for path in files)
    rows = json.loads((folder / INDEX).read_text())["worst"]
    assert {row["image"] for row in rows} == set(names)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_pictures_of_the_time_before_are_replaced_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for count in (3, 2):
        worst = worst_images(count)
        for number in range(4):
            add_labels(worst, f"picture{number}", number + count)
        write_pictures(tmp_path, worst.pictures())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:6] for name in names] == ["notes.", "seg-01", "seg-02", "worst."]
    assert names[1].endswith("picture3.png")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "listing", [None, "not JSON", '{"made_by": "argus-eval", "worst": [{"file": "../x"}]}']
)
def test_pictures_of_others_are_left_alone(tmp_path: Path, listing: str | None) -> None:
    picture = tmp_path / "det-01-0.5000-holiday.png"
    picture.write_bytes(b"mine")
    if listing is not None:
        (tmp_path / INDEX).write_text(listing)
    with pytest.raises(InputError, match="which no evaluation has written"):
        prepare_folder(tmp_path)
    with pytest.raises(InputError, match="choose another folder"):
        write_pictures(tmp_path, [])
    assert picture.read_bytes() == b"mine"


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot hold pictures"):
            prepare_folder(folder)
