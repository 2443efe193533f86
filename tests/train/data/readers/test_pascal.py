from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from argus_edge.errors import DatasetError
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import open_data
from argus_edge.train.data.scenes import PART_CLASSES

TASKS: Final = ("parse", "sal", "edge", "seg")
SHAPE: Final = (20, 30)
PERSON, DOG = 15, 12

# Parts of a person as ASTMT puts them together, side by side.
GROUPS: Final = {
    "head": ["head", "hair", "lear", "rear", "leye", "reye", "lebrow", "rebrow", "nose", "mouth"],
    "torso": ["torso", "neck"],
    "upper arm": ["luarm", "ruarm"],
    "lower arm": ["llarm", "rlarm", "lhand", "rhand"],
    "upper leg": ["luleg", "ruleg"],
    "lower leg": ["llleg", "rlleg", "lfoot", "rfoot"],
}

Mask = NDArray[np.uint8]
Parts = list[tuple[str, Mask]]


def column(first: int, last: int | None = None, shape: tuple[int, int] = SHAPE) -> Mask:
    """A mask with the columns from `first` to before `last`."""
    mask = np.zeros(shape, np.uint8)
    mask[:, first : first + 1 if last is None else last] = 1
    return mask


def structs(rows: list[tuple[Any, ...]], *fields: str) -> NDArray[Any]:
    """A struct array (1, N) as MATLAB has it; without rows the empty array that it writes then."""
    if not rows:
        return np.zeros((0, 0))
    array = np.zeros((1, len(rows)), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = row
    return array


def write_parts(path: Path, *objects: tuple[int, Mask, Parts]) -> None:
    """A file as PASCAL-Part has it."""
    names = {PERSON: "person", DOG: "dog"}
    rows = [
        (names[class_id], class_id, mask, structs(list(parts), "part_name", "mask"))
        for class_id, mask, parts in objects
    ]
    things = structs(rows, "class", "class_ind", "mask", "parts")
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"anno": structs([(path.stem, things)], "imname", "objects")}, do_compression=True)


