"""Scenes that several tests look at."""

from __future__ import annotations

from typing import Final

import pytest

from argus_edge.train.data.scenes import Scene, render

COUNT: Final = 200


@pytest.fixture(scope="session")
def many_scenes() -> list[Scene]:
    """200 scenes of 128 x 128 px."""
    return [render(seed, 128) for seed in range(600, 600 + COUNT)]
