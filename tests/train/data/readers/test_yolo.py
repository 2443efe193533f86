"""YOLO's layout: what is read from good files, and what is said about bad ones."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from argus_edge.errors import DatasetError
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.listed import ListedImages
from argus_edge.train.data.readers.table import open_data
from argus_edge.train.data.readers.yolo import YoloImage, open_yolo

HEIGHT, WIDTH = 12, 16
NAMES = "names: [cup, person]\n"
OUTLINE = "1 0.125 0.25 0.375 0.25 0.375 0.75 0.125 0.75"  # columns 2 to 5, rows 3 to 8
BOX = "0 0.25 0.5 0.25 0.5"  # xyxy 2, 3, 6, 9


def picture(path: Path, seed: int = 0) -> NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "PNG")
    return image


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def one_picture(root: Path, *lines: str, yaml: str = NAMES) -> None:
    text(root / "data.yaml", yaml)
    picture(root / "images/val/a.png")
    text(root / "labels/val/a.txt", *lines)


def opened(root: Path, *tasks: str, split: str = "val") -> ListedImages[YoloImage]:
    return open_yolo(root, split, tasks, Problems())


def noted(images: ListedImages[YoloImage]) -> list[str]:
    """Reads everything twice; the problems."""
    for index in (*range(len(images)), *range(len(images))):
        images[index]
    return [str(problem) for problem in images.problems]


def test_boxes_and_outlines_are_read(tmp_path: Path) -> None:
    one_picture(tmp_path, BOX, "", "1 0 0.5 0.25 1", OUTLINE)
    image = picture(tmp_path / "images/val/a.png", 3)
    data = opened(tmp_path, "det", "inst", "pose")
    assert (data.tasks, len(data)) == (("det", "inst"), 1)
    assert data.classes == {"det": ("cup", "person"), "inst": ("cup", "person")}
    assert data.title == f"YOLO val in {tmp_path}: 1 images"
    example = data[0]
    assert example is not None
    assert example.name == "images/val/a.png"
    np.testing.assert_array_equal(example.image, image)
    assert example.objects is not None
    box, cut, outline = example.objects
    assert (box.class_id, box.box, box.area, box.mask, box.keypoints) == (0, (2, 3, 6, 9), 24, None, None)
    assert (cut.class_id, cut.box, cut.area) == (1, (0, 0, 2, 12), 24)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:9, 2:6] = True
    assert (outline.class_id, outline.box, outline.area) == (1, (2, 3, 6, 9), 24)
    np.testing.assert_array_equal(outline.mask, mask)
    assert noted(data) == [
        f"labels/val/a.txt, line {line}: it has no outline; its box stays" for line in (1, 3)
    ]
    truth = example.instances()
    assert truth.crowds is not None
    assert truth.crowds.tolist() == [True, True, False]
    assert [np.count_nonzero(m) for m in truth.masks] == [24, 24, 24]


def test_without_masks_the_area_is_that_of_the_mask_not_made(tmp_path: Path) -> None:
    one_picture(tmp_path, "0 0 0 0.5 0 0 0.5")
    example, masked = opened(tmp_path, "det")[0], opened(tmp_path, "inst")[0]
    assert example is not None
    assert masked is not None
    (item,), (same,) = example.objects or (), masked.objects or ()
    assert same.mask is not None
    assert (item.box, item.area) == ((0, 0, 8, 6), int(same.mask.sum()))
    assert item.mask is None
    assert (same.box, same.area) == (item.box, item.area)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_keypoints_are_moved_to_pixel_centres(tmp_path: Path, dimensions: int) -> None:
    points = [(0.5, 0.25), (1, 1), (0, 0), *[(0.25, 0.5)] * 14]
    told = [f"{x} {y}" + f" {i % 3}" * (dimensions == 3) for i, (x, y) in enumerate(points)]
    yaml = f"{NAMES}kpt_shape: [17, {dimensions}]\n"
    one_picture(tmp_path, " ".join(["1 0.25 0.5 0.25 0.5", *told]), BOX, yaml=yaml)
    data = opened(tmp_path, "pose")
    assert data.classes == {"pose": KEYPOINT_NAMES}
    example = data[0]
    assert example is not None
    person, other = example.objects or ()
    assert person.keypoints is not None
    expected = [(7.5, 2.5, 2), (15.5, 11.5, 2), (0, 0, 0), (3.5, 5.5, 2)]
    if dimensions == 3:
        expected = [(0, 0, 0), (15.5, 11.5, 1), (-0.5, -0.5, 2), (0, 0, 0)]
    np.testing.assert_array_equal(person.keypoints[:4], expected)
    assert person.box == (2, 3, 6, 9)
    assert person.area == 24
    np.testing.assert_allclose(example.people().areas, [24 * 0.53] * 2)
    assert data.title.endswith(": 1 images, area of people by that of their boxes, times 0.53")
    assert person.keypoints.dtype == np.float32
    np.testing.assert_array_equal(other.keypoints, np.zeros((17, 3)))
    assert noted(data) == []


@pytest.mark.parametrize("count", [5, 17])
def test_without_pose_keypoints_are_passed_over(tmp_path: Path, count: int) -> None:
    line = "1 0.25 0.5 0.25 0.5" + " 0.5 0.5 2" * count
    one_picture(tmp_path, line, yaml=f"{NAMES}kpt_shape: [{count}, 3]\n")
    data = opened(tmp_path, "det")
    example = data[0]
    assert noted(data) == []
    assert example is not None
    (person,) = example.objects or ()
    assert (person.box, person.keypoints) == ((2, 3, 6, 9), None)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 0.5 0.5 0.2", "4 values; expected a class, then 4 of a box or x"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 values"),
        ("0", "1 values"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 values"),
        ("cup 0.5 0.5 0.2 0.2", "is not a line of numbers"),
        ("\x00\x1b[2J", "is not a line of numbers"),
        ("2 0.5 0.5 0.2 0.2", "class 2 is none of 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is none"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is none"),
        ("0 nan 0.5 0.2 0.2", "not finite"),
        ("inf 0.5 0.5 0.2 0.2", "not finite"),
        ("0 0.5 1.01 0.2 0.2", "value 1.01 is not from 0 to 1"),
        ("0 0.5 0.5 -0.2 0.2", "value -0.2 is not from 0 to 1"),
        ("0 0.5 0.5 0 0.2", "has no area"),
        ("0 8 6 4 6", "value 8 is not from 0 to 1"),
        ("0 0.1 0.1 0.2 0.2 0.3 1.2", "value 1.2 is not"),
        ("0 0.1 0.1 0.1 0.2 0.1 0.3", "has no area"),
        (BOX.replace("0.25", "0.250").replace("0.250", "0.25"), "the same as line 1"),
    ],
)
def test_a_broken_line_is_noted_and_the_others_stay(tmp_path: Path, line: str, what: str) -> None:
    one_picture(tmp_path, BOX, line, OUTLINE)
    data = opened(tmp_path, "det")
    (problem,) = noted(data)
    assert problem.startswith("labels/val/a.txt, line 2: ")
    assert what in problem
    assert problem.isprintable()
    example = data[0]
    assert example is not None
    assert len(example.objects or ()) == 2
    assert data.problems.count("annotation") == 1
    with pytest.raises(DatasetError, match="without --strict"):
        noted(open_yolo(tmp_path, "val", ("det",), Problems(strict=True)))


def test_values_a_little_outside_are_taken_as_the_border(tmp_path: Path) -> None:
    one_picture(tmp_path, "0 1.0005 0.5 0.5 0.5", "0 0 0 1.0009 0 1 1")
    data = opened(tmp_path, "det")
    example = data[0]
    assert noted(data) == []
    assert example is not None
    assert [o.box for o in example.objects or ()] == [(12, 3, 16, 9), (0, 0, 16, 12)]


@pytest.mark.parametrize("bad", ["0.5 0.5 3", "0.5 1.5 2", "0.5 nan 2"])
def test_broken_keypoints_are_noted(tmp_path: Path, bad: str) -> None:
    line = "1 0.25 0.5 0.25 0.5" + " 0.5 0.5 2" * 16
    one_picture(tmp_path, f"{line} {bad}", f"{line} 9 9 0", line, yaml=f"{NAMES}kpt_shape: [17, 3]\n")
    data = opened(tmp_path, "pose")
    first, short = noted(data)
    assert first.startswith("labels/val/a.txt, line 1: ")
    assert short == (
        "labels/val/a.txt, line 3: 53 values; expected a class, then 4 of a box and 51 of keypoints"
    )
    assert first.endswith("; its box stays")
    example = data[0]
    assert example is not None
    stays, _ = example.objects or ()
    np.testing.assert_array_equal(stays.keypoints, np.zeros((17, 3)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.text("0123456789 .-+e_\tnaif", max_size=60))
def test_any_line_is_read_or_noted(line: str, tmp_path: Path) -> None:
    one_picture(tmp_path, line, OUTLINE)
    data = opened(tmp_path, "det", "inst")
    example = data[0]
    assert example is not None
    parts = [problem for problem in data.problems if problem.what.endswith("; its box stays")]
    assert len(example.objects or ()) + len(data.problems) - len(parts) == (2 if line.strip() else 1)


class TestFiles:
    @pytest.mark.parametrize(
        ("yaml", "images", "labels"),
        [
            ("", "images/val", "labels/val"),
            ("", "images/val/deep", "labels/val/deep"),
            ("", "val/images", "val/labels"),
            ("", "valid/images", "valid/labels"),
            ("", "images/valid", "labels/valid"),
            ("val: images/holdout\n", "images/holdout", "labels/holdout"),
            ("path: ../datasets/own\nval: images/holdout\n", "images/holdout", "labels/holdout"),
            ("path: sub\nval: images\n", "sub/images", "sub/labels"),
            ("val: ../other/images\n", "other/images", "other/labels"),
            ("val: /content/set/images/holdout\n", "images/holdout", "labels/holdout"),
            ("val: [images/one, images/two]\n", "images/two", "labels/two"),
            ("val: photos\n", "photos", "photos"),
            ("val: images/x/images\n", "images/x/images", "images/x/labels"),
        ],
    )
    def test_layouts(self, tmp_path: Path, yaml: str, images: str, labels: str) -> None:
        text(tmp_path / "data.yaml", NAMES + yaml)
        picture(tmp_path / images / "a.png")
        text(tmp_path / labels / "a.txt", BOX)
        data = opened(tmp_path, "det")
        assert noted(data) == []
        assert data[0] is not None
        assert len(data[0].objects or ()) == 1

    def test_paths_that_lead_out_are_not_followed(self, tmp_path: Path) -> None:
        picture(tmp_path / "secret/a.png")
        root = tmp_path / "set"
        places = f"[../secret, {tmp_path}/secret, {'x' * 300}, 5]"
        text(root / "data.yaml", f"{NAMES}path: {tmp_path}\nval: {places}\n")
        picture(root / "images/train/a.png")
        with pytest.raises(DatasetError, match="no split 'val'; splits there: train;"):
            opened(root, "det")

    def test_a_list_of_pictures_is_read(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX, yaml=f"{NAMES}val: val.txt\n")
        text(tmp_path / "val.txt", "./images/val/a.png", "", "../a.png", "images/val/missing.png")
        data = opened(tmp_path, "det")
        assert len(data) == 2
        lost, missing = noted(data)
        assert lost == "val.txt, line 3: file_name '../a.png' leads out of the folder"
        assert missing.startswith("images/val/missing.png: cannot be read")
        assert data.problems.count("image") == 2

    def test_names_are_read_from_all_their_files(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX, yaml="nc: 2\nnames:\n  1: person\n  0: cup\n")
        assert opened(tmp_path, "det").classes["det"] == ("cup", "person")
        assert opened(tmp_path / "data.yaml", "det").classes["det"] == ("cup", "person")
        (tmp_path / "data.yaml").rename(tmp_path / "own.yaml")
        assert opened(tmp_path, "det").classes["det"] == ("cup", "person")
        (tmp_path / "own.yaml").unlink()
        with pytest.raises(DatasetError, match=r"add data\.yaml with a list `names`, or classes\.txt"):
            opened(tmp_path, "det")
        text(tmp_path / "classes.txt", "jar", "lid", "")
        assert opened(tmp_path, "det").classes["det"] == ("jar", "lid")

    @pytest.mark.parametrize(
        ("yaml", "what"),
        [
            ("a: [", r"data\.yaml, line \d: no YAML"),
            ("- 1", "expected keys with values"),
            ("train: x", "expected `names`"),
            ("names: [no, yes]", "put words like no in quotes"),
            ("names: []", "expected names of classes"),
            ("names: [a, '']", "none of them empty"),
            ("names: [a, a]", "there twice"),
            ("names: {0: a, 2: b}", "without a gap"),
            ("names: [a]\nnc: 2", "nc is 2 but there are 1 names"),
            ("names: !!python/object/apply:os.system [ls]", "no YAML"),
            ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]", "expected `names`"),
            ("names: [a]\nkpt_shape: [5, 3]", r"kpt_shape is \[5, 3\]; pose needs COCO's 17 keypoints: nose"),
            ("names: [a]\nkpt_shape: &k [*k, 3]", "expected kpt_shape of two whole numbers"),
            ("names: [a]\nkpt_shape: [17, 3]\nkpt_names: {0: [tail]}", "kpt_names are others"),
        ],
    )
    def test_a_broken_description_is_an_error(self, tmp_path: Path, yaml: str, what: str) -> None:
        one_picture(tmp_path, BOX, yaml=yaml)
        with pytest.raises(DatasetError, match=what):
            opened(tmp_path, "pose")

    def test_several_descriptions_are_an_error(self, tmp_path: Path) -> None:
        for name in ("a.yaml", "b.yaml"):
            text(tmp_path / name, NAMES)
        with pytest.raises(DatasetError, match=r"found a\.yaml, b\.yaml"):
            opened(tmp_path, "det")

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX)
        picture(tmp_path / "train/images/a.png")
        with pytest.raises(DatasetError, match="no split 'test'; splits there: train, val; expected layout"):
            opened(tmp_path, "det", split="test")
        with pytest.raises(DatasetError, match="missing train/labels/, the labels"):
            opened(tmp_path, "det", split="train")
        with pytest.raises(DatasetError, match="labels say nothing for inst, pose; inst needs outlines"):
            opened(tmp_path, "inst", "pose")
        (tmp_path / "images/val/a.png").unlink()
        with pytest.raises(DatasetError, match="no pictures in images/val"):
            opened(tmp_path, "det")

    def test_files_without_partners(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX)
        picture(tmp_path / "images/val/b.png")
        text(tmp_path / "labels/val/c.txt", BOX)
        (tmp_path / "images/val/._a.png").write_text("what another system leaves")
        data = opened(tmp_path, "det")
        assert len(data) == 2
        assert noted(data) == ["labels/val/c.txt: labels without a picture of the same name"]
        alone = data[1]
        assert alone is not None
        assert alone.objects == ()

    def test_broken_files_lose_their_image(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX)
        picture(tmp_path / "images/val/b.png")
        (tmp_path / "labels/val/b.txt").write_bytes(b"\xff\xfe0 0")
        (tmp_path / "images/val/c.jpg").write_text("no picture")
        picture(tmp_path / "images/val/d.png")
        (tmp_path / "labels/val/d.txt").mkdir()
        data = opened(tmp_path, "det", "inst")
        labels, no_picture, folder = noted(data)
        assert labels == "labels/val/b.txt: expected text in UTF-8, got other bytes at 0"
        assert no_picture.startswith("images/val/c.jpg: not a picture")
        assert folder.startswith("labels/val/d.txt: cannot be read: expected a file; it is a folder")
        assert [data[index] is None for index in range(4)] == [False, True, True, True]
        assert (data.problems.count("image"), data.problems.count("annotation")) == (3, 0)

    def test_file_names_that_are_no_utf8_are_read(self, tmp_path: Path) -> None:
        one_picture(tmp_path, BOX)
        name = os.fsdecode(b"caf\xe9")
        try:
            picture(tmp_path / f"images/val/{name}.png")
        except OSError:
            pytest.skip("this file system takes names in UTF-8 only")
        text(tmp_path / f"labels/val/{name}.txt", "0 0 0")
        data = opened(tmp_path, "det")
        assert noted(data) == [
            "labels/val/caf\\xe9.txt, line 1: 3 values; expected a class, then 4 of a box or x and y of "
            "at least three points"
        ]
        example = data[1]
        assert example is not None
        assert example.name == "images/val/caf\\xe9.png"

    def test_it_can_be_pickled_and_opened_by_name(self, tmp_path: Path) -> None:
        one_picture(tmp_path, OUTLINE, "0 7")
        data = open_data(f"yolo:{tmp_path}", None, ("det", "inst", "depth"))
        copy = pickle.loads(pickle.dumps(data))
        first, second = data[0], copy[0]
        assert first is not None
        assert first.objects is not None
        np.testing.assert_array_equal(first.objects[0].mask, second.objects[0].mask)
        assert [str(p) for p in data.problems] == [str(p) for p in copy.problems] != []
        with pytest.raises(IndexError):
            data[1]
