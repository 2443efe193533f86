"""COCO's layout: what is read from good files, and what is said about bad ones."""

from __future__ import annotations

import json
import os
import pickle
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as codec

from argus_edge.errors import DatasetError
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import LabelledObject
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import coco, coco_files
from argus_edge.train.data.readers.checks import BrokenEntryError
from argus_edge.train.data.readers.coco import CocoImages, open_coco
from argus_edge.train.data.readers.masks import mask_of
from argus_edge.train.data.readers.table import open_data

HEIGHT, WIDTH = 12, 16
SIZE = (HEIGHT, WIDTH)
CATEGORIES = [{"id": 7, "name": "cup"}, {"id": 3, "name": "person"}]
RECTANGLE = [2, 3, 6, 3, 6, 8, 2, 8]  # columns 2 to 5, rows 3 to 7
BOX = [2, 3, 4, 5]
KEYPOINTS = [value for i in range(17) for value in (i % 16, i % 12, i % 3)]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Writes noise without loss; returns it."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "PNG")
    return image


def image(number: Any, **fields: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH} | fields


def annotation(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 7, "bbox": BOX, "area": 20, "iscrowd": 0} | fields


def write(path: Path, annotations: list[Any], images: list[Any] | None = None, **fields: Any) -> None:
    images = [image(1)] if images is None else images
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES} | fields
    path.write_text(json.dumps(content))


def one_picture(root: Path, annotations: list[Any], **fields: Any) -> None:
    """A val split with one picture in the official layout."""
    picture(root / "val2017/1.png")
    write(root / "annotations/instances_val2017.json", annotations, **fields)


def opened(root: Path, *tasks: str, split: str = "val") -> CocoImages:
    return open_coco(root, split, tasks, Problems())


def boxed(thing: LabelledObject) -> tuple[object, ...]:
    """What det takes of it."""
    return thing.class_id, thing.box, thing.area, thing.crowd, thing.area_known


def noted(images: CocoImages) -> list[str]:
    """Reads everything twice; the problems."""
    for index in (*range(len(images)), *range(len(images))):
        images[index]
    return [str(problem) for problem in images.problems]


