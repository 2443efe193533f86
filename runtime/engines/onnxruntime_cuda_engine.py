"""ONNX Runtime on the first CUDA device, by its CUDA provider."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from argus_edge.dependencies import pip_line, require
from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.runtime.engines.cuda_memory import DEVICE, Cuda
from argus_edge.runtime.engines.device_tensors import Addresses, DeviceTensors
from argus_edge.runtime.engines.onnxruntime_engine import one_line, session_options
from argus_edge.spec import Precision

if TYPE_CHECKING:
    from argus_edge.runtime.engines import Array

EXTRA: Final = "cuda"
PROVIDER: Final = "CUDAExecutionProvider"
_log: Final = logging.getLogger(__name__)

_DTYPES: Final = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
    "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(bool)": "bool",
    "tensor(int32)": "int32", "tensor(int64)": "int64",
}  # fmt: skip


class OnnxRuntimeCudaEngine:
    """One ONNX file on the CUDA provider, captured as a CUDA graph where all of it runs on the device.

    What a backbone gives stays on the device (see `Engine.run`), other outputs are the engine's own pinned
    memory. Types are the file's; only "fp16" and "int8" may round products to TF32. Where a node has no
    kernel on the device, the file runs without a CUDA graph, which is told as a warning of this module's
    logger.
    """

    def __init__(self, model_file: Path, threads: int, precision: Precision) -> None:
        self._onnxruntime = require("onnxruntime", EXTRA)
        self._onnxruntime.disable_telemetry_events()
        _preload(self._onnxruntime)
        self._cuda: Final = Cuda(EXTRA)
        self._model_file = model_file
        self._session: Any = None
        self._tensors: DeviceTensors | None = None
        self._runs: dict[Addresses, tuple[Any, Any]] = {}
        self._stream: Any = self._cuda.stream()
        try:
            self._session = self._open(threads, precision)
            inputs, outputs = (
                {port.name: (tuple(port.shape), np.dtype(_DTYPES[port.type])) for port in ports}
                for ports in (self._session.get_inputs(), self._session.get_outputs())
            )
            self._tensors = DeviceTensors(model_file, self._cuda, self._stream, inputs, outputs)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def version() -> str:
        """The version of the library. Raises EngineMissingError, with what helps, where there is none with
        CUDA, or no device.
        """
        onnxruntime = require("onnxruntime", EXTRA)
        version = str(onnxruntime.__version__)
        if PROVIDER not in onnxruntime.get_available_providers():
            raise EngineMissingError(
                f"ONNX Runtime {version} is here without CUDA; run: pip uninstall onnxruntime, then "
                f"{pip_line(EXTRA)}"
            )
        cuda = Cuda(EXTRA)
        try:
            cuda.device()
            _preload(onnxruntime)
            # Fails where the provider's library does not load, for want of cuDNN for one.
            onnxruntime.OrtValue.ortvalue_from_shape_and_type([1], np.uint8, "cuda", DEVICE)
        except (EngineError, RuntimeError) as error:
            raise EngineMissingError(
                f"ONNX Runtime {version} cannot use a CUDA device: {one_line(error)}"
            ) from error
        return version

    @staticmethod
    def note() -> str | None:
        """Nothing keeps it from being as fast as it can be."""
        return None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.run`."""
        if self._tensors is None:
            raise EngineError(f"{self._model_file}: the engine was closed")
        addresses = self._tensors.place(inputs)
        try:
            if addresses not in self._runs:
                self._runs[addresses] = self._bind(self._tensors, addresses)
            self._session.run_with_iobinding(*self._runs[addresses])
        except Exception as error:
            raise EngineError(
                f"{self._model_file}: ONNX Runtime failed to run it: {one_line(error)}"
            ) from error
        return self._tensors.collect()

    def close(self) -> None:
        """See `Engine.close`."""
        self._runs.clear()
        self._session = None  # before its stream and memory
        if self._tensors is not None:
            self._tensors.free()
            self._tensors = None
        if self._stream is not None:
            self._cuda.destroy(self._stream)
            self._stream = None

    def _open(self, threads: int, precision: Precision) -> Any:
        """A session whose work goes into our stream, with a CUDA graph if possible."""
        provider = {
            "device_id": str(DEVICE),
            "user_compute_stream": str(int(self._stream)),
            "use_tf32": "0" if precision == "fp32" else "1",
            "arena_extend_strategy": "kSameAsRequested",  # shapes are fixed: nothing more will be needed
        }
        try:
            return self._session_with({**provider, "enable_cuda_graph": "1"}, threads)
        except EngineError as refusal:
            session = self._session_with(provider, threads)
            _log.warning("%s, so it runs without a CUDA graph", refusal)
            return session

    def _session_with(self, provider: Mapping[str, str], threads: int) -> Any:
        try:
            session = self._onnxruntime.InferenceSession(
                str(self._model_file),
                session_options(self._onnxruntime, threads),
                providers=[(PROVIDER, provider)],
                enable_fallback=0,
            )
        except Exception as error:
            raise EngineError(
                f"{self._model_file}: ONNX Runtime cannot load it: {one_line(error)}"
            ) from error
        if PROVIDER not in session.get_providers():  # that it only logs
            raise EngineError(f"{self._model_file}: ONNX Runtime's CUDA provider does not load")
        return session

    def _bind(self, tensors: DeviceTensors, addresses: Addresses) -> tuple[Any, Any]:
        """What runs on inputs at these addresses: a binding, and a CUDA graph of its own."""
        binding = self._session.io_binding()
        for (name, (shape, dtype)), address in zip(tensors.inputs.items(), addresses, strict=True):
            binding.bind_input(name, "cuda", DEVICE, dtype.type, shape, address)
        for name, array in tensors.outputs.items():
            binding.bind_output(name, "cuda", DEVICE, array.dtype.type, array.shape, array.pointer)
        options = self._onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(len(self._runs)))
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # `collect` waits
        return binding, options


def _preload(onnxruntime: Any) -> None:
    """Load the CUDA libraries that pip has installed beside it, which it would not find by itself."""
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(sys.stderr):  # where it says which ones are missing
            onnxruntime.preload_dlls()
