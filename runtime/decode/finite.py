"""Whether a graph answered with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError


def require_finite(name: str, values: NDArray[np.floating[Any]]) -> None:
    """Raise EngineError when an output holds NaN or infinity.

    What has one answer for the whole image cannot leave a candidate out: the frame's result would be wrong.
    """
    if not np.isfinite(values).all():
        raise EngineError(
            f"output {name!r} holds numbers that are not finite; run the package in a higher precision or "
            f"export it again"
        )