class TestObjects:
    def test_boxes_and_classes_are_read(self, tmp_path: Path) -> None:
        images = [image(1), image(2)]
        first = picture(tmp_path / "val2017/1.png")
        picture(tmp_path / "val2017/2.png")
        rows = [
            annotation(1, bbox=[1.5, 2, 3, 4.25], area=9.5),
            annotation(2, category_id=3, bbox=[-2, 10, 5, 50], iscrowd=1, area=None),
        ]
        write(tmp_path / "annotations/instances_val2017.json", rows, images)
        data = opened(tmp_path, "det")
        assert data.classes == {"det": ("person", "cup")}
        assert data.title == f"COCO val2017 in {tmp_path}: 2 images (1 with objects)"
        example = data[0]
        assert example is not None
        assert example.name == "val2017/1.png"
        np.testing.assert_array_equal(example.image, first)
        assert example.objects is not None
        cup, person = example.objects
        assert (cup.class_id, cup.box, cup.area, cup.crowd, cup.mask) == (
            1,
            (1.5, 2, 4.5, 6.25),
            9.5,
            False,
            None,
        )
        assert (cup.area_known, person.area_known) == (True, False)
        assert (person.class_id, person.box, person.area, person.crowd) == (0, (-2, 10, 3, 60), 250, True)
        empty = data[1]
        assert empty is not None
        assert empty.objects == ()
        assert noted(data) == []

    def test_masks_of_all_three_forms_are_read(self, tmp_path: Path) -> None:
        rectangle = np.zeros(SIZE, bool)
        rectangle[3:8, 2:6] = True
        noise = np.random.default_rng(1).random(SIZE) < 0.3
        code = codec.encode(np.asfortranarray(noise, np.uint8))
        lengths = [len(list(run)) for _, run in groupby(noise.T.ravel())]
        lengths = [0, *lengths] if noise[0, 0] else lengths
        rows = [
            annotation(1, segmentation=[RECTANGLE]),
            annotation(2, segmentation=[[*RECTANGLE[:4], 6, 5, 2, 5], [2, 5, 6, 5, 6, 8, 2, 8]]),
            annotation(3, segmentation={"size": SIZE, "counts": code["counts"].decode()}),
            annotation(4, segmentation={"size": SIZE, "counts": lengths}, iscrowd=1, area=None),
            annotation(5),
        ]
        one_picture(tmp_path, rows)
        data = opened(tmp_path, "det", "inst")
        assert data.tasks == ("det", "inst")
        example = data[0]
        assert example is not None
        where = "annotations/instances_val2017.json, annotation"
        assert noted(data) == [f"{where} 5: it has no mask; its box stays"]
        assert example.objects is not None
        assert [None if o.mask is None else o.mask.tolist() for o in example.objects] == [
            *[rectangle.tolist()] * 2,
            *[noise.tolist()] * 2,
            None,
        ]
        truth = example.instances()
        assert truth.areas is not None
        assert truth.crowds is not None
        assert truth.areas[3] == np.count_nonzero(noise)
        assert truth.crowds.tolist() == [False, False, False, True, True]
        np.testing.assert_array_equal(truth.masks[4], rectangle)  # its box

    def test_images_that_annotations_do_not_size_are_read(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [annotation(1)], images=[{"id": "a", "file_name": "1.png"}])
        assert len(noted(opened(tmp_path, "det"))) == 1  # the annotation is of image 1
        assert opened(tmp_path, "det")[0] is not None

    def test_categories_of_one_name_are_one_class(self, tmp_path: Path) -> None:
        names = [{"id": 0, "name": "cup"}, {"id": 1, "name": "cup"}, {"id": 2, "name": "jar"}]
        one_picture(tmp_path, [annotation(i, category_id=i) for i in range(3)], categories=names)
        data = opened(tmp_path, "det")
        example = data[0]
        assert example is not None
        assert data.classes["det"] == ("cup", "jar")
        assert [o.class_id for o in example.objects or ()] == [0, 0, 1]
        (problem,) = noted(data)
        assert problem.endswith("category 1: has the name 'cup' of category 0; both are taken as one class")


