"""TensorRT's engines as the C++ core runs them, without the interpreter. Not yet run on hardware.

They are built and kept by `tensorrt_engine`, once for each graph; the core loads the same files by way of our
library for TensorRT, which is built where its headers are found (cmake/TensorRTEngine.cmake).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from argus_edge.errors import EngineMissingError
from argus_edge.runtime.engines.native import Built, Exported
from argus_edge.runtime.engines.plan_cache import PlanCache, cache_folder
from argus_edge.runtime.engines.tensorrt_engine import plan_identity
from argus_edge.runtime.engines.tensorrt_options import options_from_environment
from argus_edge.spec import Precision

__all__ = ["PlansOnDisk"]

LIBRARY: Final = Path(__file__).parents[1] / "_tensorrt.so"  # where the build puts it


class PlansOnDisk:
    """Those of this user and device, in one precision.

    Raises EngineMissingError where our library for TensorRT was not built.
    """

    def __init__(self, precision: Precision) -> None:
        self.library: Final = LIBRARY
        if not LIBRARY.is_file():
            raise EngineMissingError("our library for TensorRT is not built; docs/tensorrt.md tells how")
        self._precision = precision
        self._plans = PlanCache(cache_folder("tensorrt"))
        self._options = options_from_environment()

    def find(self, model_file: Path) -> Built | None:
        """See `NativeCache.find`."""
        identity = plan_identity(model_file, self._precision, self._options)
        plan, _ = self._plans.load(identity)
        if plan is None:
            return None
        return Built(self._plans.file(identity), {"HOST_CODE": str(int(self._options.version_compatible))})

    def keep(self, model_file: Path, exported: Exported) -> None:
        """See `NativeCache.keep`: whoever built it has kept it."""
