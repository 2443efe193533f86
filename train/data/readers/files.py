"""Files and folders of data sets: what is there and what is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.contents import read_ordinary
from argus_edge.train.data.images import IMAGE_SUFFIXES
from argus_edge.train.data.problems import Problems

MAX_TEXT_BYTES: Final = 16 << 20
SAME_SPLIT: Final = (("train", "training"), ("val", "valid", "validation"))
"""Names that people give to one split."""


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name` for a name from an annotation; None if it is absolute or leads out of the folder.

    Symbolic links are followed when read: they are the user's, an annotation cannot make them.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in (*posix.parts, *windows.parts) or posix.is_absolute() or bool(windows.anchor)
    return None if leaves or not posix.parts or "\0" in name else folder / posix


def require_paths(title: str, root: Path, names: Iterable[str], layout: str) -> None:
    """Check that all of `names` (files, folders) are below `root`.

    Raises DatasetError that names every missing one and the layout.
    """
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DatasetError(
            f"{shown(root)}: missing for {title}: {', '.join(map(shown, missing))}; expected layout: {layout}"
        )


def choose_split(
    title: str, root: Path, wanted: str, there: Sequence[str], aliases: Iterable[Sequence[str]] = ()
) -> str:
    """The one of the splits `there` that is called `wanted`, or by a name of the same group of `aliases`.

    Raises DatasetError that names those which are there.
    """
    same = next((group for group in aliases if wanted in group), (wanted,))
    for name in (wanted, *same):
        if name in there:
            return name
    raise DatasetError(
        f"{shown(root)}: {title} has no split {wanted!r}; there: {', '.join(map(shown, there)) or 'none'}"
    )


def folders_in(folder: Path) -> list[Path]:
    """The folders in it, sorted by name; hidden ones are left out. Raises DatasetError if it is no folder."""
    return [folder / entry.name for entry in _entries(folder) if _is_folder(entry)]


def images_in(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files in it, by their endings, sorted by name; hidden ones are left out.

    Raises DatasetError if it is no folder.
    """
    return [folder / name for name in image_names_in(folder, suffixes)]


def image_names_in(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """The same as bare names, for folders of a million."""
    endings = tuple(suffixes)
    # A link to nowhere and a pipe are among them, to be reported when they are read.
    found = (entry for entry in _entries(folder) if entry.name.lower().endswith(endings))
    return [entry.name for entry in found if not _is_folder(entry)]


def images_by_stem(
    folder: Path, root: Path, problems: Problems, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> dict[str, Path]:
    """Image files in it by their names without ending, sorted. Of several of one stem the first is taken.

    The others are problems, with paths relative to `root`. Raises DatasetError if it is no folder.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder, suffixes):
        first = found.setdefault(path.stem, path)
        if first is not path:
            what = f"same name as {shown(first.name)}; expected one image of a name"
            problems.add(shown(path.relative_to(root)), what, "image")
    return found


def read_text(path: Path, most: int = MAX_TEXT_BYTES) -> str:
    """A text file in UTF-8. Raises DatasetError if it is missing, has over `most` bytes, or is no text."""
    try:
        return read_ordinary(path, most).decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{shown(path)}: expected text in UTF-8, got other bytes at {error.start}"
        ) from error


def read_names(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line; empty lines at the end are left out. Raises DatasetError as `read_text`
    does, and for no name, an empty one or one that is there twice.
    """
    names = tuple(line.strip() for line in read_text(path).rstrip().splitlines())
    check_names(names, shown(path))
    return names


def check_names(names: Sequence[str], where: str) -> None:
    """Raises DatasetError for no name, an empty one or one that is there twice."""
    if not names or not all(names):
        raise DatasetError(f"{where}: expected names of classes, none of them empty; got {list(names)[:5]}")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DatasetError(f"{where}: expected names that differ; {', '.join(twice[:5])} are there twice")


def unique_names(texts: Mapping[str, str]) -> tuple[str, ...]:
    """Names for classes of which a list of synonyms is known, as "tench, Tinca tinca": the first synonym.

    Where several classes share it ("crane" is a bird and a machine), their keys in `texts` tell them apart.
    """
    firsts = {key: text.split(",")[0].strip() or key for key, text in texts.items()}
    often = Counter(firsts.values())
    return tuple(first if often[first] == 1 else f"{first} ({key})" for key, first in firsts.items())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(f"{shown(folder)}: expected a folder: {error.strerror}") from error
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
