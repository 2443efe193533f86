"""Networks that OpenVINO has compiled, kept on disk, and run by the C++ core without the interpreter.

Compiling a network takes three to four times as long as loading one that was compiled before, and needs the
Python package; loading does not even import it. What was compiled is kept in this user's cache, with
everything it depends on in its name and its guard (`plan_cache`).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from argus_edge.errors import EngineMissingError
from argus_edge.runtime.engines.native import Built, Exported
from argus_edge.runtime.engines.openvino_ops import ops_library
from argus_edge.runtime.engines.plan_cache import Identity, PlanCache, cache_folder, graph_hash
from argus_edge.runtime.machine import this_machine
from argus_edge.spec import Precision

__all__ = ["CompiledCache", "installed_version", "native_library"]

SPELLING: Final = 4
"""Of what `openvino_engine.respell` makes of a graph; a change of it compiles everything again."""
MOST_BYTES: Final = 4 << 30
"""What all compiled graphs of a user may take on disk; those used longest ago give way."""


@dataclass(frozen=True, slots=True)
class CompiledIdentity(Identity):
    """What a network that OpenVINO has compiled depends on."""

    openvino: str
    cpu: str
    threads: int
    spelling: int = SPELLING


class CompiledCache:
    """The compiled networks of this user, for one precision and number of threads.

    Raises EngineMissingError where there is no OpenVINO, or no library of ours for its version.
    """

    def __init__(self, threads: int, precision: Precision) -> None:
        self._version: Final = installed_version()
        self.library: Final = native_library()
        self._threads, self._precision = threads, precision
        self._plans = PlanCache(cache_folder("openvino"))

    def find(self, model_file: Path) -> Built | None:
        """See `NativeCache.find`."""
        identity = self._identity(model_file)
        content, _ = self._plans.load(identity)
        if content is None:
            return None
        settings = {**self._plans.settings(identity), "EXTENSION": str(self.library)}
        return Built(self._plans.file(identity), settings)

    def keep(self, model_file: Path, exported: Exported) -> None:
        """See `NativeCache.keep`."""
        self._plans.store(self._identity(model_file), *exported())
        self._plans.forget_oldest(MOST_BYTES)

    def _identity(self, model_file: Path) -> CompiledIdentity:
        machine = this_machine()
        cpu = f"{machine.cpu} {' '.join(machine.features)}"
        return CompiledIdentity(graph_hash(model_file), self._precision, self._version, cpu, self._threads)


def native_library() -> Path:
    """Our library for the OpenVINO that is installed, which is loaded for it. Raises EngineMissingError."""
    library = ops_library(installed_version())
    spec = find_spec("openvino")
    folders = (spec.submodule_search_locations if spec else None) or ()
    try:
        for file in (file for folder in folders for file in Path(folder).glob("libs/libopenvino.so*")):
            ctypes.CDLL(str(file))  # ours finds it by its name, once it is loaded
        ctypes.CDLL(str(library))
    except OSError as error:
        raise EngineMissingError(f"our library for OpenVINO does not load: {error}") from error
    return library


def installed_version() -> str:
    """The version of OpenVINO, without importing it. Raises EngineMissingError where there is none."""
    try:
        if find_spec("openvino") is None:
            raise importlib.metadata.PackageNotFoundError
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineMissingError("openvino is not installed; pip install 'argus-edge[openvino]'") from error
