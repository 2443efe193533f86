"""Small sound data sets, to be broken at random."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from tests.train.data.torture import OBJECT_INFO
from tests.train.data.torture_files import (
    encoded,
    label_png,
    picture,
    put,
)


def _matlab(**variables: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=True)
    return file.getvalue()


def sound(folder: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """A small sound data set in each layout, with pictures of 12x16: data, split and tasks of each."""
    image, labels = encoded(picture(12, 16)), np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 4
    size = {"height": 12, "width": 16}
    listed = [{"id": i, "file_name": f"{i}.jpg", **size} for i in (1, 2)]
    person = {"id": 1, "name": "person", "keypoints": list(KEYPOINT_NAMES), "skeleton": []}
    usual = {"category_id": 1, "iscrowd": 0, "area": 30, "bbox": [2, 3, 6, 5]}
    points = [value for i in range(17) for value in (1 + i % 8, 2 + i % 9, i % 3)]
    objects = [
        {"id": 5, "image_id": 1, **usual, "segmentation": [[2, 3, 8, 3, 8, 8, 2, 8]], "keypoints": points},
        {"id": 6, "image_id": 2, **usual, "segmentation": {"size": [12, 16], "counts": [20, 9, 163]}},
        {"id": 7, "image_id": 2, **usual, "segmentation": {"size": [12, 16], "counts": "c1570000000a2"}},
    ]
    found = {"images": listed, "annotations": objects, "categories": [person]}
    for kind in ("instances", "person_keypoints"):
        put(folder / "coco" / "annotations" / f"{kind}_val2017.json", json.dumps(found))
    segments = [
        {"image_id": i, "file_name": f"{i}.png", "segments_info": [{"id": 7, "area": 192, **usual}]}
        for i in (1, 2)
    ]
    things = {"images": listed, "annotations": segments, "categories": [{"id": 1, "name": "a", "isthing": 1}]}
    put(folder / "coco" / "annotations" / "panoptic_val2017.json", json.dumps(things))
    ids = np.zeros((12, 16, 3), np.uint8) + np.array([7, 0, 0], np.uint8)
    for i in (1, 2):
        put(folder / "coco" / "val2017" / f"{i}.jpg", image)
        put(folder / "coco" / "annotations" / "panoptic_val2017" / f"{i}.png", label_png(ids))
        put(folder / "yolo" / "images" / "val" / f"{i}.jpg", image)
        put(folder / "yolo" / "labels" / "val" / f"{i}.txt", "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.9 0.1 0.9 0.9\n")
        put(folder / "imagenet" / "val" / f"n0000000{i}" / "a.JPEG", image)
        put(folder / "ade20k" / "images" / "validation" / f"{i}.jpg", image)
        put(folder / "ade20k" / "annotations" / "validation" / f"{i}.png", label_png(labels))
        put(folder / "maps" / "images" / "val" / f"{i}.jpg", image)
        put(folder / "maps" / "labels" / "val" / f"{i}.png", label_png(labels))
        put(folder / "mvtec" / "bolt" / "train" / "good" / f"{i}.png", label_png(labels))
        put(folder / "mvtec" / "bolt" / "test" / "good" / f"{i}.png", label_png(labels))
        put(folder / "mvtec" / "bolt" / "test" / "dent" / f"{i}.png", label_png(labels))
        put(
            folder / "mvtec" / "bolt" / "ground_truth" / "dent" / f"{i}_mask.png",
            label_png(labels // 3 * 255),
        )
        put(folder / "nyuv2" / "images" / f"{i}.jpg", image)
        for kind, values in (("depth", labels + 1.0), ("normals", np.full((12, 16, 3), (0.0, 0.0, -1.0)))):
            file = io.BytesIO()
            np.save(file, values.astype(np.float32))
            put(folder / "nyuv2" / kind / f"{i}.npy", file.getvalue())
        put(folder / "nyuv2" / "edge" / f"{i}.png", label_png(labels // 3 * 255))
        put(folder / "nyuv2" / "segmentation" / f"{i}.mat", _matlab(segmentation=labels + 1))
        put(folder / "pascal" / "JPEGImages" / f"{i}.jpg", image)
        put(folder / "pascal" / "human_parts_png" / f"{i}.png", label_png(labels))
        put(folder / "pascal" / "sal_distill" / f"{i}.png", label_png(labels // 3 * 255))
        put(folder / "pascal" / "semseg" / "VOC12" / f"{i}.png", label_png(labels))
        put(folder / "pascal" / "pascal-context" / "trainval" / f"{i}.mat", _matlab(LabelMap=labels))
    put(folder / "yolo" / "data.yaml", "train: images/train\nval: images/val\nnames: [cell, nucleus]\n")
    put(folder / "ade20k" / "objectInfo150.txt", OBJECT_INFO)
    put(folder / "maps" / "classes.txt", "sky\nroad\ncar\ntree\n")
    put(folder / "pascal" / "ImageSets" / "Context" / "val.txt", "1\n2\n")
    put(folder / "nyuv2" / "gt_sets" / "val.txt", "1\n2\n")
    return [
        (f"coco:{folder / 'coco'}", "val", ("det", "inst", "pose", "pan")),
        (f"yolo:{folder / 'yolo'}", "val", ("det", "inst")),
        (f"imagenet:{folder / 'imagenet'}", "val", ("cls",)),
        (f"ade20k:{folder / 'ade20k'}", "validation", ("seg",)),
        (f"maps:{folder / 'maps'}", "val", ("seg",)),
        (f"mvtec:{folder / 'mvtec'}", "test", ("anom",)),
        (f"nyuv2:{folder / 'nyuv2'}", "val", ("depth", "normal", "edge", "seg")),
        (f"pascal:{folder / 'pascal'}", "val", ("parse", "sal", "edge", "seg")),
    ]
