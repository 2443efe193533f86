"""How far answers in a lower precision are from those in fp32, where nothing tells which of them is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from argus_edge.runtime.engines import Array
from argus_edge.tasks import OutputKind

__all__ = ["MATCH_IOU", "MEASURES", "disagreement"]

MATCH_IOU: Final = 0.5  # from which on two boxes of a class are the same
# What `disagreement` is of each kind of output, for people; of all others it is the last.
MEASURES: Final[Mapping[OutputKind | None, str]] = {
    "boxes": "share of the boxes' scores not found again",
    "masks": "share of the boxes' scores not found again",
    "label_map": "share of pixels with another class",
    "panoptic": "share of cells with another class",
    None: "noise by signal, as amplitudes",
}

Outputs = Mapping[str, Array]  # of one decoder on one frame


def disagreement(kind: OutputKind, reference: Sequence[Outputs], actual: Sequence[Outputs]) -> float:
    """What a decoder's answers lost over all frames; 0 where they are the same.

    In [0, 1] for boxes and classes. For numbers it is |difference| / |reference|: 0.1 is an SQNR of 20 dB.

    Args:
        kind: of the decoder's outputs, which are as docs/package-format.md has them.
        reference: in fp32, one mapping per frame.
        actual: of the same frames.
    """
    pairs = list(zip(reference, actual, strict=True))
    if kind in ("boxes", "masks"):
        total = sum(float(r["scores"].sum()) for r, _ in pairs)
        return 1 - sum(_found(r, a) for r, a in pairs) / total if total > 0 else 0.0
    if kind == "label_map":
        return float(np.mean([np.mean(r["labels"] != a["labels"]) for r, a in pairs]))
    if kind == "panoptic":
        return float(np.mean([np.mean(_classes(r) != _classes(a)) for r, a in pairs]))
    noise = sum(float(np.sum((a[name].astype(np.float64) - r[name]) ** 2)) for r, a in pairs for name in r)
    signal = sum(float(np.sum(r[name].astype(np.float64) ** 2)) for r, _ in pairs for name in r)
    return float(np.sqrt(noise / signal)) if signal > 0 else float(noise > 0)


def _found(reference: Outputs, actual: Outputs) -> float:
    """How much of the scores of the reference's boxes the best box that matches each has, summed up."""
    boxes, others = reference["boxes"][0], actual["boxes"][0]  # (K, 4) xyxy
    scores, other_scores = reference["scores"][0], actual["scores"][0]
    same = reference["classes"][0][:, None] == actual["classes"][0][None]
    matches = same & (_iou(boxes, others) >= MATCH_IOU)
    best = np.where(matches, other_scores[None], 0).max(axis=1, initial=0)
    return float(np.minimum(scores, best).sum())


def _iou(boxes: Array, others: Array) -> Array:
    """(K, L) of xyxy (K, 4) and (L, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (boxes, others))
    overlap: Array = shared / np.maximum(areas[:, None] + other_areas[None] - shared, 1e-12)
    return overlap


def _classes(outputs: Outputs) -> Array:
    """(H/4, W/4): the class of the query that has each cell."""
    masks = 1 / (1 + np.exp(-np.clip(outputs["masks"][0], -50, 50)))  # (Q, h, w)
    owner = (outputs["scores"][0][:, None, None] * masks).argmax(axis=0)
    classes: Array = outputs["classes"][0][owner]
    return classes
