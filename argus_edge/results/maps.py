"""What every pixel of an image has: a class, a value, a direction, a segment, a degree of strangeness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """One class id per pixel; ids index `class_names`, others (255) mean no class."""

    labels: NDArray[np.uint8]  # (H, W)
    class_names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the size [px] and the share of the pixels, 0-1, of each class that occurs."""
        height, width = self.labels.shape
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        fractions = {
            name: round(float(count) / self.labels.size, 6)
            for name, count in zip(self.class_names, counts, strict=False)
            if count
        }
        return {"height": height, "width": width, "fractions": fractions}


@dataclass(frozen=True, slots=True, eq=False)
class DenseMap:
    """One measured value per pixel, in `unit`."""

    values: NDArray[np.float32]  # (H, W)
    unit: str  # "" for a probability

    def to_json(self) -> dict[str, Any]:
        """Return the size [px], the unit, and the least, median and greatest value."""
        height, width = self.values.shape
        figures = {"min": self.values.min(), "median": np.median(self.values), "max": self.values.max()}
        rounded = {name: round(float(value), 4) for name, value in figures.items()}
        return {"height": height, "width": width, "unit": self.unit, **rounded}


@dataclass(frozen=True, slots=True, eq=False)
class NormalMap:
    """The direction in which the surface at each pixel faces.

    In the camera's frame, x to the right, y down, z ahead: a surface seen straight on is (0, 0, -1).
    """

    normals: NDArray[np.float32]  # (H, W, 3), of length 1; 0 where there is no direction

    def to_json(self) -> dict[str, Any]:
        """Return the size [px] and the mean direction, of length 1 (0 where the directions cancel)."""
        height, width, _ = self.normals.shape
        mean = self.normals.reshape(-1, 3).mean(axis=0, dtype=np.float64)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        return {"height": height, "width": width, "mean": [round(float(value), 4) for value in mean]}


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a panoptic map: a thing of its own, or all of one kind of stuff."""

    id: int  # its value in `PanopticMap.segment_ids`, from 1
    class_id: int  # index in the task's classes, things first
    class_name: str
    is_thing: bool  # whether its class is countable
    score: float  # in [0, 1]
    area: int  # [px]


@dataclass(frozen=True, slots=True, eq=False)
class PanopticMap:
    """The segment of every pixel: no two overlap, 0 is for pixels in none."""

    segment_ids: NDArray[np.int32]  # (H, W)
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the size [px] and {"id", "class", "thing", "score", "area" [px]} of each segment."""
        height, width = self.segment_ids.shape
        segments = [
            {
                "id": segment.id,
                "class": segment.class_name,
                "thing": segment.is_thing,
                "score": round(segment.score, 4),
                "area": segment.area,
            }
            for segment in self.segments
        ]
        return {"height": height, "width": width, "segments": segments}

    def to_coco(self, image_id: int = 0) -> dict[str, Any]:
        """Return the COCO panoptic record; the picture it names is `to_rgb`. `category_id` counts from 0."""
        return {
            "image_id": image_id,
            "file_name": f"{image_id}.png",
            "segments_info": [
                {"id": segment.id, "category_id": segment.class_id, "area": segment.area, "iscrowd": 0}
                for segment in self.segments
            ],
        }

    def to_rgb(self) -> NDArray[np.uint8]:
        """Return the ids as COCO's panoptic PNG holds them: (H, W, 3) RGB, id = R + 256 G + 65536 B."""
        return np.stack([(self.segment_ids >> shift) & 0xFF for shift in (0, 8, 16)], axis=-1).astype(
            np.uint8
        )


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMap:
    """How strange each pixel is for an item of each of C categories; larger is stranger.

    The values are a network's and have no unit: compare those of one category with each other only.
    """

    maps: NDArray[np.float32]  # (C, H, W)
    scores: NDArray[np.float32]  # (C,) of the image as a whole
    categories: tuple[str, ...]

    def of(self, category: str) -> tuple[NDArray[np.float32], float]:
        """Return the map (H, W) and the score of one category. Raises InputError for one that is not here."""
        if category not in self.categories:
            raise InputError(f"no anomaly category {category!r}; there are: {', '.join(self.categories)}")
        index = self.categories.index(category)
        return self.maps[index], float(self.scores[index])

    def to_json(self) -> dict[str, Any]:
        """Return the size [px] and, per category, the image's score and the place xy [px] of the peak."""
        _, height, width = self.maps.shape
        categories = {}
        for name, values, score in zip(self.categories, self.maps, self.scores.tolist(), strict=True):
            y, x = divmod(int(values.argmax()), width)
            categories[name] = {"score": round(score, 4), "peak": [x, y]}
        return {"height": height, "width": width, "categories": categories}
