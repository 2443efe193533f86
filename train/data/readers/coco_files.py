"""Files of a COCO data set: where annotations and pictures lie, and annotation files as plain values."""

from __future__ import annotations

import glob
import json
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import DatasetError, first_line, shown
from argus_edge.train.data.readers.files import folders_in, inside, read_text

MAX_JSON_BYTES: Final = 1 << 30
PROBED: Final = 100  # listed pictures by which their folder is recognised

_LISTS: Final = ("images", "annotations", "categories")
_KEPT: Final = frozenset(
    f"{' '.join(_LISTS)} id image_id category_id file_name height width name isthing bbox area iscrowd "
    "segmentation counts size keypoints segments_info".split()
)
_NAME: Final = re.compile(r"(instances|person_keypoints|panoptic)_(.+?)(?:2017)?\.json")


def find_annotations(root: Path, split: str, kind: str) -> Path | None:
    """The annotation file of `kind` (instances, person_keypoints, panoptic) of a split; None without one.

    Raises DatasetError when several could be meant.
    """
    for name in (f"annotations/{kind}_{split}2017.json", f"annotations/{kind}_{split}.json"):
        if (root / name).is_file():
            return root / name
    several = sorted((root / "annotations").glob(f"{kind}_{glob.escape(split)}*.json"))
    if len(several) > 1:
        raise DatasetError(
            f"{shown(root)}: expected one file of {kind} of the split {split!r}, found "
            f"{', '.join(shown(path.name) for path in several)}; name the file itself instead of the folder"
        )
    exported = [] if kind == "panoptic" else [root / s / "_annotations.coco.json" for s in same_split(split)]
    others = [*several, root / f"{kind}_{split}.json", *exported]
    return next((path for path in others if path.is_file()), None)


def expected_annotations(split: str, kind: str) -> str:
    """Where `find_annotations` looks, for messages."""
    exported = "" if kind == "panoptic" else f" or {split}/_annotations.coco.json"
    return f"annotations/{kind}_{split}2017.json (or {kind}_{split}.json there or in the folder{exported})"


def same_split(split: str) -> tuple[str, ...]:
    """The names that exporters give to a split."""
    return ("val", "valid") if split in ("val", "valid") else (split,)


def splits_there(root: Path) -> list[str]:
    """The splits of which there is any annotation file, sorted."""
    found = {path.parent.name for path in root.glob("*/_annotations.coco.json")}
    for path in (*root.glob("*.json"), *root.glob("annotations/*.json")):
        match = _NAME.fullmatch(path.name)
        if match:
            found.add(match[2])
    return sorted(found)


def read_annotations(path: Path, without: Sequence[str] = ()) -> dict[str, Any]:
    """`images`, `annotations` and `categories` of an annotation file, each a list of whatever is in it.

    Keys that no task needs, and those in `without`, are left out; lists of numbers come as `array`, which
    takes a quarter of the memory. NaN and infinities are numbers here: they spoil one annotation, not all.

    Raises DatasetError when it is missing, no ordinary file, larger than MAX_JSON_BYTES, no JSON in UTF-8,
    holds a key twice, or one of the three is not there.
    """
    where, text = shown(path), read_text(path, MAX_JSON_BYTES)
    try:
        found = json.loads(text, object_pairs_hook=_slim(_KEPT.difference(without)))
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{where}, line {error.lineno}, column {error.colno}: no JSON: {error.msg}; get the file again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: expected JSON of annotations, got {first_line(error)[:160]}") from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise DatasetError(f"{where}: expected an object with {', '.join(_LISTS)}, got a {kind}")
    wrong = [name for name in _LISTS if not isinstance(found.get(name), list)]
    if wrong:
        raise DatasetError(f"{where}: expected lists of {', '.join(_LISTS)}; missing: {', '.join(wrong)}")
    if not found["images"]:
        raise DatasetError(f"{where}: expected images, but it lists none")
    return found


def image_folders(root: Path, annotations: Path, split: str | None) -> list[Path]:
    """The folders that may hold the pictures, the most likely first.

    `split` is None when the user named the annotation file: then all folders beside it may, first those whose
    names are part of the file's.
    """
    if split is None:
        words = set(annotations.stem.split("_"))
        beside = [*folders_in(root), *(folders_in(root / "images") if (root / "images").is_dir() else ())]
        folders = sorted(beside, key=lambda folder: folder.name not in words)
    else:
        patterns = ("{}2017", "images/{}2017", "images/{}", "{}")
        folders = [root / pattern.format(name) for pattern in patterns for name in same_split(split)]
        folders.append(root / "images")
    return list(dict.fromkeys(f for f in (*folders, annotations.parent, root) if f.is_dir()))


def folder_of(names: Iterable[str], folders: Sequence[Path]) -> Path | None:
    """The folder that holds the most of these files, the first one of equals; None if none holds any."""
    counts = [sum(_is_file(inside(folder, name)) for name in names) for folder in folders]
    return folders[counts.index(max(counts))] if any(counts) else None


def _is_file(path: Path | None) -> bool:
    try:
        return path is not None and path.is_file()
    except OSError:  # a name too long for any file
        return False


def _slim(kept: frozenset[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in kept:
                if key in found:
                    raise ValueError(f"the key {key!r} twice in one object")
                found[key] = _packed(value) if key in _NUMBERS else value
        return found

    return keep


_NUMBERS: Final = frozenset(("bbox", "keypoints", "counts", "segmentation"))


def _packed(value: Any) -> Any:
    """Lists of numbers, and lists of those, as arrays; anything else as it is."""
    if type(value) is not list or not value:
        return value
    if type(value[0]) is list:
        return [_packed(item) for item in value]
    if type(value[0]) not in (int, float):
        return value
    try:
        return array("d", value)
    except (TypeError, OverflowError):
        return value