class TestKeypoints:
    PEOPLE = ({"id": 3, "name": "person", "keypoints": [n.replace("_", "-") for n in KEYPOINT_NAMES]},)

    def test_keypoints_alone_are_read_from_their_own_file(self, tmp_path: Path) -> None:
        picture(tmp_path / "val2017/1.png")
        rows = [annotation(1, category_id=3, keypoints=KEYPOINTS), annotation(2, category_id=3, iscrowd=1)]
        write(tmp_path / "annotations/person_keypoints_val2017.json", rows, categories=list(self.PEOPLE))
        data = opened(tmp_path, "pose")
        assert data.classes == {"pose": KEYPOINT_NAMES}
        example = data[0]
        assert example is not None
        assert example.objects is not None
        person, crowd = example.objects
        assert person.keypoints is not None
        np.testing.assert_array_equal(person.keypoints.ravel(), KEYPOINTS)
        assert person.keypoints.dtype == np.float32
        np.testing.assert_array_equal(crowd.keypoints, np.zeros((17, 3)))
        assert len(example.people().keypoints) == 2

    def test_beside_boxes_they_are_joined_by_annotation_id(self, tmp_path: Path) -> None:
        rows = [annotation(4), annotation(5, category_id=3), annotation(6, category_id=3), annotation(7)]
        one_picture(tmp_path, rows)
        people = [
            annotation(5, category_id=3, keypoints=KEYPOINTS),
            annotation(9, category_id=3, keypoints=KEYPOINTS),
            annotation(6, category_id=3, keypoints=KEYPOINTS[:-1]),
        ]
        write(tmp_path / "annotations/person_keypoints_val2017.json", people, categories=list(self.PEOPLE))
        data = opened(tmp_path, "det", "pose")
        assert data.tasks == ("det", "pose")
        example = data[0]
        assert example is not None
        assert example.objects is not None
        cup, person, other, _ = example.objects
        assert cup.keypoints is None
        np.testing.assert_array_equal(np.ravel(person.keypoints), KEYPOINTS)  # type: ignore[arg-type]
        np.testing.assert_array_equal(other.keypoints, np.zeros((17, 3)))
        where = "annotations/person_keypoints_val2017.json, annotation"
        assert noted(data) == [
            f"{where} 6: keypoints are 50 values; expected 51: x, y and visibility of COCO's 17; "
            f"its box stays",
            f"{where} 9: no annotation of this id and image in annotations/instances_val2017.json, "
            f"which has the boxes",
        ]

    @pytest.mark.parametrize(
        ("keypoints", "what"),
        [
            ([1, 2], "expected 51"),
            ([float("nan"), *KEYPOINTS[1:]], "not finite"),
            ([*KEYPOINTS[:-1], 3], "visibility other than"),
            ([1e30, *KEYPOINTS[1:]], "far from any picture"),
            ("none", "not all numbers"),
            (["1"] * 51, "not all numbers"),
        ],
    )
    def test_broken_ones_are_noted(self, tmp_path: Path, keypoints: Any, what: str) -> None:
        rows = [annotation(1, keypoints=keypoints), annotation(2, keypoints=KEYPOINTS)]
        one_picture(tmp_path, rows)
        data = opened(tmp_path, "pose", "det")
        (problem,) = noted(data)
        assert problem.startswith("annotations/instances_val2017.json, annotation 1: ")
        assert what in problem
        assert problem.endswith("; its box stays")
        example = data[0]
        assert example is not None
        broken, _ = example.objects or ()
        np.testing.assert_array_equal(broken.keypoints, np.zeros((17, 3)))

    def test_area_is_that_of_the_box_or_a_share_of_it(self, tmp_path: Path) -> None:
        rows = [annotation(1, keypoints=KEYPOINTS), annotation(2, keypoints=KEYPOINTS, area=None)]
        one_picture(tmp_path, rows)
        data = opened(tmp_path, "pose", "det")
        assert data.title.endswith(", area of people by that of their boxes, times 0.53")
        assert "0.53" not in opened(tmp_path, "det").title
        example = data[0]
        assert example is not None
        assert [o.area for o in example.objects or ()] == [20, 20]
        np.testing.assert_allclose(example.people().areas, [20, 10.6])

    def test_other_keypoints_are_refused(self, tmp_path: Path) -> None:
        animal = [{"id": 3, "name": "cat", "keypoints": ["tail", "nose"]}]
        one_picture(tmp_path, [annotation(1, category_id=3, keypoints=[1] * 6)], categories=animal)
        with pytest.raises(DatasetError, match=r"'cat' has 2 keypoints.*expected COCO's 17: nose, left_eye"):
            opened(tmp_path, "pose")
        assert opened(tmp_path, "det").tasks == ("det",)


PANOPTIC = [
    {"id": 5, "name": "sky", "isthing": 0},
    {"id": 9, "name": "cup", "isthing": 1},
    {"id": 2, "name": "grass", "isthing": 0},
    {"id": 8, "name": "person", "isthing": 1},
]


def panoptic(root: Path, segments: list[Any], ids: NDArray[Any], **fields: Any) -> None:
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    folder = root / "annotations/panoptic_val2017"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours).save(folder / "1.png")
    row = {"image_id": 1, "file_name": "1.png", "segments_info": segments} | fields
    write(root / "annotations/panoptic_val2017.json", [row], categories=PANOPTIC)


