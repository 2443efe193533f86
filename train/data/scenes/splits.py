"""Which seeds belong to which split. The ranges never meet, so no scene is in two splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from argus_edge.errors import InputError


@dataclass(frozen=True, slots=True)
class Split:
    """Seeds first ... first + size - 1."""

    name: str
    first: int
    size: int

    def seed(self, index: int) -> int:
        """The seed of one scene.

        Raises:
            InputError: the split has no such scene.
        """
        if not 0 <= index < self.size:
            raise InputError(f"split '{self.name}' has no scene {index}; expected 0 to {self.size - 1}")
        return self.first + index


_SIZE: Final = 10_000_000
SPLITS: Final = {
    name: Split(name, place * _SIZE, _SIZE)
    for place, name in enumerate(("train", "val", "calibration", "clips"))
}


def get_split(name: str) -> Split:
    """The split of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SPLITS:
        raise InputError(f"unknown split '{name}'; expected one of {', '.join(SPLITS)}")
    return SPLITS[name]
