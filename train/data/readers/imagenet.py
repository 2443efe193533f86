"""A folder of pictures for each class, as ImageNet is usually kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import (
    SAME_SPLIT,
    choose_split,
    folders_in,
    image_names_in,
    read_text,
    unique_names,
)
from argus_edge.train.data.readers.listed import ListedImages, counted, picture
from argus_edge.train.data.readers.reader import Reader

TITLE: Final = "ImageNet-style folders"
LAYOUT: Final = (
    "{train,val}/CLASS/*.JPEG (or other pictures), and, if the folders are not called as the classes, "
    "LOC_synset_mapping.txt or classes.txt with CLASS and its name on each line"
)
PUBLISHED: Final = {"train": 1_281_167, "val": 50_000}  # ImageNet-1K
_NAME_FILES: Final = ("LOC_synset_mapping.txt", "classes.txt")


@dataclass(frozen=True)
class _Read:
    """Reads one picture, listed as "CLASS/FILE": of a million of them, a text each is what fits in memory."""

    root: Path
    split: str
    classes: dict[str, int]  # by folder

    def __call__(self, name: str) -> Example:
        path = self.root / self.split / name
        image_class = self.classes[name.partition("/")[0]]
        return Example(shown(f"{self.split}/{name}"), picture(self.root, path), image_class=image_class)


def open_imagenet(path: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> ListedImages[str]:
    """Pictures, sorted by class and name.

    The classes are all folders of all splits, so that a class is missing in none: in the order of
    LOC_synset_mapping.txt or classes.txt, by the first of the names there, or else sorted.

    Args:
        path: the folder.
        split: "train", "val" or as its folder is called.
        tasks: cls.
        problems: gets what is no picture, and pictures that are in no class's folder.

    Raises DatasetError if there is no such split, it has no folders of classes or no pictures, or a class is
    not named in the file of names.
    """
    there = [folder.name for folder in folders_in(path)]
    split = choose_split(TITLE, path, split, there, SAME_SPLIT)
    splits = [name for name in there if any(name in group for group in SAME_SPLIT) or name == split]
    here = [folder.name for folder in folders_in(path / split)]
    stray = image_names_in(path / split)
    if not here:
        raise DatasetError(
            f"{shown(path / split)}: expected a folder for each class, got none but {len(stray):,} pictures; "
            f"move each into the folder of its class, for which ImageNet's val needs its list of true classes"
        )
    for name in stray:
        problems.add(shown(f"{split}/{name}"), "expected in the folder of its class", "image")
    folders = sorted({folder.name for name in splits for folder in folders_in(path / name)})
    classes = _names(path, folders)
    names = [f"{folder}/{name}" for folder in here for name in image_names_in(path / split / folder)]
    if not names:
        raise DatasetError(f"{shown(path / split)}: expected pictures in the folders of classes, got none")
    of_1k = next((group[0] for group in SAME_SPLIT if split in group and len(classes) == 1000), "")
    return ListedImages(
        counted(f"{TITLE} {split} in {shown(path)}", len(names), PUBLISHED.get(of_1k)),
        {"cls": tuple(classes.values())},
        tasks,
        problems,
        names,
        _Read(path, split, {folder: number for number, folder in enumerate(classes)}),
    )


def _names(path: Path, folders: Sequence[str]) -> dict[str, str]:
    """Folder -> name of its class, in the order of the classes."""
    file = next((path / name for name in _NAME_FILES if (path / name).exists()), None)
    if file is None:
        return {folder: shown(folder) for folder in folders}
    there, found = set(folders), dict[str, str]()
    for line in filter(None, map(str.strip, read_text(file).splitlines())):
        folder, *texts = [line] if line in there else line.split(maxsplit=1)
        if folder in found:
            raise DatasetError(f"{shown(file)}: expected each folder once; {folder} is there twice")
        found[folder] = texts[0] if texts else folder
    missing = [folder for folder in folders if folder not in found]
    if missing:
        raise DatasetError(
            f"{shown(file)}: expected each class's folder and its name on a line, as in 'n01440764 tench'; "
            f"not there: {', '.join(map(shown, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
        )
    kept = {folder: text for folder, text in found.items() if folder in there}
    return dict(zip(kept, unique_names(kept), strict=True))


IMAGENET: Final = Reader(TITLE, ("cls",), ("train", "val"), LAYOUT, open_imagenet)