class TestPanoptic:
    def test_segments_are_read_to_the_pixel(self, tmp_path: Path) -> None:
        picture(tmp_path / "val2017/1.png")
        ids = np.zeros(SIZE, np.int32)
        ids[:4], ids[4:8], ids[8:, 3:] = 7, 300, 16_000_000
        segments = [
            {"id": 300, "category_id": 8, "iscrowd": 1},
            {"id": 16_000_000, "category_id": 2},
            {"id": 7, "category_id": 9, "iscrowd": 0},
        ]
        panoptic(tmp_path, segments, ids)
        data = opened(tmp_path, "det", "pan")
        assert (data.tasks, data.things) == (("pan",), 2)
        assert data.classes == {"pan": ("person", "cup", "grass", "sky")}
        example = data[0]
        assert example is not None
        assert example.objects is None
        assert example.panoptic is not None
        np.testing.assert_array_equal(example.panoptic.segment_ids, ids)
        assert list(example.panoptic.segments) == [
            (300, 0, True, True),
            (16_000_000, 2, False, False),
            (7, 1, True, False),
        ]
        assert noted(data) == []

    def test_images_of_both_files_are_put_together_by_name(self, tmp_path: Path) -> None:
        picture(tmp_path / "val2017/other.png")
        one_picture(tmp_path, [annotation(1)], images=[image(4, file_name="other.png"), image(1)])
        panoptic(tmp_path, [{"id": 7, "category_id": 9}], np.full(SIZE, 7))
        data = opened(tmp_path, "pan", "det")
        other, both = data[0], data[1]
        assert len(data) == 2
        assert other is not None
        assert both is not None
        assert (other.panoptic, other.objects) == (None, ())
        assert both.panoptic is not None
        assert len(both.objects or ()) == 1

    def test_broken_segments_are_noted_and_void(self, tmp_path: Path) -> None:
        picture(tmp_path / "val2017/1.png")
        ids = np.repeat(np.arange(1, 13), WIDTH).reshape(SIZE)
        segments = [
            {"id": 1, "category_id": 8},
            {"id": 2, "category_id": 77},
            {"id": 3, "category_id": 8, "iscrowd": 4},
            {"id": 1, "category_id": 9},
            {"id": 55, "category_id": 9},
            {"id": "x", "category_id": 9},
            None,
        ]
        panoptic(tmp_path, segments, ids)
        data = opened(tmp_path, "pan")
        example = data[0]
        assert example is not None
        assert example.panoptic is not None
        np.testing.assert_array_equal(example.panoptic.segment_ids, np.where(ids == 1, 1, 0))
        whats = [problem.rpartition(": ")[2] for problem in noted(data)]
        assert whats == [
            "its category 77 is not among the usable ones",
            "iscrowd is 4; expected 0 or 1",
            "its id is there before; expected one segment of an id",
            "it has no pixel in the map",
            "expected an object with a whole number as id",
            "expected an object with a whole number as id",
            "segments 4, 5, 6, 7, 8, 9, 10, 11, ... (9) are not listed in the annotation; taken as void",
        ]

    @pytest.mark.parametrize("broken", ["missing", "grey", "size", "cut", "name", "list"])
    def test_a_broken_map_is_noted_and_the_image_stays(self, tmp_path: Path, broken: str) -> None:
        changes: dict[str, dict[str, Any]]
        changes = {"name": {"file_name": "../../secret.png"}, "list": {"segments_info": 3}}
        picture(tmp_path / "val2017/1.png")
        panoptic(tmp_path, [{"id": 7, "category_id": 9}], np.full(SIZE, 7), **changes.get(broken, {}))
        path = tmp_path / "annotations/panoptic_val2017/1.png"
        data = opened(tmp_path, "pan")
        if broken == "missing":
            path.unlink()
        elif broken == "grey":
            Image.new("L", (WIDTH, HEIGHT), 7).save(path)
        elif broken == "size":
            Image.new("RGB", (WIDTH + 1, HEIGHT)).save(path)
        elif broken == "cut":
            path.write_bytes(path.read_bytes()[:-30])
        (problem,) = noted(data)
        assert data.problems.count("annotation") == 1
        example = data[0]
        assert example is not None
        assert example.panoptic is None
        expected = {
            "missing": "cannot be read", "grey": "grey or a palette", "size": "12x17 but the picture 12x16",
            "cut": "cut off", "name": "leads out", "list": "expected a list",
        }  # fmt: skip
        assert expected[broken] in problem

    def test_missing_maps_are_an_error(self, tmp_path: Path) -> None:
        picture(tmp_path / "val2017/1.png")
        panoptic(tmp_path, [], np.zeros(SIZE, int), file_name="7.png")
        with pytest.raises(DatasetError, match=r"missing the maps.*7\.png.*annotations/panoptic_val2017/"):
            opened(tmp_path, "pan")


