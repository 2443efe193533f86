"""Pictures and label maps of the same name in two folders, and the maps' values as classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import images_by_stem
from argus_edge.train.data.readers.listed import BrokenFile, ClassValues, ReadPicture, label_map, picture

MAP_SUFFIXES: Final = (".png", ".bmp", ".tif", ".tiff")  # those that keep every value


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its label map; None where there is none."""

    picture: Path
    map: Path | None


def pair_up(root: Path, pictures: Path, maps: Path, problems: Problems) -> list[Pair]:
    """All pictures of one folder, sorted by name, each with the map of the same name in the other.

    A map without a picture is a problem. Raises DatasetError if there is no picture or no map.
    """
    found, by_stem = (
        images_by_stem(pictures, root, problems),
        images_by_stem(maps, root, problems, MAP_SUFFIXES),
    )
    empty = [shown(folder) for folder, names in ((pictures, found), (maps, by_stem)) if not names]
    if empty:
        raise DatasetError(
            f"{' and '.join(empty)}: expected pictures, and maps ({', '.join(MAP_SUFFIXES)}), got none"
        )
    for stem in (stem for stem in by_stem if stem not in found):
        what = f"no picture of this name in {shown(pictures.relative_to(root))}"
        problems.add(shown(by_stem[stem].relative_to(root)), what, "annotation")
    return [Pair(path, by_stem.get(stem)) for stem, path in found.items()]


@dataclass(frozen=True)
class PairReader:
    """Reads a pair into an example with `labels`."""

    root: Path
    maps: Path  # their folder, for messages
    classes: ClassValues

    def __call__(self, pair: Pair, read: ReadPicture = picture) -> Example:
        """The example. Raises BrokenFile for no map, or one of another size, of colours or unknown values."""
        name = shown(pair.picture.relative_to(self.root))
        if pair.map is None:
            raise BrokenFile(name, f"no label map of this name in {shown(self.maps.relative_to(self.root))}")
        labels = self.classes(self.root, pair.map, label_map(self.root, pair.map))
        size = labels.shape[0], labels.shape[1]
        return Example(name, read(self.root, pair.picture, size), labels=labels)
