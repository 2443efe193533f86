"""Stands in for TensorRT's Python package, with the names, signatures and order of calls of 10 and 11.

An engine is the ONNX file itself, which ONNX Runtime computes. A call that TensorRT does not have, or has in
another place, raises; what TensorRT would refuse, it refuses. The environment says which version it is
(FAKE_TENSORRT_VERSION), how many DLA cores there are (FAKE_TENSORRT_DLA), and what goes wrong
(FAKE_TENSORRT_FAULT: crash, crash-when-loaded, no-engine, no-context).
"""

from __future__ import annotations

import ctypes
import enum
import importlib
import json
import os
import signal
from typing import Any

import numpy as np
import onnx

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0")
_TEN = __version__.startswith("10.")
_MAGIC = b"fake plan\n"


def _fault() -> str:
    return os.environ.get("FAKE_TENSORRT_FAULT", "")


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


def _plugins() -> Any:
    """What is registered, and how it is found and computed."""
    return importlib.import_module("plugin_registry")


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: enum.IntEnum, msg: str) -> None:
        raise NotImplementedError


def _checked(logger: Any) -> ILogger:
    if not isinstance(logger, ILogger) or not getattr(logger, "_made", False):
        raise TypeError("a logger is an ILogger whose __init__ was called")
    return logger


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1


class DeviceType(enum.IntEnum):
    GPU = 0
    DLA = 1


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LayerType(enum.IntEnum):
    CONVOLUTION = 0
    GRID_SAMPLE = 1
    PLUGIN_V3 = 2


class BuilderFlag(enum.IntEnum):
    GPU_FALLBACK = 0
    TF32 = 1
    VERSION_COMPATIBLE = 2


class HardwareCompatibilityLevel(enum.IntEnum):
    NONE = 0
    AMPERE_PLUS = 1
    if not _TEN:
        SAME_COMPUTE_CAPABILITY = 2


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


float32, float16 = DataType.FLOAT, DataType.HALF
_TYPES = {"float32": "FLOAT", "float16": "HALF", "int32": "INT32", "uint8": "UINT8", "int64": "INT64"}


def nptype(trt_type: DataType) -> type:
    return np.dtype(next(name for name, kind in _TYPES.items() if kind == trt_type.name)).type


class IHostMemory(bytes):
    pass


class ParserError:
    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    def desc(self) -> str:
        return "Plugin not found, are the plugin name, version, and namespace correct?"

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type


class Layer:
    def __init__(self, node: onnx.NodeProto) -> None:
        self.name = node.name
        self.type = LayerType.GRID_SAMPLE if node.op_type == "GridSample" else LayerType.CONVOLUTION
        if _plugins().is_plugin(node):
            self.type = LayerType.PLUGIN_V3


class NetworkDefinition:
    def __init__(self, flags: int) -> None:
        if _TEN and not flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1:
            raise RuntimeError("weakly typed, where TensorRT is free to choose another precision")
        self._model: onnx.ModelProto | None = None

    @property
    def num_layers(self) -> int:
        return 0 if self._model is None else len(self._model.graph.node)

    def get_layer(self, index: int) -> Layer:
        assert self._model is not None
        return Layer(self._model.graph.node[index])


class OnnxParser:
    def __init__(self, network: NetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, _checked(logger)
        self._errors: list[ParserError] = []

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        graph = onnx.load(model)
        local = {function.name for function in graph.functions}
        own = [node for node in graph.graph.node if node.domain and node.op_type not in local]
        self._errors = [ParserError(node) for node in own]
        self._network._model = graph
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content or f"timings of {__version__}".encode())