NAN = float("nan")


class TestDefects:
    @pytest.mark.parametrize(
        ("fields", "what"),
        [
            ({"bbox": [1, 2, 0, 4]}, "box [1, 2, 0, 4] has no area"),
            ({"bbox": [1, 2, 3, -4]}, "box [1, 2, 3, -4] has no area"),
            ({"bbox": [1, NAN, 3, 4]}, "is not finite"),
            ({"bbox": [1, 1, float("inf"), 4]}, "is not finite"),
            ({"bbox": [16, 2, 3, 4]}, "is outside the picture of 12x16"),
            ({"bbox": [1, 2, 3]}, "is not four numbers"),
            ({"bbox": "1234"}, "is not four numbers"),
            ({"bbox": ["1", "2", "3", "4"]}, "is not four numbers"),
            ({"bbox": [1, [2], 3, 4]}, "is not four numbers"),
            ({"bbox": [10**400, 1, 1, 1]}, "is not four numbers"),
            ({"bbox": None}, "is not four numbers"),
            ({"area": NAN}, "area is nan"),
            ({"area": "big"}, "area is 'big'"),
            ({"area": -1}, "area is -1"),
            ({"iscrowd": 2}, "iscrowd is 2"),
            ({"iscrowd": []}, "iscrowd is []"),
            ({"image_id": 3}, "its image 3 is not listed"),
            ({"image_id": [1]}, "is not listed"),
            ({"category_id": 8}, "its category 8 is not among"),
            ({"category_id": None}, "is not among"),
            ({"id": 1}, "its id is there before"),
            ({"id": {}}, "neither number nor text"),
            ({"segmentation": [[1, 2, 3, 4]]}, "polygon has 4 values"),
            ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "polygon has 7 values"),
            ({"segmentation": [RECTANGLE, [1, 2, 3, NAN, 5, 6]]}, "not finite"),
            ({"segmentation": [[1, 2, 3, 4, 5, "a"]]}, "not a list of numbers"),
            ({"segmentation": [[[1, 2], [3, 4], [5, 6]]]}, "polygon has"),
            ({"segmentation": [[1e9, 2, 3, 4, 5, 6]]}, "far out of the picture"),
            ({"segmentation": RECTANGLE}, "neither a list"),
            ({"segmentation": [[0, 0, 15, 11] * 200_000]}, "cannot be an outline"),
            ({"segmentation": "mask"}, "neither a list"),
            ({"segmentation": {"size": [16, 12], "counts": [192]}}, "mask is of size [16, 12]"),
            ({"segmentation": {"size": SIZE, "counts": [100, 91]}}, "is of 191 px but the picture of 192"),
            ({"segmentation": {"size": SIZE, "counts": [200, -8]}}, "lengths that are none"),
            ({"segmentation": {"size": SIZE, "counts": [1.5, 190.5]}}, "lengths that are none"),
            ({"segmentation": {"size": SIZE, "counts": [NAN, 192]}}, "lengths that are none"),
            ({"segmentation": {"size": SIZE, "counts": "a b"}}, "characters"),
            ({"segmentation": {"size": SIZE, "counts": "o"}}, "cut off"),
            ({"segmentation": {"size": SIZE, "counts": "oooooooooooo0"}}, "35 bits"),
            ({"segmentation": {"size": SIZE, "counts": ""}}, "cut off"),
            ({"segmentation": {"size": SIZE, "counts": "\ud800"}}, "characters"),
            ({"segmentation": {"size": SIZE}}, "not numbers"),
        ],
    )
    def test_a_broken_annotation_is_noted_and_the_others_stay(
        self, tmp_path: Path, fields: dict[str, Any], what: str
    ) -> None:
        rows = [annotation(i, segmentation=[RECTANGLE]) for i in (1, 2, 3)]
        rows[1] |= fields
        one_picture(tmp_path, rows)
        data = opened(tmp_path, "det", "inst")
        (problem,) = noted(data)
        assert problem.startswith("annotations/instances_val2017.json, annotation ")
        assert what in problem
        assert problem.endswith("; its box stays") == ("segmentation" in fields)
        example = data[0]
        assert example is not None
        assert sum(o.mask is not None for o in example.objects or ()) == 2
        without = opened(tmp_path, "det")[0]
        assert without is not None
        assert [boxed(o) for o in example.objects or ()] == [boxed(o) for o in without.objects or ()]
        assert (data.problems.count("annotation"), data.problems.count("image")) == (1, 0)

    def test_an_entry_that_is_no_object_is_noted(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [annotation(1), 5, None, [annotation(2)]], images=[image(1), "1.png"])
        data = opened(tmp_path, "det")
        assert len(noted(data)) == 4
        assert (len(data), data.problems.count("image")) == (2, 1)

    @pytest.mark.parametrize(
        ("second", "what"),
        [
            (image(1, file_name="2.png"), "its id is there before"),
            (image(2, file_name="1.png"), "its file 1.png is listed before"),
            (image(2, file_name="3.png"), "cannot be read"),
            (image(2, file_name="../1.png"), "leads out of the folder"),
            (image(2, file_name="/etc/passwd"), "leads out of the folder"),
            (image(2, file_name="a\0.png"), "leads out of the folder"),
            (image(2, file_name="\ud800.png"), "no text that a file could be called"),
            (image(2, file_name="x" * 300), "is too long for a file"),
            (image(2, file_name=None), "is no text"),
            (image(2, file_name=""), "is no text"),
            (image([2]), "an id, a number or text"),
            (image(2, height=11), "12x16 but its annotations are of 11x16"),
            (image(2, height=0), "size 0 x 16 is not two positive whole numbers"),
            (image(2, width=NAN), "is not two positive whole numbers"),
            (image(2, file_name="broken.png"), "cut off or broken"),
            (image(2, file_name="text.png"), "not a picture"),
            (image(2, file_name="folder"), "no ordinary file"),
        ],
    )
    def test_a_broken_image_is_noted_and_listed(
        self, tmp_path: Path, second: dict[str, Any], what: str
    ) -> None:
        picture(tmp_path / "val2017/2.png")
        whole = (tmp_path / "val2017/2.png").read_bytes()
        (tmp_path / "val2017/broken.png").write_bytes(whole[:-80])
        (tmp_path / "val2017/text.png").write_text("hello")
        (tmp_path / "val2017/folder").mkdir()
        one_picture(tmp_path, [annotation(1)], images=[image(1), second])
        data = opened(tmp_path, "det")
        (problem,) = noted(data)
        assert what in problem
        assert problem.isprintable()
        assert len(data) == 2
        assert data[0] is not None
        assert data[1] is None
        assert (data.problems.count("annotation"), data.problems.count("image")) == (0, 1)
        with pytest.raises(DatasetError, match="without --strict"):
            noted(open_coco(tmp_path, "val", ("det",), Problems(strict=True)))

    def test_a_file_name_that_is_no_utf8_is_read(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        try:
            picture(tmp_path / "val2017" / name)
        except OSError:
            pytest.skip("this file system takes names in UTF-8 only")
        one_picture(tmp_path, [annotation(1, image_id=2)], images=[image(1), image(2, file_name=name)])
        data = opened(tmp_path, "det")
        assert noted(data) == []
        example = data[1]
        assert example is not None
        assert example.name == "val2017/caf\\xe9.png"

    @pytest.mark.parametrize(
        ("entry", "what"),
        [
            ({"id": 1, "name": ""}, "name '' is empty"),
            ({"id": 1, "name": " "}, "name ' ' is empty"),
            ({"id": 1, "name": 5}, "name 5 is empty or cannot be printed"),
            ({"id": 1, "name": "\ud800"}, "cannot be printed"),
            ({"id": 7, "name": "again"}, "its id is there before"),
            ({"id": NAN, "name": "x"}, "a whole number as id"),
            (None, "a whole number as id"),
        ],
    )
    def test_a_broken_category_is_noted(self, tmp_path: Path, entry: Any, what: str) -> None:
        one_picture(tmp_path, [annotation(1)], categories=[*CATEGORIES, entry])
        data = opened(tmp_path, "det")
        (problem,) = noted(data)
        assert what in problem
        assert data.classes["det"] == ("person", "cup")

    def test_no_category_at_all_is_an_error(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [], categories=[])
        with pytest.raises(DatasetError, match="expected categories with an id and a name"):
            opened(tmp_path, "det")


class TestFiles:
    @pytest.mark.parametrize(
        ("split", "json_file", "folder"),
        [
            ("val", "annotations/instances_val2017.json", "val2017"),
            ("val", "annotations/instances_val2017.json", "images/val2017"),
            ("val", "annotations/instances_val.json", "images/val"),
            ("val", "annotations/instances_val_v2.json", "val"),
            ("val", "instances_val.json", "val"),
            ("val", "instances_val.json", "images"),
            ("val", "instances_val.json", "."),
            ("val", "val/_annotations.coco.json", "val"),
            ("val", "valid/_annotations.coco.json", "valid"),
            ("test", "test/_annotations.coco.json", "test"),
        ],
    )
    def test_layouts(self, tmp_path: Path, split: str, json_file: str, folder: str) -> None:
        write(tmp_path / json_file, [annotation(1)])
        picture(tmp_path / folder / "1.png")
        data = opened(tmp_path, "det", split=split)
        assert noted(data) == []
        assert data[0] is not None

    @pytest.mark.parametrize("json_file", ["any_name.json", "annotations/any_name.json"])
    def test_one_file_tells_all_it_holds(self, tmp_path: Path, json_file: str) -> None:
        row = annotation(1, segmentation=[RECTANGLE], keypoints=KEYPOINTS)
        write(tmp_path / json_file, [row])
        picture(tmp_path / "photos/1.png")
        picture(tmp_path / "any/1.png", seed=5)
        data = opened(tmp_path / json_file, "pan", "pose", "inst", "det")
        assert data.tasks == ("pose", "inst", "det")
        example = data[0]
        assert example is not None
        assert example.name == "any/1.png"  # of two such folders that whose name is part of the file's

    def test_what_is_not_told_is_left_out(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [annotation(1, segmentation=[])])
        assert opened(tmp_path, "det", "inst", "pose", "pan").tasks == ("det",)
        with pytest.raises(DatasetError, match="nothing for inst in the split 'val'"):
            opened(tmp_path, "inst")
        with pytest.raises(DatasetError, match="tells nothing for pan; name another file or task"):
            opened(tmp_path / "annotations/instances_val2017.json", "pan")

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [])
        write(tmp_path / "annotations/instances_minitrain2017.json", [])
        with pytest.raises(DatasetError) as caught:
            opened(tmp_path, "det", "pan", split="test")
        for part in ("'test'", "annotations/instances_test2017.json", "annotations/panoptic_test2017.json",
                     "splits there: minitrain, val;", "layout: annotations/{instances"):  # fmt: skip
            assert part in str(caught.value)

    def test_missing_pictures_are_an_error(self, tmp_path: Path) -> None:
        write(tmp_path / "annotations/instances_val2017.json", [annotation(1)])
        (tmp_path / "val2017").mkdir()
        with pytest.raises(DatasetError, match=r"none of the first pictures.*1\.png.*val2017/, annotations/"):
            opened(tmp_path, "det")

    def test_several_files_of_a_split_are_an_error(self, tmp_path: Path) -> None:
        for name in ("instances_val_a.json", "instances_val_b.json"):
            write(tmp_path / "annotations" / name, [])
        with pytest.raises(DatasetError, match=r"found instances_val_a\.json, instances_val_b\.json"):
            opened(tmp_path, "det")

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b'{"images": [],\n "annotations": [,]}', r"line 2, column 18: no JSON"),
            (b'{"images": [1', r"line 1, column 14: no JSON"),
            (b"[]", "got a list"),
            (b"null", "got a NoneType"),
            (b'{"images": [{}], "annotations": {}}', "missing: annotations, categories"),
            (b'{"images": [], "annotations": [], "categories": []}', "it lists none"),
            (b'{"images": [], "images": []}', "the key 'images' twice"),
            (b'{"images": [{"id": ' + b"1" * 5000 + b"}]}", "expected JSON of annotations"),
            (b"\xff\xfe{}", "expected text in UTF-8"),
            (b'{"a":' * 100_000, "expected JSON of annotations"),
            (b"", "line 1, column 1: no JSON"),
        ],
    )
    def test_a_broken_file_is_an_error(self, tmp_path: Path, content: bytes, what: str) -> None:
        path = tmp_path / "instances_val.json"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=what) as caught:
            opened(tmp_path, "det")
        assert str(path) in str(caught.value)

    def test_a_file_that_is_too_large_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one_picture(tmp_path, [])
        monkeypatch.setattr(coco_files, "MAX_JSON_BYTES", 20)
        with pytest.raises(DatasetError, match="at most 20 bytes"):
            opened(tmp_path, "det")

    @pytest.mark.parametrize(("published", "note"), [(1, ", as published"), (7, "; published are 7")])
    def test_official_counts_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: int, note: str
    ) -> None:
        assert coco.PUBLISHED["annotations/instances_val2017.json"] == (5000, 4952)
        monkeypatch.setitem(coco.PUBLISHED, "annotations/instances_val2017.json", (1, published))
        one_picture(tmp_path, [annotation(1)])
        title = f"COCO val2017 in {tmp_path}: 1 images (1 with objects{note})"
        assert opened(tmp_path, "det").title == title

    def test_it_can_be_pickled_and_opened_by_name(self, tmp_path: Path) -> None:
        one_picture(tmp_path, [annotation(1, segmentation=[RECTANGLE]), annotation(2, bbox=[0, 0, 0, 0])])
        data = open_data(f"coco:{tmp_path}", None, ("det", "inst", "depth"))
        copy = pickle.loads(pickle.dumps(data))
        first, second = data[0], copy[0]
        assert first is not None
        assert first.objects is not None
        np.testing.assert_array_equal(first.objects[0].mask, second.objects[0].mask)
        assert [str(p) for p in data.problems] == [str(p) for p in copy.problems] != []
        with pytest.raises(IndexError):
            data[1]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1))
