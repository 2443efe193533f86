from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from argus_edge.errors import ImageError
from argus_edge.train.data import images
from argus_edge.train.data.images import read_map, read_rgb
from tests.train.data.torture_files import encoded, picture, png

H, W = 24, 40
ORIENTATION: Final = 0x0112


def soft_picture(height: int = H, width: int = W) -> NDArray[np.uint8]:
    return np.array(picture(height, width))


def put(folder: Path, content: bytes, name: str | bytes = "a.jpg") -> Path:
    path = folder / os.fsdecode(name)
    path.write_bytes(content)
    return path


# --- what is no whole picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95])
def test_cut_off_file_is_an_error_never_half_a_picture(tmp_path: Path, kind: str, kept: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    content = encoded(Image.fromarray(noisy), kind)
    with pytest.raises(ImageError):
        read_rgb(put(tmp_path, content[: int(kept * len(content))]))


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_without_its_last_byte_is_an_error(tmp_path: Path, progressive: bool) -> None:
    content = encoded(Image.fromarray(soft_picture()), "JPEG", progressive=progressive)
    assert np.abs(read_rgb(put(tmp_path, content)).astype(int) - soft_picture()).max() <= 4
    for cut in (1, 2, 30):
        with pytest.raises(ImageError, match="cut off or broken"):
            read_rgb(put(tmp_path, content[:-cut]))


def test_png_of_many_chunks_cut_between_two_of_them_is_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "PNG")
    starts = [match.start() - 4 for match in re.finditer(b"IDAT", content)]
    assert len(starts) > 3
    with pytest.raises(ImageError, match="cut off or broken"):
        read_rgb(put(tmp_path, content[: starts[2]]))


def test_png_with_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    content = bytearray(encoded(Image.fromarray(soft_picture()), "PNG"))
    content[len(content) // 2] ^= 0x40
    with pytest.raises(ImageError, match="cut off or broken"):
        read_rgb(put(tmp_path, bytes(content)))


def test_what_is_no_picture_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "away.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for path, words in {
        tmp_path / "none.jpg": "No such file",
        tmp_path / "away.jpg": "No such file",
        tmp_path / "folder.jpg": "folder",
        tmp_path / "pipe.jpg": "no ordinary file",  # would wait for ever
        tmp_path / ("long" * 100): "File name too long",
        tmp_path / "nul\0.jpg": "null",
        put(tmp_path, b"", "empty.jpg"): "file is empty",
        put(tmp_path, b"not found", "text.jpg"): "not a picture",
        put(tmp_path, eps, "program.jpg"): "not a picture",  # Pillow would start Ghostscript
        put(tmp_path, b"\xff\xd8\xff", "start.jpg"): "not a picture",
    }.items():
        for read in (read_rgb, read_map):
            with pytest.raises(ImageError, match=words) as first:
                read(path)
            with pytest.raises(ImageError) as second:
                read(path)
            assert str(first.value) == str(second.value)  # problems met twice count once
            assert path.name not in str(first.value)  # who reports it puts the path before
            assert "\n" not in str(first.value)


def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = put(tmp_path, encoded(Image.fromarray(soft_picture()), "JPEG"))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nobody: to root nothing is forbidden
    try:
        with pytest.raises(ImageError, match="cannot be read: Permission denied"):
            read_rgb(path)
    finally:
        os.seteuid(user)


def test_header_that_promises_too_much_is_an_error_before_memory_is_taken(tmp_path: Path) -> None:
    for side, words in ((12_000, "12000x12000"), (200_000, "too large")):
        path = put(tmp_path, png(side, side, 8, 0, b"\0"))
        for read in (read_rgb, read_map):
            with pytest.raises(ImageError, match=words):
                read(path)


