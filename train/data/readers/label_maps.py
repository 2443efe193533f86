"""Pictures and label maps of the same name: CamVid as SegNet has it, and the simplest layout for own data.

A map (H, W) has the index of a class in every pixel; 255 and the number of classes mean "ignore".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.example import IGNORE
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import (
    SAME_SPLIT,
    check_names,
    choose_split,
    folders_in,
    read_names,
    read_text,
    require_paths,
)
from argus_edge.train.data.readers.listed import ClassValues, ListedImages, counted
from argus_edge.train.data.readers.pairs import Pair, PairReader, pair_up
from argus_edge.train.data.readers.reader import Reader

TITLE: Final = "label maps"
LAYOUT: Final = (
    "images/{train,val}/NAME.jpg, labels/{train,val}/NAME.png (or masks/ or annotations/), and classes.txt "
    "with the name of a class on each line, or classes.json with names and ignored values"
)
_MAP_FOLDERS: Final = ("labels", "masks", "annotations")


def open_label_maps(
    path: Path,
    split: str,
    tasks: tuple[str, ...],
    problems: Problems,
    names: tuple[str, ...] | None = None,
) -> ListedImages[Pair]:
    """A folder of pictures and one of label maps, each with a folder for each split.

    Args:
        path: the folder.
        split: "train", "val" or as its folder is called.
        tasks: seg.
        problems: gets pictures without a map, maps without a picture, of colours, of another size than the
            picture, or with values that are no class. Their images are left out.
        names: of the classes; by default those in classes.txt or classes.json.

    Raises DatasetError if folders are missing or empty, or nothing names the classes.
    """
    maps = next((name for name in _MAP_FOLDERS if (path / name).is_dir()), _MAP_FOLDERS[0])
    require_paths(TITLE, path, ("images", maps), LAYOUT)
    there = [folder.name for folder in folders_in(path / "images")]
    split = choose_split(TITLE, path, split, there, SAME_SPLIT)
    require_paths(TITLE, path, (f"{maps}/{split}",), LAYOUT)
    names, ignored = (names, ()) if names is not None else _classes_of(path)
    check_names(names, shown(path))
    if len(names) > IGNORE:
        raise DatasetError(f"{shown(path)}: expected at most {IGNORE} classes, got {len(names)}")
    pairs = pair_up(path, path / "images" / split, path / maps / split, problems)
    read = PairReader(
        path, path / maps / split, ClassValues(len(names), ignored={IGNORE, len(names), *ignored})
    )
    title = counted(f"{TITLE} {split} in {shown(path)}", len(pairs), None)
    return ListedImages(title, {"seg": names}, tasks, problems, pairs, read)


def _classes_of(path: Path) -> tuple[tuple[str, ...], Sequence[int]]:
    """Names, and values that are ignored beside the usual ones."""
    if (path / "classes.txt").exists():
        return read_names(path / "classes.txt"), ()
    if not (path / "classes.json").exists():
        raise DatasetError(
            f"{shown(path)}: nothing names its classes; write them into {shown(path / 'classes.txt')}, one "
            f"on each line in the order of their numbers, or after the folder, as in "
            f"maps:{shown(path)}#sky,road,car"
        )
    where = shown(path / "classes.json")
    try:
        found = json.loads(read_text(path / "classes.json"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: expected JSON as in {_JSON}, got none: {error}") from error
    names, ignored = (found.get("names"), found.get("ignore", [])) if isinstance(found, dict) else (None, [])
    ignored = ignored if isinstance(ignored, list) else [ignored]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{where}: expected names of classes, as in {_JSON}")
    if not all(type(value) is int and value >= 0 for value in ignored):
        raise DatasetError(f"{where}: expected whole numbers to ignore, as in {_JSON}")
    return tuple(name.strip() for name in names), ignored


_JSON: Final = '{"names": ["sky", "road"], "ignore": 255}'

LABEL_MAPS: Final = Reader(
    TITLE, ("seg",), ("train", "val"), LAYOUT, open_label_maps, open_named=open_label_maps
)
