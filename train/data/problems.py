"""What was wrong with a data set: noted, counted and shown, or the end of the reading, as the user wishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from argus_edge.errors import DatasetError

Lost = Literal["image", "annotation"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what is left out because of it."""

    path: str  # the file, and the entry in it where there are several: "instances_val.json, annotation 17"
    what: str  # what was expected and what came: "box [3, 4, -5, 6] has no area"
    lost: Lost  # the image, or the annotation or a part of it

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Problems:
    """Takes note of what a reader cannot use.

    Every image is either used or in here once, never both, and so is every annotation that is wrong as a
    whole. A problem may also concern a part of an annotation, such as a mask whose box stays in use; it then
    says what stays. With `strict` the first problem is raised as DatasetError instead.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self._all: dict[Problem, None] = {}  # a set that keeps its order

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._all)

    def add(self, path: str, what: str, lost: Lost) -> None:
        """Note a problem. The same one, met again when an image is read again, counts once.

        Raises DatasetError if this is strict.
        """
        problem = Problem(path, what, lost)
        if self.strict:
            raise DatasetError(f"{problem}; leave out what is broken by reading without --strict")
        self._all.setdefault(problem)

    def count(self, lost: Lost) -> int:
        """How many images were left out, or how many problems with annotations there are."""
        return Counter(problem.lost for problem in self._all)[lost]
