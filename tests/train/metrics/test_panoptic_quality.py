"""Panoptic quality by hand and against a plain count over every pair of segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import PanopticMap, Segment
from argus_edge.train.metrics import PanopticQuality, PanopticTruth, TrueSegment

NAMES = ("cat", "dog", "sky", "grass")
THINGS = 2

Classes = dict[int, int]  # id -> class
Image = tuple[NDArray[Any], Classes, NDArray[Any], Classes, set[int]]  # found, true, ids of crowds


def predicted(ids: NDArray[Any], classes: Classes) -> PanopticMap:
    rows = (Segment(i, c, NAMES[c], c < THINGS, 0.9, int((ids == i).sum())) for i, c in classes.items())
    return PanopticMap(np.asarray(ids, np.int32), tuple(rows))


def told(ids: NDArray[Any], classes: Classes, crowds: set[int] = frozenset()) -> PanopticTruth:  # type: ignore[assignment]
    return PanopticTruth(ids, [TrueSegment(i, c, c < THINGS, i in crowds) for i, c in classes.items()])


def measure(*images: Image) -> dict[str, float]:
    metric = PanopticQuality(NAMES)
    for found, found_classes, true, true_classes, crowds in images:
        metric.update(predicted(found, found_classes), told(true, true_classes, crowds))
    return metric.result()


def row(text: str) -> NDArray[np.int32]:
    return np.array([[int(letter) for letter in text]], np.int32)


def test_one_match_one_missed_one_false() -> None:
    # Cat: IoU 4 / 5. One dog is missed, one is false: three of four pixels lie on the sky.
    figures = measure((row("111113333"), {1: 0, 3: 1}, row("111122444"), {1: 0, 2: 1, 4: 2}, set()))
    assert figures["PQ/cat"] == pytest.approx(0.8)
    assert figures["PQ/dog"] == figures["PQ/sky"] == 0
    assert figures["PQ"] == pytest.approx(0.8 / 3)
    assert (figures["SQ"], figures["RQ"]) == pytest.approx((0.8 / 3, 1 / 3))
    assert (figures["PQ_things"], figures["PQ_stuff"]) == pytest.approx((0.4, 0))
    assert "PQ/grass" not in figures
    assert figures["objects"] == 3


def test_half_a_point_for_what_is_missed_or_false() -> None:
    figures = measure((row("1122"), {1: 0, 2: 0}, row("1133"), {1: 0, 3: 1}, set()))
    assert figures["PQ/cat"] == pytest.approx(1 / 1.5)
    assert figures["RQ"] == pytest.approx((1 / 1.5 + 0) / 2)


def test_an_overlap_of_just_a_half_is_no_match() -> None:
    assert measure((row("11"), {1: 0}, row("12"), {1: 0, 2: 2}, set()))["PQ/cat"] == 0
    assert measure((row("111"), {1: 0}, row("112"), {1: 0, 2: 2}, set()))["PQ/cat"] == pytest.approx(2 / 3)


def test_void_leaves_the_union_and_forgives() -> None:
    # Void is not in the union: IoU 1 instead of 2 / 4.
    assert measure((row("1111"), {1: 0}, row("1100"), {1: 0}, set()))["PQ/cat"] == 1
    # Segment 2 has two of its three pixels on void, then one of two.
    forgiven = measure((row("111222"), {1: 0, 2: 0}, row("111001"), {1: 0}, set()))
    assert forgiven["RQ"] == 1
    false = measure((row("111122"), {1: 0, 2: 0}, row("111101"), {1: 0}, set()))
    assert false["RQ"] == pytest.approx(1 / 1.5)


def test_crowds_are_not_missed_and_forgive_their_class() -> None:
    image = (row("1122"), {1: 0, 2: 0}, row("1133"), {1: 0, 3: 0}, {3})
    assert measure(image)["PQ"] == 1
    assert measure(image)["objects"] == 1
    other = (row("1122"), {1: 0, 2: 1}, row("1133"), {1: 0, 3: 0}, {3})
    assert measure(other)["PQ/dog"] == 0


def test_the_mean_quality_is_the_mean_of_the_classes() -> None:
    figures = measure(
        (row("1111122"), {1: 0, 2: 2}, row("1111322"), {1: 0, 2: 2, 3: 2}, set()),
        (row("11"), {1: 0}, row("22"), {2: 2}, set()),
    )
    per_class = [figures["PQ/cat"], figures["PQ/sky"]]
    assert figures["PQ"] == pytest.approx(np.mean(per_class))
    assert figures["PQ"] != pytest.approx(figures["SQ"] * figures["RQ"])


def test_nothing_but_void_leaves_counts() -> None:
    assert measure((row("00"), {}, row("00"), {}, set())) == {"images": 1, "objects": 0}
    # What is found where the truth does not say is not counted either.
    assert measure((row("11"), {1: 0}, row("00"), {}, set())) == {"images": 1, "objects": 0}


@pytest.mark.parametrize(
    ("found", "true", "message"),
    [
        (predicted(row("11"), {1: 0}), told(row("1"), {1: 0}), r"\(1, 2\) but the truth \(1, 1\)"),
        (predicted(row("12"), {1: 0}), told(row("11"), {1: 0}), r"predicted panoptic map holds ids \[2\]"),
        (predicted(row("11"), {1: 0}), told(row("12"), {1: 0}), r"true panoptic map holds ids \[2\]"),
        (predicted(row("11"), {1: 0, 5: 1}), told(row("11"), {1: 0}), r"segments \[5\] have no pixel"),
        (predicted(row("11"), {1: 0}), PanopticTruth(row("11"), [TrueSegment(1, 4, True)]), "of class 4"),
        (
            predicted(row("11"), {1: 0}),
            PanopticTruth(row("11"), [TrueSegment(1, 0, False)]),
            "thing and to be",
        ),
        (
            PanopticMap(row("11"), (Segment(1, 0, "cow", True, 0.5, 2),)),
            told(row("11"), {1: 0}),
            "class 0 is 'cow' to the model but 'cat'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(found: PanopticMap, true: PanopticTruth, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PanopticQuality(NAMES).update(found, true)


def random_image(random: np.random.Generator) -> Image:
    blocks = random.integers(0, 7, (4, 4)).repeat(4, 0).repeat(4, 1)
    found = np.where(random.random(blocks.shape) < 0.25, random.integers(0, 7, blocks.shape), blocks)
    classes = random.integers(0, 4, 7)
    other = np.where(random.random(7) < 0.8, classes, random.integers(0, 4, 7))
    # Ids of the two sides have nothing to do with each other, and may be large.
    shift = 60_000 * random.permutation(7) + 10
    shift[0] = 0
    found_classes = {int(shift[i]): int(other[i]) for i in np.unique(found) if i}
    true_classes = {int(i): int(classes[i]) for i in np.unique(blocks) if i}
    crowd_of: Classes = {}
    for i, c in true_classes.items():  # one crowd per class at most, as in COCO
        if c < THINGS and random.random() < 0.3:
            crowd_of.setdefault(c, i)
    return shift[found], found_classes, blocks, true_classes, set(crowd_of.values())


def brute_force(images: list[Image]) -> dict[str, float]:
    """Every pair of segments, mask by mask; the paper's formula over all that was counted."""
    iou_sum, tp, fp, fn = (dict.fromkeys(range(4), 0.0) for _ in range(4))
    for found, found_classes, true, true_classes, crowds in images:
        taken: set[int] = set()
        for i, c in true_classes.items():
            if i in crowds:
                continue
            overlaps = {
                j: ((true == i) & (found == j)).sum() / ((true == i) | ((found == j) & (true != 0))).sum()
                for j, other in found_classes.items()
                if other == c
            }
            best = max(overlaps, key=lambda j: overlaps[j], default=None)
            if best is not None and overlaps[best] > 0.5:
                taken.add(best)
                tp[c], iou_sum[c] = tp[c] + 1, iou_sum[c] + float(overlaps[best])
            else:
                fn[c] += 1
        for j, c in found_classes.items():
            free = (true == 0) | np.isin(true, [i for i in crowds if true_classes[i] == c])
            if j not in taken and free[found == j].mean() <= 0.5:
                fp[c] += 1
    counted = [c for c in range(4) if tp[c] + fp[c] + fn[c]]
    pq = {c: iou_sum[c] / (tp[c] + fp[c] / 2 + fn[c] / 2) for c in counted}
    sq = {c: iou_sum[c] / tp[c] if tp[c] else 0.0 for c in counted}
    rq = {c: tp[c] / (tp[c] + fp[c] / 2 + fn[c] / 2) for c in counted}
    figures = {f"PQ/{NAMES[c]}": value for c, value in pq.items()}
    for suffix, kept in (("", range(4)), ("_things", range(THINGS)), ("_stuff", range(THINGS, 4))):
        for name, values in (("PQ", pq), ("SQ", sq), ("RQ", rq)):
            figures[name + suffix] = float(np.mean([values[c] for c in counted if c in kept]))
    return figures


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = [random_image(random) for _ in range(10)]
    expected = brute_force(images)
    figures = measure(*images)
    assert 0.2 < figures["PQ"] < 0.9
    assert figures.keys() - {"images", "objects"} == expected.keys()
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-9), name