class IBuilderConfig:
    __slots__ = (
        "DLA_core",
        "_flags",
        "_timings",
        "_workspace",
        "default_device_type",
        "hardware_compatibility_level",
    )

    def __init__(self) -> None:
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self._flags = {BuilderFlag.TF32}
        self._timings: ITimingCache | None = None
        self._workspace = 0

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self._workspace = pool_size

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(BuilderFlag(flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(BuilderFlag(flag))

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._content and not ignore_mismatch and not cache._content.endswith(__version__.encode()):
            return False
        self._timings = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timings


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = _checked(logger)
        self.num_DLA_cores = int(os.environ.get("FAKE_TENSORRT_DLA", "0"))

    def create_network(self, flags: int = 0) -> NetworkDefinition:
        return NetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: NetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        assert network._model is not None, "nothing was parsed"
        if _fault() == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if _fault() == "no-engine":
            self._logger.log(Severity.ERROR, "Could not find any implementation\nfor node MatMul_3.")
            return None
        facts = {
            "version": __version__,
            "flags": sorted(flag.name for flag in config._flags),
            "workspace": config._workspace,
            "hardware": config.hardware_compatibility_level.name,
            "device": config.default_device_type.name,
            "dla": config.DLA_core,
            "kernels": _plugins().build(network._model),
        }
        return IHostMemory(_MAGIC + json.dumps(facts).encode() + b"\n" + network._model.SerializeToString())


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine._tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        if self._addresses.keys() != self._engine._tensors.keys():
            return False
        views = {name: self._view(name) for name in self._addresses}  # a graph keeps its addresses
        cuda = importlib.import_module("cuda.bindings.runtime")
        cuda.submit(stream_handle, lambda: self._compute(views))
        return True

    def _compute(self, views: dict[str, np.ndarray[Any, Any]]) -> None:
        import onnxruntime

        if self._engine._kernels:
            inputs = {name: views[name] for name in self._engine.names(TensorIOMode.INPUT)}
            answers = _plugins().compute(self._engine._model, self._engine._kernels, inputs)
            for name, values in zip(self._engine.names(TensorIOMode.OUTPUT), answers, strict=True):
                views[name][...] = values
            return

        session = onnxruntime.InferenceSession(
            self._engine._model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        answers = session.run(names, {each.name: views[each.name] for each in session.get_inputs()})
        for name, values in zip(names, answers, strict=True):
            views[name][...] = values

    def _view(self, name: str) -> np.ndarray[Any, Any]:
        shape, dtype = self._engine.get_tensor_shape(name), nptype(self._engine.get_tensor_dtype(name))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        view: np.ndarray[Any, Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
        return view


class ICudaEngine:
    def __init__(self, model: onnx.ModelProto, kernels: dict[str, Any]) -> None:
        self._model, self._kernels = model, kernels
        graph = model.graph
        self._tensors = {
            value.name: (value.type.tensor_type, mode)
            for values, mode in ((graph.input, TensorIOMode.INPUT), (graph.output, TensorIOMode.OUTPUT))
            for value in values
        }

    def names(self, kind: TensorIOMode) -> list[str]:
        return [name for name, (_, mode) in self._tensors.items() if mode is kind]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self._tensors)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._tensors[name][1]

    def get_tensor_dtype(self, name: str) -> DataType:
        kind = onnx.helper.tensor_dtype_to_np_dtype(self._tensors[name][0].elem_type)
        return DataType[_TYPES[kind.name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.dim_value for dim in self._tensors[name][0].shape.dim)

    def create_execution_context(self) -> IExecutionContext | None:
        return None if _fault() == "no-context" else IExecutionContext(self)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = _checked(logger)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if _fault() == "crash-when-loaded":
            os.kill(os.getpid(), signal.SIGSEGV)
        head, _, rest = bytes(serialized_engine).removeprefix(_MAGIC).partition(b"\n")
        try:
            facts = json.loads(head)
        except ValueError:
            self._logger.log(Severity.ERROR, "Magic tag does not match")
            return None
        if facts["version"] != __version__:
            self._logger.log(Severity.ERROR, "The engine was built by another version")
            return None
        if "VERSION_COMPATIBLE" in facts["flags"] and not self.engine_host_code_allowed:
            self._logger.log(Severity.ERROR, "The engine contains host code")
            return None
        model = onnx.ModelProto()
        model.ParseFromString(rest)
        return ICudaEngine(model, facts["kernels"])
