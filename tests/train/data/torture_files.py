"""Files of which data sets to torture readers with are made, and what must become of them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE: Final = (48, 64)  # (height, width) [px] of all pictures but those that are wrong in this


@dataclass(frozen=True)
class Fate:
    """What must become of one image, annotation or category.

    Used: `where` is in the example's name. Lost, as a whole or in part: exactly one problem has `where` in
    its path, and its message matches the regular expression `words`.
    """

    where: str
    lost: Literal["image", "annotation"] | None = None
    words: str = ""


@dataclass(frozen=True)
class Torture:
    """A data set, and what must become of what it lists."""

    data: str  # for `open_data`
    root: Path
    split: str
    tasks: tuple[str, ...]
    fates: tuple[Fate, ...]  # of images, and of annotations that are lost or have lost a part
    used_annotations: int | None  # objects in all examples; None where annotations are maps
    not_listed: int = 0  # lost images that are not among those that the data set counts


def used(*where: str) -> list[Fate]:
    return [Fate(name) for name in where]


def picture(height: int = SIZE[0], width: int = SIZE[1]) -> Image.Image:
    """Colours that change slowly, so that JPEG keeps them; no two corners are alike."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    values = np.stack([40 + 180 * columns, 30 + 200 * rows, 220 - 170 * columns * rows], -1)
    return Image.fromarray(values.astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    if kind == "JPEG":  # such that colours stay
        options = {"quality": 98, "subsampling": 0, **options}
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int, height: int, width: int) -> bytes:
    """A JPEG stored with this height and width [px], and this EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(height, width), exif=exif)


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    rows: bytes,
    palette: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG that Pillow would not write; each of the `rows` begins with its filter (0)."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
        if data or name != b"PLTE"
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def label_png(values: NDArray[Any]) -> bytes:
    return encoded(Image.fromarray(values), "PNG")


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sound_pictures() -> dict[str | bytes, bytes]:
    """Pictures of SIZE that are odd, but can be used; by their file names."""
    sixteen = np.linspace(0, 65535, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE)
    palette = picture().quantize(16)
    broken_exif = b"\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff"
    jpeg = encoded(picture())
    return {
        "cmyk.jpg": encoded(picture().convert("CMYK")),
        "grey.jpg": encoded(picture().convert("L")),
        "progressive.jpg": encoded(picture(), progressive=True),
        "deep.png": label_png(sixteen),
        "deep-rgb.png": png(SIZE[1], SIZE[0], 16, 2, (b"\0" + bytes(6 * SIZE[1])) * SIZE[0]),
        "palette.png": encoded(palette, "PNG", transparency=bytes(range(16))),
        "alpha.png": encoded(picture().convert("RGBA"), "PNG"),
        "bits.png": encoded(picture().convert("1"), "PNG"),
        "moving.webp": encoded(picture(), "WEBP", save_all=True, append_images=[picture().convert("L")]),
        "exif.jpg": jpeg[:2] + broken_exif + jpeg[2:],
        "turned.jpg": turned(6, SIZE[1], SIZE[0]),
        "UPPER.JPG": jpeg,
        "Größe 図.jpg": jpeg,
        "two  spaces, 100%.jpg": jpeg,
        "red\x1b[31m\n.jpg": jpeg,  # written as it is, it would colour the terminal
        b"caf\xe9.jpg": jpeg,
    }


def broken_pictures() -> dict[str, tuple[bytes, str]]:
    """Files that cannot be used, and what must be said about them; by their names."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    whole = encoded(picture())
    return {
        "truncated.jpg": (whole[: len(whole) // 2], "cut off"),
        "cut.png": (label_png(noise)[:-2000], "cut off"),
        "changed.png": (_with_changed_byte(label_png(noise)), "broken"),
        "zero.jpg": (b"", "empty"),
        "page.jpg": (b"<!DOCTYPE html><title>404</title>", "not a picture"),
        "bomb.png": (png(60_000, 60_000, 8, 0, b"\0"), "too large|at most"),
    }


def _with_changed_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# Names that cannot be printed as they are.
SHOWN: Final[dict[str | bytes, str]] = {
    b"caf\xe9.jpg": r"caf\xe9.jpg",
    "red\x1b[31m\n.jpg": r"red\x1b[31m\n.jpg",
}


def put_pictures(folder: Path) -> tuple[list[str], list[Fate]]:
    """All of the above in `folder`, and hidden files; the names of the pictures, and their fates."""
    names, fates = [], []
    for name, content in sound_pictures().items():
        path = folder / os.fsdecode(name)
        put(path, content)
        names.append(path.name)
        fates.append(Fate(SHOWN.get(name, str(name))))
    for name, (content, words) in broken_pictures().items():
        put(folder / name, content)
        names.append(name)
        fates.append(Fate(f"/{name}", "image", words))
    put(folder / ".DS_Store", b"\0\0\0\1Bud1")
    put(folder / "._cmyk.jpg", b"\0\5\x16\7" + bytes(90))
    put(folder / ".hidden.jpg", encoded(picture()))
    put(folder / "Thumbs.db", b"\xd0\xcf\x11\xe0")
    return names, fates


def put_outside(root: Path) -> Path:
    """A picture beside the data set, which only a link of the user's own may reach."""
    return put(root.parent / "outside" / "secret.jpg", encoded(picture()))


def put_odd_entries(folder: Path, secret: Path) -> list[Fate]:
    """What a folder that is listed may also hold."""
    (folder / "folder.jpg").mkdir()
    (folder / "link.jpg").symlink_to(secret)
    (folder / "nowhere.jpg").symlink_to(folder / "is-not-there.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    fates = [Fate("nowhere.jpg", "image", "No such file"), Fate("loop.jpg", "image", "symbolic links")]
    return [Fate("link.jpg"), *fates]
