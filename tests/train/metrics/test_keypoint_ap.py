"""Keypoint AP by hand and against pycocotools fed in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.keypoints import OKS_SIGMAS
from argus_edge.results import Keypoints
from argus_edge.train.metrics import KeypointAP, PoseTruth
from argus_edge.train.metrics.keypoint_ap import FIGURES

AREA = 80.0**2


def pose(points: NDArray[Any], scores: NDArray[Any] | None = None) -> Keypoints:
    count = len(points)
    told = np.linspace(0.9, 0.1, count) if scores is None else scores
    parts = np.full((count, 17), 0.7, np.float32)
    return Keypoints(
        points.astype(np.float32), parts, np.zeros((count, 4), np.float32), told.astype(np.float32)
    )


def truth(points: NDArray[Any], visibility: int | NDArray[Any] = 2, crowd: bool = False) -> PoseTruth:
    count = len(points)
    seen = np.broadcast_to(visibility, (count, 17))[..., None]
    boxes = np.concatenate([points.min(1), points.max(1)], axis=1).reshape(count, 4)
    return PoseTruth(
        np.concatenate([points, seen], axis=2), np.full(count, AREA), boxes, np.full(count, crowd)
    )


def measure(*images: tuple[Keypoints, PoseTruth]) -> dict[str, float]:
    metric = KeypointAP()
    for found, true in images:
        metric.update(found, true)
    return metric.result()


PERSON = np.random.default_rng(0).uniform(50, 150, (1, 17, 2)).round()


def offset(similarity: float) -> NDArray[np.float64]:
    """(17, 2) [px] that gives every keypoint this similarity: exp(-d^2 / (8 area sigma^2))."""
    distance = np.sqrt(-np.log(similarity) * 8 * AREA) * np.array(OKS_SIGMAS)
    return np.stack([distance, np.zeros(17)], axis=1)


def test_similarity_is_the_published_formula() -> None:
    # Of the ten thresholds those from 0.50 to 0.80 are met.
    figures = measure((pose(PERSON + offset(0.82)), truth(PERSON)))
    assert (figures["AP"], figures["AR"]) == pytest.approx((0.7, 0.7))
    assert (figures["AP75"], figures["AR75"]) == pytest.approx((1, 1))
    assert "AP_large" not in figures
    assert figures["AP_medium"] == figures["AP"]


def test_keypoints_that_are_not_labelled_do_not_count() -> None:
    moved = PERSON.copy()
    moved[:, 5:] += 1000
    labelled = np.where(np.arange(17) < 5, 1, 0)
    assert measure((pose(moved), truth(PERSON, labelled)))["AP"] == pytest.approx(1)
    assert measure((pose(moved), truth(PERSON)))["AP"] == 0


@pytest.mark.parametrize(
    "ignored", [truth(PERSON, 0), truth(PERSON, crowd=True)], ids=["unlabelled", "crowd"]
)
def test_ignored_persons_are_neither_missed_nor_false(ignored: PoseTruth) -> None:
    other = (pose(PERSON, np.array([0.5])), truth(PERSON))
    assert measure((pose(PERSON), ignored), other)["AP"] == pytest.approx(1)
    assert measure((pose(np.zeros((0, 17, 2))), ignored), other)["AP"] == pytest.approx(1)


def test_the_score_of_the_person_ranks() -> None:
    both = np.concatenate([PERSON + 400, PERSON])
    assert measure((pose(both, np.array([0.9, 0.5])), truth(PERSON)))["AP"] == pytest.approx(0.5)
    assert measure((pose(both, np.array([0.5, 0.9])), truth(PERSON)))["AP"] == pytest.approx(1)


def test_nobody_found_and_nobody_there() -> None:
    nobody = np.zeros((0, 17, 2))
    empty = PoseTruth(np.zeros((0, 17, 3)), np.zeros(0), np.zeros((0, 4)))
    figures = measure((pose(nobody), truth(PERSON)))
    assert figures["AP"] == figures["AR"] == 0
    assert measure((pose(PERSON), empty)) == {"images": 1, "objects": 0, "detections": 1}


def test_another_number_of_keypoints_is_refused() -> None:
    with pytest.raises(InputError, match="predicted persons have 17 keypoints, expected 14"):
        KeypointAP(OKS_SIGMAS[:14]).update(pose(PERSON), truth(PERSON[:0]))


def random_set(seed: int) -> list[tuple[Keypoints, PoseTruth]]:
    """Crowds, unlabelled keypoints, images without truth or poses, and, for odd seeds, equal scores."""
    random = np.random.default_rng(seed)
    images = []
    for index in range(25):
        count = int(random.integers(0, 5))
        points = random.uniform(0, 120, (count, 17, 2)) + random.uniform(0, 400, (count, 1, 2))
        true = truth(points, random.integers(0, 3, (count, 17)))
        sizes, crowds = random.uniform(20**2, 130**2, count), random.random(count) < 0.1
        true = PoseTruth(true.keypoints, sizes, true.boxes, crowds)
        noise = random.normal(0, 1, points.shape) * random.uniform(1, 12, (count, 1, 1))
        found = np.concatenate([points + noise, random.uniform(0, 400, (1, 17, 2))])
        found = found[: 0 if index % 7 == 3 else None]
        images.append((pose(found, random.random(len(found)).round(1 if seed % 2 else 8)), true))
    return images


def from_files(images: list[tuple[Keypoints, PoseTruth]], folder: Path) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content: dict[str, Any] = {
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [],
    }
    results = []
    for image_id, (found, true) in enumerate(images):
        crowds = np.zeros(0, bool) if true.crowds is None else true.crowds
        for points, area, (x0, y0, x1, y1), crowd in zip(
            true.keypoints, true.areas, true.boxes, crowds, strict=True
        ):
            row: dict[str, Any] = {
                "id": len(content["annotations"]) + 1,
                "image_id": image_id,
                "category_id": 1,
            }
            row |= {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
            row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(area), "iscrowd": int(crowd)}
            content["annotations"].append(row)
        results += found.to_coco(image_id)
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    ground = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(ground, ground.loadRes(str(folder / "results.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed: int, tmp_path: Path) -> None:
    images = random_set(seed)
    expected = from_files(images, tmp_path)
    figures = measure(*images)
    assert 0.1 < figures["AP"] < 0.9
    for name, value in zip(FIGURES, expected, strict=True):
        assert figures.get(name, -1) == pytest.approx(value, abs=1e-9), name
