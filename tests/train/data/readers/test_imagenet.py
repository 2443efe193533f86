from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from argus_edge.errors import DatasetError
from argus_edge.results import Classification
from argus_edge.train.data.example import truth_of
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import imagenet, open_data
from argus_edge.train.metrics import TASK_METRICS
from tests.train.data.readers.conftest import Save

PICTURE = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, save: Save) -> Path:
    """Three classes to train on, of which one has nothing to validate on."""
    for name in ("n02/b.png", "n02/a.png", "n10/c.png", "n01/d.png"):
        save(tmp_path / "train" / name, PICTURE)
    save(tmp_path / "val" / "n10" / "x.JPEG", np.full((5, 5, 3), 100, np.uint8))
    save(tmp_path / "val" / "n02" / "y.png", PICTURE)
    return tmp_path


def test_classes_are_the_folders_of_all_splits(folder: Path) -> None:
    images = open_data(f"imagenet:{folder}", None, ("cls",), Problems(strict=True))
    images = pickle.loads(pickle.dumps(images))
    assert images.classes == {"cls": ("n01", "n02", "n10")}
    assert [(e.name, e.image_class) for e in images] == [("val/n02/y.png", 1), ("val/n10/x.JPEG", 2)]
    np.testing.assert_array_equal(images[0].image, PICTURE)
    np.testing.assert_allclose(images[1].image, 100, atol=1)
    train = open_data(f"imagenet:{folder}", "train", ("cls",))
    assert [train[i].image_class for i in range(len(train))] == [0, 1, 1, 2]  # type: ignore[union-attr]
    assert train.title == f"ImageNet-style folders train in {folder}: 4 images"


def test_perfect_answers_are_right(folder: Path) -> None:
    images = open_data(f"imagenet:{folder}", "train", ("cls",))
    names = images.classes["cls"]
    metric = TASK_METRICS["cls"].make(names)
    for index in range(len(images)):
        example = images[index]
        assert example is not None
        truth = truth_of("cls", example)
        metric.update(Classification(np.eye(3, dtype=np.float32)[truth], names), truth)
    assert metric.result()["top-1"] == 1


@pytest.mark.parametrize("file", ["LOC_synset_mapping.txt", "classes.txt"])
def test_readable_names(folder: Path, file: str) -> None:
    (folder / file).write_text("n01 tench, Tinca tinca\nn02 crane\n\nn07 not here\nn10 crane\n")
    images = open_data(f"imagenet:{folder}", "val", ("cls",))
    assert images.classes["cls"] == ("tench", "crane (n02)", "crane (n10)")


def test_the_file_of_names_sets_the_order(folder: Path) -> None:
    (folder / "classes.txt").write_text("n10\nn02 two\nn01\n")
    images = open_data(f"imagenet:{folder}", "val", ("cls",))
    assert images.classes["cls"] == ("n10", "two", "n01")
    example = images[0]
    assert example is not None
    assert (example.name, example.image_class) == ("val/n02/y.png", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [("n01 a\nn02 b\n", "not there: n10"), ("n01 a\nn02 b\nn10 c\nn01 d", "n01 is there twice")],
)
def test_files_of_names_that_do_not_fit(folder: Path, text: str, message: str) -> None:
    (folder / "classes.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_data(f"imagenet:{folder}", "val", ("cls",))


def test_folders_with_spaces_and_commas(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "val" / "golden retriever, big" / "a.png", PICTURE)
    images = open_data(f"imagenet:{tmp_path}", "val", ("cls",))
    assert images.classes["cls"] == ("golden retriever, big",)
    (tmp_path / "classes.txt").write_text("golden retriever, big\n")
    assert open_data(f"imagenet:{tmp_path}", "val", ("cls",)).classes["cls"] == ("golden retriever",)


def test_broken_and_stray_pictures(folder: Path, save: Save) -> None:
    (folder / "val" / "n02" / "broken.jpg").write_bytes(b"no picture")
    (folder / "val" / "n02" / "notes.txt").write_text("no picture either")
    save(folder / "val" / "stray.png", PICTURE)
    problems = Problems()
    images = open_data(f"imagenet:{folder}", "val", ("cls",), problems)
    assert [images[i] is None for i in range(len(images))] == [True, False, False]
    assert [problem.path for problem in problems] == ["val/stray.png", "val/n02/broken.jpg"]
    assert problems.count("image") == 2


def test_a_flat_folder_is_refused(tmp_path: Path, save: Save) -> None:
    for number in range(3):
        save(tmp_path / "val" / f"ILSVRC2012_val_{number}.png", PICTURE)
    with pytest.raises(
        DatasetError, match="expected a folder for each class, got none but 3 pictures; move each"
    ):
        open_data(f"imagenet:{tmp_path}", None, ("cls",))


def test_what_is_missing_is_told(folder: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'test'; there: train, val"):
        open_data(f"imagenet:{folder}", "test", ("cls",))
    (folder / "training" / "n01").mkdir(parents=True)
    with pytest.raises(DatasetError, match="expected pictures in the folders of classes, got none"):
        open_data(f"imagenet:{folder}", "training", ("cls",))


def test_published_counts_are_told_of_1000_classes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(997):
        (folder / "train" / f"x{number}").mkdir()
    images = open_data(f"imagenet:{folder}", "val", ("cls",))
    assert len(images.classes["cls"]) == 1000
    assert images.title.endswith(": 2 images (50,000 published)")
    monkeypatch.setitem(imagenet.PUBLISHED, "val", 2)
    assert open_data(f"imagenet:{folder}", "val", ("cls",)).title.endswith(": 2 images (as published)")
