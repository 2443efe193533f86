"""Precision and recall of boundaries, matched within a tolerance.

Martin, Fowlkes and Malik, "Learning to Detect Natural Image Boundaries", PAMI 2004; Arbelaez et al., PAMI
2011 (BSDS500 benchmark); tolerances of NYUD-MT and PASCAL-Context as SEISM and InvPT's evaluation use them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import DenseMap
from argus_edge.train.metrics.matching import Matcher
from argus_edge.train.metrics.thinning import thin

IGNORE: Final = 255


@dataclass(frozen=True)
class EdgeProtocol:
    """The choices that move boundary figures.

    The thresholds are i / (thresholds + 1), inclusive. Truth is taken as it is, as the benchmark does; with
    `thin_truth` lines wider than a pixel are thinned like predictions.
    """

    tolerance: float = 0.011  # of the image's diagonal
    thresholds: int = 99
    thin_truth: bool = False

    def __str__(self) -> str:
        truth = "truth thinned" if self.thin_truth else "truth as it is"
        return (
            f"boundary F, {self.thresholds} thresholds, thinned, {truth}, one-to-one within "
            f"{self.tolerance:g} of the diagonal, counts pooled"
        )


NYUD: Final = EdgeProtocol()
PASCAL_CONTEXT: Final = EdgeProtocol(tolerance=0.0075)


class EdgeMetrics:
    """odsF, oisF and AP of boundaries, as fractions in [0, 1].

    At each threshold the map is thinned and its pixels are paired one to one with the true ones; recall is
    the share of true pixels with a partner, precision that of predicted ones. odsF is the best F of the
    counts pooled over the set at one threshold for all images, oisF with the best threshold of each. AP is
    the area under the pooled curve, between recall 0, with the precision of the lowest recall measured, and
    the highest; SEISM's leaves the first part out. No suppression of non-maxima comes before: maps that need
    it should come with it. Pixels whose truth is 255 do not count, whatever is predicted there. Only counts
    are kept. Without a true boundary pixel only the counts
    remain; without predictions the figures are 0.
    """

    def __init__(self, protocol: EdgeProtocol = NYUD) -> None:
        self.settings = protocol
        self.thresholds = np.arange(1, protocol.thresholds + 1) / (protocol.thresholds + 1)
        self._images = 0
        # Pixels: matched, predicted, true.
        self.pooled: NDArray[np.int64] = np.zeros((protocol.thresholds, 3), np.int64)
        self._best: NDArray[np.int64] = np.zeros(3, np.int64)

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return str(self.settings)

    def update(self, result: DenseMap, truth: NDArray[Any]) -> None:
        """Add one image: probability of a boundary (H, W) in [0, 1], and truth (H, W): 1 on one, 0 not, 255
        unknown.

        Raises InputError when the sizes differ or the truth holds something else.
        """
        predicted, labels = np.asarray(result.values), np.asarray(truth)
        if predicted.shape != labels.shape:
            raise InputError(
                f"edge map is {predicted.shape} but the truth {labels.shape}; sizes must be equal"
            )
        true, known = labels == 1, labels != IGNORE
        if not (true | (labels == 0))[known].all():
            raise InputError(f"edge truth must be 0, 1 or {IGNORE}, got {np.unique(labels)[:5].tolist()}")
        if self.settings.thin_truth:
            true = thin(true)
        matcher = Matcher(true, self.settings.tolerance * math.hypot(*true.shape))
        counts = np.zeros_like(self.pooled)
        counts[:, 2] = np.count_nonzero(true)
        size = -1
        for i, threshold in enumerate(self.thresholds):
            above = predicted >= threshold
            # Every mask holds those of the higher thresholds: of equal size, it is the same one.
            if size == (size := int(np.count_nonzero(above))):
                counts[i] = counts[i - 1]
            elif size:
                lines = thin(above) & known
                counts[i, :2] = matcher.count(lines), np.count_nonzero(lines)
        self._images += 1
        self.pooled += counts
        # Of equals the lowest threshold, as the benchmark does; it matters where nothing is matched.
        self._best += counts[_f_measure(counts).argmax()]

    def result(self) -> dict[str, float]:
        """`odsF` and its `ods_precision`, `ods_recall`, `ods_threshold`, `oisF`, `AP`, and the counts."""
        figures: dict[str, float] = {}
        pixels = int(self.pooled[0, 2])
        if pixels:
            scores = _f_measure(self.pooled)
            best = int(scores.argmax())
            matched, predicted, _ = self.pooled[best].tolist()
            figures = {
                "odsF": float(scores[best]),
                "ods_precision": matched / max(predicted, 1),
                "ods_recall": matched / pixels,
                "ods_threshold": float(self.thresholds[best]),
                "oisF": float(_f_measure(self._best[None])[0]),
                "AP": _area(self.pooled),
            }
        return figures | {"images": float(self._images), "pixels": float(pixels)}


def _f_measure(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts (T, 3) of matched, predicted and true pixels -> F (T,), 0 where nothing is matched."""
    matched, predicted, true = counts.T
    scores: NDArray[np.float64] = 2 * matched / np.maximum(predicted + true, 1)
    return scores


def _area(counts: NDArray[np.int64]) -> float:
    """Counts (T, 3) -> area under the curve of precision over recall, 0 without a prediction."""
    matched, predicted, true = counts[counts[:, 1] > 0].T
    if not matched.size:
        return 0.0
    recall, precision = matched / true, matched / predicted
    order = np.lexsort((precision, recall))
    recall, precision = recall[order], precision[order]
    between = (np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum()
    return float(recall[0] * precision[recall == recall[0]].max() + between)
