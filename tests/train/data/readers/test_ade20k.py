from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import DatasetError
from argus_edge.train.data.dataset import all_images
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import ade20k, open_data
from argus_edge.train.data.readers.listed import picture
from tests.train.data.readers.conftest import Save

PICTURE = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
MAP = np.array([[0, 1, 2, 3, 3, 0]] * 4, np.uint8)
CLASSES = (
    "Idx\tRatio\tTrain\tVal\tName\n1\t0.5\t9\t1\twall\n2 \t0.3\t9\t1\tbuilding, edifice\n3\t0.2\t9\t1\tcar \n"
)
CATEGORIES = [{"id": 0, "name": "wall", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}]


def entries(*stems: str) -> list[dict[str, Any]]:
    return [{"id": stem, "file_name": f"{stem}.jpg", "height": 4, "width": 6} for stem in stems]


@pytest.fixture
def folder(tmp_path: Path, save: Save) -> Path:
    """Three pictures, the first two with instances, the first and the last with segments."""
    (tmp_path / "objectInfo150.txt").write_text(CLASSES)
    for stem in ("a", "b", "c"):
        # A PNG by content, whatever its name says, so that pixels can be compared.
        png = save(tmp_path / "images" / "validation" / f"{stem}.png", PICTURE)
        png.rename(png.with_suffix(".jpg"))
        save(tmp_path / "annotations" / "validation" / f"{stem}.png", MAP)
    boxes = [
        {"id": n, "image_id": stem, "category_id": 2, "iscrowd": 0, "area": 8, "bbox": [3, 0, 2, 4],
         "segmentation": [[3, 0, 5, 0, 5, 4, 3, 4]]}
        for n, stem in enumerate("ab")
    ]  # fmt: skip
    instances = {"images": entries("b", "a"), "annotations": boxes, "categories": CATEGORIES[1:]}
    (tmp_path / "ade20k_instance_val.json").write_text(json.dumps(instances))
    segments = [{"id": 7, "category_id": 0, "iscrowd": 0}, {"id": 256, "category_id": 2, "iscrowd": 0}]
    maps = [{"image_id": s, "file_name": f"{s}.png", "segments_info": segments} for s in "ac"]
    panoptic = {"images": entries("a", "c"), "annotations": maps, "categories": CATEGORIES}
    (tmp_path / "ade20k_panoptic_val.json").write_text(json.dumps(panoptic))
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[:, 1] = (7, 0, 0)
    colours[:, 3:5] = (0, 1, 0)
    for stem in "ac":
        save(tmp_path / "ade20k_panoptic_val" / f"{stem}.png", colours)
    return tmp_path


def test_maps_are_read_to_the_pixel(folder: Path) -> None:
    images = open_data(f"ade20k:{folder}", None, ("seg",), Problems(strict=True))
    images = pickle.loads(pickle.dumps(images))
    assert images.classes == {"seg": ("wall", "building", "car")}
    assert images.title == f"ADE20K validation in {folder}: seg 3 images (2,000 published)"
    assert [example.name for example in images] == [f"images/validation/{stem}.jpg" for stem in "abc"]
    example = images[0]
    np.testing.assert_array_equal(example.image, PICTURE)
    np.testing.assert_array_equal(example.labels, [[255, 0, 1, 2, 2, 255]] * 4)
    assert (example.objects, example.panoptic) == (None, None)


def test_all_tasks_together(folder: Path) -> None:
    images = open_data(f"ade20k:{folder}", "val", ("pan", "inst", "seg", "depth"), Problems(strict=True))
    images = pickle.loads(pickle.dumps(images))
    assert images.tasks == ("pan", "inst", "seg")
    assert images.classes == {
        "seg": ("wall", "building", "car"), "inst": ("car",), "pan": ("car", "wall")
    }  # fmt: skip
    assert images.title.endswith(
        ": seg 3 images (2,000 published); inst 2 images, 2 with objects (1,353 published); "
        "pan 2 images (1,743 published)"
    )
    a, b, c = list(images)
    assert all(example.labels is not None for example in (a, b, c))
    assert [example.objects is not None for example in (a, b, c)] == [True, True, False]
    assert [example.panoptic is not None for example in (a, b, c)] == [True, False, True]
    (car,) = a.objects
    assert (car.class_id, car.box) == (0, (3, 0, 5, 4))
    np.testing.assert_array_equal(car.mask, np.isin(MAP, 3))
    np.testing.assert_array_equal(a.panoptic.segment_ids, [[0, 7, 0, 256, 256, 0]] * 4)
    assert [(s.id, s.class_id, s.is_thing) for s in a.panoptic.segments] == [(7, 1, False), (256, 0, True)]


@pytest.mark.parametrize(("task", "stems"), [("inst", "ba"), ("pan", "ac")])
def test_instances_or_segments_alone(folder: Path, task: str, stems: str) -> None:
    images = open_data(f"ade20k:{folder}", "validation", (task,), Problems(strict=True))
    assert [example.name[-5] for example in filter(None, all_images(images))] == list(stems)
    assert all(example.labels is None for example in filter(None, all_images(images)))


