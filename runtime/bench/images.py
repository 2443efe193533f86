"""The frames that are measured with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import SourceError
from argus_edge.package import ModelPackage
from argus_edge.runtime.sources import open_source

__all__ = ["FRAME", "MOST", "bench_images", "describe_images"]

MOST: Final = 64  # of a source that are kept in memory
FRAME: Final = (640, 480)  # of what stands in for a camera (width, height) [px]
NOISE: Final = 8  # frames of noise

Images = Sequence[NDArray[np.uint8]]


def bench_images(package: ModelPackage, source: str | None, seed: int) -> tuple[str, Images]:
    """What the frames are, and the frames: (H, W, 3) uint8 RGB.

    The first MOST of `source`; without one the package's recorded input, scaled to FRAME, as it shows what
    the model was made for; without that, noise, on which decoders find little. Raises SourceError.
    """
    if source is not None:
        with open_source(source) as frames:
            images = [frame.image for frame in islice(frames, MOST)]
        if not images:
            raise SourceError(f"{source}: holds no image that can be read; choose another --source")
        return source, images
    golden = package.golden()
    if golden is not None:
        import cv2

        return "the package's recorded input", [cv2.resize(golden.image[0], FRAME).astype(np.uint8)]
    random = np.random.default_rng(seed)
    width, height = FRAME
    return f"noise, seed {seed}", [
        random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(NOISE)
    ]


def describe_images(what: str, images: Images) -> dict[str, Any]:
    """For the result: what they are, how many, how large, and the hash of all."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    sizes = dict.fromkeys(f"{image.shape[1]}x{image.shape[0]}" for image in images)
    return {"what": what, "count": len(images), "sizes": list(sizes), "sha256": digest.hexdigest()}
