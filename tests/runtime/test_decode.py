"""Results in the original image's frame, for images of any shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from argus_edge.errors import EngineError, InputError, PackageError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import Detections, Instances, Keypoints, PanopticMap
from argus_edge.runtime.decode import check_outputs, decode, decode_boxes, decode_dense_map, decode_label_map
from argus_edge.runtime.persons import Persons
from argus_edge.spec import ImageSpec, TaskEntry, TensorSpec

NAMES = ("box", "sphere", "cylinder")
SIZES = pytest.mark.parametrize(
    ("height", "width"), [(2160, 4096), (48, 64), (321, 517), (517, 321), (1, 1), (320, 320)]
)


def _outputs(boxes: Any, scores: Any, classes: Any) -> dict[str, np.ndarray]:
    return {
        "boxes": np.asarray(boxes, np.float32)[None],
        "scores": np.asarray(scores, np.float32)[None],
        "classes": np.asarray(classes, np.int32)[None],
    }


@SIZES
def test_boxes_go_there_and_back_within_half_a_pixel(height: int, width: int) -> None:
    letterbox = Letterbox(height, width, 320, 320)
    corners = np.sort(np.random.default_rng(height).uniform(0, 1, (20, 2, 2)), axis=1) * [width, height]
    known = np.concatenate([corners.reshape(20, 4), [[0, 0, width, height]]]).astype(np.float32)
    outputs = _outputs(letterbox.boxes_to_input(known), np.linspace(1, 0.5, 21), np.arange(21) % 3)
    result = decode_boxes(outputs, letterbox, NAMES)
    assert np.max(np.abs(result.boxes - known)) <= 0.5
    assert result.boxes.dtype == np.float32
    assert result.class_names == NAMES


@SIZES
def test_maps_have_the_size_of_the_image(height: int, width: int) -> None:
    """A step at half of the image's height stays there: to 0.5 px of the image and of the network's input."""
    letterbox = Letterbox(height, width, 320, 320)
    labels = np.full((1, 320, 320), 9, np.uint8)  # 9 in the padding, which must not come out or count
    inside = labels[0, : letterbox.resized_height, : letterbox.resized_width]
    inside[:] = (np.arange(letterbox.resized_height) + 0.5 > letterbox.resized_height / 2)[:, None]
    seg = decode_label_map({"labels": labels}, letterbox, NAMES)
    depth = decode_dense_map({"depth": labels.astype(np.float32)}, letterbox, "m")
    assert seg.labels.shape == depth.values.shape == (height, width)
    assert seg.labels.dtype == np.uint8
    assert depth.values.dtype == np.float32
    assert set(np.unique(seg.labels)) <= {0, 1}
    assert depth.values.max() <= 1
    if height > 1:
        step = np.count_nonzero(seg.labels[:, 0] == 0)
        assert abs(step - height / 2) <= 0.5 + 0.5 / letterbox.scale_y


def test_scores_below_the_threshold_and_boxes_in_the_padding_are_left_out() -> None:
    letterbox = Letterbox(50, 100, 320, 320)  # the lower half of the input is padding
    boxes = [[0, 0, 0.5, 0.25], [0.1, 0.6, 0.5, 0.9], [0.2, 0.2, 0.2, 0.4], [0, 0, 1, 1], [np.nan, 0, 1, 1]]
    scores = [0.9, 0.8, 0.7, 0.3, 0.2]
    everything = decode_boxes(_outputs(boxes, scores, [0, 1, 2, 1, 0]), letterbox, NAMES)
    np.testing.assert_allclose(everything.boxes, [[0, 0, 50, 25], [0, 0, 100, 50]])
    assert everything.classes.tolist() == [0, 1]
    best = decode_boxes(_outputs(boxes, scores, [0, 1, 2, 1, 0]), letterbox, NAMES, score_threshold=0.5)
    np.testing.assert_allclose(best.scores, [0.9])


def test_the_best_come_first_and_equals_in_their_order() -> None:
    boxes = [[0, 0, i / 8, 1] for i in range(1, 6)]
    scores = [0.3, 0.9, 0.5, 0.9, 0.5]
    result = decode_boxes(_outputs(boxes, scores, [0, 1, 2, 0, 1]), Letterbox(32, 32, 32, 32), NAMES)
    np.testing.assert_allclose(result.scores, [0.9, 0.9, 0.5, 0.5, 0.3])
    np.testing.assert_allclose(result.boxes[:, 2], [8, 16, 12, 20, 4])
    assert result.classes.tolist() == [1, 0, 2, 1, 0]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_not_finite_are_left_out(number: float) -> None:
    boxes = [[0, 0, 1, 1], [0, 0, abs(number), 1], [-abs(number), 0, 1, 1], [0, 0, 0.5, 0.5]]
    result = decode_boxes(
        _outputs(boxes, [number, 0.9, 0.8, 0.7], [0, 1, 2, 1]), Letterbox(9, 9, 32, 32), NAMES
    )
    np.testing.assert_allclose(result.scores, [0.7])


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(EngineError, match="classes 0 to 3, but the package names 3"):
        decode_boxes(_outputs([[0, 0, 1, 1]] * 2, [0.9, 0.8], [0, 3]), Letterbox(9, 9, 32, 32), NAMES)


@pytest.mark.parametrize("size", [(320, 320), (321, 517)])
def test_results_share_no_memory_with_the_outputs(size: tuple[int, int]) -> None:
    letterbox = Letterbox(*size, 320, 320)
    outputs = _outputs([[0, 0, 1, 1]], [0.5], [1])
    boxes = decode_boxes(outputs, letterbox, NAMES)
    maps = {"labels": np.zeros((1, 320, 320), np.uint8)}
    floats = {"depth": np.zeros((1, 320, 320), np.float32)}
    results = [boxes.boxes, boxes.scores, boxes.classes, decode_label_map(maps, letterbox, NAMES).labels]
    results.append(decode_dense_map(floats, letterbox, "m").values)
    for result in results:
        assert not any(np.shares_memory(result, given) for given in (*outputs.values(), *maps.values()))
        assert not np.shares_memory(result, floats["depth"])


def test_a_task_is_decoded_by_its_kind() -> None:
    letterbox = Letterbox(9, 9, 32, 32)
    outputs = _outputs([[0, 0, 1, 1]], [0.5], [1])
    result = decode("det", outputs, letterbox, TaskEntry("det", NAMES), score_threshold=0.6)
    assert isinstance(result, Detections)
    assert len(result) == 0
    with pytest.raises(TaskError, match="unknown task 'dets'"):
        decode("dets", {}, letterbox, TaskEntry("det"))


def test_detection_reads_the_boxes_of_an_instance_segmenter() -> None:
    letterbox = Letterbox(32, 32, 32, 32)
    outputs = _outputs([[0, 0, 0.5, 0.5]], [0.5], [1])
    outputs["masks"] = np.full((1, 1, 8, 8), -1, np.float32)
    outputs["masks"][..., :4, :4] = 1
    boxes = decode("det", outputs, letterbox, TaskEntry("inst", NAMES))
    instances = decode("inst", outputs, letterbox, TaskEntry("inst", NAMES))
    assert type(boxes) is Detections
    assert isinstance(instances, Instances)
    np.testing.assert_array_equal(boxes.boxes, instances.boxes)
    assert instances.masks.sum() == pytest.approx(256, abs=1)


def test_things_come_first_in_a_panoptic_map() -> None:
    masks = np.full((1, 2, 8, 8), -8, np.float32)
    masks[0, 0, :4], masks[0, 1, 4:] = 8, 8
    outputs = {
        "scores": np.array([[0.9, 0.95]], np.float32),
        "classes": np.array([[0, 2]], np.int32),
        "masks": masks,
    }
    result = decode("pan", outputs, Letterbox(32, 32, 32, 32), TaskEntry("pan", NAMES, things=2))
    assert isinstance(result, PanopticMap)
    assert [(segment.class_name, segment.is_thing) for segment in result.segments] == [
        ("box", True),
        ("cylinder", False),
    ]


def test_a_pose_is_read_for_its_persons() -> None:
    heatmaps = np.zeros((1, 3, 64, 48), np.float32)
    heatmaps[0, :, 20, 30] = 1
    box = np.array([[10, 20, 58, 84]], np.float32)
    person = Persons(box, np.array([0.5], np.float32), box.astype(np.float64))
    entry, letterbox = TaskEntry("pose", NAMES), Letterbox(100, 100, 32, 32)
    result = decode("pose", {"heatmaps": heatmaps}, letterbox, entry, persons=person)
    assert isinstance(result, Keypoints)
    assert result.names == NAMES
    np.testing.assert_allclose(result.points, np.full((1, 3, 2), [40, 40]), atol=1)
    assert result.person_scores[0] == pytest.approx(0.5)
    with pytest.raises(InputError, match="'pose' needs the persons"):
        decode("pose", {"heatmaps": heatmaps}, letterbox, entry)


def test_a_label_without_a_name_is_refused_unless_it_means_no_class() -> None:
    letterbox = Letterbox(20, 32, 32, 32)
    labels = np.full((1, 32, 32), 255, np.uint8)
    assert np.all(decode_label_map({"labels": labels}, letterbox, NAMES).labels == 255)
    labels[0, 19, 0] = 3
    with pytest.raises(EngineError, match="class 3, but the package names 3"):
        decode_label_map({"labels": labels}, letterbox, NAMES)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(number: float) -> None:
    values = np.ones((1, 32, 32), np.float32)
    values[0, 3, 4] = number
    with pytest.raises(EngineError, match="output 'depth' holds numbers that are not finite"):
        decode_dense_map({"depth": values}, Letterbox(9, 9, 32, 32), "m")


IMAGE = ImageSpec(320, 320)
DET = (
    TensorSpec("boxes", "float32", (1, 100, 4), "NKX"),
    TensorSpec("scores", "float32", (1, 100), "NK"),
    TensorSpec("classes", "int32", (1, 100), "NK"),
)
MASKS = TensorSpec("masks", "float32", (1, 100, 80, 80), "NKHW")
SEG = TensorSpec("labels", "uint8", (1, 320, 320), "NHW")
SCORES = TensorSpec("probabilities", "float32", (1, 3), "NK")
ANOMALIES = TensorSpec("maps", "float32", (1, 3, 40, 40), "NCHW")
NORMALS = TensorSpec("normals", "float32", (1, 3, 320, 320), "NCHW")
HEATMAPS = TensorSpec("heatmaps", "float32", (8, 3, 64, 48), "NCHW")


def test_fitting_outputs_are_accepted() -> None:
    check_outputs("det", TaskEntry("det", NAMES), DET, IMAGE)
    check_outputs("seg", TaskEntry("seg", NAMES), (SEG,), IMAGE)
    check_outputs("depth", TaskEntry("depth"), (TensorSpec("z", "float32", (1, 320, 320), "NHW"),), IMAGE)
    check_outputs("inst", TaskEntry("inst", NAMES), (*DET, MASKS), IMAGE)
    check_outputs("det", TaskEntry("inst", NAMES), (*DET, MASKS), IMAGE)
    check_outputs("pan", TaskEntry("pan", NAMES), (*DET[1:], MASKS), IMAGE)
    check_outputs("normal", TaskEntry("normal"), (NORMALS,), IMAGE)
    check_outputs("pose", TaskEntry("pose", NAMES), (HEATMAPS,), IMAGE)
    check_outputs("cls", TaskEntry("cls", NAMES), (SCORES,), IMAGE)
    check_outputs("anom", TaskEntry("anom", NAMES), (ANOMALIES,), IMAGE)


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("det", DET[:2]),
        ("det", (*DET, SEG)),
        ("det", (replace(DET[0], shape=(1, 99, 4)), *DET[1:])),
        ("det", (replace(DET[0], dtype="float16"), *DET[1:])),
        ("seg", (replace(SEG, shape=(1, 80, 80)),)),
        ("seg", (replace(SEG, shape=(1, 1, 320, 320)),)),
        ("depth", (SEG,)),
        ("depth", ()),
        ("inst", DET),
        ("inst", (*DET, replace(MASKS, shape=(1, 99, 80, 80)))),
        ("inst", (*DET, replace(MASKS, shape=(1, 100, 320, 320)))),
        ("det", (*DET, replace(MASKS, dtype="uint8"))),
        ("pan", (*DET, MASKS)),
        ("normal", (replace(NORMALS, shape=(1, 320, 320, 3)),)),
        ("pose", (replace(HEATMAPS, shape=(8, 17, 64, 48)),)),
        ("cls", (replace(SCORES, shape=(1, 4)),)),
        ("anom", (replace(ANOMALIES, shape=(1, 3, 320, 320)),)),
        ("anom", (replace(ANOMALIES, shape=(1, 2, 40, 40)),)),
    ],
)
def test_outputs_that_do_not_fit_the_task_are_refused(task: str, outputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(PackageError, match=f"'decoder' cannot give task '{task}': expected outputs"):
        check_outputs(task, TaskEntry("decoder", NAMES), outputs, IMAGE)
