"""What an image as a whole is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """How likely the image is of each class."""

    probabilities: NDArray[np.float32]  # (K,) in [0, 1], of sum 1
    class_names: tuple[str, ...]

    def top(self, count: int = 5) -> tuple[tuple[str, float], ...]:
        """Return the `count` likeliest classes, as far as there are, as (name, probability), best first."""
        order = np.argsort(-self.probabilities, kind="stable")[: max(count, 0)]
        return tuple((self.class_names[index], float(self.probabilities[index])) for index in order)

    def to_json(self) -> dict[str, Any]:
        """Return {"top": [{"class", "probability"}, ...]} of the five likeliest."""
        return {"top": [{"class": name, "probability": round(p, 4)} for name, p in self.top()]}
