"""What is measured on COCO files that are read here is what pycocotools measures on the files themselves."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from argus_edge.results import Detections, Instances
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.coco import open_coco
from argus_edge.train.metrics import BoxAP, MaskAP
from argus_edge.train.metrics.coco import FIGURES

SIZE = (120, 160)
COUNT = 12
CATEGORIES = [{"id": 4, "name": "cup"}, {"id": 9, "name": "jar"}]


def _boxes(random: np.random.Generator, count: int) -> list[list[float]]:
    """Boxes x, y, width, height [px], about half of them partly outside the picture."""
    corners = random.uniform((-30, -30), (SIZE[1] - 5, SIZE[0] - 5), (count, 2))
    sides = np.maximum(random.uniform(8, 120, (count, 2)), 2 - corners)
    boxes: list[list[float]] = np.concatenate([corners, sides], axis=1).round(2).tolist()
    return boxes


def _files(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A split of noise with crowds and annotations without area; detections for it, and what is listed."""
    random = np.random.default_rng(3)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number in range(1, COUNT + 1):
        name = f"{number}.png"
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        (folder / "val2017").mkdir(exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(folder / "val2017" / name)
        for box in _boxes(random, int(random.integers(0, 8))):
            category = int(random.choice([4, 9]))
            row: dict[str, Any] = {"id": len(annotations) + 1, "image_id": number, "category_id": category}
            row |= {"bbox": box, "iscrowd": int(random.random() < 0.2)}
            if random.random() < 0.7:
                row["area"] = round(box[2] * box[3] * random.uniform(0.3, 1), 2)
            annotations.append(row)
            moved = np.array(box) + random.normal(0, 4, 4)
            moved[2:] = np.maximum(moved[2:], 3)
            found.append({"image_id": number, "category_id": category, "bbox": moved.tolist()})
        found += [{"image_id": number, "category_id": 4, "bbox": box} for box in _boxes(random, 3)]
    for row in found:
        row["score"] = float(random.random())
    listed = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(listed))
    return found, listed


def _official(folder: Path, found: list[dict[str, Any]], listed: dict[str, Any]) -> dict[str, float]:
    for row in listed["annotations"]:  # without areas pycocotools reads no annotations
        row.setdefault("area", row["bbox"][2] * row["bbox"][3])
    (folder / "with_areas.json").write_text(json.dumps(listed))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "with_areas.json"))
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, evaluation.stats.tolist(), strict=True))


def test_box_ap_is_that_of_pycocotools(tmp_path: Path) -> None:
    found, listed = _files(tmp_path)
    boxes = np.array([row["bbox"] for row in listed["annotations"]])
    assert ((boxes[:, :2] < 0).any(axis=1) | (boxes[:, :2] + boxes[:, 2:] > SIZE[::-1]).any(axis=1)).sum() > 9
    problems = Problems(strict=True)
    data = open_coco(tmp_path, "val", ("det",), problems)
    metric = BoxAP(data.classes["det"])
    for number in range(1, COUNT + 1):
        example = data[number - 1]
        assert example is not None
        rows = [row for row in found if row["image_id"] == number]
        xywh = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        classes = np.array([[4, 9].index(row["category_id"]) for row in rows], np.int32)
        scores = np.array([row["score"] for row in rows], np.float32)
        metric.update(Detections(corners, scores, classes, data.classes["det"]), example.objects or ())
    figures = metric.result()
    official = _official(tmp_path, found, listed)
    assert 0.05 < official["AP"] < 0.95
    for name, value in official.items():
        assert figures.get(name, -1) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("segmentation", [None, [[1, 2, 3]]])
def test_what_is_found_of_an_object_without_a_mask_is_not_wrong(tmp_path: Path, segmentation: Any) -> None:
    outline, usual = [20, 20, 60, 20, 60, 50, 20, 50], {"image_id": 1, "category_id": 4}
    rows = [
        {"id": 1, **usual, "bbox": [20, 20, 40, 30], "area": 1200, "segmentation": [outline]},
        {"id": 2, **usual, "bbox": [80, 60, 40.5, 30], "area": 900, "segmentation": segmentation},
    ]
    listed = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": rows, "categories": CATEGORIES}
    (tmp_path / "instances_val.json").write_text(json.dumps(listed))
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "1.png")
    problems = Problems()
    data = open_coco(tmp_path, "val", ("det", "inst"), problems)
    example = data[0]
    assert example is not None
    assert [problem.path for problem in problems] == ["instances_val.json, annotation 2"]
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 20:50, 20:60] = True
    masks[1, 62:88, 83:118] = True  # of the object without a mask
    masks[2, :10, :10] = True
    boxes = np.array([[20, 20, 60, 50], [83, 62, 118, 88], [0, 0, 10, 10]], np.float32)
    scores, names = np.array([0.5, 0.9, 0.4], np.float32), data.classes["inst"]
    metric = MaskAP(names)
    metric.update(
        Instances(boxes[:2], scores[:2], np.zeros(2, np.int32), names, masks[:2]), example.instances()
    )
    assert metric.result()["AP"] == pytest.approx(1)
    wrong = MaskAP(names)
    scores[2] = 0.95
    wrong.update(Instances(boxes, scores, np.zeros(3, np.int32), names, masks), example.instances())
    assert wrong.result()["AP"] == pytest.approx(0.5, abs=0.01)  # elsewhere it is
