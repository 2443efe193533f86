"""Engines: whatever can run one network file. One file per library, and no other file imports that library.

    status = available_engines()                     # what this machine has, and why it lacks the rest
    engine = open_engine("openvino", Path("backbone.onnx"), threads=2, precision="int8")
    outputs = engine.run({"image": image})

What they have in common is the protocol `Engine`: tensors in, tensors out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from numpy.typing import NDArray

from argus_edge.errors import EngineError, EngineMissingError, InputError
from argus_edge.spec import Precision

Array: TypeAlias = NDArray[Any]

ENGINES: Final = ("tensorrt", "cuda", "openvino", "onnxruntime")
"""Engine names, the one preferred by `auto` first. "cuda" is ONNX Runtime on an NVIDIA GPU, "onnxruntime" the
same on the CPU.
"""


class Engine(Protocol):
    """One loaded network. Knows tensors, not images or tasks."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network once on C-contiguous arrays of exactly the declared shapes and dtypes.

        The returned arrays may be the engine's own memory: they are valid until its next `run` or `close`,
        and whoever keeps them longer copies them. On a GPU, what a backbone gives stays there, as
        `DeviceArray`s: they have `shape`, `dtype` and `copy`, `np.asarray` takes them, and so does the `run`
        of another graph on that GPU, without a trip to the host, them or neighbours along their first axis
        (`features[1:3]`). The inputs are only read, and only while the call lasts.
        Not thread-safe. Raises EngineError naming the model file.
        """
        ...

    def close(self) -> None:
        """Free the network. Harmless when repeated."""
        ...


class _EngineClass(Engine, Protocol):
    """What the class of an engine has beside."""

    def __init__(self, model_file: Path, threads: int, precision: Precision) -> None: ...

    @staticmethod
    def version() -> str:
        """The version of the library. Raises EngineMissingError, with what helps, where it is of no use."""
        ...

    @staticmethod
    def note() -> str | None:
        """Why it is slower here than it could be, and what helps, in one line; or None."""
        ...


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether an engine can be used here. `reason` says why not, and what to install, in one line; `note` why
    one that can be used is slower than it could be, and what helps.
    """

    name: str
    available: bool
    version: str | None = None
    reason: str | None = None
    note: str | None = None


def engine_status(name: str) -> EngineStatus:
    """Look whether one engine can be used here, by importing its library.

    Raises EngineError for an unknown name.
    """
    try:
        engine = _engine_class(name)
        return EngineStatus(name, available=True, version=engine.version(), note=engine.note())
    except EngineMissingError as error:
        return EngineStatus(name, available=False, reason=str(error))


def available_engines() -> list[EngineStatus]:
    """Every engine this version knows, in the order in which `auto` tries them."""
    return [engine_status(name) for name in ENGINES]


def unsuited(name: str, target: str) -> str | None:
    """Why an engine does not serve packages exported for `target`; None when it does.

    CPU engines run what is spelled for TensorRT as well.
    """
    if name == "tensorrt" and target != name:
        return f"the package is for {target}; export it with --target tensorrt"
    return None


def choose_engine(name: str, target: str = "tensorrt") -> tuple[EngineStatus, tuple[str, ...]]:
    """Turn "auto" or a name into an engine that this machine has.

    `target` is what a package was exported for: "auto" passes over an engine that does not serve it.

    Returns its status and, for each engine that `auto` passed over, a line "name: reason"; then one with the
    note of the engine taken, if it has one. Raises EngineMissingError, with the pip line that helps, when the
    engine asked for (or every one) is missing, EngineError for an unknown name.
    """
    why: list[str] = []
    for candidate in ENGINES if name == "auto" else (name,):
        status = engine_status(candidate)
        reason = status.reason
        if status.available:
            reason = unsuited(candidate, target) if name == "auto" else None
            if reason is None:
                return status, (*why, *([f"{candidate}: {status.note}"] if status.note else ()))
        if name != "auto":
            raise EngineMissingError(f"engine '{name}': {reason}")
        why.append(f"{candidate}: {reason}")
    raise EngineMissingError(
        "no engine to run a model package is installed; install one: pip install 'argus-edge[openvino]' "
        "or pip install 'argus-edge[onnxruntime]'"
    )


def open_engine(name: str, model_file: Path, *, threads: int, precision: Precision) -> Engine:
    """Load one network file.

    Args:
        name: one of ENGINES.
        model_file: ONNX file.
        threads: CPU threads for one run, at least 1.
        precision: what the file was exported for. "fp32" is computed in float32; with "fp16" and "int8" an
            engine may compute the layers that are not quantised in the 16-bit float that this CPU is fast in.

    Raises EngineMissingError when the library is not installed, EngineError when it cannot load the file,
    InputError for the number of threads.
    """
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    return _engine_class(name)(model_file, threads, precision)


def default_threads() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _engine_class(name: str) -> type[_EngineClass]:
    match name:
        case "openvino":
            from argus_edge.runtime.engines.openvino_engine import OpenVINOEngine

            return OpenVINOEngine
        case "onnxruntime":
            from argus_edge.runtime.engines.onnxruntime_engine import OnnxRuntimeEngine

            return OnnxRuntimeEngine
        case "cuda":
            from argus_edge.runtime.engines.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine

            return OnnxRuntimeCudaEngine
        case "tensorrt":
            from argus_edge.runtime.engines.tensorrt_engine import TensorRTEngine

            return TensorRTEngine
    raise EngineError(f"unknown engine '{name}'; expected auto, {', '.join(ENGINES)}")
