"""ONNX Runtime on the CPU; it and the CUDA engine are the only files that import onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus_edge.dependencies import require
from argus_edge.errors import EngineError
from argus_edge.spec import Precision

if TYPE_CHECKING:
    from argus_edge.runtime.engines import Array


class OnnxRuntimeEngine:
    """One ONNX file on the CPU provider. Outputs are fresh arrays.

    Float layers are computed in the file's types, but on ARM, for "fp16" and "int8", products may be in
    bfloat16.
    """

    def __init__(self, model_file: Path, threads: int, precision: Precision) -> None:
        onnxruntime = require("onnxruntime", "onnxruntime")
        self._model_file = model_file
        onnxruntime.disable_telemetry_events()
        try:
            options = session_options(onnxruntime, threads)
            bfloat16 = "0" if precision == "fp32" else "1"
            options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", bfloat16)
            session = onnxruntime.InferenceSession(
                str(model_file),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # there is nothing to fall back to, and it would say so on stdout
            )
        except Exception as error:
            raise EngineError(f"{model_file}: ONNX Runtime cannot load it: {one_line(error)}") from error
        self._session: Any = session
        self._names = [output.name for output in session.get_outputs()]

    @staticmethod
    def version() -> str:
        """The version of the library. Raises EngineMissingError with the pip line when there is none."""
        return str(require("onnxruntime", "onnxruntime").__version__)

    @staticmethod
    def note() -> str | None:
        """Nothing keeps it from being as fast as it can be."""
        return None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.run`."""
        if self._session is None:
            raise EngineError(f"{self._model_file}: the engine was closed")
        try:
            outputs = self._session.run(self._names, dict(inputs))
        except Exception as error:
            raise EngineError(
                f"{self._model_file}: ONNX Runtime failed to run it: {one_line(error)}"
            ) from error
        return dict(zip(self._names, outputs, strict=True))

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = None


def session_options(onnxruntime: Any, threads: int) -> Any:
    """What holds for every session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Each session has its own threads: those of one must not spin for work while another has it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def one_line(error: Exception) -> str:
    """What the library says, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