def write(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def saliency_values() -> Mask:
    values = np.zeros(SHAPE, np.uint8)
    values[:, 5:10], values[:, 10:12], values[:, 12:] = 255, 127, 128
    return values


def context() -> NDArray[np.uint16]:
    """Two regions that meet between the columns 14 and 15."""
    classes = np.full(SHAPE, 360, np.uint16)
    classes[:, 15:] = 187
    return classes


def expected_parts() -> Mask:
    """Of the image "2008_2"."""
    parts = np.zeros(SHAPE, np.uint8)
    parts[:, 0:3], parts[:, 3:5], parts[:, 7:9] = 1, 2, 6
    return parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """PASCAL_MT with four images in val: a dog; people; a person without parts; nothing."""
    root = tmp_path / "PASCAL_MT"
    names = ("2008_1", "2008_2", "2008_3", "2008_4")
    for name in names:
        write(root / f"JPEGImages/{name}.jpg", np.full((*SHAPE, 3), 90, np.uint8))
        write(root / f"sal_distill/{name}.png", saliency_values())
        write(root / f"semseg/VOC12/{name}.png", np.where(column(3) > 0, 255, 15).astype(np.uint8))
        path = root / f"pascal-context/trainval/{name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"LabelMap": context()})
    parts = root / "human_parts"
    dog = (DOG, column(0, 9), [("torso", column(0, 9))])
    first = (PERSON, column(0, 6), [("torso", column(0, 5)), ("hair", column(0, 3))])
    second = (PERSON, column(7, 11), [("lfoot", column(7, 9))])
    write_parts(parts / "2008_1.mat", dog)
    write_parts(parts / "2008_2.mat", first, dog, second)
    write_parts(parts / "2008_3.mat", (PERSON, column(0, 6), []))
    write_parts(parts / "2008_4.mat")
    write_lines(root / "ImageSets/Context/val.txt", *names)
    return root


def open_all(root: Path, tasks: tuple[str, ...] = TASKS) -> LabelledImages:
    return open_data(f"pascal:{root}", "val", tasks)


def names_of(images: LabelledImages) -> list[str]:
    examples = [images[i] for i in range(len(images))]
    return [Path(example.name).stem for example in examples if example is not None]


def check_people(example: Example | None) -> None:
    assert example is not None
    assert example.name == "JPEGImages/2008_2.jpg"
    assert np.abs(example.image.astype(int) - 90).max() <= 2  # JPEG
    assert example.parts is not None
    assert example.parts.dtype == np.uint8
    np.testing.assert_array_equal(example.parts, expected_parts())


def test_a_folder_is_read_to_the_pixel(folder: Path) -> None:
    images = pickle.loads(pickle.dumps(open_all(folder)))
    assert images.title == f"PASCAL_MT val in {folder}: 4 images (5,105 published)"
    assert images.tasks == TASKS
    assert images.classes["parse"] == PART_CLASSES
    assert (len(images.classes["seg"]), images.classes["seg"][PERSON]) == (21, "person")
    check_people(images[1])
    for i in range(4):
        example = images[i]
        assert (example.parts is None) == (i != 1)
        salient = np.zeros(SHAPE, np.uint8)
        salient[:, 5:10], salient[:, 12:] = 1, 1
        np.testing.assert_array_equal(example.saliency, salient)
        np.testing.assert_array_equal(example.labels, np.where(column(3) > 0, 255, 15))
    assert len(images.problems) == 0
    with pytest.raises(IndexError):
        images[4]


def test_boundaries_are_thin_lines_where_classes_change(folder: Path) -> None:
    images = open_all(folder, ("edge",))
    example = images[0]
    assert example is not None
    assert example.edges is not None
    assert example.edges.dtype == np.uint8
    assert not np.delete(example.edges, (14, 15), axis=1).any()
    assert (example.edges[1:-1, 14:16].sum(axis=1) == 1).all()
    assert set(np.unique(example.edges)) == {0, 1}
    assert "within 0.0075" in images.metrics["edge"].make(()).protocol


def test_published_protocols(folder: Path) -> None:
    from argus_edge.train.metrics import TASK_METRICS

    assert set(open_all(folder).metrics) == {"edge"}
    assert TASK_METRICS["sal"].make(()).protocol.startswith("maxF as ATRC")


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_parts_are_put_together(folder: Path, name: str) -> None:
    parts = [(part, column(i)) for i, part in enumerate(GROUPS[name])]
    write_parts(folder / "human_parts/2008_2.mat", (PERSON, column(0, 30), parts))
    example = open_all(folder, ("parse", "sal"))[1]
    assert example is not None
    expected = np.zeros(SHAPE, np.uint8)
    expected[:, : len(parts)] = PART_CLASSES.index(name)
    np.testing.assert_array_equal(example.parts, expected)


def test_all_parts_of_pascal_part_are_known() -> None:
    assert sum(map(len, GROUPS.values())) == 24
    assert ("background", *GROUPS) == PART_CLASSES


def test_parse_alone_lists_images_with_people(folder: Path) -> None:
    images = open_all(folder, ("parse",))
    assert names_of(images) == ["2008_2", "2008_3"]
    assert images.title.endswith(": 2 images (1,853 published)")
    check_people(images[0])
    nobody = images[1]
    assert nobody is not None
    assert nobody.parts is None
    (folder / "human_parts/2008_1.mat").write_bytes(b"broken")
    images = open_all(folder, ("parse",))
    assert names_of(images) == ["2008_1", "2008_2", "2008_3"]
    assert [(p.path, p.lost) for p in images.problems] == [("human_parts/2008_1.mat", "annotation")]


def test_a_list_tells_who_shows_people(folder: Path) -> None:
    listed = folder / "ImageSets/Parts/val.txt"
    write_lines(listed, "2008_3", "2008_2", "2009_9")
    assert names_of(open_all(folder, ("parse",))) == ["2008_2", "2008_3"]
    objects = {"2008_1": [12], "2008_2": [15, 12, 15], "2008_3": [-1], "2008_4": []}
    listed.write_text(json.dumps(objects))
    assert names_of(open_all(folder, ("parse",))) == ["2008_2"]
    assert len(open_all(folder, ("parse", "sal"))) == 4
    listed.write_text('{"2008_1": 15}')
    with pytest.raises(DatasetError, match=r"Parts/val\.txt: expected names, one a line, or JSON"):
        open_all(folder, ("parse",))
    listed.write_text("{" * 100_000)
    with pytest.raises(DatasetError, match="or JSON"):
        open_all(folder, ("parse",))
    write_lines(listed, "2009_9")
    with pytest.raises(DatasetError, match="no image of the split shows people"):
        open_all(folder, ("parse",))


@pytest.mark.parametrize(
    ("count", "told"), [(1_853, "as published"), (1_817, "as published"), (9, "1,853 published")]
)
def test_both_published_counts_of_people_are_known(folder: Path, count: int, told: str) -> None:
    names = [f"2010_{i}" for i in range(count)]
    write_lines(folder / "ImageSets/Context/val.txt", *names)
    write_lines(folder / "ImageSets/Parts/val.txt", *names)
    assert open_all(folder, ("parse",)).title.endswith(f": {count:,} images ({told})")
    assert open_all(folder, ("sal",)).title.endswith("(5,105 published)")


def test_parts_as_pictures(folder: Path) -> None:
    parts = expected_parts()
    parts[0, 20] = 255
    write(folder / "human_parts_png/2008_1.png", np.zeros(SHAPE, np.uint8))
    write(folder / "human_parts_png/2008_2.png", parts)
    for name in ("3", "4"):
        write(folder / f"human_parts_png/2008_{name}.png", expected_parts())
    (folder / "human_parts").rename(folder / "not_human_parts")
    images = open_all(folder, ("parse",))
    assert names_of(images) == ["2008_2", "2008_3", "2008_4"]
    example = images[0]
    assert example is not None
    np.testing.assert_array_equal(example.parts, parts)
    example = open_all(folder, ("parse", "sal"))[0]
    assert example is not None
    assert example.parts is None
    parts[0, 0] = 7
    write(folder / "human_parts_png/2008_2.png", parts)
    images = open_all(folder, ("parse", "sal"))
    example = images[1]
    assert example is not None
    assert example.parts is None
    assert "has the values 7; expected 0 to 6, and 255 for what is ignored" in str(
        next(iter(images.problems))
    )


def test_maps_of_0_and_1_are_salient_at_1(folder: Path) -> None:
    write(folder / "sal_distill/2008_1.png", column(4))
    write(folder / "sal_distill/2008_2.png", np.zeros(SHAPE, np.uint8))
    images = open_all(folder, ("sal",))
    found = [images[i] for i in range(2)]
    for example, expected in zip(found, (column(4), column(0, 0)), strict=True):
        assert example is not None
        assert example.saliency is not None
        np.testing.assert_array_equal(example.saliency, expected)


def test_classes_of_context_where_voc_has_none(folder: Path) -> None:
    (folder / "semseg/VOC12/2008_1.png").unlink()
    write(folder / "semseg/pascal-context/2008_1.png", np.full(SHAPE, 20, np.uint8))
    example = open_all(folder, ("seg",))[0]
    assert example is not None
    assert example.labels is not None
    assert (example.labels == 20).all()


def save(path: Path, **variables: Any) -> None:
    scipy.io.savemat(path, variables)


def with_part(path: Path, name: str, mask: Mask) -> None:
    write_parts(path, (PERSON, column(0, 6), [("torso", column(0, 5)), (name, mask)]))


MAT = "human_parts/2008_2.mat"
DEFECTS: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("parts", MAT, Path.unlink, "No such file"),
    ("parts", MAT, lambda p: p.write_bytes(p.read_bytes()[:200]), "cut off or broken"),
    ("parts", MAT, lambda p: p.write_bytes(b""), "not a MATLAB file"),
    ("parts", MAT, lambda p: save(p, other=1), "expected a variable 'anno'"),
    ("parts", MAT, lambda p: save(p, anno=np.ones((2, 2))), "expected objects and parts as PASCAL-Part"),
    ("parts", MAT, lambda p: save(p, anno={"imname": "2008_2"}), "expected objects and parts"),
    ("parts", MAT, lambda p: save(p, anno={"objects": {"class_ind": 15}}), "expected objects and parts"),
    ("parts", MAT, lambda p: with_part(p, "wing", column(2)), "has the part 'wing' of a person"),
    ("parts", MAT, lambda p: with_part(p, "hair", column(2, shape=(19, 30))), "all of one size"),
    ("parts", MAT, lambda p: write_parts(p, (PERSON, column(0)[:9], [("hair", column(0)[:9])])), "is 9x30"),
    ("saliency", "sal_distill/2008_2.png", Path.unlink, "No such file"),
    ("saliency", "sal_distill/2008_2.png", lambda p: write(p, np.zeros((*SHAPE, 3), np.uint8)), "colours"),
    ("saliency", "sal_distill/2008_2.png", lambda p: write(p, context()), "expected a grey picture of 8"),
    ("saliency", "sal_distill/2008_2.png", lambda p: write(p, saliency_values()[1:]), "is 19x30 but"),
    ("labels", "semseg/VOC12/2008_2.png", lambda p: write(p, column(3) * np.uint8(21)), "the values 21"),
    (
        "edges",
        "pascal-context/trainval/2008_2.mat",
        lambda p: save(p, LabelMap=np.full(SHAPE, 0.5)),
        "expected a map .* of whole numbers",
    ),
    ("edges", "pascal-context/trainval/2008_2.mat", lambda p: save(p, Label=1), "a variable 'LabelMap'"),
]


