"""From an image of any size to the network's input tensor.

The rule is part of the model package (`ImageSpec`) and the same in training, calibration and on the device:
the aspect is kept, an antialiased triangle filter resizes (PIL's and torchvision's bilinear),
the image lies at the top left and a fixed colour fills the rest. The arithmetic is in
native/core/letterbox.cpp; `preprocess_reference` says the same in numpy. Normalisation is inside the graph.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError
from argus_edge.geometry import Letterbox
from argus_edge.runtime import _native
from argus_edge.spec import ImageSpec

__all__ = ["MAX_SIDE", "check_image", "preprocess", "preprocess_reference"]

MAX_SIDE: Final = 16384
"""Longest side of an image that is accepted [px]."""


def check_image(image: object) -> NDArray[np.uint8]:
    """Return `image` when it is an (H, W, 3) uint8 RGB array with 1 <= H, W <= MAX_SIDE; strides are free.

    Raises ImageError: what was expected, what came, what to do.
    """
    if not isinstance(image, np.ndarray):
        raise _unfit(f"a {type(image).__name__}", "read it into a numpy array first")
    shape = "x".join(map(str, image.shape)) or "a single number"
    got = f"an array of {shape} {image.dtype}"
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise _unfit(got, "repeat a grey image with cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim == 3 and image.shape[2] == 4:
        raise _unfit(got, "drop the fourth channel with image[:, :, :3]")
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        raise _unfit(got, "move the channels last with image.transpose(1, 2, 0)")
    if image.ndim != 3 or image.shape[2] != 3:
        raise _unfit(got, "pass one image at a time, channels last")
    if image.dtype != np.uint8:
        raise _unfit(got, "scale it to levels 0-255 and convert with .astype(np.uint8)")
    if min(image.shape) == 0:
        raise _unfit(got, "the image is empty; look at where it comes from")
    if max(image.shape) > MAX_SIDE:
        raise _unfit(got, f"no side may exceed {MAX_SIDE} px; cut or shrink it first")
    return image


def preprocess(image: NDArray[np.uint8], spec: ImageSpec) -> tuple[NDArray[np.uint8], Letterbox]:
    """Make the network's input from one image, in the compiled extension and without the interpreter lock.

    Args:
        image: (H, W, 3) uint8 RGB; any strides, so a BGR frame may come as `frame[:, :, ::-1]` at no cost.
        spec: size and padding colour of the network's input.

    Returns:
        The tensor (1, spec.height, spec.width, 3) uint8 RGB, and where in it the image lies.

    Raises ImageError for anything else than such an image.
    """
    image = check_image(image)
    letterbox = Letterbox(image.shape[0], image.shape[1], spec.height, spec.width)
    tensor = np.empty((1, spec.height, spec.width, 3), np.uint8)
    _native.letterbox(image, tensor[0], letterbox.resized_height, letterbox.resized_width, spec.pad_color)
    return tensor, letterbox


def preprocess_reference(image: NDArray[np.uint8], spec: ImageSpec) -> tuple[NDArray[np.uint8], Letterbox]:
    """Do what `preprocess` does in plain numpy: one matrix resizes the rows, another the columns."""
    image = check_image(image)
    letterbox = Letterbox(image.shape[0], image.shape[1], spec.height, spec.width)
    rows = _triangle_weights(letterbox.image_height, letterbox.resized_height)
    columns = _triangle_weights(letterbox.image_width, letterbox.resized_width)
    resized = np.einsum("yh,hwc->ywc", rows, image.astype(np.float64), optimize=True)
    resized = np.einsum("xw,ywc->yxc", columns, resized, optimize=True)
    tensor = np.empty((1, spec.height, spec.width, 3), np.uint8)
    tensor[:] = spec.pad_color
    tensor[0, : letterbox.resized_height, : letterbox.resized_width] = np.floor(resized + 0.5)
    return tensor, letterbox


def _triangle_weights(source_size: int, target_size: int) -> NDArray[np.float64]:
    """Weights (target_size, source_size), rows adding up to 1, of the antialiased triangle filter."""
    step = source_size / target_size
    radius = max(step, 1.0)
    centres = (np.arange(target_size) + 0.5) * step
    distances = np.abs(np.arange(source_size) + 0.5 - centres[:, None]) / radius
    weights = np.maximum(0.0, 1.0 - distances)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _unfit(got: str, advice: str) -> ImageError:
    return ImageError(f"expected an image as an (H, W, 3) uint8 RGB array, got {got}: {advice}")
