"""What is found in an image and can be counted: boxes, instance masks, people's keypoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES, SKELETON
from argus_edge.results.rle import encode_rle


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N boxes, best first. `classes` index `class_names`, `track_ids` are None where nothing was tracked."""

    boxes: NDArray[np.float32]  # (N, 4) xyxy [px], continuous: pixel i covers [i, i + 1)
    scores: NDArray[np.float32]  # (N,) in [0, 1], descending
    classes: NDArray[np.int32]  # (N,)
    class_names: tuple[str, ...]
    track_ids: NDArray[np.int64] | None = field(default=None, kw_only=True)  # (N,), from 1, no two alike

    def __len__(self) -> int:
        return len(self.boxes)

    def to_json(self) -> dict[str, Any]:
        """Return {"boxes": [{"class", "score", "xyxy"}, ...]}, xyxy in [px], "track_id" where tracked."""
        return {"boxes": self._json_rows()}

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """Return COCO result records: `bbox` as xywh [px], `category_id` counted from 0 as in `classes`."""
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True)
        records = [
            {"image_id": image_id, "category_id": c, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": s}
            for (x0, y0, x1, y1), s, c in rows
        ]
        return _with_track_ids(records, self.track_ids)

    def _json_rows(self) -> list[dict[str, Any]]:
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True)
        records = [
            {"class": self.class_names[c], "score": round(s, 4), "xyxy": [round(v, 2) for v in box]}
            for box, s, c in rows
        ]
        return _with_track_ids(records, self.track_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Instances(Detections):
    """N boxes, best first, each with the mask of the pixels that belong to the object."""

    masks: NDArray[np.bool_]  # (N, H, W) at the image's size

    def to_json(self) -> dict[str, Any]:
        """Return {"instances": [{"class", "score", "xyxy", "area", "mask"}, ...]} in [px], masks as RLE."""
        rows = zip(self._json_rows(), self.masks, strict=True)
        return {
            "instances": [
                {**row, "area": int(np.count_nonzero(mask)), "mask": encode_rle(mask)} for row, mask in rows
            ]
        }

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """Return COCO result records as of `Detections`, with the mask's RLE as `segmentation`."""
        # The base class by name: in a class with slots, super() without arguments finds the wrong one.
        records = Detections.to_coco(self, image_id)
        return [
            {**record, "segmentation": encode_rle(mask)}
            for record, mask in zip(records, self.masks, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of N persons, in the order of the boxes they were looked for in.

    A keypoint out of sight has a place all the same, and a low score.
    """

    points: NDArray[np.float32]  # (N, K, 2) xy [px]: integers are pixel centres, some may lie off the image
    scores: NDArray[np.float32]  # (N, K) in [0, 1]
    boxes: NDArray[np.float32]  # (N, 4) xyxy [px] of the persons, continuous
    person_scores: NDArray[np.float32]  # (N,) in [0, 1], of each person as a whole
    names: tuple[str, ...] = KEYPOINT_NAMES  # of the K keypoints
    skeleton: tuple[tuple[int, int], ...] = SKELETON  # pairs of keypoints joined by a line
    track_ids: NDArray[np.int64] | None = field(default=None, kw_only=True)  # as in Detections

    def __len__(self) -> int:
        return len(self.points)

    def to_json(self) -> dict[str, Any]:
        """Return {"persons": [{"score", "xyxy", "keypoints": {name: [x, y, score]}}, ...]} in [px]."""
        rows = zip(self.person_scores.tolist(), self.boxes.tolist(), self._triples().tolist(), strict=True)
        persons = [
            {
                "score": round(score, 4),
                "xyxy": [round(v, 2) for v in box],
                "keypoints": {
                    name: [round(x, 2), round(y, 2), round(s, 4)]
                    for name, (x, y, s) in zip(self.names, triples, strict=True)
                },
            }
            for score, box, triples in rows
        ]
        return {"persons": _with_track_ids(persons, self.track_ids)}

    def to_coco(self, image_id: int = 0, category_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO result records: `keypoints` as x, y, score in turn; 1 is COCO's id of a person."""
        flat = self._triples().reshape(len(self), 3 * len(self.names))
        rows = zip(flat.tolist(), self.person_scores.tolist(), strict=True)
        records = [
            {"image_id": image_id, "category_id": category_id, "keypoints": keypoints, "score": score}
            for keypoints, score in rows
        ]
        return _with_track_ids(records, self.track_ids)

    def _triples(self) -> NDArray[np.float32]:
        """(N, K, 3): x, y, score."""
        return np.concatenate([self.points, self.scores[..., None]], axis=-1)


def _with_track_ids(
    records: list[dict[str, Any]], track_ids: NDArray[np.int64] | None
) -> list[dict[str, Any]]:
    if track_ids is None:
        return records
    return [{**record, "track_id": track} for record, track in zip(records, track_ids.tolist(), strict=True)]