def test_published_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ade20k, "PUBLISHED", {"seg": (1, 3), "inst": (1, 2), "pan": (1, 2)})
    title = open_data(f"ade20k:{folder}", "val", ("seg", "inst", "pan")).title
    assert title.count("(as published)") == 3


def test_tasks_without_files_are_left_out(folder: Path) -> None:
    (folder / "ade20k_panoptic_val.json").unlink()
    images = open_data(f"ade20k:{folder}", "val", ("seg", "pan"))
    assert (images.tasks, tuple(images.classes)) == (("seg",), ("seg",))
    with pytest.raises(DatasetError, match=r"missing for ADE20K: ade20k_panoptic_val\.json; expected layout"):
        open_data(f"ade20k:{folder}", "val", ("pan",))


def test_an_image_broken_for_one_task_is_left_out_once(folder: Path, save: Save) -> None:
    save(folder / "annotations" / "validation" / "a.png", np.full((4, 6), 4, np.uint8))
    save(folder / "annotations" / "validation" / "b.png", MAP[:3])
    problems = Problems()
    images = open_data(f"ade20k:{folder}", "val", ("seg", "inst", "pan"), problems)
    assert [images[index] is None for index in (0, 1, 2, 0)] == [True, True, False, True]
    assert {problem.path: problem.what for problem in problems} == {
        "annotations/validation/a.png": "label map has the values 4; expected 1 to 3, "
        "and 0 for what is ignored",
        "images/validation/b.jpg": "picture is 4x6 but its annotations are of 3x6",
    }
    assert problems.count("image") == 2


def test_a_picture_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(root: Path, path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        read.append(path.name)
        return picture(root, path, size)

    monkeypatch.setattr(ade20k, "picture", counted)
    images = open_data(f"ade20k:{folder}", "val", ("seg", "inst", "pan"), Problems(strict=True))
    assert images[0] is not None
    assert read == ["a.jpg"]
    assert images[0] is not None  # anew, as nothing is kept
    assert read == ["a.jpg"] * 2


def test_lists_that_size_an_image_differently(folder: Path) -> None:
    file = folder / "ade20k_instance_val.json"
    file.write_text(file.read_text().replace('"height": 4', '"height": 5'))
    problems = Problems()
    images = open_data(f"ade20k:{folder}", "val", ("seg", "inst"), problems)
    assert images[0] is None
    assert [str(problem) for problem in problems] == [
        "images/validation/a.jpg: the maps and the files of instances and segments differ in its size"
    ]


def test_a_listed_picture_that_is_missing(folder: Path) -> None:
    (folder / "images" / "validation" / "b.jpg").unlink()
    problems = Problems()
    images = open_data(f"ade20k:{folder}", "val", ("seg", "inst"), problems)
    assert [images[index] is None for index in range(len(images))] == [False, False, True]
    assert {(problem.path, problem.lost) for problem in problems} == {
        ("annotations/validation/b.png", "annotation"),
        ("images/validation/b.jpg", "image"),
    }


def test_what_is_missing_is_told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(DatasetError, match="missing for ADE20K: images; expected layout: images/"):
        open_data(f"ade20k:{tmp_path_factory.mktemp('empty')}", None, ("seg",))
    with pytest.raises(DatasetError, match="no split 'train'; there: validation"):
        open_data(f"ade20k:{folder}", "train", ("seg",))
    (folder / "images" / "training").mkdir()
    with pytest.raises(
        DatasetError, match=r"missing for ADE20K: annotations/training, ade20k_instance_train\.json;"
    ):
        open_data(f"ade20k:{folder}", "train", ("seg", "inst"))
    (folder / "objectInfo150.txt").unlink()
    with pytest.raises(DatasetError, match=r"missing for ADE20K: objectInfo150\.txt"):
        open_data(f"ade20k:{folder}", None, ("seg",))


def test_both_forms_of_the_table_of_classes(folder: Path) -> None:
    (folder / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\r\n"
        "1\t1\t2\t3\t1\tscreen, silver screen\r\n2\t1\t2\t3\t0\tscreen\r\n"
        "3\t1\t2\t3\t0\tcar\r\n"
    )
    images = open_data(f"ade20k:{folder}", None, ("seg",))
    assert images.classes["seg"] == ("screen (1)", "screen (2)", "car")


@pytest.mark.parametrize(
    "text",
    ["", "Idx\tName", "wall\nbuilding", "Idx\tName\n2\ta\n1\tb", "Idx\tName\n1\t", "Idx\tName\n1\ta\n1\tb"],
)
def test_broken_tables_of_classes(folder: Path, text: str) -> None:
    (folder / "objectInfo150.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"objectInfo150\.txt: expected columns Idx and Name"):
        open_data(f"ade20k:{folder}", None, ("seg",))
