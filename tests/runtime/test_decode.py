"""Results in the original image's frame, for images of any shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from argus_edge.errors import EngineError, PackageError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import Detections
from argus_edge.runtime.decode import check_outputs, decode, decode_boxes, decode_dense_map, decode_label_map
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
    labels = np.full((1, 320, 320), 9, np.uint8)  # 9 in the padding, which must not come out
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
    result = decode("det", _outputs([[0, 0, 1, 1]], [0.5], [1]), letterbox, NAMES, score_threshold=0.6)
    assert isinstance(result, Detections)
    assert len(result) == 0
    with pytest.raises(TaskError, match="not built yet"):
        decode("pose", {}, letterbox)


IMAGE = ImageSpec(320, 320)
DET = (
    TensorSpec("boxes", "float32", (1, 100, 4), "NKX"),
    TensorSpec("scores", "float32", (1, 100), "NK"),
    TensorSpec("classes", "int32", (1, 100), "NK"),
)
SEG = TensorSpec("labels", "uint8", (1, 320, 320), "NHW")


def test_fitting_outputs_are_accepted() -> None:
    check_outputs("det", TaskEntry("det", NAMES), DET, IMAGE)
    check_outputs("seg", TaskEntry("seg", NAMES), (SEG,), IMAGE)
    check_outputs("depth", TaskEntry("depth"), (TensorSpec("z", "float32", (1, 320, 320), "NHW"),), IMAGE)


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
    ],
)
def test_outputs_that_do_not_fit_the_task_are_refused(task: str, outputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(PackageError, match=f"'decoder' cannot give task '{task}': expected outputs"):
        check_outputs(task, TaskEntry("decoder", NAMES), outputs, IMAGE)
