from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from argus_edge.errors import InputError, TaskError
from argus_edge.keypoints import FLIP_PAIRS, KEYPOINT_NAMES, OKS_SIGMAS, SKELETON
from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Frame,
    Instances,
    Keypoints,
    LabelMap,
    NormalMap,
    PanopticMap,
    Result,
    Segment,
)
from argus_edge.results.rle import encode_rle
from argus_edge.tasks import TASKS

NAMES = ("box", "sphere")


def _instances() -> Instances:
    boxes = np.array([[1, 2, 11, 22], [0, 0, 5, 5.5]], np.float32)
    masks = np.zeros((2, 1, 4), np.bool_)
    masks[0, 0, 1:3] = True
    return Instances(boxes, np.array([0.9, 0.5], np.float32), np.array([1, 0], np.int32), NAMES, masks)


def _keypoints() -> Keypoints:
    points = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    scores = np.array([[0.75, 0.25]], np.float32)
    boxes = np.array([[0, 1, 2, 3]], np.float32)
    return Keypoints(points, scores, boxes, np.array([0.5], np.float32), ("nose", "left_eye"), ((0, 1),))


def _all_results() -> dict[str, Result]:
    """One result of every task, for an image of 1 x 4 px."""
    inst = _instances()
    segments = (Segment(1, 0, "box", True, 0.9, 2), Segment(2, 1, "sky", False, 0.8, 1))
    normals = np.array([[[0, 0, -1], [0, 1, 0], [0, -1, 0], [0, 0, 0]]], np.float32)
    anomalies = np.array([[[0, 3, 1, 0]], [[0, 0, 0, 2]]], np.float32)
    return {
        "det": Detections(inst.boxes, inst.scores, inst.classes, NAMES),
        "inst": inst,
        "pan": PanopticMap(np.array([[1, 1, 2, 0]], np.int32), segments),
        "seg": LabelMap(np.array([[0, 0, 1, 255]], np.uint8), NAMES),
        "parse": LabelMap(np.array([[0, 0, 1, 1]], np.uint8), ("head", "torso")),
        "sal": DenseMap(np.array([[0, 0, 1, 1]], np.float32), ""),
        "edge": DenseMap(np.array([[0, 1, 0, 0]], np.float32), ""),
        "depth": DenseMap(np.array([[1, 2, 3, 10]], np.float32), "m"),
        "normal": NormalMap(normals),
        "pose": _keypoints(),
        "cls": Classification(np.array([0.25, 0.75], np.float32), NAMES),
        "anom": AnomalyMap(anomalies, np.array([4, 2], np.float32), ("screw", "leather")),
    }


@pytest.fixture
def frame() -> Frame:
    return Frame(1, 4, _all_results(), {"backbone": 12.34567})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_result_by_attribute(frame: Frame, task: str) -> None:
    assert getattr(frame, task) is frame.results[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_not_run_is_named(frame: Frame, task: str) -> None:
    other = "seg" if task != "seg" else "det"
    only_one = dataclasses.replace(frame, results={other: frame.results[other]})
    with pytest.raises(TaskError, match=f"task '{task}' was not run on this frame; tasks run: {other}"):
        getattr(only_one, task)


def test_what_is_no_task_is_no_attribute(frame: Frame) -> None:
    with pytest.raises(AttributeError, match="detections"):
        frame.detections  # type: ignore[attr-defined]  # noqa: B018


def test_json_says_it_all_in_little(frame: Frame) -> None:
    rows = [
        {"class": "sphere", "score": 0.9, "xyxy": [1.0, 2.0, 11.0, 22.0]},
        {"class": "box", "score": 0.5, "xyxy": [0.0, 0.0, 5.0, 5.5]},
    ]
    size = {"height": 1, "width": 4}
    assert json.loads(json.dumps(frame.to_json())) == {
        "image": size,
        "results": {
            "det": {"boxes": rows},
            "inst": {
                "instances": [
                    {**rows[0], "area": 2, "mask": {"size": [1, 4], "counts": "121"}},
                    {**rows[1], "area": 0, "mask": {"size": [1, 4], "counts": "4"}},
                ]
            },
            "pan": {
                **size,
                "segments": [
                    {"id": 1, "class": "box", "thing": True, "score": 0.9, "area": 2},
                    {"id": 2, "class": "sky", "thing": False, "score": 0.8, "area": 1},
                ],
            },
            "seg": {**size, "fractions": {"box": 0.5, "sphere": 0.25}},
            "parse": {**size, "fractions": {"head": 0.5, "torso": 0.5}},
            "sal": {**size, "unit": "", "min": 0.0, "median": 0.5, "max": 1.0},
            "edge": {**size, "unit": "", "min": 0.0, "median": 0.0, "max": 1.0},
            "depth": {**size, "unit": "m", "min": 1.0, "median": 2.5, "max": 10.0},
            "normal": {**size, "mean": [0.0, 0.0, -1.0]},
            "pose": {
                "persons": [
                    {
                        "score": 0.5,
                        "xyxy": [0.0, 1.0, 2.0, 3.0],
                        "keypoints": {"nose": [0.0, 1.0, 0.75], "left_eye": [2.0, 3.0, 0.25]},
                    }
                ]
            },
            "cls": {"top": [{"class": "sphere", "probability": 0.75}, {"class": "box", "probability": 0.25}]},
            "anom": {
                **size,
                "categories": {
                    "screw": {"score": 4.0, "peak": [1, 0]},
                    "leather": {"score": 2.0, "peak": [3, 0]},
                },
            },
        },
        "timings_ms": {"backbone": 12.346},
    }


def test_nothing_found_can_be_written_as_well() -> None:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), NAMES
    assert Detections(*none).to_json() == {"boxes": []}
    empty = Instances(*none, np.zeros((0, 5, 6), np.bool_))
    assert (len(empty), empty.to_json(), empty.to_coco()) == (0, {"instances": []}, [])
    points = np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), np.float32)
    nobody = Keypoints(*points, none[0], none[1])
    assert (len(nobody), nobody.to_json(), nobody.to_coco()) == (0, {"persons": []}, [])
    assert PanopticMap(np.zeros((2, 3), np.int32), ()).to_json() == {"height": 2, "width": 3, "segments": []}
    assert NormalMap(np.zeros((2, 3, 3), np.float32)).to_json()["mean"] == [0, 0, 0]


