"""What tests of several readers write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from numpy.typing import NDArray
from PIL import Image

Save: TypeAlias = Callable[[Path, NDArray[Any]], Path]


@pytest.fixture
def save() -> Save:
    """Writes an array (H, W) or (H, W, 3) as picture, and the folders it needs; returns the path."""

    def write(path: Path, pixels: NDArray[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write
