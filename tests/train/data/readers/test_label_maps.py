from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from argus_edge.errors import DatasetError
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import open_data
from tests.train.data.readers.conftest import Save

PICTURE = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
MAP = np.array([[0, 1, 2, 255, 3, 0]] * 4, np.uint8)
NAMES = "sky,road,car"


def write(folder: Path, save: Save, stem: str = "a", values: np.ndarray = MAP, maps: str = "labels") -> None:
    save(folder / "images" / "val" / f"{stem}.png", PICTURE)
    save(folder / maps / "val" / f"{stem}.png", values)


@pytest.mark.parametrize("maps", ["labels", "masks", "annotations"])
def test_a_pair_is_read_to_the_pixel(tmp_path: Path, save: Save, maps: str) -> None:
    write(tmp_path, save, maps=maps)
    problems = Problems(strict=True)
    images = pickle.loads(pickle.dumps(open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg", "det"), problems)))
    assert (len(images), images.tasks, images.classes) == (1, ("seg",), {"seg": ("sky", "road", "car")})
    assert images.title == f"label maps val in {tmp_path}: 1 images"
    example = images[0]
    assert example.name == "images/val/a.png"
    np.testing.assert_array_equal(example.image, PICTURE)
    np.testing.assert_array_equal(example.labels, [[0, 1, 2, 255, 255, 0]] * 4)
    assert example.labels.dtype == np.uint8
    with pytest.raises(IndexError):
        images[1]


def test_names_from_files(tmp_path: Path, save: Save) -> None:
    write(tmp_path, save)
    (tmp_path / "classes.json").write_text('{"names": ["sky", "road", "car", "tree"], "ignore": [2]}')
    images = open_data(f"maps:{tmp_path}", "valid", ("seg",))
    assert images.classes["seg"] == ("sky", "road", "car", "tree")
    example = images[0]
    assert example is not None
    assert example.labels is not None
    assert example.labels[0].tolist() == [0, 1, 255, 255, 3, 0]
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert open_data(f"maps:{tmp_path}", "val", ("seg",)).classes["seg"] == ("a", "b", "c")
    given = open_data(f"maps:{tmp_path}#x, y,z", "val", ("seg",))
    assert given.classes["seg"] == ("x", "y", "z")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (
            np.full((4, 6), 5, np.uint8),
            "label map has the values 5; expected 0 to 2, and 3, 255 for what is ignored",
        ),
        (np.full((4, 6), 1000, np.uint16), "label map has the values 1000;"),
        (np.arange(24, dtype=np.uint8).reshape(4, 6), "label map has the values 4, 5, 6, 7, 8, ...;"),
        (np.zeros((4, 6, 3), np.uint8), "label map has colours; expected one whole number per pixel"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path: Path, save: Save, values: np.ndarray, what: str) -> None:
    write(tmp_path, save, "bad", values)
    write(tmp_path, save, "good")
    problems = Problems()
    images = open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",), problems)
    assert [images[0], images[0]] == [None, None]
    assert images[1] is not None
    (problem,) = problems
    assert problem.path == "labels/val/bad.png"
    assert problem.what.startswith(what)
    assert problem.lost == "image"
    with pytest.raises(DatasetError, match=r"labels/val/bad\.png"):
        open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",), Problems(strict=True))[0]


def test_pictures_that_cannot_be_used(tmp_path: Path, save: Save) -> None:
    for stem in ("cut", "no_map", "size", "twice"):
        write(tmp_path, save, stem)
    pictures = tmp_path / "images" / "val"
    cut = (pictures / "cut.png").read_bytes()
    (pictures / "cut.png").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "labels" / "val" / "no_map.png").unlink()
    save(pictures / "size.png", PICTURE[:3])
    save(pictures / "twice.jpg", PICTURE)
    save(tmp_path / "labels" / "val" / "no_picture.png", MAP)
    problems = Problems()
    images = open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",), problems)
    assert [problem.path for problem in problems] == ["images/val/twice.png", "labels/val/no_picture.png"]
    assert [example is not None for example in (images[i] for i in range(len(images)))] == [False] * 3 + [
        True
    ]
    found = {problem.path: problem.what for problem in problems}
    assert "cut off" in found["images/val/cut.png"]
    assert found["images/val/no_map.png"] == "no label map of this name in labels/val"
    assert found["images/val/size.png"] == "picture is 3x6 but its annotations are of 4x6"
    assert (problems.count("image"), problems.count("annotation")) == (4, 1)


def test_a_picture_on_its_side_is_turned_as_its_map_is(tmp_path: Path, save: Save) -> None:
    write(tmp_path, save)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PICTURE)).save(tmp_path / "images" / "val" / "a.png", exif=exif)
    example = open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",))[0]
    assert example is not None
    np.testing.assert_array_equal(example.image, PICTURE)


def test_names_that_are_no_text(tmp_path: Path, save: Save) -> None:
    write(tmp_path, save, os.fsdecode(b"caf\xe9"))
    images = open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",), Problems(strict=True))
    example = images[0]
    assert example is not None
    assert example.name == "images/val/caf\\xe9.png"


def test_a_folder_with_a_hash_in_its_name(tmp_path: Path, save: Save) -> None:
    folder = tmp_path / "set#2"
    write(folder, save)
    assert len(open_data(f"maps:{folder}#{NAMES}", None, ("seg",))) == 1
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    assert len(open_data(f"maps:{folder}", None, ("seg",))) == 1


def test_what_is_missing_is_told(tmp_path: Path, save: Save) -> None:
    with pytest.raises(DatasetError, match="missing for label maps: images, labels; expected layout"):
        open_data(f"maps:{tmp_path}#{NAMES}", None, ("seg",))
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        open_data(f"maps:{tmp_path}/nowhere#{NAMES}", None, ("seg",))
    write(tmp_path, save)
    with pytest.raises(DatasetError, match="no split 'test'; there: val"):
        open_data(f"maps:{tmp_path}#{NAMES}", "test", ("seg",))
    with pytest.raises(DatasetError, match=r"nothing names its classes; .*classes\.txt.*#sky,road,car"):
        open_data(f"maps:{tmp_path}", None, ("seg",))
    (tmp_path / "images" / "train").mkdir()
    with pytest.raises(DatasetError, match="missing for label maps: labels/train"):
        open_data(f"maps:{tmp_path}#{NAMES}", "train", ("seg",))
    (tmp_path / "labels" / "train").mkdir()
    with pytest.raises(DatasetError, match=r"images/train and .*labels/train: expected pictures, and maps"):
        open_data(f"maps:{tmp_path}#{NAMES}", "train", ("seg",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected names of classes"),
        ('{"names": [1]}', "expected names of classes"),
        ('{"names": ["a", "a"]}', "a are there twice"),
        ('{"names": ["a"], "ignore": "x"}', "expected whole numbers to ignore"),
        ("[" * 100_000, "expected JSON"),
        (
            str([str(number) for number in range(256)]).join(('{"names": ', "}")).replace("'", '"'),
            "at most 255",
        ),
    ],
)
def test_broken_files_of_names(tmp_path: Path, save: Save, text: str, message: str) -> None:
    write(tmp_path, save)
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_data(f"maps:{tmp_path}", None, ("seg",))
