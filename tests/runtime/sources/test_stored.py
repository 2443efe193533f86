"""Frames from every kind of source, RGB and upright; what cannot be read is named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import ImageError, SourceError
from argus_edge.runtime.sources import open_source, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _plain(color: tuple[int, int, int], height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), color, np.uint8)


def _write(path: Path, image: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def _write_video(path: Path, colors: list[tuple[int, int, int]], rate: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (48, 32))
    for color in colors:
        writer.write(cv2.cvtColor(_plain(color), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "ünï cödé.png"])
def test_an_image_is_one_rgb_frame(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, _plain(RED))
    with open_source(str(path)) as source:
        assert (source.kind, source.count, source.frame_rate) == ("image", 1, None)
        (frame,) = source
    assert (frame.index, frame.name, frame.time) == (0, name, None)
    assert frame.image.shape == (32, 48, 3)
    np.testing.assert_allclose(frame.image, _plain(RED), atol=2)


def test_an_image_is_known_by_its_content_when_its_name_says_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.png", _plain(BLUE)).rename(tmp_path / "frame")
    with open_source(path) as source:
        assert source.kind == "image"


def test_grey_deep_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    images: dict[str, NDArray[Any]] = {
        "grey.png": np.full((8, 9), 200, np.uint8),
        "deep.png": np.full((8, 9, 3), 200 * 257, np.uint16),
        "alpha.png": np.full((8, 9, 4), 200, np.uint8),
    }
    for name, array in images.items():
        assert cv2.imwrite(str(tmp_path / name), array)
        image = read_image(tmp_path / name)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.full((8, 9, 3), 200, np.uint8))


def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    """Orientation 6: the camera lay on its side, a viewer turns the picture by 90 degrees clockwise."""
    image = np.concatenate([_plain(RED, 32, 48), _plain(BLUE, 32, 48)], axis=1)  # red left, blue right
    plain = _write(tmp_path / "plain.jpg", image).read_bytes()
    entry = bytes.fromhex("0112 0003 00000001 0006 0000")  # tag 0x112, SHORT, 1 value: 6
    tiff = b"MM" + bytes.fromhex("002a 00000008 0001") + entry + bytes(4)
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "turned.jpg").write_bytes(plain[:2] + segment + plain[2:])
    turned = read_image(tmp_path / "turned.jpg")
    assert turned.shape == (96, 32, 3)
    assert turned[10, 16, 0] > 200  # red on top
    assert turned[85, 16, 2] > 200


def test_a_folder_gives_its_images_by_name_and_leaves_out_the_broken(tmp_path: Path) -> None:
    _write(tmp_path / "b.png", _plain(BLUE))
    _write(tmp_path / "a.png", _plain(RED))
    (tmp_path / "aa.jpg").write_bytes(b"not an image")
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not meant as an image")
    (tmp_path / "sub").mkdir()
    skipped: list[str] = []
    with open_source(tmp_path, on_skip=lambda error: skipped.append(str(error))) as source:
        assert (source.kind, source.count) == ("folder", 4)
        frames = list(source)
    assert [(frame.index, frame.name) for frame in frames] == [(0, "a.png"), (1, "b.png")]
    assert len(skipped) == 2
    assert "aa.jpg: not an image" in skipped[0]
    assert "c.png: the file is empty" in skipped[1]
    with open_source(tmp_path) as source, pytest.raises(ImageError, match=r"aa\.jpg"):
        list(source)


def test_a_video_gives_rgb_frames_with_their_times(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "clip.mp4", [RED] * 5 + [BLUE] * 5)
    with open_source(path) as source:
        assert (source.kind, source.count, source.frame_rate) == ("video", 10, 10.0)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[3].name == "000003"
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(10)])
    assert frames[2].image[16, 24].argmax() == 0
    assert frames[8].image[16, 24].argmax() == 2


def test_arrays_come_as_they_are() -> None:
    images = [_plain(RED), _plain(BLUE, 8, 9)]
    with open_source(images) as source:
        assert (source.kind, source.count) == ("arrays", 2)
        for frame, image in zip(source, images, strict=True):
            assert frame.image is image
    with open_source(image for image in images) as source:
        assert source.count is None
        assert [frame.index for frame in source] == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("missing.mp4", None, SourceError, "no such file or folder; expected an image, a folder"),
        ("empty.jpg", b"", SourceError, "empty"),
        ("broken.jpg", b"\xff\xd8\xff\xe0 and no more", ImageError, "not an image"),
        ("text.png", b"hello", ImageError, "not an image"),
        ("text.mp4", b"hello", SourceError, "neither an image nor a video"),
        ("text", b"hello", SourceError, "neither an image nor a video"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], told: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=told) as raised:
        open_source(str(path))
    assert str(path) in str(raised.value)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image in this folder"):
        open_source(tmp_path)
    (tmp_path / "a.png").write_bytes(b"hello")
    with open_source(tmp_path, on_skip=lambda error: None) as source:  # noqa: SIM117
        with pytest.raises(SourceError, match="none of its 1 files"):
            list(source)


def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "clip.mp4", [RED] * 10)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"clip\.mp4: neither"):
        open_source(path)


def test_frames_tell_when_they_were_received(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", _plain(RED))
    clip = _write_video(tmp_path / "clip.mp4", [RED] * 3)
    for given in (tmp_path / "a.png", tmp_path, clip, [_plain(RED)] * 3):
        with open_source(given) as source:
            before = time.monotonic()
            times = [frame.capture_time for frame in source]
        assert before <= times[0]
        assert times == sorted(times)
        assert times[-1] <= time.monotonic()


def test_a_closed_video_says_so(tmp_path: Path) -> None:
    with open_source(_write_video(tmp_path / "clip.mp4", [RED] * 3)) as source:
        pass
    with pytest.raises(SourceError, match=r"clip\.mp4: was closed; open it again"):
        list(source)


@pytest.mark.parametrize("source", ["", "x" * 5000, "9" * 5000, "a\0b", None, 1.5], ids=lambda s: repr(s)[:9])
def test_what_can_be_no_source_is_refused(source: Any) -> None:
    with pytest.raises(SourceError) as raised:
        open_source(source)
    assert len(str(raised.value)) < 500