def test_file_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, encoded(Image.fromarray(soft_picture()), "PNG"))
    monkeypatch.setattr(images, "MAX_BYTES", path.stat().st_size)
    assert read_rgb(path).shape == (H, W, 3)
    monkeypatch.setattr(images, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(ImageError, match="at most"):
        read_rgb(path)


def test_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = put(tmp_path, encoded(Image.fromarray(soft_picture()), "PNG"), b"caf\xe9.png")
    np.testing.assert_array_equal(read_rgb(path), soft_picture())


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        content = encoded(Image.fromarray(soft_picture()), kind)
        np.testing.assert_array_equal(read_rgb(put(tmp_path, content, "a.jpg")), soft_picture())


# --- modes -------------------------------------------------------------------------------------------------


def _inks(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cyan, magenta, yellow, black, 0 = no ink, with a black that differs from place to place."""
    black = 255 - rgb.max(-1)
    left = np.maximum(255 - black[..., None].astype(np.float64), 1)
    inks = np.concatenate([255 * (1 - rgb / left), black[..., None]], -1)
    stored: NDArray[np.uint8] = inks.clip(0, 255).round().astype(np.uint8)
    return stored


def _with_transform(jpeg: bytes, transform: int | None) -> bytes:
    """Change the colour transform in Adobe's mark, or take the mark out."""
    start = jpeg.index(b"\xff\xee\x00\x0eAdobe")
    if transform is None:
        return jpeg[:start] + jpeg[start + 16 :]
    return jpeg[: start + 15] + bytes([transform]) + jpeg[start + 16 :]


def _cmyk_jpeg(values: NDArray[np.uint8], transform: int | None) -> bytes:
    """These very values in the file; Pillow writes them inverted, so they are inverted before."""
    picture = Image.frombytes("CMYK", values.shape[1::-1], (255 - values).tobytes())
    return _with_transform(encoded(picture, "JPEG"), transform)


def test_cmyk_jpeg_in_all_its_ways_of_storing(tmp_path: Path) -> None:
    rgb = soft_picture()
    inks = _inks(rgb)
    luma = np.array(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    for name, content in {
        "inverted, as Adobe does": _cmyk_jpeg(255 - inks, 0),
        "as it says, without a mark": _cmyk_jpeg(inks, None),
        "YCCK": _cmyk_jpeg(np.concatenate([luma, 255 - inks[..., 3:]], -1), 2),
    }.items():
        read = read_rgb(put(tmp_path, content)).astype(int)
        assert np.abs(read - rgb).max() <= 6, name


def test_grey_jpeg(tmp_path: Path) -> None:
    grey = soft_picture()[..., 0]
    read = read_rgb(put(tmp_path, encoded(Image.fromarray(grey), "JPEG")))
    assert np.abs(read.astype(int) - grey[..., None]).max() <= 3


def test_16_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    values = np.array([[0, 128, 256, 32768, 65535]], np.uint16)
    expected = np.round(values / 257).astype(int)
    for kind in ("PNG", "TIFF"):
        read = read_rgb(put(tmp_path, encoded(Image.fromarray(values), kind)))
        assert read.shape == (1, 5, 3)
        assert np.abs(read - expected[..., None]).max() == 0
    rows = b"\0" + np.repeat(values, 3, 1).astype(">u2").tobytes()
    assert (
        np.abs(read_rgb(put(tmp_path, png(5, 1, 16, 2, rows))).astype(int) - expected[..., None]).max() <= 1
    )


def test_depths_beyond_16_bits_are_errors(tmp_path: Path) -> None:
    deep = np.array([[0, 70_000]], np.int32)
    with pytest.raises(ImageError, match="more than 16 bits"):
        read_rgb(put(tmp_path, encoded(Image.fromarray(deep), "TIFF")))
    fractions = Image.fromarray(np.array([[0.5, 1]], np.float32))
    with pytest.raises(ImageError, match="fractions"):
        read_rgb(put(tmp_path, encoded(fractions, "TIFF")))
    with pytest.raises(ImageError, match="label map is F"):
        read_map(put(tmp_path, encoded(fractions, "TIFF")))


def _palette() -> tuple[Image.Image, NDArray[np.uint8]]:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([10, 20, 30, 200, 100, 50, 255, 0, 255])
    return picture, indices


@pytest.mark.parametrize("options", [{}, {"transparency": 1}, {"transparency": bytes([0, 128, 255])}])
def test_palette_with_and_without_transparency(tmp_path: Path, options: dict[str, Any]) -> None:
    picture, indices = _palette()
    colours = np.array([[10, 20, 30], [200, 100, 50], [255, 0, 255]], np.uint8)
    path = put(tmp_path, encoded(picture, "PNG", **options))
    np.testing.assert_array_equal(read_rgb(path), colours[indices])
    labels = read_map(path)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, indices)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped_not_laid_on_a_ground(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(soft_picture()).convert(mode)
    colours = np.array(picture.convert("RGB"))
    picture.putalpha(Image.fromarray(np.tile(np.array([0, 128], np.uint8), (H, W // 2))))
    path = put(tmp_path, encoded(picture, "PNG"))
    np.testing.assert_array_equal(read_rgb(path), colours)
    np.testing.assert_array_equal(read_map(path), colours if mode == "RGBA" else colours[..., 0])


def test_one_bit(tmp_path: Path) -> None:
    bits = np.arange(H * W).reshape(H, W) % 3 == 0
    path = put(tmp_path, encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(read_rgb(path), np.repeat(bits[..., None], 3, -1) * np.uint8(255))
    labels = read_map(path)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, bits)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1)])
def test_smallest_sizes(tmp_path: Path, height: int, width: int) -> None:
    picture = soft_picture(height, width)
    np.testing.assert_array_equal(
        read_rgb(put(tmp_path, encoded(Image.fromarray(picture), "PNG")), (height, width)), picture
    )
    assert read_rgb(put(tmp_path, encoded(Image.fromarray(picture), "JPEG"))).shape == picture.shape


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.full((H, W, 3), colour, np.uint8)) for colour in ((200, 0, 0), (0, 0, 200))]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(read_rgb(put(tmp_path, content)).astype(int) - (200, 0, 0)).max() <= 4


# --- EXIF --------------------------------------------------------------------------------------------------


def _stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What a camera stores, by the definition in EXIF 2.3 (tag 274): where row 0 and column 0 are."""
    rows_first: dict[int, NDArray[np.uint8]] = {
        1: upright,
        2: upright[:, ::-1],  # row 0 is the top, column 0 is on the right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
    }
    if orientation in rows_first:
        return rows_first[orientation]
    columns_first: dict[int, NDArray[np.uint8]] = {
        5: upright,  # row 0 is the left side, column 0 is the top
        6: upright[:, ::-1],  # right side, top
        7: upright[::-1, ::-1],  # right side, bottom
        8: upright[::-1],  # left side, bottom
    }
    stored: NDArray[np.uint8] = columns_first[orientation].swapaxes(0, 1)
    return stored


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("width", [W, H])
def test_exif_sets_the_picture_upright(tmp_path: Path, kind: str, orientation: int, width: int) -> None:
    upright = soft_picture(H, width)
    stored = Image.fromarray(_stored(upright, orientation))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    path = put(tmp_path, encoded(stored, kind, exif=_exif(orientation), **options))
    for size in (None, (H, width)):
        read = read_rgb(path, size).astype(int)
        assert np.abs(read - upright).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_picture_whose_annotations_are_of_the_unturned_one_stays(tmp_path: Path, orientation: int) -> None:
    path = put(tmp_path, encoded(Image.fromarray(soft_picture()), "PNG", exif=_exif(orientation)))
    np.testing.assert_array_equal(read_rgb(path, (H, W)), soft_picture())
    np.testing.assert_array_equal(read_map(path), soft_picture())  # maps are never turned
    with pytest.raises(ImageError, match=rf"picture is {W}x{H} but its annotations are of {H}x{W + 1}"):
        read_rgb(path, (H, W + 1))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(20),
        b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",  # the orientation is a word
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",  # is 99
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\x06\0\x06\0\0\0\0",  # is two numbers
    ],
)
def test_broken_exif_does_not_lose_the_picture(tmp_path: Path, block: bytes) -> None:
    content = encoded(Image.fromarray(soft_picture()), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    read = read_rgb(put(tmp_path, content[:2] + segment + content[2:]), (H, W))
    assert np.abs(read.astype(int) - soft_picture()).max() <= 4


# --- label maps --------------------------------------------------------------------------------------------


def test_map_of_16_bits_keeps_its_values(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255, 256, 40_000, 65_535]], np.uint16)
    for content in (
        encoded(Image.fromarray(values), "PNG"),
        encoded(Image.fromarray(values), "TIFF"),
        encoded(Image.frombytes("I;16B", (6, 1), values.astype(">u2").tobytes()), "TIFF"),
    ):
        read = read_map(put(tmp_path, content))
        assert read.dtype == np.uint16
        assert read.dtype.isnative
        np.testing.assert_array_equal(read, values)


def test_map_of_32_bits_keeps_its_values(tmp_path: Path) -> None:
    values = np.array([[0, -5, 70_000]], np.int32)
    read = read_map(put(tmp_path, encoded(Image.fromarray(values), "TIFF")))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("colour", [0, 3])
def test_map_of_few_bits_keeps_its_values(tmp_path: Path, bits: int, colour: int) -> None:
    """Programs that make PNG files smaller write grey and palettes so."""
    values = np.arange(16, dtype=np.uint8) % 2**bits
    packed = np.packbits(np.unpackbits(values[:, None], axis=1)[:, -bits:])
    palette = bytes(range(3 * 2**bits)) if colour == 3 else b""
    path = put(tmp_path, png(16, 1, bits, colour, b"\0" + packed.tobytes(), palette))
    np.testing.assert_array_equal(read_map(path), values[None])


def test_interlaced_map(tmp_path: Path) -> None:
    # Adam7 of a picture of 2 x 2: pass 1 has (0, 0), pass 6 has (0, 1), pass 7 has row 1.
    path = put(tmp_path, png(2, 2, 8, 0, b"\0\x01\0\x02\0\x03\x04", interlaced=True))
    np.testing.assert_array_equal(read_map(path), [[1, 2], [3, 4]])


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_map_whose_values_would_be_cut_is_an_error(tmp_path: Path, colour: int, channels: int) -> None:
    path = put(tmp_path, png(2, 1, 16, colour, b"\0" + bytes(4 * channels)))
    with pytest.raises(ImageError, match="several channels of 16 bits"):
        read_map(path)


def test_tiff_of_colours_of_16_bits(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.tif"), np.full((2, 3, 3), (65535, 32768, 0), np.uint16))
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.tif")[0, 0], [0, 128, 255])
    with pytest.raises(ImageError, match="several channels of 16 bits"):
        read_map(tmp_path / "a.tif")


def test_map_of_inks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="label map is CMYK"):
        read_map(put(tmp_path, encoded(Image.new("CMYK", (3, 3)), "TIFF")))


# --- anything ----------------------------------------------------------------------------------------------


def _sound_files() -> Iterator[bytes]:
    picture = Image.fromarray(soft_picture(12, 16))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        yield encoded(picture, kind)
    yield encoded(picture.convert("CMYK"), "JPEG")
    yield encoded(picture, "JPEG", progressive=True, exif=_exif(6))
    yield encoded(_palette()[0], "PNG", transparency=1)


def test_changed_bytes_give_a_picture_or_an_image_error(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    outcomes = {"read": 0, "refused": 0}
    for sound in _sound_files():
        for _ in range(40):
            broken = np.frombuffer(sound, np.uint8).copy()
            places = random.integers(0, len(broken), random.integers(1, 5))
            broken[places] = random.integers(0, 256, len(places))
            path = put(tmp_path, broken[: random.integers(len(broken) // 2, 2 * len(broken))].tobytes())
            for read in (read_rgb, read_map):
                try:
                    with warnings.catch_warnings(record=True) as told:
                        values = read(path)
                    assert not told
                    assert values.ndim in (2, 3)
                    outcomes["read"] += 1
                except ImageError:  # noqa: PERF203
                    outcomes["refused"] += 1
    assert min(outcomes.values()) > 100
