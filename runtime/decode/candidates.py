"""Which of a decoder's candidates are results: what detection and the segmentations choose by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox


class Candidates(NamedTuple):
    """N chosen candidates, best first."""

    indices: NDArray[np.intp]  # (N,) their places in the outputs
    boxes: NDArray[np.float32]  # (N, 4) xyxy [px], clipped to the image
    scores: NDArray[np.float32]  # (N,) descending
    classes: NDArray[np.int32]  # (N,)

    def of(self, kept: NDArray[np.bool_]) -> Candidates:
        """Those that are `kept` (N,)."""
        return Candidates(self.indices[kept], self.boxes[kept], self.scores[kept], self.classes[kept])


def choose_candidates(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    names: int,
    score_threshold: float,
    logits: NDArray[np.floating[Any]] | None = None,
) -> Candidates:
    """Those that reach the threshold, lie inside the image and hold nothing but finite numbers.

    Args:
        outputs: `boxes` (1, K, 4) xyxy in [0, 1] of the network input, `scores` (1, K), `classes` (1, K).
        letterbox: how the image was placed in the network input.
        names: how many classes there are.
        score_threshold: candidates below it are left out.
        logits: (K, h, w) of masks, which have to be finite as well.

    Returns them by descending score, equal ones in the order of the outputs. Raises EngineError for a class
    without a name.
    """
    scores, classes = outputs["scores"][0], outputs["classes"][0]
    boxes = letterbox.boxes_to_image(outputs["boxes"][0])
    with np.errstate(invalid="ignore"):
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        usable = inside & np.isfinite(outputs["boxes"][0]).all(axis=1) & (scores >= score_threshold)
    chosen = finite(np.flatnonzero(usable), scores, logits)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    check_classes(classes[chosen], names)
    return Candidates(chosen, boxes[chosen], scores[chosen], classes[chosen])


def finite(
    chosen: NDArray[np.intp],
    scores: NDArray[np.floating[Any]],
    logits: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.intp]:
    """Those of the indices `chosen` whose score, and mask logits if any, hold nothing but finite numbers."""
    chosen = chosen[np.isfinite(scores[chosen])]
    if logits is None:
        return chosen
    return np.array([index for index in chosen if np.isfinite(logits[index]).all()], np.intp)


def check_classes(classes: NDArray[np.integer[Any]], names: int) -> None:
    """Raise EngineError for a class index that none of `names` names belongs to."""
    if classes.size and not 0 <= classes.min() <= classes.max() < names:
        raise EngineError(
            f"decoder answered with classes {classes.min()} to {classes.max()}, but the package names "
            f"{names}; export it again"
        )