def test_coco_boxes_are_xywh(frame: Frame) -> None:
    expected = {
        "image_id": 7,
        "category_id": 1,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "score": pytest.approx(0.9),
    }
    assert frame.det.to_coco(image_id=7)[0] == expected
    assert frame.inst.to_coco(image_id=7)[0] == {
        **expected,
        "segmentation": {"size": [1, 4], "counts": "121"},
    }


def test_coco_keypoints_are_triples(frame: Frame) -> None:
    (record,) = frame.pose.to_coco(image_id=7)
    assert record == {
        "image_id": 7,
        "category_id": 1,
        "keypoints": [0, 1, 0.75, 2, 3, 0.25],
        "score": 0.5,
    }


def test_coco_panoptic_ids_are_found_in_the_picture() -> None:
    ids = np.array([[1, 300, 70_000, 0]], np.int32)
    segments = tuple(Segment(number, 2, "box", True, 0.9, 1) for number in (1, 300, 70_000))
    panoptic = PanopticMap(ids, segments)
    record, picture = panoptic.to_coco(5), panoptic.to_rgb().astype(int)
    assert record["image_id"] == 5
    assert record["segments_info"][1] == {"id": 300, "category_id": 2, "area": 1, "iscrowd": 0}
    np.testing.assert_array_equal(picture @ [1, 256, 65536], ids)


def test_run_lengths_are_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for _ in range(60):
            mask = rng.random(rng.integers(1, 40, 2)) < share
            mask[:, : rng.integers(0, 20)] &= rng.random() < 0.5  # often nothing at the left
            mask[:, rng.integers(0, 40) :] &= rng.random() < 0.5  # or at the right
            expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            given = encode_rle(mask)
            assert given["size"] == expected["size"]
            assert given["counts"] == expected["counts"].decode("ascii")


def test_the_likeliest_classes_come_first() -> None:
    cls = Classification(np.array([0.1, 0.5, 0.1, 0.3], np.float32), ("a", "b", "c", "d"))
    assert [name for name, _ in cls.top(3)] == ["b", "d", "a"]  # of equals the first
    assert [name for name, _ in cls.top(9)] == ["b", "d", "a", "c"]
    assert cls.top(0) == ()


def test_an_anomaly_category_has_its_map_and_score(frame: Frame) -> None:
    values, score = frame.anom.of("leather")
    assert values.shape == (1, 4)
    assert (values.max(), score) == (2, 2)
    with pytest.raises(InputError, match="no anomaly category 'wood'; there are: screw, leather"):
        frame.anom.of("wood")


def test_a_frame_cannot_be_changed(frame: Frame) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.image_height = 3  # type: ignore[misc]


def test_the_keypoints_are_cocos() -> None:
    assert len(KEYPOINT_NAMES) == len(OKS_SIGMAS) == 17
    mirrored = {left: right for pair in FLIP_PAIRS for left, right in (pair, pair[::-1])}
    for index, name in enumerate(KEYPOINT_NAMES):
        swapped = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert KEYPOINT_NAMES[mirrored.get(index, index)] == swapped
        assert OKS_SIGMAS[mirrored.get(index, index)] == OKS_SIGMAS[index]
    # A skeleton looks the same in a mirror.
    lines = {frozenset(line) for line in SKELETON}
    assert len(lines) == 19
    assert {frozenset(mirrored.get(end, end) for end in line) for line in lines} == lines


def test_the_sigmas_are_pycocotools() -> None:
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    np.testing.assert_allclose(OKS_SIGMAS, cocoeval.Params(iouType="keypoints").kpt_oks_sigmas)
