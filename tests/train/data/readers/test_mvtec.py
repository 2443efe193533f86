from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from argus_edge.errors import DatasetError
from argus_edge.results import AnomalyMap
from argus_edge.train.data.dataset import all_images
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import mvtec, open_data
from argus_edge.train.metrics import TASK_METRICS
from tests.train.data.readers.conftest import Save

PICTURE = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:4] = 255


@pytest.fixture
def folder(tmp_path: Path, save: Save) -> Path:
    for category in ("screw", "leather"):
        save(tmp_path / category / "train" / "good" / "000.png", PICTURE)
        save(tmp_path / category / "test" / "good" / "000.png", PICTURE)
        save(tmp_path / category / "test" / "cut" / "000.png", 255 - PICTURE)
        save(tmp_path / category / "ground_truth" / "cut" / "000_mask.png", MASK)
    (tmp_path / "screw" / "license.txt").touch()
    (tmp_path / "__MACOSX").mkdir()
    return tmp_path


def test_items_are_read_to_the_pixel(folder: Path) -> None:
    images = open_data(f"mvtec:{folder}", None, ("anom",), Problems(strict=True))
    images = pickle.loads(pickle.dumps(images))
    assert (images.tasks, images.classes) == (("anom",), {"anom": ("leather", "screw")})
    cut, good, *_ = examples = list(images)
    assert [example.name for example in examples] == [
        f"{category}/test/{kind}/000.png" for category in ("leather", "screw") for kind in ("cut", "good")
    ]
    np.testing.assert_array_equal(cut.image, 255 - PICTURE)
    np.testing.assert_array_equal(cut.anomaly.mask, MASK > 0)
    assert [example.anomaly.category for example in examples] == ["leather"] * 2 + ["screw"] * 2
    assert good.anomaly.mask.shape == (4, 6)
    assert not good.anomaly.mask.any()


def test_training_has_sound_items_only(folder: Path, save: Save) -> None:
    save(folder / "screw" / "train" / "cut" / "001.png", PICTURE)
    problems = Problems()
    images = open_data(f"mvtec:{folder}", "train", ("anom",), problems)
    assert [e.name for e in filter(None, all_images(images))] == [
        "leather/train/good/000.png",
        "screw/train/good/000.png",
    ]
    assert [str(problem) for problem in problems] == [
        "screw/train/cut/001.png: expected sound items to train on, in train/good"
    ]


def test_one_category(folder: Path) -> None:
    images = open_data(f"mvtec:{folder / 'screw'}", "val", ("anom",))
    assert images.classes == {"anom": ("screw",)}
    assert [example.name for example in filter(None, all_images(images))] == [
        "test/cut/000.png",
        "test/good/000.png",
    ]


def test_one_category_from_within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "screw")
    assert open_data("mvtec:.", "val", ("anom",)).classes == {"anom": ("screw",)}


def test_a_category_is_called_as_its_link(folder: Path) -> None:
    (folder / "bolt").symlink_to(folder / "screw")
    images = open_data(f"mvtec:{folder}", None, ("anom",), Problems(strict=True))
    assert images.classes == {"anom": ("bolt", "leather", "screw")}


def test_a_model_may_have_other_categories_in_another_order(folder: Path) -> None:
    images = open_data(f"mvtec:{folder}", None, ("anom",))
    metric = TASK_METRICS["anom"].make(images.classes["anom"])
    categories = ("wood", "screw", "leather")
    for example in filter(None, all_images(images)):
        truth = example.anomaly
        assert truth is not None
        maps = np.zeros((3, 4, 6), np.float32)
        maps[categories.index(truth.category)] = truth.mask
        metric.update(AnomalyMap(maps, maps.max(axis=(1, 2)), categories), truth)
    figures = metric.result()
    assert [figures[f"{name}_AUROC/{c}"] for name in ("image", "pixel") for c in ("leather", "screw")] == [
        1
    ] * 4


def test_masks_that_cannot_be_used(folder: Path, save: Save) -> None:
    masks = folder / "screw" / "ground_truth" / "cut"
    for stem in ("colours", "cut_off", "empty", "none", "size"):
        save(folder / "screw" / "test" / "cut" / f"{stem}.png", PICTURE)
    save(masks / "colours_mask.png", np.stack([MASK] * 3, axis=-1))
    whole = save(masks / "cut_off_mask.png", MASK).read_bytes()
    (masks / "cut_off_mask.png").write_bytes(whole[:40])
    save(masks / "empty_mask.png", MASK * 0)
    save(masks / "size_mask.png", MASK[:3])
    save(masks / "orphan_mask.png", MASK)
    problems = Problems()
    images = open_data(f"mvtec:{folder / 'screw'}", None, ("anom",), problems)
    assert (len(images), len(list(filter(None, all_images(images))))) == (7, 2)
    found = {problem.path: (problem.what, problem.lost) for problem in problems}
    assert found["ground_truth/cut/orphan_mask.png"] == ("no picture of this name in test/cut", "annotation")
    assert found["ground_truth/cut/colours_mask.png"][0].startswith("label map has colours")
    assert found["ground_truth/cut/cut_off_mask.png"][1] == "image"
    assert found["ground_truth/cut/empty_mask.png"] == ("mask of a defect is empty", "image")
    assert found["test/cut/none.png"] == ("no mask of its defect, ground_truth/cut/none_mask.png", "image")
    assert found["test/cut/size.png"] == ("picture is 4x6 but its annotations are of 3x6", "image")
    assert len(found) == 6


def test_what_is_missing_is_told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(
        DatasetError, match=r"expected MVTec AD: CATEGORY/train/good.*got no folder of a category"
    ):
        open_data(f"mvtec:{tmp_path_factory.mktemp('empty')}", None, ("anom",))
    with pytest.raises(DatasetError, match="no split 'fold1'; there: train, test"):
        open_data(f"mvtec:{folder}", "fold1", ("anom",))
    (folder / "screw" / "train" / "good").rename(folder / "screw" / "train" / "other")
    with pytest.raises(DatasetError, match="missing for MVTec AD: screw/train/good; expected layout"):
        open_data(f"mvtec:{folder}", "train", ("anom",))
    (folder / "leather" / "train" / "good" / "000.png").unlink()
    with pytest.raises(DatasetError, match="expected pictures in train/good of leather, got none"):
        open_data(f"mvtec:{folder / 'leather'}", "train", ("anom",))


def test_published_counts_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(train for train, _ in mvtec.PUBLISHED.values()) == 3629
    assert sum(test for _, test in mvtec.PUBLISHED.values()) == 1725
    title = open_data(f"mvtec:{folder}", None, ("anom",)).title
    assert title == (
        f"MVTec AD test in {folder}: 4 images of leather, screw (published: leather 124, screw 160)"
    )
    for name in ("leather", "screw"):
        monkeypatch.setitem(mvtec.PUBLISHED, name, (1, 2))
    assert open_data(f"mvtec:{folder}", None, ("anom",)).title.endswith("(as published)")
    (folder / "screw").rename(folder / "bolt")
    assert open_data(f"mvtec:{folder}", None, ("anom",)).title.endswith("images of bolt, leather")