@pytest.mark.parametrize(("field", "name", "harm", "what"), DEFECTS)
def test_a_broken_label_is_left_out_and_told_of(
    folder: Path, field: str, name: str, harm: Callable[[Path], object], what: str
) -> None:
    harm(folder / name)
    images = open_all(folder)
    example = images[1]
    assert images[1] is not None  # again: it counts once
    (problem,) = images.problems
    assert (problem.path, problem.lost) == (name, "annotation")
    assert re.search(what, problem.what)
    for other in ("parts", "saliency", "edges", "labels"):
        assert (getattr(example, other) is None) == (other == field)
    with pytest.raises(DatasetError, match=what):
        open_data(f"pascal:{folder}", "val", TASKS, Problems(strict=True))[1]


def test_images_that_cannot_be_used_are_none(folder: Path) -> None:
    (folder / "JPEGImages/2008_1.jpg").unlink()
    write_lines(folder / "ImageSets/Context/val.txt", "2008_1", "../../secret", "2008_2")
    for tasks in (TASKS, ("parse",)):
        images = open_all(folder, tasks)
        examples = [images[i] for i in range(len(images))]
        assert [example is None for example in examples[-2:]] == [True, False]
        check_people(examples[-1]) if "parse" in tasks else None
        assert "leaves the folder" in list(images.problems)[-1].what
        assert {problem.lost for problem in images.problems} == {"image"}
        assert len(images.problems) == examples.count(None)


def test_what_is_missing_is_named_at_once(folder: Path) -> None:
    for name in ("sal_distill", "human_parts", "semseg", "JPEGImages"):
        (folder / name).rename(folder / f"not_{name}")
    expected = "missing for PASCAL_MT: JPEGImages, human_parts, sal_distill; expected layout: PASCAL_MT:"
    with pytest.raises(DatasetError, match=expected):
        open_all(folder)
    with pytest.raises(DatasetError, match="JPEGImages, semseg"):
        open_all(folder, ("seg",))
    (folder / "not_JPEGImages").rename(folder / "JPEGImages")
    assert open_all(folder, ("edge", "seg")).tasks == ("edge",)
    with pytest.raises(DatasetError, match="no split 'test'; there: val"):
        open_data(f"pascal:{folder}", "test", ("edge",))
    with pytest.raises(DatasetError, match="ImageSets/Context"):
        open_all(folder.parent)
