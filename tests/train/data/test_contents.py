"""Files are opened only if they are ordinary ones: nothing waits for what may never come."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from argus_edge.errors import DatasetError, ImageError
from argus_edge.train.data.contents import open_ordinary, read_ordinary
from argus_edge.train.data.images import read_map, read_rgb, read_size
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.coco_files import read_annotations
from argus_edge.train.data.readers.files import read_names, read_text
from argus_edge.train.data.readers.listed import BrokenFile
from argus_edge.train.data.readers.maps import read_numpy
from argus_edge.train.data.readers.matlab import read_variable
from argus_edge.train.data.readers.table import open_data

TOO_LONG = 20  # [s]: what waits, waits for ever


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Ends a test that waits."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TOO_LONG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (read_rgb, ImageError),
        (read_map, ImageError),
        (read_size, ImageError),
        (lambda path: read_variable(path, "depth"), ImageError),
        (lambda path: read_numpy(path.parent, path), BrokenFile),
        (read_text, DatasetError),
        (read_names, DatasetError),
        (read_annotations, DatasetError),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_readers_refuse_what_is_no_ordinary_file(
    pipe: Path, read: Callable[[Path], Any], error: type[Exception], kind: str
) -> None:
    path = {"pipe": pipe, "folder": pipe.parent, "device": Path("/dev/zero")}[kind]
    if kind == "device" and read.__name__ == "<lambda>":
        path = pipe.parent / "zero"
        path.symlink_to("/dev/zero")
    with pytest.raises(error, match="expected a file; it is a folder, or no ordinary file"):
        read(path)


def test_a_data_set_with_pipes_is_read(tmp_path: Path) -> None:
    for folder in ("images", "depth", "normals"):
        (tmp_path / folder).mkdir()
    (tmp_path / "gt_sets").mkdir()
    (tmp_path / "gt_sets/val.txt").write_text("1\n2\n")
    Image.new("RGB", (640, 480)).save(tmp_path / "images/1.png")
    os.mkfifo(tmp_path / "images/2.png")
    os.mkfifo(tmp_path / "depth/1.mat")
    os.mkfifo(tmp_path / "normals/1.npy")
    problems = Problems()
    images = open_data(f"nyuv2:{tmp_path}", "val", ("depth", "normal"), problems)
    images.metrics["depth"].make(())
    assert [images[index] is None for index in range(2)] == [False, True]
    assert all("ordinary file" in p.what or "No such file" in p.what for p in problems)
    assert problems.count("image") == 1


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    assert read_ordinary(path, 5) == b"12345"
    with pytest.raises(OSError, match="expected at most 4 bytes, got 5"):
        read_ordinary(path, 4)
    with pytest.raises(OSError, match="No such file"):
        open_ordinary(tmp_path / "none", 4)


def test_sizes_are_those_of_upright_pictures(tmp_path: Path) -> None:
    exif = Image.Exif()
    for orientation in (1, 3, 6):
        exif[0x0112] = orientation
        Image.new("RGB", (5, 3)).save(tmp_path / "a.jpg", exif=exif)
        assert read_size(tmp_path / "a.jpg") == read_rgb(tmp_path / "a.jpg").shape[:2]
    with pytest.raises(ImageError, match="not a picture"):
        read_size(Path(__file__))
