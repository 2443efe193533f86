"""What holds of every metric: order does not matter, perfection is 1 or no error, bounds hold.

Hypothesis chooses the seed, how many images there are and their size; a `Case` makes results and truth of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Instances,
    Keypoints,
    LabelMap,
    NormalMap,
    PanopticMap,
    Segment,
)
from argus_edge.tasks import TASKS
from argus_edge.train.metrics import (
    COUNTS,
    INVPT,
    MTI_NET,
    SOD,
    Accuracy,
    AnomalyAUROC,
    AnomalyTruth,
    BoxAP,
    DepthMetrics,
    EdgeMetrics,
    EdgeProtocol,
    InstanceTruth,
    KeypointAP,
    MaskAP,
    MeanIoU,
    NormalMetrics,
    PanopticQuality,
    PanopticTruth,
    PoseTruth,
    SaliencyMetrics,
    TrueSegment,
    VocMeanAP,
)

NAMES = ("box", "person", "wall")
Random = np.random.Generator
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Case:
    """One metric, and how to make an image of it: any one, and one whose result is its truth."""

    make: Callable[[], Any]
    random: Callable[[Random, int], Pair]
    perfect: Callable[[Random, int], Pair]
    best: dict[str, float]  # figures of perfection
    tops: dict[str, float]  # upper bounds other than 1


def masks(random: Random, side: int, count: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side]
    found = np.zeros((count, side, side), bool)
    for mask in found:
        top, left = random.integers(0, side - 3, 2)
        mask |= (y >= top) & (y < top + random.integers(3, side)) & (x >= left) & (x < left + 3)
    return found


def instances(random: Random, m: NDArray[np.bool_], classes: NDArray[Any]) -> Instances:
    count = len(m)
    scores = np.sort(random.random(count).astype(np.float32))[::-1]
    return Instances(np.zeros((count, 4), np.float32), scores, classes.astype(np.int32), NAMES, m)


def boxes(random: Random, count: int) -> NDArray[np.float32]:
    corner = random.uniform(0, 100, (count, 2))
    return np.hstack([corner, corner + random.uniform(5, 100, (count, 2))]).astype(np.float32)


def detections(random: Random, found: NDArray[np.float32], classes: NDArray[Any]) -> Detections:
    scores = np.sort(random.random(len(found)).astype(np.float32))[::-1]
    return Detections(found, scores, classes.astype(np.int32), NAMES)


@dataclass(frozen=True)
class Thing:
    class_id: int
    box: Any
    area: float = 2000
    crowd: bool = False


def objects(true: NDArray[np.float32], classes: NDArray[Any]) -> list[Thing]:
    return [Thing(c, box) for box, c in zip(true, classes.tolist(), strict=True)]


def random_boxes(random: Random, side: int) -> Pair:
    true, found = (boxes(random, int(random.integers(0, 5))) for _ in range(2))
    result = detections(random, found, random.integers(0, 3, len(found)))
    return result, objects(true, random.integers(0, 3, len(true)))


def perfect_boxes(random: Random, side: int) -> Pair:
    true = boxes(random, int(random.integers(0, 4)))
    classes = random.permutation(3)[: len(true)]
    return detections(random, true, classes), objects(true, classes)


def random_instances(random: Random, side: int) -> Pair:
    true, found = (int(n) for n in random.integers(0, 4, 2))
    truth = InstanceTruth(masks(random, side, true), random.integers(0, 3, true))
    return instances(random, masks(random, side, found), random.integers(0, 3, found)), truth


def perfect_instances(random: Random, side: int) -> Pair:
    count = int(random.integers(0, 4))
    m, classes = masks(random, side, count), random.permutation(3)[:count]
    return instances(random, m, classes), InstanceTruth(m, classes)


def keypoints(points: NDArray[Any], scores: NDArray[Any]) -> Keypoints:
    count = len(points)
    ones = np.ones((count, 17), np.float32)
    return Keypoints(
        points.astype(np.float32), ones, np.zeros((count, 4), np.float32), scores.astype(np.float32)
    )


def poses(random: Random, side: int, count: int) -> PoseTruth:
    # Persons stand apart: each in a field of 200 px of its own.
    points = random.uniform(0, 8 * side, (count, 17, 2)).round() + 200 * np.arange(count)[:, None, None]
    visible = random.integers(0, 3, (count, 17, 1))
    visible[:, :2] = 2
    boxes = np.concatenate([points.min(1), points.max(1)], axis=1)
    return PoseTruth(np.concatenate([points, visible], axis=2), random.uniform(40**2, 120**2, count), boxes)


def random_pose(random: Random, side: int) -> Pair:
    truth = poses(random, side, int(random.integers(0, 4)))
    points = truth.keypoints[: random.integers(0, 4), :, :2]
    return keypoints(points + random.normal(0, 5, points.shape), random.random(len(points))), truth


def perfect_pose(random: Random, side: int) -> Pair:
    truth = poses(random, side, int(random.integers(0, 4)))
    return keypoints(truth.keypoints[..., :2], random.random(len(truth.keypoints))), truth


def segments(random: Random, side: int) -> tuple[NDArray[np.int32], list[TrueSegment]]:
    ids = random.integers(0, 5, (2, 2)).repeat(side // 2, 0).repeat(side // 2, 1).astype(np.int32)
    noise = random.random(ids.shape) < 0.2
    ids[noise] = random.integers(0, 5, int(noise.sum()))
    present = [int(i) for i in np.unique(ids) if i]
    classes = random.integers(0, 3, 5)
    return ids, [TrueSegment(i, int(classes[i]), bool(classes[i] < 2)) for i in present]


def panoptic(ids: NDArray[np.int32], rows: list[TrueSegment]) -> PanopticMap:
    found = tuple(Segment(r.id, r.class_id, NAMES[r.class_id], r.is_thing, 0.5, 1) for r in rows)
    return PanopticMap(ids, found)


def random_panoptic(random: Random, side: int) -> Pair:
    ids, rows = segments(random, side)
    rows = [row._replace(crowd=bool(row.is_thing and random.random() < 0.2)) for row in rows]
    return panoptic(*segments(random, side)), PanopticTruth(ids, rows)


def perfect_panoptic(random: Random, side: int) -> Pair:
    ids, rows = segments(random, side)
    return panoptic(ids, rows), PanopticTruth(ids, rows)


def random_labels(random: Random, side: int) -> Pair:
    true = random.choice([0, 1, 2, 255], (side, side)).astype(np.uint8)
    return LabelMap(random.integers(0, 3, (side, side), dtype=np.uint8), NAMES), true


def perfect_labels(random: Random, side: int) -> Pair:
    true = random_labels(random, side)[1]
    return LabelMap(np.where(true == 255, 1, true).astype(np.uint8), NAMES), true


def dense(values: NDArray[Any]) -> DenseMap:
    return DenseMap(values.astype(np.float32), "")


def random_depth(random: Random, side: int) -> Pair:
    return dense(random.uniform(-1, 12, (side, side))), random.uniform(-1, 12, (side, side))


def perfect_depth(random: Random, side: int) -> Pair:
    true = random.uniform(-1, 12, (side, side)).astype(np.float32)
    return dense(true), true


def random_normals(random: Random, side: int) -> Pair:
    found, true = random.normal(size=(2, side, side, 3))
    true[random.random((side, side)) < 0.3] = 0
    found[random.random((side, side)) < 0.1] = 0
    return NormalMap(found.astype(np.float32)), true


def perfect_normals(random: Random, side: int) -> Pair:
    true = random_normals(random, side)[1].astype(np.float32)
    return NormalMap(true), true


def random_edges(random: Random, side: int) -> Pair:
    true = (random.random((side, side)) < random.choice([0, 0.05, 0.2])).astype(np.uint8)
    true[random.random((side, side)) < 0.1] = 255
    return dense(random.random((side, side)) ** 2), true


def perfect_edges(random: Random, side: int) -> Pair:
    true = np.zeros((side, side), bool)
    true[int(random.integers(side))] = random.random() < 0.9
    return dense(true * random.choice([1.0, 0.995])), true


def random_saliency(random: Random, side: int) -> Pair:
    true = random.choice([0, 1, 255], (side, side), p=[0.6, 0.3, 0.1])
    return dense(random.random((side, side))), true * (random.random() < 0.8)


def perfect_saliency(random: Random, side: int) -> Pair:
    true = random_saliency(random, side)[1]
    return dense(true == 1), true


def classified(probabilities: NDArray[Any], names: tuple[str, ...]) -> Classification:
    return Classification(probabilities.astype(np.float32), names)


MANY = tuple("abcdefgh")


def random_class(random: Random, side: int) -> Pair:
    return classified(random.dirichlet(np.ones(8)), MANY), int(random.integers(8))


def perfect_class(random: Random, side: int) -> Pair:
    true = int(random.integers(8))
    return classified(np.eye(8)[true], MANY), true


def random_multilabel(random: Random, side: int) -> Pair:
    return classified(random.random(8).round(1), MANY), random.integers(-1, 2, 8)


def perfect_multilabel(random: Random, side: int) -> Pair:
    true = random.integers(-1, 2, 8)
    return classified(np.where(true == -1, random.random(8), true), MANY), true


KINDS = ("leather", "screw")


def anomaly(maps: NDArray[Any], scores: NDArray[Any]) -> AnomalyMap:
    return AnomalyMap(maps.astype(np.float32), scores.astype(np.float32), KINDS)


def random_anomaly(random: Random, side: int) -> Pair:
    mask = (random.random((side, side)) < 0.1) & (random.random() < 0.5)
    found = anomaly(random.normal(size=(2, side, side)).round(1), random.normal(size=2).round(1))
    return found, AnomalyTruth(str(random.choice(KINDS)), mask)


def perfect_anomaly(random: Random, side: int) -> Pair:
    truth = random_anomaly(random, side)[1]
    maps = truth.mask + random.uniform(0, 0.9, (2, side, side))
    return anomaly(maps, np.full(2, truth.mask.any()) + random.uniform(0, 0.9, 2)), truth


def one(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


SALIENCY = Case(SaliencyMetrics, random_saliency, perfect_saliency, one("maxF", "precision", "recall"), {})
ANGLES = ("mean_angle", "median_angle", "rms_angle")
CASES = {
    "det": Case(lambda: BoxAP(NAMES), random_boxes, perfect_boxes, one("AP", "AR100"), {}),
    "inst": Case(lambda: MaskAP(NAMES), random_instances, perfect_instances, one("AP", "AR100"), {}),
    "pose": Case(KeypointAP, random_pose, perfect_pose, one("AP", "AR"), {}),
    "pan": Case(lambda: PanopticQuality(NAMES), random_panoptic, perfect_panoptic, one("PQ", "SQ", "RQ"), {}),
    "seg": Case(
        lambda: MeanIoU(NAMES),
        random_labels,
        perfect_labels,
        one("mIoU", "mean_accuracy", "pixel_accuracy"),
        {},
    ),
    "seg, some classes": Case(
        lambda: MeanIoU(NAMES, counted=[0, 2]),
        random_labels,
        perfect_labels,
        one("mIoU", "mean_accuracy"),
        {},
    ),
    "parse": Case(
        lambda: MeanIoU(NAMES, task="parse"), random_labels, perfect_labels, one("mIoU", "mean_accuracy"), {}
    ),
    "depth": Case(
        DepthMetrics,
        random_depth,
        perfect_depth,
        {"RMSE": 0, "abs_rel": 0, "log10": 0, "delta1": 1},
        {"RMSE": 10, "abs_rel": 1e4, "log10": 4},
    ),
    "normal": Case(
        NormalMetrics,
        random_normals,
        perfect_normals,
        {**dict.fromkeys(ANGLES, 0.0), "within_11.25": 1},
        dict.fromkeys(ANGLES, 180.0),
    ),
    "edge": Case(
        lambda: EdgeMetrics(EdgeProtocol(tolerance=0.1, thresholds=9)),
        random_edges,
        perfect_edges,
        one("odsF", "oisF", "AP", "ods_precision", "ods_recall"),
        {},
    ),
    "sal": SALIENCY,
    "sal squashed": replace(SALIENCY, make=lambda: SaliencyMetrics(INVPT)),
    "sal per image": replace(SALIENCY, make=lambda: SaliencyMetrics(MTI_NET)),
    "sal at 256 thresholds": replace(SALIENCY, make=lambda: SaliencyMetrics(SOD)),
    "cls": Case(
        lambda: Accuracy(MANY), random_class, perfect_class, one("top-1", "top-5", "mean_accuracy"), {}
    ),
    "cls, several": Case(lambda: VocMeanAP(MANY), random_multilabel, perfect_multilabel, one("mAP"), {}),
    "anom": Case(
        lambda: AnomalyAUROC(KINDS), random_anomaly, perfect_anomaly, one("image_AUROC", "pixel_AUROC"), {}
    ),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
few = settings(max_examples=12, deadline=None, derandomize=True, database=None)
seeds, counts, sides = st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 8).map(lambda n: 2 * n)


def measure(case: Case, images: list[Pair]) -> dict[str, float]:
    metric = case.make()
    for result, truth in images:
        metric.update(result, truth)
    figures: dict[str, float] = metric.result()
    return figures


@every_case
@few
@given(seed=seeds, count=counts, side=sides)
def test_order_of_images_does_not_matter(case: Case, seed: int, count: int, side: int) -> None:
    random = np.random.default_rng(seed)
    images = [case.random(random, side) for _ in range(count)]
    order = random.permutation(count)
    assert measure(case, [images[i] for i in order]) == pytest.approx(measure(case, images), abs=1e-9)


@every_case
@few
@given(seed=seeds, count=counts, side=sides)
def test_figures_stay_within_their_bounds(case: Case, seed: int, count: int, side: int) -> None:
    random = np.random.default_rng(seed)
    figures = measure(case, [case.random(random, side) for _ in range(count)])
    for name, value in figures.items():
        top = np.inf if name in COUNTS else case.tops.get(name, 1.0)
        assert 0 <= value <= top + 1e-12, name


@every_case
@few
@given(seed=seeds, count=counts, side=sides)
def test_perfect_results_are_worth_all(case: Case, seed: int, count: int, side: int) -> None:
    random = np.random.default_rng(seed)
    figures = measure(case, [case.perfect(random, side) for _ in range(count)])
    for name in case.best.keys() & figures.keys():
        assert figures[name] == pytest.approx(case.best[name], abs=1e-9), name


def test_every_task_has_a_case() -> None:
    assert {name.split(",")[0].split()[0] for name in CASES} == set(TASKS)


@every_case
def test_perfection_is_measured(case: Case) -> None:
    # The property above says nothing of figures that are left out.
    random = np.random.default_rng(0)
    assert case.best.keys() <= measure(case, [case.perfect(random, 16) for _ in range(12)]).keys()


@every_case
def test_nothing_gives_only_counts(case: Case) -> None:
    figures = case.make().result()
    assert figures.keys() <= COUNTS
    assert set(figures.values()) == {0.0}
    assert case.make().protocol
