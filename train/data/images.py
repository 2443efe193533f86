"""Image files of data sets: pictures as RGB, label maps as stored. Every file is looked at with suspicion.

Pillow reads them, as it tells a truncated file from a whole one, and gives the indices of a palette.

Not seen, as no library tells: a JPEG whose middle is missing but whose end mark is there, and a PNG whose
writer left rows out and closed it properly. Their missing part is grey or black.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.errors import ImageError, first_line
from argus_edge.train.data.contents import open_ordinary, read_ordinary

if TYPE_CHECKING:
    from PIL.Image import Image  # a package is run without Pillow

MAX_BYTES: Final = 256 << 20
MAX_PIXELS: Final = 1 << 27  # a picture of 11,600 x 11,600
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

# By content, whatever the suffix says. Pillow knows more, some of which start other programs (EPS).
_FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")

# EXIF orientation -> which of Pillow's turns sets the picture upright. (Its exif_transpose also writes
# the EXIF block anew, which fails if that is broken.)
_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_ORIENTATION: Final = 0x0112  # EXIF's number of it
_ON_ITS_SIDE: Final = 5  # the first orientation that changes height and width over
_DEEP_GREY: Final = ("I;16", "I;16L", "I;16B", "I")
# Grey of few bits, which Pillow spreads over 0 to 255, by this factor.
_SPREAD: Final = {"L;2": 85, "L;4": 17}


def read_rgb(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, whatever its mode: grey, palette, CMYK, transparent, 16 bits.

    Transparency is dropped: hidden colours come out. Of an animation the first picture is taken.

    Args:
        path: the file.
        size: (height, width) [px] that its annotations have, if they tell. A picture that is turned or
            mirrored according to its EXIF is set upright, unless only the one as stored has this size.

    Raises:
        ImageError: there is no such file, or it is no picture, is cut off, too large, or of another size.
            The message does not name the file.
    """
    with _broken_files_as_image_errors():
        image, _ = _decoded(path)
        image = _upright(image, size)
        if size is not None and image.size != size[::-1]:
            raise ImageError(
                f"picture is {image.height}x{image.width} but its annotations are of {size[0]}x{size[1]}"
            )
        return np.array(_to_rgb(image))


def read_map(path: Path) -> NDArray[Any]:
    """A label map, value by value as stored, never turned.

    Returns:
        (H, W) uint8 of grey values, palette indices or 0 and 1, (H, W) uint16 or int32 of deeper grey, or
        (H, W, 3) uint8 RGB. Transparency is dropped.

    Raises:
        ImageError: as `read_rgb`, and for a file whose values cannot be had exactly.
    """
    with _broken_files_as_image_errors():
        image, stored = _decoded(path)
        if ";16" in stored and image.mode not in _DEEP_GREY:
            raise ImageError("label map has several channels of 16 bits; expected 8 bits, or one channel")
        if image.mode in _DEEP_GREY:
            is_short = "I;16" in (image.mode[:4], stored[:4])  # older Pillow widens PNG's 16 bits to 32
            return np.array(image, np.uint16 if is_short else np.int32)
        if image.mode in ("LA", "RGBA"):
            image = image.convert(image.mode[:-1])
        if image.mode not in ("1", "L", "P", "RGB"):
            raise ImageError(f"label map is {image.mode}; expected grey, a palette, RGB or whole numbers")
        values: NDArray[np.uint8] = np.array(image, np.uint8) // np.uint8(_SPREAD.get(stored, 1))
        return values


def read_size(path: Path) -> tuple[int, int]:
    """Height and width [px] of a picture set upright, by the head of its file.

    Raises ImageError, though not for all that `read_rgb` would find broken.
    """
    with (
        _broken_files_as_image_errors(),
        open_ordinary(path, MAX_BYTES) as file,
        _pillow().open(file, formats=_FORMATS) as image,
    ):
        on_its_side = _orientation(image) >= _ON_ITS_SIDE
        return (image.width, image.height) if on_its_side else (image.height, image.width)


@contextmanager
def _broken_files_as_image_errors() -> Iterator[None]:
    """Whatever decoding raises, as ImageError, in words that do not change from one time to the next."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about harmless oddities of metadata
            yield
    except ImageError:
        raise
    except _pillow().UnidentifiedImageError as error:  # its message has an address in memory
        raise ImageError(f"not a picture, or only its first bytes; expected {', '.join(_FORMATS)}") from error
    except _pillow().DecompressionBombError as error:
        raise ImageError(f"picture is too large; at most {MAX_PIXELS} px are read") from error
    except Exception as error:  # Pillow's decoders raise families of their own on broken files
        if isinstance(error, OSError) and error.errno is not None:  # none of Pillow's has a number
            raise ImageError(f"cannot be read: {error.strerror}") from error
        raise ImageError(f"picture is cut off or broken: {first_line(error)}") from error


def _decoded(path: Path) -> tuple[Image, str]:
    """The whole picture, and how its pixels are stored, in Pillow's words ("L;4": grey of 4 bits)."""
    contents = read_ordinary(path, MAX_BYTES)
    if not contents:
        raise ImageError("file is empty")
    image = _pillow().open(io.BytesIO(contents), formats=_FORMATS)
    if image.format == "PNG":
        image.verify()  # its checksums, which loading passes over; nothing else can be done with it then
        image = _pillow().open(io.BytesIO(contents), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"picture is {image.height}x{image.width}; at most {MAX_PIXELS} px are read")
    arguments = image.tile[0][3] if image.tile else ""
    stored = arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""
    image.load()
    return image, stored


def _upright(image: Image, size: tuple[int, int] | None) -> Image:
    orientation = _orientation(image)
    if orientation not in _TURNS:
        return image
    on_its_side = orientation >= _ON_ITS_SIDE and image.width != image.height
    if size is not None and on_its_side and image.size == size[::-1]:
        return image
    return image.transpose(_pillow().Transpose[_TURNS[orientation]])


def _orientation(image: Image) -> int:
    """What EXIF says; 1 is upright."""
    with suppress(Exception):  # a broken EXIF block says nothing; the picture is as good as any
        orientation = image.getexif().get(_ORIENTATION)
        if orientation in _TURNS:
            return int(orientation)
    return 1


def _to_rgb(image: Image) -> Image:
    if image.mode in _DEEP_GREY:  # `convert` would cut the values off
        values = np.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("picture has values of more than 16 bits; expected 8 or 16 bits")
        grey: Image = _pillow().fromarray((values * (255 / 65535)).round().astype(np.uint8))
        return grey.convert("RGB")
    if image.mode == "F":
        raise ImageError("picture has values with fractions; expected 8 or 16 bits")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = require("PIL.ImageChops", "train").invert(
            image
        )  # only Adobe's mark says "inverted", which Pillow takes for granted
    return image if image.mode == "RGB" else image.convert("RGB")


def _pillow() -> ModuleType:
    return require("PIL.Image", "train")
