"""How far an answer is off, against a reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["relative_error", "sqnr_db"]


def relative_error(reference: NDArray[Any], actual: NDArray[Any]) -> float:
    """max |difference| / max |reference| of numbers, the share of elements that differ of integers."""
    if not np.issubdtype(reference.dtype, np.floating):
        return float(np.mean(actual != reference))
    scale = float(np.max(np.abs(reference), initial=0.0)) or 1.0
    return float(np.max(np.abs(actual - reference), initial=0.0)) / scale


def sqnr_db(reference: NDArray[Any], actual: NDArray[Any]) -> float | None:
    """20 log10(|reference| / |actual - reference|) [dB]; None where that is no number."""
    noise = float(np.sum((actual.astype(np.float64) - reference) ** 2))
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    return 10 * math.log10(signal / noise) if signal > 0 and 0 < noise < math.inf else None
