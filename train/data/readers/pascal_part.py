"""Files of PASCAL-Part (Chen et al., CVPR 2014): what objects and parts of them an image shows.

A MATLAB variable `anno` with the struct array `objects`, each of which has `class_ind` (VOC's, 15 is person),
`mask` (H, W) and the struct array `parts`, empty where there are none, of `part_name` and `mask` (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import first_line
from argus_edge.train.data.readers.listed import broken_file
from argus_edge.train.data.readers.maps import read_matlab
from argus_edge.train.data.scenes import PART_CLASSES

PERSON: Final = 15

# What parts of a person are called, l and r for its left and right, by the class that they are put into.
_NAMES: Final = {
    "head": "head hair lear rear leye reye lebrow rebrow nose mouth",
    "torso": "torso neck",
    "upper arm": "luarm ruarm",
    "lower arm": "llarm rlarm lhand rhand",
    "upper leg": "luleg ruleg",
    "lower leg": "llleg rlleg lfoot rfoot",
}
PART_OF: Final = {part: PART_CLASSES.index(name) for name, parts in _NAMES.items() for part in parts.split()}


@dataclass(frozen=True, eq=False)
class PartObject:
    """One object of an image."""

    class_id: int
    mask: NDArray[np.bool_]  # (H, W)
    parts: tuple[tuple[str, NDArray[np.bool_]], ...]  # names and masks (H, W)


def read_objects(root: Path, path: Path) -> list[PartObject]:
    """The objects in a file. Raises BrokenFile, also where masks differ in size."""
    values = read_matlab(root, path, "anno")
    try:
        things = [_object(thing) for anno in _structs(values) for thing in _structs(anno["objects"])]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"expected objects and parts as PASCAL-Part has them: {first_line(error)}"
        raise broken_file(root, path, what) from error
    shapes = {mask.shape for thing in things for mask in (thing.mask, *(mask for _, mask in thing.parts))}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        what = f"masks of {', '.join(map(str, sorted(shapes)[:3]))}; expected all of one size (H, W)"
        raise broken_file(root, path, what)
    return things


def shows_people(root: Path, path: Path) -> bool:
    """Whether a person is among the objects. Raises BrokenFile."""
    return any(thing.class_id == PERSON and thing.mask.any() for thing in read_objects(root, path))


def parts_of_people(root: Path, path: Path) -> NDArray[np.uint8] | None:
    """(H, W) index in PART_CLASSES, later parts over earlier ones; None where no person has parts.

    Raises BrokenFile, also for a part of a person that PASCAL-Part does not have.
    """
    people = [thing for thing in read_objects(root, path) if thing.class_id == PERSON and thing.parts]
    if not people:
        return None
    classes = np.zeros(people[0].mask.shape, np.uint8)
    for name, mask in (part for person in people for part in person.parts):
        if name not in PART_OF:
            what = f"has the part {name!r} of a person; expected {', '.join(PART_OF)}"
            raise broken_file(root, path, what)
        classes[mask] = PART_OF[name]
    return classes


def _object(thing: dict[str, Any]) -> PartObject:
    parts = ((part["part_name"], part["mask"].astype(bool)) for part in _structs(thing["parts"]))
    return PartObject(int(thing["class_ind"].item()), thing["mask"].astype(bool), tuple(parts))


def _structs(values: Any) -> list[dict[str, Any]]:
    """The elements of a struct array; an empty array has none."""
    if isinstance(values, np.ndarray) and not values.size:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError("a field is no struct array")
    return values