def test_compressed_codes_are_what_pycocotools_wrote(height: int, width: int, bits: int) -> None:
    pixels = np.array([bits >> i & 1 for i in range(height * width)], np.uint8).reshape(height, width)
    code = codec.encode(np.asfortranarray(pixels))
    told = {"size": [height, width], "counts": code["counts"].decode()}
    np.testing.assert_array_equal(mask_of(told, (height, width)), pixels.astype(bool))


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=40))
def test_any_code_is_read_or_refused(text: str) -> None:
    try:
        mask = mask_of({"size": [3, 4], "counts": text}, (3, 4))
    except BrokenEntryError:
        return
    assert mask.shape == (3, 4)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda each: st.lists(each, max_size=6) | st.dictionaries(st.sampled_from(["size", "counts"]), each),
    max_leaves=8,
)
FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3), max_size=4))
def test_any_annotation_is_used_or_noted_once(changes: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = [annotation(i, segmentation=[RECTANGLE], keypoints=KEYPOINTS) for i in range(len(changes) + 1)]
    rows[1:] = [row | change for row, change in zip(rows[1:], changes, strict=True)]
    one_picture(tmp_path, rows)
    data = opened(tmp_path, "det", "inst", "pose")
    example = data[0]
    assert example is not None
    parts = [problem for problem in data.problems if problem.what.endswith("; its box stays")]
    assert len(example.objects or ()) + data.problems.count("annotation") - len(parts) == len(rows)
    without = opened(tmp_path, "det")[0]
    assert without is not None
    assert [boxed(o) for o in example.objects or ()] == [boxed(o) for o in without.objects or ()]
    assert all(str(problem).isprintable() for problem in data.problems)
