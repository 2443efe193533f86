"""Mask AP by hand and against pycocotools fed in its own way, polygons and crowds included."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Instances
from argus_edge.train.metrics import InstanceTruth, MaskAP
from argus_edge.train.metrics.coco import FIGURES

NAMES = ("box", "person")
SIZE = (120, 150)

Box = tuple[int, int, int, int]


def mask(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    pixels = np.zeros(SIZE, bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


def instances(*rows: tuple[NDArray[np.bool_], float, int]) -> Instances:
    rows = tuple(sorted(rows, key=lambda row: -row[1]))
    scores, classes = np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int32)
    masks = np.array([r[0] for r in rows], bool).reshape(-1, *SIZE)
    return Instances(np.zeros((len(rows), 4), np.float32), scores, classes, NAMES, masks)


def truth(*rows: tuple[NDArray[np.bool_], int], crowds: tuple[bool, ...] | None = None) -> InstanceTruth:
    masks = np.array([r[0] for r in rows], bool).reshape(-1, *SIZE)
    told = None if crowds is None else np.array(crowds)
    return InstanceTruth(masks, np.array([r[1] for r in rows], int), crowds=told)


def measure(*images: tuple[Instances, InstanceTruth]) -> dict[str, float]:
    metric = MaskAP(NAMES)
    for found, true in images:
        metric.update(found, true)
    return metric.result()


WHOLE, TOP = mask(10, 10, 110, 110), mask(10, 10, 110, 82)  # IoU 0.72


def test_the_mask_decides_not_the_box() -> None:
    assert measure((instances((WHOLE, 0.9, 0)), truth((WHOLE, 0))))["AP"] == pytest.approx(1)
    figures = measure((instances((TOP, 0.9, 0)), truth((WHOLE, 0))))
    assert figures["AP"] == pytest.approx(0.5)  # of ten thresholds, 0.50 to 0.70 are met
    assert (figures["AP50"], figures["AP75"]) == pytest.approx((1, 0))


def test_sizes_come_from_the_areas_that_are_told() -> None:
    found = instances((WHOLE, 0.9, 0))
    assert measure((found, truth((WHOLE, 0))))["AP_large"] == pytest.approx(1)
    told = InstanceTruth(WHOLE[None], np.array([0]), areas=np.array([500]))
    figures = measure((found, told))
    assert figures["AP_small"] == pytest.approx(1)
    assert "AP_large" not in figures


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong() -> None:
    found = instances((WHOLE, 0.5, 0), (mask(120, 0, 140, 20), 0.9, 0))
    crowd = mask(115, 0, 150, 60)
    figures = measure((found, truth((WHOLE, 0), (crowd, 0), crowds=(False, True))))
    assert figures["AP"] == pytest.approx(1)
    assert measure((found, truth((WHOLE, 0))))["AP"] == pytest.approx(0.5)


def test_nothing_found_and_nothing_true() -> None:
    figures = measure((instances(), truth((WHOLE, 0))))
    assert figures["AP"] == figures["AR100"] == 0
    counts = {"images": 1, "objects": 0, "detections": 1}
    assert measure((instances((WHOLE, 0.9, 0)), truth())) == counts


def test_other_classes_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="task 'inst': the model's classes"):
        MaskAP(["cat"]).update(instances(), truth())
    with pytest.raises(InputError, match="true object of class 2 but there are 2 classes"):
        measure((instances(), truth((WHOLE, 2))))
    small = InstanceTruth(np.zeros((1, 4, 4), bool), np.array([0]))
    with pytest.raises(InputError, match=r"masks are \(120, 150\) but those of the truth \(4, 4\)"):
        measure((instances((WHOLE, 0.9, 0)), small))


@dataclass(frozen=True)
class Shape:
    box: Box
    class_id: int
    crowd: bool


def random_set(seed: int) -> list[tuple[Instances, list[Shape]]]:
    """Crowds, all sizes, images without truth or instances, and, for odd seeds, equal scores."""
    random = np.random.default_rng(seed)

    def score() -> float:
        return round(float(random.random()), 1 if seed % 2 else 8)

    images = []
    for index in range(15):
        shapes, rows = [], []
        for _ in range(int(random.integers(0, 6))):
            x, y = (int(v) for v in random.integers(0, 80, 2))
            w, h = (int(v) for v in random.integers(8, 70, 2))
            shape = Shape(
                (x, y, min(x + w, 150), min(y + h, 120)), int(random.integers(2)), random.random() < 0.1
            )
            shapes.append(shape)
            moved = np.maximum(np.array(shape.box) + random.integers(-4, 5, 4), 0).tolist()
            rows.append((mask(*moved), score(), shape.class_id))
        rows += [(mask(5, 5, 30, 30), score(), 1)] * int(random.integers(2))
        images.append((instances(*(rows if index % 7 != 3 else ())), shapes))
    return images


def from_files(images: list[tuple[Instances, list[Shape]]], folder: Path) -> Any:
    """The usual way: polygons and, for crowds, plain run lengths in a truth file, and a result file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content: dict[str, Any] = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(images))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [],
    }
    results = []
    for image_id, (found, shapes) in enumerate(images):
        for shape in shapes:
            x0, y0, x1, y1 = shape.box
            pixels = mask(*shape.box)
            flat = pixels.T.ravel()
            runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
            plain = {"size": list(SIZE), "counts": [0, *runs] if flat[0] else runs}
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": shape.class_id,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(pixels.sum()),
                    "iscrowd": int(shape.crowd),
                    "segmentation": plain if shape.crowd else [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )
        results += [{k: v for k, v in row.items() if k != "bbox"} for row in found.to_coco(image_id)]
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    ground = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(ground, ground.loadRes(str(folder / "results.json")), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed: int, tmp_path: Path) -> None:
    images = random_set(seed)
    expected = from_files(images, tmp_path)
    pairs = [
        (found, truth(*((mask(*s.box), s.class_id) for s in shapes), crowds=tuple(s.crowd for s in shapes)))
        for found, shapes in images
    ]
    figures = measure(*pairs)
    assert 0.1 < figures["AP"] < 0.9
    for name, value in zip(FIGURES, expected, strict=True):
        assert figures.get(name, -1) == pytest.approx(value, abs=1e-9), name
