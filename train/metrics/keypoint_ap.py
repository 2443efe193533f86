"""Keypoint average precision and recall as COCO defines them, computed by pycocotools itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.keypoints import OKS_SIGMAS
from argus_edge.results import Keypoints
from argus_edge.train.metrics.box_ap import xywh
from argus_edge.train.metrics.coco import CocoRows

MAX_PERSONS: Final = 20
# The order of COCOeval.stats for keypoints.
FIGURES: Final = (
    "AP", "AP50", "AP75", "AP_medium", "AP_large",
    "AR", "AR50", "AR75", "AR_medium", "AR_large",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PoseTruth:
    """The M persons of one image with K keypoints each, in its own frame."""

    keypoints: NDArray[
        Any
    ]  # (M, K, 3): xy [px], integers are pixel centres; 0 unlabelled, 1 hidden, 2 visible
    areas: NDArray[Any]  # (M,) [px] of the person's mask, which sets the scale of the errors
    boxes: NDArray[Any]  # (M, 4) xyxy [px]
    crowds: NDArray[np.bool_] | None = None  # (M,) whether one stands for several; none does when not given


class KeypointAP:
    """AP and AR over OKS 0.50:0.05:0.95, at 0.50 and 0.75, and by size, as fractions in [0, 1].

    OKS is the mean over labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2)), d the distance [px]. Medium
    is from 32^2 to 96^2 px of mask, large above; at most 20 persons per image. Persons without a labelled
    keypoint are ignored: who is found there is neither right nor wrong. With no person at all only the counts
    `objects`, `detections` and `images` remain; with persons and none found AP is 0.

    Raises DependencyError when pycocotools is not installed.
    """

    def __init__(self, sigmas: Sequence[float] = OKS_SIGMAS) -> None:
        self.sigmas = np.array(sigmas)
        self._rows = CocoRows("keypoints", ("person",), (MAX_PERSONS,), self.sigmas)

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"COCO keypoint AP@OKS[.50:.95], pycocotools, maxDets {MAX_PERSONS}"

    def update(self, result: Keypoints, truth: PoseTruth) -> None:
        """Add one image: points (N, K, 2) xy [px] ranked by `person_scores`, and the true persons.

        Raises InputError when the number of keypoints differs from that of the sigmas.
        """
        true, points = np.asarray(truth.keypoints, np.float64), np.asarray(result.points, np.float64)
        for name, array in (("true", true), ("predicted", points)):
            if len(array) and array.shape[1] != len(self.sigmas):
                raise InputError(
                    f"{name} persons have {array.shape[1]} keypoints, expected {len(self.sigmas)}"
                )
        self._rows.next_image()
        crowds = truth.crowds if truth.crowds is not None else np.zeros(len(true), bool)
        for keypoints, area, box, crowd in zip(true, truth.areas, truth.boxes, crowds, strict=True):
            fields = {"keypoints": keypoints.ravel().tolist(), "bbox": xywh(box)}
            labelled = int(np.count_nonzero(keypoints[:, 2]))
            self._rows.add_true(0, area, bool(crowd), num_keypoints=labelled, **fields)
        for person, scores, score in zip(points, result.scores, result.person_scores, strict=True):
            triples = np.concatenate([person, scores[:, None]], axis=1)
            # The extent of the points, as pycocotools takes it for results.
            (x0, y0), (x1, y1) = person.min(axis=0), person.max(axis=0)
            box = xywh([x0, y0, x1, y1])
            self._rows.add_found(0, box[2] * box[3], score, keypoints=triples.ravel().tolist(), bbox=box)

    def result(self) -> dict[str, float]:
        """The ten COCO figures, `AP/person`, and the counts."""
        return self._rows.figures(FIGURES)
