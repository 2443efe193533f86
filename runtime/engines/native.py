"""Built networks on disk that the C++ core runs without the interpreter, and who keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from argus_edge.spec import Precision

__all__ = ["NATIVE", "Built", "Exported", "NativeCache", "native_cache"]

NATIVE: Final = ("openvino", "tensorrt")
"""Engines that the core can run, where their library was built."""

Exported: TypeAlias = Callable[[], tuple[bytes, Mapping[str, str]]]
"""A network of an open engine as that writes it to disk, and the settings to load it with."""


@dataclass(frozen=True, slots=True)
class Built:
    """A built network on disk, and the settings that it is loaded with."""

    file: Path
    settings: Mapping[str, str]


class NativeCache(Protocol):
    """The built networks of this user, for one engine and precision."""

    @property
    def library(self) -> Path:
        """Our library for the engine, by which the core reaches it."""
        ...

    def find(self, model_file: Path) -> Built | None:
        """The built form of a graph; None where there is no sound one."""
        ...

    def keep(self, model_file: Path, exported: Exported) -> None:
        """Keep the built form of a graph that is open. Raises EngineError where it cannot be written."""
        ...


def native_cache(engine: str, threads: int, precision: Precision) -> NativeCache:
    """Those of one of NATIVE. Raises EngineMissingError where the core cannot run it."""
    if engine == "tensorrt":
        from argus_edge.runtime.engines.tensorrt_native import PlansOnDisk

        return PlansOnDisk(precision)
    from argus_edge.runtime.engines.openvino_native import CompiledCache

    return CompiledCache(threads, precision)
