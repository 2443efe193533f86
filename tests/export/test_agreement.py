"""Distances between answers: what is known of each kind by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.export.agreement import disagreement

Outputs = dict[str, NDArray[Any]]


def found(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Outputs:
    return {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int32),
    }


BOXES = [[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]]


@pytest.mark.parametrize(
    ("other", "lost"),
    [
        (found(BOXES, [0.6, 0.2], [0, 1]), 0.0),
        (found(BOXES[::-1], [0.2, 0.6], [1, 0]), 0.0),  # in another order
        (found(BOXES, [0.6, 0.2], [0, 2]), 0.25),  # another class
        (found([BOXES[0], [0.0, 0.0, 0.1, 0.1]], [0.6, 0.2], [0, 1]), 0.25),  # another place
        (found(BOXES, [0.3, 0.2], [0, 1]), 0.375),  # half as sure
        (found(BOXES, [0.9, 0.9], [0, 1]), 0.0),  # surer
    ],
)
def test_boxes_lose_the_scores_that_are_not_found_again(other: Outputs, lost: float) -> None:
    reference = found(BOXES, [0.6, 0.2], [0, 1])
    assert disagreement("boxes", [reference], [other]) == pytest.approx(lost, abs=1e-6)


def test_classes_lose_pixels() -> None:
    labels = np.zeros((1, 4, 4), np.uint8)
    other = labels.copy()
    other[0, 0, :2] = 1
    pairs = [{"labels": labels}] * 2, [{"labels": labels}, {"labels": other}]
    assert disagreement("label_map", *pairs) == pytest.approx(2 / 32)


def test_segments_lose_the_cells_that_go_to_another_class() -> None:
    masks = np.full((1, 2, 2, 2), -9, np.float32)
    masks[0, 0, :, 0] = masks[0, 1, :, 1] = 9
    outputs = {"scores": np.array([[0.9, 0.8]]), "classes": np.array([[3, 4]]), "masks": masks}
    other = {**outputs, "classes": np.array([[3, 5]])}
    assert disagreement("panoptic", [outputs], [outputs]) == 0
    assert disagreement("panoptic", [outputs], [other]) == pytest.approx(0.5)


def test_numbers_lose_by_noise_of_all_frames() -> None:
    frames = [{"depth": np.array([[3.0, 4.0]], np.float32)}, {"depth": np.zeros((1, 2), np.float32)}]
    others = [{"depth": np.array([[3.0, 4.5]], np.float32)}, {"depth": np.zeros((1, 2), np.float32)}]
    assert disagreement("dense_map", frames, others) == pytest.approx(0.1)
    assert np.isnan(disagreement("dense_map", frames, [{"depth": np.full((1, 2), np.nan)}, frames[1]]))
