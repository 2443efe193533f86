from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from argus_edge.errors import TaskError
from argus_edge.results import DenseMap, Detections, Frame, LabelMap

NAMES = ("box", "sphere")


@pytest.fixture
def frame() -> Frame:
    boxes = np.array([[1, 2, 11, 22], [0, 0, 5, 5.5]], np.float32)
    det = Detections(boxes, np.array([0.9, 0.5], np.float32), np.array([1, 0], np.int32), NAMES)
    seg = LabelMap(np.array([[0, 0, 1, 255]], np.uint8), NAMES)
    depth = DenseMap(np.array([[1, 2, 3, 10]], np.float32), "m")
    return Frame(1, 4, {"det": det, "seg": seg, "depth": depth}, {"backbone": 12.34567})


def test_results_by_attribute(frame: Frame) -> None:
    assert len(frame.det) == 2
    assert frame.seg.labels.shape == (1, 4)
    assert frame.depth.unit == "m"


def test_a_task_not_run_is_named(frame: Frame) -> None:
    only_seg = dataclasses.replace(frame, results={"seg": frame.seg})
    with pytest.raises(TaskError, match="task 'det' was not run on this frame; tasks run: seg"):
        _ = only_seg.det
    with pytest.raises(TaskError, match="task 'pose' is not built yet"):
        _ = frame.pose
    with pytest.raises(AttributeError, match="detections"):
        _ = frame.detections


def test_json_says_it_all_in_little(frame: Frame) -> None:
    assert json.loads(json.dumps(frame.to_json())) == {
        "image": {"height": 1, "width": 4},
        "results": {
            "det": {
                "boxes": [
                    {"class": "sphere", "score": 0.9, "xyxy": [1.0, 2.0, 11.0, 22.0]},
                    {"class": "box", "score": 0.5, "xyxy": [0.0, 0.0, 5.0, 5.5]},
                ]
            },
            "seg": {"height": 1, "width": 4, "fractions": {"box": 0.5, "sphere": 0.25}},
            "depth": {"height": 1, "width": 4, "unit": "m", "min": 1.0, "median": 2.5, "max": 10.0},
        },
        "timings_ms": {"backbone": 12.346},
    }


def test_coco_boxes_are_xywh(frame: Frame) -> None:
    records = frame.det.to_coco(image_id=7)
    assert records[0] == {
        "image_id": 7,
        "category_id": 1,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "score": pytest.approx(0.9),
    }


def test_a_frame_cannot_be_changed(frame: Frame) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.image_height = 3  # type: ignore[misc]
