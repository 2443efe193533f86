"""Examples of which every label is a map in a file of its own: pictures, numpy arrays, MATLAB files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, ImageError, shown
from argus_edge.train.data.contents import open_ordinary
from argus_edge.train.data.example import Example
from argus_edge.train.data.images import MAX_PIXELS
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import inside, read_text
from argus_edge.train.data.readers.listed import BrokenFile, broken_file, label_map, picture, stored_map
from argus_edge.train.data.readers.matlab import read_variable

MAX_ARRAY_BYTES: Final = MAX_PIXELS * 3 * 8

ReadMap = Callable[[Path, Path], NDArray[Any] | None]
"""(root, file below it) -> label (H, W) or (H, W, 3), None where it says nothing. May raise BrokenFile."""


@dataclass(frozen=True)
class MapSource:
    """Where one kind of label lies, and how a file of it is read."""

    field: str  # of Example
    places: tuple[str, ...]  # below the root, with {} for the name; the first that is there is read
    read: ReadMap  # can be pickled, so no lambda


@dataclass(frozen=True, eq=False)
class MapReader:
    """Reads the example of a name from a list: its picture, and a map from each source."""

    root: Path
    list_file: str  # that the names are from, for problems
    pictures: tuple[str, ...]  # places, as of sources
    sources: Sequence[MapSource]
    problems: Problems

    def __call__(self, name: str) -> Example:
        """The example; a label that is broken is among the problems instead.

        Raises BrokenFile for a broken picture or a name that leaves the folder.
        """
        image = self.picture_path(name)
        maps = {s.field: (first_there(self.root, s.places, name), s.read) for s in self.sources}
        return read_example(self.root, image, maps, self.problems)

    def picture_path(self, name: str) -> Path:
        """Where the picture of a name is, or would be. Raises BrokenFile if it leaves the folder."""
        if inside(self.root, name) is None:
            raise BrokenFile(f"{self.list_file}, {name!r}", "the path leaves the folder of the data set")
        return first_there(self.root, self.pictures, name)


def listed_lines(root: Path, list_file: str) -> tuple[str, ...]:
    """The lines of a list of images, without the empty ones. Raises DatasetError if there is none."""
    lines = tuple(line.strip() for line in read_text(root / list_file).splitlines() if line.strip())
    if not lines:
        raise DatasetError(f"{shown(root / list_file)}: lists no image")
    return lines


def first_there(root: Path, places: Sequence[str], name: str) -> Path:
    """The first of the places of a name where there is a file; without any, one whose folder is there."""
    paths = [root / place.format(name) for place in places]
    folders = (path for path in paths if path.parent.is_dir())
    return next((path for path in paths if path.is_file()), None) or next(folders, paths[0])


def read_example(
    root: Path, image: Path, maps: Mapping[str, tuple[Path, ReadMap]], problems: Problems
) -> Example:
    """The picture and its maps: field of Example -> file and how to read it.

    Maps that are broken or of another size than the picture are left out and among the problems. Raises
    BrokenFile for a broken picture.
    """
    read = {field: _label(root, *source, problems) for field, source in maps.items()}
    labels: dict[str, Any] = {field: label for field, label in read.items() if label is not None}
    sizes = {label.shape[:2] for label in labels.values()}
    try:
        pixels = picture(root, image, sizes.pop() if len(sizes) == 1 else None)
    except BrokenFile:
        # If it is whole but of another size, the fault is with the labels.
        pixels = picture(root, image)
    for field, label in list(labels.items()):
        if label.shape[:2] != pixels.shape[:2]:
            what = f"is {_size(label)} but its picture {_size(pixels)}; expected the same size"
            problems.add(shown(maps[field][0].relative_to(root)), what, "annotation")
            del labels[field]
    return Example(shown(image.relative_to(root)), pixels, **labels)


def _label(root: Path, path: Path, read: ReadMap, problems: Problems) -> NDArray[Any] | None:
    try:
        return read(root, path)
    except BrokenFile as broken:
        problems.add(broken.path, broken.what, "annotation")
        return None


def read_numpy(root: Path, path: Path) -> NDArray[Any]:
    """An array of numbers from a file of numpy's. Raises BrokenFile."""
    try:
        # Mapped, so that a header which tells of more than there is does not take memory.
        with warnings.catch_warnings(), open_ordinary(path, MAX_ARRAY_BYTES):
            warnings.simplefilter("ignore")  # of numpy, about headers of Python 2
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads headers as Python does, with all errors that this can have
        raise broken_file(root, path, error) from error
    if not isinstance(values, np.ndarray) or values.nbytes > MAX_ARRAY_BYTES:
        raise broken_file(root, path, f"expected one array of up to {MAX_ARRAY_BYTES} bytes")
    return _numbers(root, path, np.array(values))


def read_matlab(root: Path, path: Path, key: str) -> Any:
    """The variable `key` of a MATLAB file, as `read_variable` gives it. Raises BrokenFile."""
    try:
        return read_variable(path, key)
    except ImageError as error:
        raise broken_file(root, path, error) from error


def read_values(root: Path, path: Path, key: str) -> NDArray[Any]:
    """Numbers (H, W) or (H, W, C), by the file's ending: .npy, .mat (variable `key`), else a picture.

    An array (H, W, 1) becomes (H, W). Raises BrokenFile.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = read_numpy(root, path)
    elif suffix == ".mat":
        values = _numbers(root, path, read_matlab(root, path, key))
    else:
        return stored_map(root, path)
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def read_classes(root: Path, path: Path, key: str) -> NDArray[np.int64]:
    """Whole numbers (H, W) from a picture, or from the variable `key` of a MATLAB file. Raises BrokenFile."""
    if path.suffix.lower() != ".mat":
        return label_map(root, path).astype(np.int64)
    values = read_values(root, path, key)
    if values.ndim != 2 or not np.array_equal(values, np.round(values)):
        raise broken_file(root, path, "expected a map (H, W) of whole numbers")
    return values.astype(np.int64)


def _numbers(root: Path, path: Path, values: Any) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        raise broken_file(root, path, "expected numbers (H, W) or (H, W, C)")
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or values.size == 0:
        kind = f"{values.dtype} {values.shape}"
        raise broken_file(root, path, f"expected numbers (H, W) or (H, W, C), got {kind}")
    return values


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"
