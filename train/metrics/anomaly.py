"""How well anomaly scores tell defective images, and pixels, from sound ones.

Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import AnomalyMap

_NO_SCORES: Final = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class AnomalyTruth:
    """One item: what it is, and where it is defective. An image is defective if a pixel of it is."""

    category: str
    mask: NDArray[Any]  # (H, W), not 0 on defects


class AnomalyAUROC:
    """Area under the ROC curve of image scores and of pixels, as fractions in [0, 1].

    Each category is measured by itself, images of it with its own map only; the figures are means over the
    categories. One without both kinds is left out, pixels and images apart; where none is left only the
    counts remain. The model may know more categories, in any order. Exact, equal scores count half;
    therefore every pixel is kept, in 4 bytes, those of one category twice while they are sorted: 100 images
    of 1024x1024 take 0.4 GB and then 0.8 GB.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self.categories = tuple(categories)
        self._images = 0
        # Per category: scores of what is sound, of what is defective.
        self._image_scores: dict[str, tuple[list[float], list[float]]] = {c: ([], []) for c in categories}
        self._pixel_scores: dict[str, tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]] = {
            c: ([], []) for c in categories
        }

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return "image and pixel AUROC per category, exact, mean over categories"

    def update(self, result: AnomalyMap, truth: AnomalyTruth) -> None:
        """Add one image: its maps (C, H, W) and scores (C,), and its category with the true mask (H, W).

        Raises InputError when the category is not among the metric's or the model's, sizes differ, or a
        score is NaN.
        """
        if truth.category not in self.categories:
            known = ", ".join(self.categories)
            raise InputError(f"no anomaly category {truth.category!r}; there are: {known}")
        if truth.category not in result.categories:
            raise InputError(
                f"task 'anom': the data's category is {truth.category!r} but the model's are "
                f"{', '.join(result.categories)}; evaluate it on data of its own categories"
            )
        values, score = result.of(truth.category)
        defect = np.asarray(truth.mask).astype(bool)
        if values.shape != defect.shape:
            raise InputError(
                f"anomaly map is {values.shape} but the truth {defect.shape}; sizes must be equal"
            )
        if np.isnan(values).any() or np.isnan(score):
            raise InputError(f"anomaly map or score of category {truth.category!r} holds NaN")
        self._images += 1
        self._image_scores[truth.category][int(defect.any())].append(float(score))
        for kept, pixels in zip(self._pixel_scores[truth.category], (~defect, defect), strict=True):
            kept.append(values[pixels].astype(np.float32))

    def result(self) -> dict[str, float]:
        """`image_AUROC`, `pixel_AUROC`, both `/<category>`, and the counts."""
        figures: dict[str, float] = {}
        for name, measured in (("image_AUROC", self._of_images), ("pixel_AUROC", self._of_pixels)):
            values = {category: measured(category) for category in self.categories}
            found = {category: value for category, value in values.items() if value is not None}
            if found:
                figures[name] = float(np.mean(list(found.values())))
                figures |= {f"{name}/{category}": value for category, value in found.items()}
        pixels = sum(part.size for kinds in self._pixel_scores.values() for kind in kinds for part in kind)
        return figures | {"images": float(self._images), "pixels": float(pixels)}

    def _of_images(self, category: str) -> float | None:
        sound, defective = self._image_scores[category]
        return auroc(np.array(defective), np.array(sound)) if sound and defective else None

    def _of_pixels(self, category: str) -> float | None:
        kinds = self._pixel_scores[category]
        for kind in kinds:
            # Sorted in their place, which takes no third copy and makes asking again cheap.
            joined = np.concatenate([_NO_SCORES, *kind])
            joined.sort()
            kind[:] = [joined]
        (sound,), (defective,) = kinds
        return _auroc_of_sorted(defective, sound) if sound.size and defective.size else None


def auroc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Scores (P,) and (N,), neither empty -> share of the pairs in which the positive one is higher.

    Ties count half: the Mann-Whitney U statistic by P N, which is the area under the ROC curve.
    """
    return _auroc_of_sorted(np.sort(positive), np.sort(negative))


def _auroc_of_sorted(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(negative, positive, side="right").sum(dtype=np.int64)
    return float((int(below) + int(not_above)) / (2 * positive.size * negative.size))
