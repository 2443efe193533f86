"""How each family of engines wants operations spelled: one small file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from argus_edge.export.targets.cpu import CPU
from argus_edge.export.targets.target import Target
from argus_edge.export.targets.tensorrt import TENSORRT

__all__ = ["CPU", "TARGETS", "TENSORRT", "Target"]

TARGETS: Final[Mapping[str, Target]] = {target.name: target for target in (CPU, TENSORRT)}
