"""Random numbers of a scene: one independent, repeatable generator for each (seed, stream)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

Rng = np.random.Generator


class Stream(IntEnum):
    """What a generator decides. Apart from each other, so that a change in one leaves the rest as it was."""

    LAYOUT = 0
    LOOKS = 1
    LIGHT = 2
    SENSOR = 3
    MOTION = 4


def stream(seed: int, name: Stream, frame: int = 0) -> Rng:
    """The generator of one stream of one scene; `frame` separates the frames of a clip."""
    return np.random.Generator(np.random.Philox(key=[seed, int(name)], counter=[0, 0, 0, frame]))


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number in [low, high], uniform in its logarithm: small sizes come as often as large ones."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
