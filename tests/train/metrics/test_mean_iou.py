"""mIoU against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score

from argus_edge.errors import InputError
from argus_edge.results import LabelMap
from argus_edge.train.metrics import MeanIoU

NAMES = ("sky", "ground", "wall", "person")


def measure(*images: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> MeanIoU:
    metric = MeanIoU(NAMES)
    for predicted, true in images:
        metric.update(LabelMap(predicted, NAMES), true)
    return metric


def random_set(seed: int, classes: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    random = np.random.default_rng(seed)
    images = []
    for _ in range(5):
        true = random.integers(0, classes, (24, 31), dtype=np.uint8)
        predicted = np.where(random.random(true.shape) < 0.6, true, random.integers(0, classes, true.shape))
        true[random.random(true.shape) < 0.1] = 255
        images.append((predicted.astype(np.uint8), true))
    return images


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed: int) -> None:
    images = random_set(seed, len(NAMES))
    metric = measure(*images)
    predicted, true = (np.concatenate([image[i].ravel() for image in images]) for i in (0, 1))
    predicted, true = predicted[true != 255], true[true != 255]
    figures = metric.result()
    assert np.array_equal(metric.confusion, confusion_matrix(true, predicted, labels=range(len(NAMES))))
    per_class = jaccard_score(true, predicted, average=None)
    for name, value in zip(NAMES, per_class, strict=True):
        assert figures[f"IoU/{name}"] == pytest.approx(value, abs=1e-12)
    assert figures["mIoU"] == pytest.approx(per_class.mean(), abs=1e-12)
    assert figures["mean_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-12)
    assert figures["pixel_accuracy"] == pytest.approx((true == predicted).mean(), abs=1e-12)
    assert figures["pixels"] == true.size


def test_pixels_are_pooled_not_averaged_per_image() -> None:
    sky, ground = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    half = np.array([[0, 0], [1, 1]], np.uint8)
    figures = measure((sky, sky), (half, ground)).result()
    assert figures["IoU/sky"] == pytest.approx(4 / 6)
    assert figures["IoU/ground"] == pytest.approx(2 / 4)


def test_classes_that_never_occur_stay_out_and_false_ones_count_as_zero() -> None:
    true = np.zeros((1, 4), np.uint8)
    figures = measure((np.array([[0, 0, 0, 3]], np.uint8), true)).result()
    assert "IoU/ground" not in figures
    assert figures["IoU/person"] == 0.0
    assert figures["mIoU"] == pytest.approx((3 / 4 + 0) / 2)
    assert figures["mean_accuracy"] == pytest.approx(3 / 4)


def test_perfect_and_ignored() -> None:
    true = np.array([[0, 1, 255]], np.uint8)
    figures = measure((np.array([[0, 1, 2]], np.uint8), true)).result()
    assert figures["mIoU"] == figures["mean_accuracy"] == figures["pixel_accuracy"] == 1.0
    assert "IoU/wall" not in figures  # predicted only where the truth does not say


def test_another_label_can_be_ignored() -> None:
    metric = MeanIoU(NAMES, ignore=0)
    metric.update(LabelMap(np.array([[1, 1, 2]], np.uint8), NAMES), np.array([[0, 1, 1]], np.uint8))
    assert metric.result()["pixels"] == 2
    assert metric.result()["IoU/ground"] == 0.5
    with pytest.raises(InputError, match=r"true labels span 1..255 but there are 4 classes"):
        metric.update(LabelMap(np.zeros((1, 2), np.uint8), NAMES), np.array([[1, 255]], np.uint8))
    assert metric.result()["images"] == 1  # what was refused is not counted


def test_a_pixel_of_no_class_is_wrong_for_its_true_class_only() -> None:
    metric = measure((np.array([[0, 0, 255, 1, 255]], np.uint8), np.array([[0, 0, 0, 1, 255]], np.uint8)))
    assert metric.confusion.sum() == 3
    result = metric.result()
    assert (result["IoU/sky"], result["IoU/ground"]) == (2 / 3, 1)
    assert (result["mean_accuracy"], result["pixel_accuracy"]) == pytest.approx((5 / 6, 3 / 4))
    assert (result["pixels"], len(result)) == (4, 7)


def test_only_some_classes_are_counted() -> None:
    metric = MeanIoU(NAMES, counted=[3, 1])
    predicted = np.array([[1, 1, 2, 3, 0, 2]], np.uint8)
    metric.update(LabelMap(predicted, NAMES), np.array([[1, 1, 1, 3, 3, 255]], np.uint8))
    figures = metric.result()
    # Wall and sky, which are no classes of this data, are wrong for ground and person and nothing else.
    assert (figures["IoU/ground"], figures["IoU/person"]) == pytest.approx((2 / 3, 1 / 2))
    assert figures["mIoU"] == figures["mean_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (figures["pixel_accuracy"], figures["pixels"]) == (3 / 5, 5)
    assert figures.keys() == {
        "mIoU", "mean_accuracy", "pixel_accuracy", "IoU/ground", "IoU/person", "images", "pixels",
    }  # fmt: skip
    assert metric.protocol.endswith(", 2 of 4 classes counted")


@pytest.mark.parametrize("seed", range(3))
def test_counted_classes_equal_scikit_learn(seed: int) -> None:
    metric = MeanIoU(NAMES, counted=(0, 2))
    images = random_set(seed, len(NAMES))
    for predicted, true in images:
        metric.update(LabelMap(predicted, NAMES), true)
    predicted, true = (np.concatenate([image[i].ravel() for image in images]) for i in (0, 1))
    expected = jaccard_score(true[true != 255], predicted[true != 255], labels=[0, 2], average="macro")
    assert metric.result()["mIoU"] == pytest.approx(expected, abs=1e-12)
    everything = MeanIoU(NAMES, counted=range(4))
    for found, labels in images:
        everything.update(LabelMap(found, NAMES), labels)
    assert everything.result() == measure(*images).result()
    assert everything.protocol == MeanIoU(NAMES).protocol


def test_counted_classes_that_never_occur_leave_no_mean() -> None:
    metric = MeanIoU(NAMES, counted=[2])
    metric.update(LabelMap(np.zeros((1, 2), np.uint8), NAMES), np.zeros((1, 2), np.uint8))
    assert metric.result() == {"pixel_accuracy": 1, "images": 1, "pixels": 2}


@pytest.mark.parametrize("counted", [[], [4], [-1]])
def test_counted_classes_have_to_be_classes(counted: list[int]) -> None:
    with pytest.raises(InputError, match="expected indices of 4 classes"):
        MeanIoU(NAMES, counted=counted)


def test_with_everything_ignored_only_counts_remain() -> None:
    nothing = np.full((2, 2), 255, np.uint8)
    assert measure((np.zeros((2, 2), np.uint8), nothing)).result() == {"images": 1, "pixels": 0}
    assert MeanIoU(NAMES).result() == {"images": 0, "pixels": 0}


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), r"\(2, 2\) but the truth \(2, 3\)"),
        (
            np.full((2, 2), 4, np.uint8),
            np.zeros((2, 2), np.uint8),
            r"predicted labels span 4..4 .* 4 classes",
        ),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 9, np.uint8), "true labels span 9..9"),
    ],
)
def test_bad_maps_are_refused(predicted: NDArray[np.uint8], true: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure((predicted, true))
