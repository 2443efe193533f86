"""Files of a YOLO data set: its description, and where the pictures and labels of a split lie.

https://docs.ultralytics.com/datasets/. Paths in a description are the exporter's own more often than not
(Roboflow writes ../train/images, notebooks /content/...), so those that lead out are taken by their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from argus_edge.dependencies import require
from argus_edge.errors import DatasetError, first_line, shown
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.images import IMAGE_SUFFIXES
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import BrokenEntryError, checked_name, spelt
from argus_edge.train.data.readers.files import check_names, inside, read_names, read_text

LAYOUT: Final = (
    "data.yaml with names (or classes.txt), and images/SPLIT/ with labels/SPLIT/ or SPLIT/images/ with "
    "SPLIT/labels/; one .txt per picture"
)
MAX_YAML_BYTES: Final = 1 << 20
NAME_FILES: Final = ("classes.txt", "obj.names", "names.txt")
_SPLITS: Final = {"val": ("val", "valid", "validation"), "valid": ("valid", "val", "validation")}


@dataclass(frozen=True)
class Description:
    """What data.yaml says, or the file of names in its place."""

    names: tuple[str, ...]
    keypoints: tuple[int, int] | None  # how many, and values of each, 2 or 3; None if lines have none
    splits: Mapping[str, tuple[str, ...]]  # split -> its folders of pictures, or files that list pictures


def read_description(root: Path, file: Path | None, pose: bool) -> Description:
    """The description in `file`, or else in `root`. With `pose` its keypoints must be COCO's seventeen.

    Raises DatasetError if there is none, it cannot be read, or says something that cannot be.
    """
    path = file or _find_yaml(root)
    if path is None:
        listed = [root / name for name in NAME_FILES if (root / name).is_file()]
        if not listed:
            raise DatasetError(
                f"{shown(root)}: no names of classes; add data.yaml with a list `names`, or classes.txt with "
                f"one name a line; expected layout: {LAYOUT}"
            )
        return Description(read_names(listed[0]), None, {})
    found = _read_yaml(path)
    splits = {}
    base = found.get("path")
    for key in ("train", "val", "valid", "validation", "test"):
        value = found.get(key)
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        places = [_place(root, base, text) for text in values if isinstance(text, str)]
        if any(places):
            splits[key] = tuple(place for place in places if place is not None)
    return Description(_names(path, found), _keypoints(path, found, pose), splits)


def find_pictures(
    root: Path, split: str, splits: Mapping[str, tuple[str, ...]], problems: Problems
) -> list[Path]:
    """The pictures of a split, sorted by path below each of its folders.

    Raises DatasetError if there is no such split (naming those that are there) or no folder of labels.
    """
    aliases = _SPLITS.get(split, (split,))
    told = next((splits[name] for name in aliases if name in splits), ())
    usual = [place for name in aliases for place in (f"images/{name}", f"{name}/images")]
    places = told or tuple(place for place in usual if (root / place).is_dir())[:1]
    if not places:
        below = [path.name for path in root.glob("images/*") if path.is_dir()]
        there = sorted({*splits, *below, *(path.parent.name for path in root.glob("*/images"))})
        raise DatasetError(
            f"{shown(root)}: no split {split!r}; splits there: {', '.join(map(shown, there)) or 'none'}; "
            f"expected layout: {LAYOUT}"
        )
    pictures: dict[Path, None] = {}
    for place in places:
        path = root / place
        found = _listed(root, path, problems) if path.is_file() else _pictures_in(path)
        pictures.update(dict.fromkeys(found))
    if not pictures:
        raise DatasetError(f"{shown(root)}: no pictures in {', '.join(map(shown, places))}")
    folders = {label_of(root, picture).parent for picture in pictures}
    if not any(folder.is_dir() for folder in folders):
        wanted = shown(min(folders).relative_to(root))
        raise DatasetError(f"{shown(root)}: missing {wanted}/, the labels; expected layout: {LAYOUT}")
    return list(pictures)


def label_of(root: Path, picture: Path) -> Path:
    """Its file of labels: the last folder called images becomes labels; without one, beside the picture."""
    parts = list(picture.relative_to(root).with_suffix(".txt").parts)
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if at is not None:
        parts[at] = "labels"
    return root.joinpath(*parts)


def _find_yaml(root: Path) -> Path | None:
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (root / name).is_file():
            return root / name
    others = sorted((*root.glob("*.yaml"), *root.glob("*.yml")))
    if len(others) > 1:
        found = ", ".join(shown(path.name) for path in others)
        raise DatasetError(
            f"{shown(root)}: expected one description, found {found}; name the file itself, not the folder"
        )
    return others[0] if others else None


def _read_yaml(path: Path) -> dict[str, Any]:
    yaml = require("yaml", "train")
    try:
        found = yaml.safe_load(read_text(path, MAX_YAML_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or first_line(error)
        raise DatasetError(f"{shown(path)}{line}: no YAML: {what}") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{shown(path)}: expected keys with values, such as names, got something else")
    return found


def _names(path: Path, found: Mapping[str, Any]) -> tuple[str, ...]:
    names = found.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DatasetError(f"{shown(path)}: expected names of the classes 0, 1, 2, ... without a gap")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not all(type(name) in (str, int) for name in names):
        raise DatasetError(
            f"{shown(path)}: expected `names`, a list of the names of classes; put words like no in quotes"
        )
    texts = tuple(str(name).strip() for name in names)
    check_names(texts, shown(path))
    if type(found.get("nc")) is int and found["nc"] != len(texts):
        raise DatasetError(f"{shown(path)}: nc is {found['nc']} but there are {len(texts)} names")
    return texts


def _keypoints(path: Path, found: Mapping[str, Any], pose: bool) -> tuple[int, int] | None:
    shape, names = found.get("kpt_shape"), found.get("kpt_names")
    if shape is None:
        return None
    if not isinstance(shape, list) or [type(n) for n in shape] != [int, int] or shape[1] not in (2, 3):
        raise DatasetError(f"{shown(path)}: expected kpt_shape of two whole numbers, such as [17, 3]")
    known = f"COCO's {len(KEYPOINT_NAMES)} keypoints: {', '.join(KEYPOINT_NAMES)}"
    if pose and shape[0] != len(KEYPOINT_NAMES):
        raise DatasetError(f"{shown(path)}: kpt_shape is {shape}; pose needs {known}")
    for listed in names.values() if pose and isinstance(names, dict) else ():
        if isinstance(listed, list) and [spelt(name) for name in listed] != list(KEYPOINT_NAMES):
            raise DatasetError(f"{shown(path)}: kpt_names are others; pose needs {known}")
    return shape[0], shape[1]


def _place(root: Path, base: object, text: str) -> str | None:
    """A path of the description, relative to `root`; None if nothing is there."""
    names = [f"{base}/{text}", text] if isinstance(base, str) and base else [text]
    for name in names:
        own = inside(root, name)
        ends = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
        last = range(max(1, len(ends) - 1))  # "images" alone could be anything
        for path in [own] if own else [inside(root, "/".join(ends[at:])) for at in last]:
            if path is not None and _exists(path):
                return str(path.relative_to(root))
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for any file
        return False


def _pictures_in(folder: Path) -> list[Path]:
    """All below it; those that are hidden, or in hidden folders, are left out.

    Links to nowhere are among them, to be reported when they are read.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    visible = (p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted(path for path in visible if not path.is_dir())


def _listed(root: Path, file: Path, problems: Problems) -> Iterator[Path]:
    """The pictures that a file names, one a line, relative to it."""
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield file.parent / checked_name(line.strip())
        except BrokenEntryError as error:
            problems.add(f"{shown(file.relative_to(root))}, line {number}", str(error), "image")
