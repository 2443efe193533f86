"""COCO 2017: instances, person_keypoints, panoptic (https://cocodataset.org/#format-data).

Category ids count from 1, things before stuff. Masks are compressed run lengths also of single objects, as
polygons would not hold them to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.keypoints import KEYPOINT_NAMES, SKELETON
from argus_edge.train.data.example import LabelledObject
from argus_edge.train.data.layouts.files import Files, png
from argus_edge.train.data.layouts.layout import Entry, Layout, Row
from argus_edge.train.data.scenes.scene import DET_CLASSES, SEG_CLASSES
from argus_edge.train.data.scenes.sheet import SEG_COLOURS
from argus_edge.train.data.scenes.targets import PANOPTIC_CLASSES
from argus_edge.train.metrics import PanopticTruth

_PERSON: Final = DET_CLASSES.index("person")


def _add(entry: Entry, files: Files) -> Row:
    example = entry.example
    assert example.objects is not None
    assert example.panoptic is not None
    entry.write_picture(files, f"{entry.split}2017/{entry.name}.jpg")
    ids = example.panoptic.segment_ids
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    files.write(f"annotations/panoptic_{entry.split}2017/{entry.name}.png", png(colours))
    height, width = ids.shape
    return {
        "image": {"id": entry.seed, "file_name": f"{entry.name}.jpg", "width": width, "height": height},
        "objects": [_annotation(thing) for thing in example.objects],
        "segments": _segments(example.panoptic),
    }


def _annotation(thing: LabelledObject) -> dict[str, Any]:
    x0, y0, x1, y1 = thing.box
    row = {
        "category_id": thing.class_id + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": thing.area,
        "iscrowd": 0,
        "segmentation": _run_lengths(thing.mask),
    }
    if thing.keypoints is not None:
        known = thing.keypoints[:, 2] > 0
        places = np.where(known[:, None], thing.keypoints, 0).tolist()
        row["keypoints"] = [value for x, y, v in places for value in (x, y, int(v))]
        row["num_keypoints"] = int(known.sum())
    return row


def _run_lengths(mask: NDArray[np.bool_] | None) -> dict[str, Any]:
    """A mask (H, W) as the string that pycocotools reads."""
    assert mask is not None
    found = require("pycocotools.mask", "train").encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": found["counts"].decode("ascii")}


def _segments(truth: PanopticTruth) -> list[dict[str, Any]]:
    rows = []
    for segment in truth.segments:
        mask = (truth.segment_ids == segment.id).astype(np.uint8)
        rows.append({
            "id": segment.id,
            "category_id": segment.class_id + 1,
            "area": int(mask.sum()),
            "bbox": list(cv2.boundingRect(mask)),
            "iscrowd": 0,
        })  # fmt: skip
    return rows


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    for split, entries in rows.items():
        head = {
            "info": {"description": f"Rendered scenes, {split}"},
            "licenses": [],
            "images": [entry["image"] for entry in entries],
        }
        objects = [{"image_id": e["image"]["id"]} | thing for e in entries for thing in e["objects"]]
        # The same person has the same number in both files.
        objects = [{"id": number} | thing for number, thing in enumerate(objects, start=1)]
        segments = [
            {"image_id": e["image"]["id"], "file_name": f"{e['image']['id']:012d}.png",
             "segments_info": e["segments"]} for e in entries
        ]  # fmt: skip
        contents = {
            "instances": (map(_without_keypoints, objects), _categories(DET_CLASSES)),
            "person_keypoints": (
                [thing for thing in objects if "keypoints" in thing],
                [
                    _categories(DET_CLASSES)[_PERSON]
                    | {"keypoints": KEYPOINT_NAMES, "skeleton": [(a + 1, b + 1) for a, b in SKELETON]}
                ],
            ),
            "panoptic": (segments, _panoptic_categories()),
        }
        for kind, (rows_of_kind, categories) in contents.items():
            body = {"annotations": list(rows_of_kind), "categories": categories}
            files.write_json(f"annotations/{kind}_{split}2017.json", head | body)


def _without_keypoints(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if "keypoints" not in name}


def _categories(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"id": number, "name": name, "supercategory": "person" if name == "person" else "object"}
        for number, name in enumerate(names, start=1)
    ]


def _panoptic_categories() -> list[dict[str, Any]]:
    return [
        row
        | {"isthing": int(row["name"] in DET_CLASSES)}
        | {"color": SEG_COLOURS[SEG_CLASSES.index(row["name"])].tolist()}
        for row in _categories(PANOPTIC_CLASSES)
    ]


COCO: Final = Layout(("det", "inst", "pose", "pan"), _add, _finish)
