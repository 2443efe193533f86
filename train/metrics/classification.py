"""Accuracy of image classification, and the mean AP of images with several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Classification
from argus_edge.train.metrics.metric import check_classes

TOP: Final = 5
RECALLS: Final = np.arange(11) / 10


class Accuracy:
    """Top-1, top-5 and mean per-class accuracy, as fractions in [0, 1].

    An image is right if its class is among the one or five likeliest; of equals the lower index comes first,
    and NaN last. Top-5 is left out where there are no more than five classes. Mean per-class accuracy is
    top-1 over the classes that occur in the truth. Without an image only the count remains.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        # Per class: images, right at once, right among five.
        self._counts: NDArray[np.int64] = np.zeros((len(self.class_names), 3), np.int64)

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"top-1 and top-{TOP} accuracy, one view per image; mean per-class accuracy"

    def update(self, result: Classification, truth: int) -> None:
        """Add one image: probabilities (K,), and its class as an index in the class names.

        Raises InputError when classes differ or the index is no class.
        """
        check_classes("cls", result.class_names, self.class_names)
        if not 0 <= truth < len(self.class_names):
            raise InputError(f"true class is {truth} but there are {len(self.class_names)} classes")
        scores = _ordered(result.probabilities)
        rank = np.count_nonzero(scores > scores[truth]) + np.count_nonzero(scores[:truth] == scores[truth])
        self._counts[truth] += (1, rank < 1, rank < TOP)

    def result(self) -> dict[str, float]:
        """`top-1`, `top-5`, `mean_accuracy`, `top-1/<class>` for classes that occur, and `images`."""
        images, first, among = self._counts.T
        figures: dict[str, float] = {}
        if images.sum():
            occur = np.flatnonzero(images)
            accuracy = first[occur] / images[occur]
            figures["top-1"] = float(first.sum() / images.sum())
            if len(self.class_names) > TOP:
                figures["top-5"] = float(among.sum() / images.sum())
            figures["mean_accuracy"] = float(accuracy.mean())
            figures |= {
                f"top-1/{self.class_names[i]}": float(value) for i, value in zip(occur, accuracy, strict=True)
            }
        return figures | {"images": float(images.sum())}


class VocMeanAP:
    """The 11-point mean AP of PASCAL VOC 2007, for images with several classes, as a fraction in [0, 1].

    AP of a class is the mean of the precision interpolated at recall 0, 0.1, ... 1; difficult images do not
    count for it. Images of equal probability enter together, so that their order does not matter. A class
    that no image has is left out of the mean; where there is none only the count remains. Memory grows by 5
    bytes per image and class.

    Everingham et al., "The PASCAL VOC Challenge", IJCV 2010, section 4.2.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._scores: list[NDArray[np.float32]] = []
        self._truth: list[NDArray[np.int8]] = []

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return "VOC2007 11-point mAP, difficult ignored"

    def update(self, result: Classification, truth: int | NDArray[Any]) -> None:
        """Add one image: probabilities (K,), and per class (K,) whether it has it: 1, not: 0, difficult: -1;
        or the index of its only class.

        Raises InputError when classes differ or the truth is not of that form.
        """
        check_classes("cls", result.class_names, self.class_names)
        true = np.asarray(truth)
        if true.ndim == 0 and 0 <= true < len(self.class_names):
            true = np.arange(len(self.class_names)) == true
        if true.shape != (len(self.class_names),) or not np.isin(true, (-1, 0, 1)).all():
            raise InputError(f"truth must be {len(self.class_names)} times -1, 0 or 1, got {true.tolist()}")
        self._scores.append(_ordered(result.probabilities).astype(np.float32))
        self._truth.append(true.astype(np.int8))

    def result(self) -> dict[str, float]:
        """`mAP`, `AP/<class>` for classes that occur, and `images`."""
        figures: dict[str, float] = {}
        if self._truth:
            columns = zip(self.class_names, np.stack(self._scores).T, np.stack(self._truth).T, strict=True)
            found = {
                f"AP/{n}": _eleven_points(s[t >= 0], t[t >= 0] > 0) for n, s, t in columns if (t > 0).any()
            }
            if found:
                figures = {"mAP": float(np.mean(list(found.values()))), **found}
        return figures | {"images": float(len(self._truth))}


def _ordered(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Probabilities (K,) with NaN below everything else."""
    values = np.asarray(probabilities)
    return np.where(np.isnan(values), -np.inf, values)


def _eleven_points(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    """Scores (N,) and whether they belong to the class (N,), one does -> 11-point AP."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of those with equal scores
    hits = true[order].cumsum()[last]
    precision, recall = hits / (np.flatnonzero(last) + 1), hits / hits[-1]
    # Recall ascends: the best precision at this recall or a higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[np.searchsorted(recall, RECALLS - 1e-9)].mean())
