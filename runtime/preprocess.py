"""From an image of any size to the network's input tensor.

The rule is part of the model package (`ImageSpec`) and the same in training, calibration and on the device:
the aspect is kept, an antialiased triangle filter resizes (PIL's and torchvision's bilinear),
the image lies at the top left and a fixed colour fills the rest. A camera's frame may come in the format of
the camera. The arithmetic is in native/core/letterbox.cpp; normalisation is inside the graph.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, InputError
from argus_edge.geometry import Letterbox
from argus_edge.runtime import _native
from argus_edge.spec import ImageSpec

__all__ = ["MAX_SIDE", "PixelFormat", "check_image", "image_size", "preprocess", "to_rgb"]

MAX_SIDE: Final = 16384
"""Longest side of an image that is accepted [px]."""

PixelFormat: TypeAlias = Literal["rgb", "bgr", "nv12", "yuyv"]
"""What a uint8 array holds: (H, W, 3) RGB or BGR, (3 H / 2, W) NV12 or (H, W, 2) YUYV. The last two are
BT.601 in limited range (Y 16-235, U and V 16-240), as cameras give it. NV12 has even sides, YUYV an even
width."""


def check_image(image: object, pixel_format: PixelFormat = "rgb") -> NDArray[np.uint8]:
    """Return `image` when it is an array of `pixel_format` with sides in 1 to MAX_SIDE; strides are free.

    Raises ImageError: what was expected, what came, what to do. InputError for an unknown format.
    """
    if pixel_format not in get_args(PixelFormat):
        raise InputError(
            f"unknown pixel_format {pixel_format!r}; there are: {', '.join(get_args(PixelFormat))}"
        )
    if not isinstance(image, np.ndarray):
        raise _unfit(pixel_format, f"a {type(image).__name__}", "read it into a numpy array first")
    shape = "x".join(map(str, image.shape)) or "a single number"
    advice = _advice(image, pixel_format)
    if advice:
        raise _unfit(pixel_format, f"an array of {shape} {image.dtype}", advice)
    return image


def image_size(image: NDArray[np.uint8], pixel_format: PixelFormat = "rgb") -> tuple[int, int]:
    """Height and width [px] of an image that `check_image` has passed."""
    rows, width = image.shape[:2]
    return (rows * 2 // 3 if pixel_format == "nv12" else rows), width


def to_rgb(image: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Return the whole image as (H, W, 3) RGB, for what needs every pixel. Raises as `check_image` does."""
    import cv2

    image = check_image(image, pixel_format)
    match pixel_format:
        case "rgb":
            return image
        case "bgr":
            return image[:, :, ::-1]
        case "nv12":
            return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_YUV2RGB_NV12)  # type: ignore[return-value]
        case "yuyv":
            return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_YUV2RGB_YUYV)  # type: ignore[return-value]


def preprocess(
    image: NDArray[np.uint8], spec: ImageSpec, pixel_format: PixelFormat = "rgb"
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Make the network's input from one image, in the compiled extension and without the interpreter lock.

    Args:
        image: uint8 of the shape that goes with `pixel_format`, (H, W, 3) for RGB; any strides, and BGR
            costs no more than RGB.
        spec: size and padding colour of the network's input.
        pixel_format: what `image` holds.

    Returns:
        The tensor (1, spec.height, spec.width, 3) uint8 RGB, and where in it the image lies.

    Raises ImageError for anything else than such an image, InputError for an unknown format.
    """
    image = check_image(image, pixel_format)
    letterbox = Letterbox(*image_size(image, pixel_format), spec.height, spec.width)
    tensor = np.empty((1, spec.height, spec.width, 3), np.uint8)
    fill, levels = _FILL[pixel_format], image[:, :, ::-1] if pixel_format == "bgr" else image
    fill(levels, tensor[0], letterbox.resized_height, letterbox.resized_width, spec.pad_color)
    return tensor, letterbox


_FILL: Final = {
    "rgb": _native.letterbox,
    "bgr": _native.letterbox,
    "nv12": _native.letterbox_nv12,
    "yuyv": _native.letterbox_yuyv,
}

_EXPECTED: Final = {
    "rgb": "an (H, W, 3) uint8 RGB array",
    "bgr": "an (H, W, 3) uint8 BGR array",
    "nv12": "a (3 H / 2, W) uint8 NV12 array",
    "yuyv": "an (H, W, 2) uint8 YUYV array",
}


def _advice(image: NDArray[np.uint8], pixel_format: PixelFormat) -> str:
    """What to do about an array that is no such image; empty where it is one."""
    advice = {"nv12": _nv12_advice, "yuyv": _yuyv_advice}.get(pixel_format, _levels_advice)(image)
    if advice:
        return advice
    if image.dtype != np.uint8:
        return "scale it to levels 0-255 and convert with .astype(np.uint8)"
    if min(image.shape) == 0:
        return "the image is empty; look at where it comes from"
    if max(image_size(image, pixel_format)) > MAX_SIDE:
        return f"no side may exceed {MAX_SIDE} px; cut or shrink it first"
    return ""


def _levels_advice(image: NDArray[np.uint8]) -> str:
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        return "repeat a grey image with cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)"
    if image.ndim == 3 and image.shape[2] == 4:
        return "drop the fourth channel with image[:, :, :3]"
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        return "move the channels last with image.transpose(1, 2, 0)"
    if image.ndim != 3 or image.shape[2] != 3:
        return "pass one image at a time, channels last"
    return ""


def _nv12_advice(image: NDArray[np.uint8]) -> str:
    if image.ndim != 2:
        return "pass the plane of Y and below it that of U and V, as one array of two dimensions"
    if image.shape[0] % 3 or image.shape[1] % 2:
        return "2 x 2 pixels share their colour, so H and W are even; cut the frame or leave out what pads it"
    return ""


def _yuyv_advice(image: NDArray[np.uint8]) -> str:
    if image.ndim != 3 or image.shape[2] != 2:
        return "give the frame's bytes their shape with .reshape(height, width, 2)"
    return "two pixels share their colour, so W is even; cut the frame" if image.shape[1] % 2 else ""


def _unfit(pixel_format: PixelFormat, got: str, advice: str) -> ImageError:
    return ImageError(f"expected an image as {_EXPECTED[pixel_format]}, got {got}: {advice}")
