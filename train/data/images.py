"""Image files of data sets: pictures as RGB, label maps as stored. Every file is looked at with suspicion.

Pillow reads them, as it tells a truncated file from a whole one, and gives the indices of a palette.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from argus_edge.errors import ImageError, first_line

MAX_BYTES: Final = 256 << 20
MAX_PIXELS: Final = 1 << 27  # a picture of 11,600 x 11,600
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_rgb(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, whatever its mode: grey, palette, CMYK, transparent, 16 bits.

    Args:
        path: the file.
        size: (height, width) [px] that its annotations have, if they tell. A picture that says by EXIF that
            it lies on its side is turned upright, unless only the unturned one has this size.

    Raises:
        ImageError: there is no such file, or it is no picture, is cut off, too large, or of another size.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        chosen = image if size is not None and upright.size != size[::-1] == image.size else upright
        if size is not None and chosen.size != size[::-1]:
            raise ImageError(
                f"picture is {chosen.height}x{chosen.width} but its annotations are of {size[0]}x{size[1]}"
            )
        return np.array(_deep_to_8_bits(chosen).convert("RGB"))


def read_map(path: Path) -> NDArray[Any]:
    """A label map as stored: (H, W) uint8, uint16 or int32 values or palette indices, or (H, W, 3) uint8 RGB.

    Raises ImageError as `read_rgb` does.
    """
    with _opened(path) as image:
        if image.mode in ("1", "LA", "RGBA"):
            image = image.convert({"1": "L", "LA": "L", "RGBA": "RGB"}[image.mode])
        return np.array(image)


def _opened(path: Path) -> Image.Image:
    """The whole picture, decoded."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"file has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about harmless oddities of metadata
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"picture is {image.height}x{image.width}; at most {MAX_PIXELS} px are read")
            image.load()
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"not a whole picture: {error.strerror or first_line(error)}") from error
    except Exception as error:  # Pillow's decoders raise families of their own on broken files
        raise ImageError(f"not a whole picture: {first_line(error)}") from error
    return image


def _deep_to_8_bits(image: Image.Image) -> Image.Image:
    """16 bits a pixel are scaled; `convert` would cut them off."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.array(image).astype(np.float32) * (255 / 65535)
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    return image
