"""Scores: the output kind of classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.results import Classification
from argus_edge.runtime.decode.finite import require_finite


def decode_scores(outputs: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> Classification:
    """A classifier's output -> the probability of each class.

    Args:
        outputs: `probabilities` (1, K) float32 in [0, 1].
        class_names: K names in the order of the classes.

    Raises EngineError for another number of classes than names, or a value that is not finite.
    """
    probabilities = np.array(outputs["probabilities"][0], np.float32)
    if len(probabilities) != len(class_names):
        raise EngineError(
            f"classifier answered with {len(probabilities)} classes, but the package names "
            f"{len(class_names)}; export it again"
        )
    require_finite("probabilities", probabilities)
    return Classification(probabilities, tuple(class_names))
