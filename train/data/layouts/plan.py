"""What a folder of scenes is to hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from argus_edge.errors import InputError
from argus_edge.train.data.layouts.mvtec import MVTEC
from argus_edge.train.data.layouts.table import LAYOUT_NAMES, SCENE_LAYOUTS
from argus_edge.train.data.scenes.render import RENDERER_VERSION, check_size
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES

WRITER_VERSION: Final = 1  # raised whenever the same settings give other files


class Job(NamedTuple):
    """One picture to draw: a scene, or a surface if it has a category."""

    split: str
    seed: int
    category: str = ""
    defective: bool = False

    @property
    def name(self) -> str:
        """Unlike that of all others."""
        kind = f"-{self.category}-{'defective' if self.defective else 'good'}" if self.category else ""
        return f"{self.split}-{self.seed:09d}{kind}"


@dataclass(frozen=True)
class Plan:
    """Scenes and surfaces to write below `folder`.

    Of `count` scenes, `val` are for validation: seeds from `seed` on within the splits "train" and "val".
    Each category of surfaces has a sound one for every 20 scenes to train on, and a sound and a defective one
    for every 10 to validate on; at least one of each.

    Raises:
        InputError: a number is out of range or a layout is not known.
    """

    folder: Path
    count: int
    val: int
    seed: int
    size: tuple[int, int]  # (height, width) [px]
    layouts: tuple[str, ...] = LAYOUT_NAMES

    def __post_init__(self) -> None:
        unknown = [name for name in self.layouts if name not in LAYOUT_NAMES]
        if unknown or not self.layouts:
            raise InputError(
                f"layouts '{','.join(self.layouts)}': expected some of {', '.join(LAYOUT_NAMES)}"
            )
        if self.count < 2:
            raise InputError(f"count is {self.count}; expected at least 2 scenes, one of each split")
        if not 1 <= self.val < self.count:
            raise InputError(
                f"val is {self.val}; expected 1 to {self.count - 1} of the {self.count} scenes, "
                f"as there is at least one of each split"
            )
        check_size(self.size)
        for split, number in (("train", self.train), ("val", max(self.val, 2 * self._tested))):
            for index in (self.seed, self.seed + number - 1):
                get_split(split).seed(index)

    @property
    def train(self) -> int:
        """Number of scenes to train on."""
        return self.count - self.val

    @property
    def _tested(self) -> int:
        """Sound surfaces of a category to validate on, and as many defective ones."""
        return max(1, self.val // 10)

    def settings(self) -> dict[str, Any]:
        """Everything that decides what is written, by the names of the command's options."""
        height, width = self.size
        return {
            "writer": WRITER_VERSION,
            "renderer": RENDERER_VERSION,
            "count": self.count,
            "val": self.val,
            "seed": self.seed,
            "size": f"{width}x{height}",
            "layouts": ",".join(name for name in LAYOUT_NAMES if name in self.layouts),
        }

    def scenes(self) -> Iterator[Job]:
        """Every scene, each split in the order of seeds; none if no layout takes scenes."""
        if set(self.layouts) & set(SCENE_LAYOUTS):
            for split, number in (("train", self.train), ("val", self.val)):
                for index in range(number):
                    yield Job(split, get_split(split).seed(self.seed + index))

    def surfaces(self) -> Iterator[Job]:
        """Every surface."""
        if MVTEC not in self.layouts:
            return
        train, val = get_split("train"), get_split("val")
        for category in SURFACE_CATEGORIES:
            for index in range(max(1, self.train // 20)):
                yield Job("train", train.seed(self.seed + index), category)
            for index in range(2 * self._tested):
                yield Job("val", val.seed(self.seed + index), category, index >= self._tested)
