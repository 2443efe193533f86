"""Accuracy and VOC mAP against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    precision_recall_curve,
    top_k_accuracy_score,
)

from argus_edge.errors import InputError
from argus_edge.results import Classification
from argus_edge.train.metrics import Accuracy, VocMeanAP

NAMES = tuple("abcdefgh")


def classified(probabilities: NDArray[Any] | list[float], names: tuple[str, ...] = NAMES) -> Classification:
    return Classification(np.asarray(probabilities, np.float32), names)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_equals_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.integers(0, 7, 60)  # class 7 never occurs
    scores = (random.random((60, 8)) + 0.5 * np.eye(8)[true]).astype(np.float32)
    metric = Accuracy(NAMES)
    for row, truth in zip(scores, true.tolist(), strict=True):
        metric.update(classified(row), truth)
    figures = metric.result()
    assert figures["top-1"] == pytest.approx(accuracy_score(true, scores.argmax(1)), abs=1e-12)
    expected = top_k_accuracy_score(true, scores, k=5, labels=range(8))
    assert figures["top-5"] == pytest.approx(expected, abs=1e-12)
    # scikit-learn takes the mean over the classes of the truth too, but warns of predictions beyond them.
    scores[:, 7] = 0
    metric = Accuracy(NAMES)
    for row, truth in zip(scores, true.tolist(), strict=True):
        metric.update(classified(row), truth)
    figures = metric.result()
    assert figures["mean_accuracy"] == pytest.approx(
        balanced_accuracy_score(true, scores.argmax(1)), abs=1e-12
    )
    assert "top-1/h" not in figures
    assert figures["top-1/a"] == pytest.approx((scores[true == 0].argmax(1) == 0).mean())


def test_ties_go_to_the_lower_index_and_nan_is_last() -> None:
    metric = Accuracy(("a", "b"))
    even, broken = classified([0.5, 0.5], ("a", "b")), classified([np.nan, 0.1], ("a", "b"))
    metric.update(even, 0)
    metric.update(even, 1)
    metric.update(broken, 1)
    figures = metric.result()
    assert (figures["top-1/a"], figures["top-1/b"]) == (1, 0.5)
    assert "top-5" not in figures  # two classes are always among five


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="task 'cls': the model's classes"):
        Accuracy(("a",)).update(classified(np.zeros(8)), 0)
    with pytest.raises(InputError, match="true class is 8 but there are 8 classes"):
        Accuracy(NAMES).update(classified(np.zeros(8)), 8)
    with pytest.raises(InputError, match="truth must be 8 times -1, 0 or 1"):
        VocMeanAP(NAMES).update(classified(np.zeros(8)), np.zeros(7))


def measure(
    scores: NDArray[np.float32], truth: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, float]:
    metric = VocMeanAP(names)
    for row, true in zip(scores, truth, strict=True):
        metric.update(classified(row, names), true)
    return metric.result()


def column(*rows: tuple[float, int]) -> dict[str, float]:
    return measure(np.array([[r[0]] for r in rows], np.float32), np.array([[r[1]] for r in rows]), ("a",))


def test_eleven_points_by_hand() -> None:
    # Precision 1 up to recall 1/2, then 2/3: six recalls and five.
    figures = column((0.9, 1), (0.8, 0), (0.7, 1), (0.1, 0))
    assert figures["mAP"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11, abs=1e-12)


def test_difficult_images_do_not_count_and_equal_scores_enter_together() -> None:
    assert column((0.9, -1), (0.8, 1), (0.1, 0))["mAP"] == 1
    assert column((0.5, 1), (0.5, 0))["mAP"] == column((0.5, 0), (0.5, 1))["mAP"] == 0.5


def test_a_class_that_no_image_has_is_left_out() -> None:
    scores, truth = np.full((2, 2), 0.5, np.float32), np.array([[1, 0], [1, -1]])
    assert measure(scores, truth, ("a", "b")) == {"mAP": 1, "AP/a": 1, "images": 2}
    assert measure(scores, 0 * truth, ("a", "b")) == {"images": 2}


def test_voc_takes_a_single_class_by_its_index() -> None:
    scores = np.random.default_rng(1).random((9, 8)).astype(np.float32)
    classes = np.arange(9) % 3
    one_hot = measure(scores, np.eye(8, dtype=np.int64)[classes], NAMES)
    single = VocMeanAP(NAMES)
    for row, index in zip(scores, classes.tolist(), strict=True):
        single.update(classified(row), index)
    assert single.result() == one_hot
    for index in (8, -1):
        with pytest.raises(InputError, match="truth must be 8 times"):
            single.update(classified(scores[0]), index)


@pytest.mark.parametrize("seed", range(3))
def test_voc_equals_interpolation_of_scikit_learns_curve(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(-1, 2, (40, 8))
    scores = (random.random((40, 8)).round(1) + 0.3 * (truth == 1)).astype(np.float32)
    figures = measure(scores, truth, NAMES)
    expected = []
    for score, true in zip(scores.T, truth.T, strict=True):
        precision, recall, _ = precision_recall_curve(true[true >= 0], score[true >= 0])
        # Its last point, recall 0 at precision 1, is not one that was measured.
        points = [precision[:-1][recall[:-1] >= i / 10 - 1e-9].max() for i in range(11)]
        expected.append(np.mean(points))
    assert [figures[f"AP/{name}"] for name in NAMES] == pytest.approx(expected, abs=1e-9)
    assert figures["mAP"] == pytest.approx(np.mean(expected), abs=1e-9)
