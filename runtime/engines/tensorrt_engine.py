"""TensorRT on the first CUDA device; it, the builder and its plugins are the only files that import tensorrt.

Engines are built where they run, once, and kept (`plan_cache`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from argus_edge.dependencies import require
from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.runtime.engines.cuda_memory import Cuda
from argus_edge.runtime.engines.device_tensors import Addresses, DeviceTensors
from argus_edge.runtime.engines.plan_cache import PlanCache, TensorRTIdentity, cache_folder, graph_hash
from argus_edge.runtime.engines.tensorrt_builder import build_engine, make_logger
from argus_edge.runtime.engines.tensorrt_options import BuildOptions, options_from_environment
from argus_edge.spec import Precision

if TYPE_CHECKING:
    from argus_edge.runtime.engines import Array

EXTRA: Final = "tensorrt"
OLDEST: Final = (10, 3)
_log: Final = logging.getLogger(__name__)


def plan_identity(model_file: Path, precision: Precision, options: BuildOptions) -> TensorRTIdentity:
    """All that the engine of a graph on this device depends on. Raises EngineError."""
    trt, device = require("tensorrt", EXTRA), Cuda(EXTRA).device()
    return TensorRTIdentity(
        graph_hash(model_file), precision, str(trt.__version__), device.name, device.compute_capability,
        device.driver, " ".join(options.flags()),
    )  # fmt: skip


class TensorRTEngine:
    """One ONNX file, built for this device and loaded, and captured as a CUDA graph.

    What a backbone gives stays on the device (see `Engine.run`), other outputs are the engine's own pinned
    memory. Building takes minutes, and is told, with the reason, as a warning of this module's logger.

    Attributes:
        build_seconds: what building took; None when the engine was there already.
        plan_bytes: size of the built engine.
    """

    build_seconds: float | None = None
    plan_bytes: int = 0

    def __init__(self, model_file: Path, threads: int, precision: Precision) -> None:
        del threads  # of the CPU
        self._model_file = model_file
        self._trt: Final[Any] = require("tensorrt", EXTRA)
        self._cuda: Final = Cuda(EXTRA)
        self._logger: Final = make_logger(self._trt)
        self._tensors: DeviceTensors | None = None
        self._graphs: dict[Addresses, Any] = {}  # None where it cannot be captured
        self._stream: Any = None
        self._context: Any = None
        self._engine: Any = self._load(precision, options_from_environment())
        try:
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f"{model_file}: TensorRT cannot run it: {self._logger.last()}")
            self._stream = self._cuda.stream()
            self._tensors = self._allocate()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def version() -> str:
        """The version of the library. Raises EngineMissingError, with what helps, where there is none of use,
        or no device.
        """
        try:
            version = str(require("tensorrt", EXTRA).__version__)
        except EngineMissingError as error:
            raise EngineMissingError(
                f"{error}; on a Jetson it is part of JetPack: make the environment --system-site-packages"
            ) from error
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise EngineMissingError(f"TensorRT {version} is too old; 10.3 (JetPack 6) or later is needed")
        try:
            Cuda(EXTRA).device()
        except EngineMissingError:
            raise
        except EngineError as error:
            raise EngineMissingError(f"TensorRT {version} finds no device: {error}") from error
        return version

    @staticmethod
    def note() -> str | None:
        """Nothing keeps it from being as fast as it can be."""
        return None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.run`."""
        if self._tensors is None:
            raise EngineError(f"{self._model_file}: the engine was closed")
        self._execute(self._tensors, self._tensors.place(inputs))
        return self._tensors.collect()

    def close(self) -> None:
        """See `Engine.close`."""
        for graph in filter(None, self._graphs.values()):
            self._cuda.destroy_graph(graph)
        self._graphs.clear()
        self._context = self._engine = None  # in this order: the context belongs to the engine
        if self._tensors is not None:
            self._tensors.free()
            self._tensors = None
        if self._stream is not None:
            self._cuda.destroy(self._stream)
            self._stream = None

    def _execute(self, tensors: DeviceTensors, addresses: Addresses) -> None:
        """Begin a run on inputs at these addresses; from the second one on as a CUDA graph of its own."""
        graph = self._graphs.get(addresses)
        if graph is not None:
            self._cuda.launch(graph, self._stream)
            return
        for name, address in zip(tensors.inputs, addresses, strict=True):
            self._set_address(name, address)
        self._enqueue()  # TensorRT asks for a run before a capture, which computes nothing
        if addresses in self._graphs:
            return
        self._graphs[addresses] = None
        try:
            self._graphs[addresses] = self._cuda.capture(self._stream, self._enqueue)
        except EngineError as error:
            _log.warning("%s: without a CUDA graph: %s", self._model_file, error)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(stream_handle=int(self._stream)):
            raise EngineError(f"{self._model_file}: TensorRT failed to run it: {self._logger.last()}")

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"{self._model_file}: TensorRT takes no address for {name}")

    def _load(self, precision: Precision, options: BuildOptions) -> Any:
        """The engine from the cache, or built."""
        identity = plan_identity(self._model_file, precision, options)
        cache = PlanCache(cache_folder("tensorrt"))
        plan, reason = cache.load(identity)
        engine = self._deserialize(plan, options) if plan is not None else None
        if engine is None:
            reason = reason or f"the one in {cache.folder} does not load: {self._logger.last()}"
            _log.warning(
                "%s: building its TensorRT engine, which takes minutes: %s", self._model_file, reason
            )
            start = time.perf_counter()
            plan = build_engine(self._model_file, precision, options, cache.timing_file(identity))
            self.build_seconds = round(time.perf_counter() - start, 2)
            engine = self._deserialize(plan, options)
            if engine is None:
                raise EngineError(
                    f"{self._model_file}: TensorRT cannot load what it built: {self._logger.last()}"
                )
            cache.store(identity, plan)
        self.plan_bytes = len(plan or b"")
        return engine

    def _deserialize(self, plan: bytes, options: BuildOptions) -> Any:
        """None where TensorRT does not take it."""
        self._runtime = self._trt.Runtime(self._logger)  # engines need theirs as long as they live
        if options.version_compatible:  # such an engine brings code along, and this user built it
            self._runtime.engine_host_code_allowed = True
        return self._runtime.deserialize_cuda_engine(plan)

    def _allocate(self) -> DeviceTensors:
        """Memory for the tensors at the boundary."""
        trt, engine = self._trt, self._engine
        inputs: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            kind = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
            kind[name] = tuple(engine.get_tensor_shape(name)), dtype
        tensors = DeviceTensors(self._model_file, self._cuda, self._stream, inputs, outputs)
        for name, array in tensors.outputs.items():
            self._set_address(name, array.pointer)
        return tensors
