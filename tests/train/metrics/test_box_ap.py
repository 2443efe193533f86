"""Box AP against hand-made cases and against pycocotools fed in its own way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.results import Detections
from argus_edge.train.metrics import BoxAP

NAMES = ("box", "person")


@dataclass(frozen=True)
class Thing:
    class_id: int
    box: tuple[float, float, float, float]
    area: float = 50 * 50
    crowd: bool = False


Truth = tuple[Thing, ...]


def detections(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    rows = tuple(sorted(rows, key=lambda row: -row[1]))
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    scores, classes = np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int32)
    return Detections(boxes, scores, classes, NAMES)


def measure(*images: tuple[Detections, Truth]) -> dict[str, float]:
    metric = BoxAP(NAMES)
    for found, truth in images:
        metric.update(found, truth)
    return metric.result()


A, B, AWAY = (0.0, 0.0, 100.0, 100.0), (150.0, 0.0, 250.0, 100.0), (0.0, 200.0, 100.0, 300.0)


def test_perfect_detections_are_worth_one() -> None:
    figures = measure((detections((A, 0.9, 0), (B, 0.8, 1)), (Thing(0, A), Thing(1, B))))
    for name in ("AP", "AP50", "AR100", "AP/box", "AP/person"):
        assert figures[name] == pytest.approx(1.0)


def test_half_of_the_objects_found_is_the_interpolated_half() -> None:
    figures = measure((detections((A, 0.9, 0)), (Thing(0, A), Thing(0, B))))
    # Precision 1 up to recall 0.5: 51 of COCO's 101 recall points.
    assert figures["AP"] == pytest.approx(51 / 101)
    assert figures["AR100"] == pytest.approx(0.5)


def test_a_false_positive_above_the_true_one_halves_precision() -> None:
    figures = measure((detections((AWAY, 0.9, 0), (A, 0.5, 0)), (Thing(0, A),)))
    assert figures["AP"] == pytest.approx(0.5)


def test_overlap_decides_which_thresholds_are_met() -> None:
    shifted = (0.0, 0.0, 100.0, 72.0)  # IoU 0.72: thresholds 0.50, 0.55, 0.60, 0.65 and 0.70
    figures = measure((detections((shifted, 0.9, 0)), (Thing(0, A),)))
    assert figures["AP50"] == pytest.approx(1.0)
    assert figures["AP75"] == 0.0
    assert figures["AP"] == pytest.approx(0.5)


def test_size_comes_from_the_mask_not_from_the_box() -> None:
    figures = measure((detections((A, 0.9, 0)), (Thing(0, A, area=500),)))
    assert figures["AP_small"] == pytest.approx(1.0)
    assert "AP_medium" not in figures
    assert "AP_large" not in figures


def test_no_prediction_is_worth_nothing() -> None:
    figures = measure((detections(), (Thing(0, A),)))
    assert figures["AP"] == figures["AR100"] == 0.0
    assert "AP/person" not in figures  # no person in the truth: nothing to measure


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong() -> None:
    found = detections((A, 0.5, 0), (AWAY, 0.9, 0), ((5.0, 210.0, 50.0, 290.0), 0.8, 0))
    figures = measure((found, (Thing(0, A), Thing(0, AWAY, crowd=True))))
    assert figures["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("found", [detections(), detections((A, 0.9, 0))], ids=["none", "one"])
def test_without_objects_only_counts_remain(found: Detections) -> None:
    assert measure((found, ())) == {"images": 1, "objects": 0, "detections": len(found)}
    assert BoxAP(NAMES).result() == {"images": 0, "objects": 0, "detections": 0}


def test_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"classes are \['box', 'person'\] but the data's are \['cat'\]"):
        BoxAP(["cat"]).update(detections(), ())
    with pytest.raises(InputError, match="true object of class 2 but there are 2 classes"):
        measure((detections(), (Thing(2, A),)))


def random_set(seed: int) -> list[tuple[Detections, Truth]]:
    """Crowds, all sizes, images without truth or detections, equal scores, more detections than count."""
    random = np.random.default_rng(seed)
    images: list[tuple[Detections, Truth]] = []
    for index in range(30):
        corner, size = random.uniform(0, 200, (6, 2)), random.uniform(5, 150, (6, 2))
        boxes, classes = np.hstack([corner, corner + size]), random.integers(0, 2, 6)
        truth = tuple(
            Thing(c, tuple(b), int(np.prod(b[2:] - b[:2]) * random.uniform(0.4, 1)), random.random() < 0.15)
            for b, c in zip(boxes[: random.integers(0, 7)], classes.tolist(), strict=False)
        )
        copies = 40 if index == 5 else 1
        found, kinds = boxes.repeat(copies, axis=0), classes.repeat(copies).tolist()
        found += random.normal(0, 4, found.shape)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = (random.random(len(found)) / copies).round(1 if seed % 2 else 8).tolist()
        rows = zip(map(tuple, found), scores, kinds, strict=True)
        images.append((detections(*(() if index % 7 == 3 else rows)), truth))
    return images


def from_files(images: list[tuple[Detections, Truth]], folder: Path) -> Any:
    """The usual way: a ground truth file, a result file, `loadRes`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: dict[str, Any] = {
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [],
    }
    results = []
    for image_id, (found, things) in enumerate(images):
        for thing in things:
            x0, y0, x1, y1 = thing.box
            number = len(truth["annotations"]) + 1
            row: dict[str, Any] = {"id": number, "image_id": image_id, "category_id": thing.class_id}
            row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": thing.area, "iscrowd": int(thing.crowd)}
            truth["annotations"].append(row)
        results += found.to_coco(image_id)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    ground = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(ground, ground.loadRes(str(folder / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from argus_edge.train.metrics.coco import FIGURES

    images = random_set(seed)
    expected = from_files(images, tmp_path)
    capsys.readouterr()
    figures = measure(*images)
    assert capsys.readouterr().out == ""
    assert 0.1 < figures["AP"] < 0.9
    for name, value in zip(FIGURES, expected, strict=True):
        assert figures.get(name, -1) == pytest.approx(value, abs=1e-9), name


def test_order_of_images_does_not_matter_and_asking_twice_neither() -> None:
    images = random_set(8)
    metric = BoxAP(NAMES)
    for found, truth in reversed(images):
        metric.update(found, truth)
    assert metric.result() == metric.result() == pytest.approx(measure(*images), abs=1e-12)
