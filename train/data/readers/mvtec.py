"""MVTec AD: for each category sound items to train on, and sound and defective ones with masks to test on.

Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import (
    choose_split,
    folders_in,
    images_by_stem,
    require_paths,
)
from argus_edge.train.data.readers.listed import BrokenFile, ListedImages, label_map, picture
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.metrics import AnomalyTruth

TITLE: Final = "MVTec AD"
LAYOUT: Final = (
    "CATEGORY/train/good/*.png, CATEGORY/test/good/*.png, CATEGORY/test/DEFECT/*.png and "
    "CATEGORY/ground_truth/DEFECT/NAME_mask.png; or the folder of one CATEGORY"
)
# Numbers of images to train and to test on.
PUBLISHED: Final = {
    "bottle": (209, 83), "cable": (224, 150), "capsule": (219, 132), "carpet": (280, 117), "grid": (264, 78),
    "hazelnut": (391, 110), "leather": (245, 124), "metal_nut": (220, 115), "pill": (267, 167),
    "screw": (320, 160), "tile": (230, 117), "toothbrush": (60, 42), "transistor": (213, 100),
    "wood": (247, 79), "zipper": (240, 151),
}  # fmt: skip
_GOOD: Final = "good"
_SAME_SPLIT: Final = (("train", "training"), ("test", "val", "valid", "validation"))


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of an item of a category, and the mask of its defect; None for a sound one."""

    category: str
    picture: Path
    mask: Path | None


@dataclass(frozen=True)
class _Read:
    root: Path

    def __call__(self, item: Item) -> Example:
        name = shown(item.picture.relative_to(self.root))
        if item.mask is None:
            image = picture(self.root, item.picture)
            return Example(
                name, image, anomaly=AnomalyTruth(item.category, np.zeros(image.shape[:2], np.bool_))
            )
        if not item.mask.exists():
            raise BrokenFile(name, f"no mask of its defect, {shown(item.mask.relative_to(self.root))}")
        mask = label_map(self.root, item.mask) != 0
        if not mask.any():  # it would count as sound
            raise BrokenFile(shown(item.mask.relative_to(self.root)), "mask of a defect is empty")
        image = picture(self.root, item.picture, (mask.shape[0], mask.shape[1]))
        return Example(name, image, anomaly=AnomalyTruth(item.category, mask))


def open_mvtec(path: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> ListedImages[Item]:
    """Items by category, kind of defect and name, each sorted.

    Args:
        path: the folder of the categories, or of one of them.
        split: "train" or "test", which is "val" too.
        tasks: anom.
        problems: gets defective items without a mask, with an empty one or one of another size, masks without
            an item, and items to train on that are not sound.

    Raises DatasetError if there is no category, or folders of one are missing or hold no picture.
    """
    split = choose_split(TITLE, path, split, ("train", "test"), _SAME_SPLIT)
    folders = (
        [path] if _is_category(path) else [folder for folder in folders_in(path) if _is_category(folder)]
    )
    if not folders:
        raise DatasetError(f"{shown(path)}: expected {TITLE}: {LAYOUT}; got no folder of a category")
    needed = f"train/{_GOOD}" if split == "train" else "test"
    within = {folder: "" if folder == path else f"{folder.name}/" for folder in folders}
    require_paths(TITLE, path, [f"{before}{needed}" for before in within.values()], LAYOUT)
    items = {_name(folder): _items(path, folder, split, problems) for folder in folders}
    empty = [category for category, listed in items.items() if not listed]
    if empty:
        raise DatasetError(f"{shown(path)}: expected pictures in {needed} of {', '.join(empty)}, got none")
    return ListedImages(
        _title(path, split, items),
        {"anom": tuple(items)},
        tasks,
        problems,
        [item for listed in items.values() for item in listed],
        _Read(path),
    )


def _is_category(folder: Path) -> bool:
    return (folder / "train" / _GOOD).is_dir() or (folder / "test" / _GOOD).is_dir()


def _name(folder: Path) -> str:
    return shown(folder.name if folder.name not in ("", "..") else folder.resolve().name)


def _items(root: Path, folder: Path, split: str, problems: Problems) -> list[Item]:
    category = _name(folder)
    found = []
    for kind in folders_in(folder / split):
        pictures = images_by_stem(kind, root, problems)
        if kind.name == _GOOD:
            found += [Item(category, path, None) for path in pictures.values()]
        elif split == "train":
            for path in pictures.values():
                what = f"expected sound items to train on, in train/{_GOOD}"
                problems.add(shown(path.relative_to(root)), what, "image")
        else:
            masks = folder / "ground_truth" / kind.name
            found += [Item(category, path, masks / f"{stem}_mask.png") for stem, path in pictures.items()]
            _check_masks(root, masks, kind, pictures, problems)
    return found


def _check_masks(
    root: Path, masks: Path, kind: Path, pictures: Mapping[str, Path], problems: Problems
) -> None:
    """Masks of no picture are problems."""
    for stem, path in (images_by_stem(masks, root, problems) if masks.is_dir() else {}).items():
        if stem.removesuffix("_mask") not in pictures:
            what = f"no picture of this name in {shown(kind.relative_to(root))}"
            problems.add(shown(path.relative_to(root)), what, "annotation")


def _title(path: Path, split: str, items: Mapping[str, Sequence[Item]]) -> str:
    count = sum(map(len, items.values()))
    title = f"{TITLE} {split} in {shown(path)}: {count:,} images of {', '.join(items)}"
    if not items.keys() <= PUBLISHED.keys():
        return title
    published = {name: PUBLISHED[name][split == "test"] for name in items}
    other = [f"{name} {published[name]}" for name, listed in items.items() if len(listed) != published[name]]
    return f"{title} ({'published: ' + ', '.join(other) if other else 'as published'})"


MVTEC: Final = Reader(TITLE, ("anom",), ("train", "test"), LAYOUT, open_mvtec)
