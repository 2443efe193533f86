"""Class names of data and model brought together: which are judged, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Instances,
    LabelMap,
    PanopticMap,
    Result,
    Segment,
)
from argus_edge.train.data.example import Example, LabelledObject, truth_of
from argus_edge.train.metrics import (
    AnomalyTruth,
    BoxAP,
    MeanIoU,
    PanopticQuality,
    PanopticTruth,
    TrueSegment,
)
from argus_edge.train.relabel import ClassTable, match_classes, relabel_example, relabel_result
from argus_edge.train.validate import make_metric

MODEL = ("sky", "ground", "wall", "person")
DATA = ("road", "pavement", "car", "pedestrian")
RENAME = {"road": "ground", "pavement": "ground", "pedestrian": "person"}
IMAGE = np.zeros((2, 4, 3), np.uint8)


def table(task: str) -> ClassTable:
    return match_classes(task, MODEL, DATA, RENAME, shared=True)


def truth(**labels: Any) -> Example:
    return Example("picture", IMAGE, **labels)


def test_equal_names_change_nothing() -> None:
    found = match_classes("det", MODEL, MODEL)
    assert (found.changes_truth, found.changes_results, found.note) == (False, False, "")
    example, result = truth(image_class=2), Classification(np.full(4, 0.25, np.float32), MODEL)
    assert relabel_example(example, "cls", found) is example
    assert relabel_result(result, found) is result


@pytest.mark.parametrize("task", ["det", "seg", "cls", "pan"])
def test_another_order_is_put_right_in_the_truth(task: str) -> None:
    found = match_classes(task, MODEL, MODEL[::-1])
    assert found.names == MODEL
    assert found.of_data == (3, 2, 1, 0)
    assert (found.changes_truth, found.changes_results, found.note) == (True, False, "")


def test_names_that_change_places_are_not_taken_for_equal() -> None:
    found = match_classes("cls", ("a", "b"), ("a", "b"), {"a": "b", "b": "a"})
    assert relabel_example(truth(image_class=0), "cls", found).image_class == 1


def test_different_names_are_an_error_that_names_the_ways_out() -> None:
    with pytest.raises(InputError, match=r"only the model has sky, .*--rename DATA=MODEL.*--shared-classes"):
        match_classes("seg", MODEL, DATA)
    with pytest.raises(
        InputError, match="only the data has road, pavement, car, pedestrian; name them alike"
    ):
        match_classes("seg", MODEL, DATA, shared=True)
    with pytest.raises(InputError, match="only the model has none, only the data has dog"):
        match_classes("seg", ("cat",), ("cat", "dog"))
    with pytest.raises(InputError, match=r"class 0, .*class 11 and 88 more"):
        match_classes("seg", MODEL, [f"class {i}" for i in range(100)])


def test_keypoints_must_be_equal() -> None:
    assert match_classes("pose", ("nose", "eye"), ("nose", "eye")).names == ("nose", "eye")
    with pytest.raises(InputError, match="are in another order"):
        match_classes("pose", ("nose", "eye"), ("eye", "nose"), shared=True)


def test_the_note_tells_what_was_measured() -> None:
    rest = "(1 more in the data ignored): ground, person; " + (
        "truth's road and pavement as ground, pedestrian as person"
    )
    assert table("det").note == f"2 of 4 classes {rest}"
    assert table("seg").note == f"classes {rest}"  # its metric counts them
    assert match_classes("det", ("a",), ("b",), {"b": "a"}).note == "truth's b as a"


def test_label_maps_keep_the_model_s_classes_but_count_the_shared_ones() -> None:
    found = table("seg")
    labels = np.array([[0, 1, 2, 3], [0, 0, 255, 3]], np.uint8)
    example = relabel_example(truth(labels=labels, parts=labels), "seg", found)
    assert example.labels is not None
    assert example.labels.tolist() == [[1, 1, 255, 3], [1, 1, 255, 3]]
    assert example.parts is labels
    predicted = LabelMap(np.array([[1, 0, 2, 3], [1, 1, 1, 2]], np.uint8), MODEL)
    assert relabel_result(predicted, found) is predicted
    metric = make_metric("seg", table=found)
    assert isinstance(metric, MeanIoU)
    metric.update(predicted, example.labels)
    figures = metric.result()
    # Of four pixels of ground one is called sky, of two of person one wall: wrong, and without rows.
    assert {k: v for k, v in figures.items() if k.startswith("IoU/")} == {
        "IoU/ground": 0.75,
        "IoU/person": 0.5,
    }
    assert figures["mIoU"] == pytest.approx(0.625)
    assert figures["pixel_accuracy"] == pytest.approx(4 / 6)


def test_an_id_that_is_no_class_is_not_swallowed() -> None:
    found = match_classes("seg", MODEL, MODEL[::-1])
    example = relabel_example(truth(labels=np.full((2, 4), 9, np.uint8)), "seg", found)
    with pytest.raises(InputError, match="true labels"):
        make_metric("seg", table=found).update(LabelMap(np.zeros((2, 4), np.uint8), MODEL), example.labels)


def test_objects_of_other_classes_are_left_out_on_both_sides() -> None:
    found = table("det")
    objects = tuple(LabelledObject(c, (c, 0, c + 1, 1), 1) for c in range(4))
    example = relabel_example(truth(objects=objects), "det", found)
    assert found.names == ("ground", "person")
    assert example.objects is not None
    assert [(o.class_id, o.box[0]) for o in example.objects] == [(0, 0), (0, 1), (1, 3)]
    # People of pose are not subject to the classes of det.
    assert relabel_example(
        truth(objects=objects), "pose", match_classes("pose", ("nose",), ("nose",))
    ).objects

    boxes = np.array([[0, 0, 1, 1], [2, 0, 3, 1], [3, 0, 4, 1]], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 0, 3], np.int32)
    result = relabel_result(Detections(boxes, scores, classes, MODEL), found)
    assert isinstance(result, Detections)
    assert result.classes.tolist() == [0, 1]
    assert result.boxes.tolist() == boxes[[0, 2]].tolist()
    assert result.class_names == found.names
    metric = BoxAP(found.names)
    metric.update(result, truth_of("det", example))
    assert metric.result()["AP/person"] == pytest.approx(1)
    masks = np.eye(3, dtype=bool)[:, None, :].repeat(2, axis=1)
    instances = relabel_result(Instances(boxes, scores, classes, MODEL, masks), found)
    assert isinstance(instances, Instances)
    assert np.array_equal(instances.masks, masks[[0, 2]])
    nothing = Detections(boxes[:0], scores[:0], classes[:0], MODEL)
    assert len(relabel_result(nothing, found).classes) == 0  # type: ignore[union-attr]


def test_segments_of_other_classes_are_void_and_stuff_becomes_one() -> None:
    found = table("pan")
    ids = np.array([[1, 2, 3, 4], [1, 2, 3, 5]])
    segments = [TrueSegment(1, 0, False), TrueSegment(2, 1, False), TrueSegment(3, 2, True)]
    segments += [TrueSegment(4, 3, True), TrueSegment(5, 3, True, True)]
    panoptic = relabel_example(truth(panoptic=PanopticTruth(ids, segments)), "pan", found).panoptic
    assert panoptic is not None
    assert panoptic.segment_ids.tolist() == [[1, 1, 0, 4], [1, 1, 0, 5]]
    assert panoptic.segments == [
        TrueSegment(1, 0, False),
        TrueSegment(4, 1, True),
        TrueSegment(5, 1, True, True),
    ]
    assert ids[0, 2] == 3  # the reader's own map is as it was

    predicted = np.array([[7, 7, 8, 9], [7, 7, 8, 9]], np.int32)
    result = relabel_result(
        PanopticMap(
            predicted,
            (
                Segment(7, 1, "ground", False, 1, 4),
                Segment(8, 0, "sky", False, 1, 2),
                Segment(9, 3, "person", True, 1, 2),
            ),
        ),
        found,
    )
    assert isinstance(result, PanopticMap)
    assert result.segment_ids.tolist() == [[7, 7, 0, 9], [7, 7, 0, 9]]
    assert result.segment_ids.dtype == np.int32
    assert [(s.id, s.class_id) for s in result.segments] == [(7, 0), (9, 1)]
    metric = PanopticQuality(found.names)
    metric.update(result, panoptic)
    assert metric.result()["PQ/ground"] == 1


def test_images_of_other_classes_are_not_judged() -> None:
    found = table("cls")
    assert relabel_example(truth(image_class=2), "cls", found).image_class is None
    assert relabel_example(truth(image_class=3), "cls", found).image_class == 1
    result = relabel_result(Classification(np.array([0.4, 0.3, 0.2, 0.1], np.float32), MODEL), found)
    assert isinstance(result, Classification)
    assert result.probabilities.tolist() == pytest.approx([0.3, 0.1])
    assert result.class_names == ("ground", "person")


def test_anomalies_go_by_the_name_of_their_category() -> None:
    found = match_classes("anom", ("wood", "metal"), ("grid", "timber"), {"timber": "wood"}, shared=True)
    mask = np.ones((2, 4), bool)
    known = relabel_example(truth(anomaly=AnomalyTruth("timber", mask)), "anom", found).anomaly
    assert known is not None
    assert (known.category, known.mask is mask) == ("wood", True)
    assert relabel_example(truth(anomaly=AnomalyTruth("grid", mask)), "anom", found).anomaly is None
    maps = AnomalyMap(np.zeros((2, 2, 4), np.float32), np.zeros(2, np.float32), ("wood", "metal"))
    make_metric("anom", table=found).update(relabel_result(maps, found), known)


def test_what_is_not_labelled_stays_so() -> None:
    nothing = truth()
    for task in ("det", "inst", "seg", "parse", "pan", "cls", "anom"):
        relabelled = relabel_example(nothing, task, table(task))
        labels = [getattr(relabelled, name) for name in ("objects", "labels", "parts", "panoptic", "anomaly")]
        assert labels == [None] * 5
    result: Result = DenseMap(np.zeros((2, 4), np.float32), "m")
    assert relabel_result(result, table("cls")) is result
