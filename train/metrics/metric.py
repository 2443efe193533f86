"""What every metric here is: results in, one after another, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from argus_edge.errors import InputError

COUNTS: Final = frozenset({"images", "objects", "detections", "pixels"})
"""Entries of a result that are whole numbers of things, not figures."""
SIZES: Final = ("_small", "_medium", "_large")

Result = TypeVar("Result", contravariant=True)
Truth = TypeVar("Truth", contravariant=True)


class Metric(Protocol[Result, Truth]):
    """Collects one task's results over a set of images and turns them into figures.

    A figure that nothing could be measured for (AP of large objects where no object is large, RMSE where no
    pixel has depth) is left out of `result()`: it is neither NaN nor a number somebody might believe. Counts
    are always there. Figures of one class are named `figure/class`, for example `IoU/person`, those of one
    size end in `_small`, `_medium` or `_large`.
    """

    @property
    def protocol(self) -> str:
        """The published protocol that is followed, with every choice that moves the figures."""
        ...

    def update(self, result: Result, truth: Truth) -> None:
        """Add one image's result, in the frame of the original image, and its truth."""
        ...

    def result(self) -> dict[str, float]:
        """Figures over everything added so far; finite floats only."""
        ...


def is_of_class(figure: str) -> bool:
    """Whether a figure's name says that it stands for one class only, for example `IoU/person`."""
    return "/" in figure


def is_of_size(figure: str) -> bool:
    """Whether a figure's name says that it stands for objects of one size only, for example `AP_small`."""
    return figure.endswith(SIZES) and not is_of_class(figure)


def check_classes(task: str, predicted: Sequence[str], expected: Sequence[str]) -> None:
    """Raise InputError unless the model and the truth number their classes alike."""
    if tuple(predicted) != tuple(expected):
        raise InputError(
            f"task '{task}': the model's classes are {list(predicted)} but the data's are {list(expected)}; "
            f"evaluate it on data with its own classes"
        )
