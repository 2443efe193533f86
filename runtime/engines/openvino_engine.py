"""OpenVINO on the CPU: the only file that imports openvino.

Importing OpenVINO's Python package reports that to its maker by way of `openvino_telemetry`, unless the user
has said no before. Here it is imported without that package, so that a run never reaches for the network.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from argus_edge.dependencies import require
from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.runtime.engines.openvino_argmax import spell_argmax
from argus_edge.runtime.engines.openvino_graph import Create
from argus_edge.runtime.engines.openvino_layout import channels_first, channels_last, features_last
from argus_edge.runtime.engines.openvino_native import installed_version, native_library
from argus_edge.runtime.engines.openvino_ops import ops_library, replace_samplings
from argus_edge.runtime.engines.openvino_products import spell_products
from argus_edge.runtime.engines.openvino_regions import replace_regions
from argus_edge.runtime.machine import this_machine
from argus_edge.spec import PERSONS_TENSOR, Precision

if TYPE_CHECKING:
    from argus_edge.runtime.engines import Array

TELEMETRY: Final = "openvino_telemetry"
VNNI: Final = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Instructions that multiply bytes in one step, by any name."""


class OpenVINOEngine:
    """One ONNX file compiled for the CPU, tuned for the latency of one frame at a time.

    Outputs are views of OpenVINO's own buffers, inputs are read in place: nothing is copied between a
    backbone and its decoders. Features lie with their channels last, behind views (B, C, H, W). For "fp16"
    and "int8" the layers left in float are computed in bfloat16 (or float16 on CPUs of the ARM family) where
    the CPU has instructions for it and it is faster.
    """

    def __init__(self, model_file: Path, threads: int, precision: Precision) -> None:
        core = _core()
        self._model_file = model_file
        try:
            model = core.read_model(model_file)
            # OpenVINO samples in f32 alone: in an int8 graph the reorders round it cost more than bf16 saves.
            samples = any(node.get_type_name() == "GridSample" for node in model.get_ops())
            # Half a pixel is below bf16's step, and persons are cut out to a fraction of one.
            regions = any(PERSONS_TENSOR in port.get_names() for port in model.inputs)
            capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            fixed = regions or (samples and precision == "int8")
            float_type = "f32" if fixed else _float_type(precision, capabilities)
            # Our operation takes f32. OpenVINO casts for it among layers in bf16, not in a graph made f16.
            self._features = respell(model, samplings=float_type != "f16", products=precision == "int8")
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": str(threads),
                "INFERENCE_PRECISION_HINT": float_type,
            }
            compiled = core.compile_model(model, "CPU", settings)
            request = compiled.create_infer_request()
        except Exception as error:
            raise EngineError(f"{model_file}: OpenVINO cannot load it: {_cause(error)}") from error
        self._compiled, self._settings = compiled, settings
        self._request: Any = request
        self._inputs = {port.get_any_name() for port in compiled.inputs}
        self._outputs = [_output_name(port) for port in compiled.outputs]

    @staticmethod
    def version() -> str:
        """The version of the library. Raises EngineMissingError with the pip line when there is none."""
        with contextlib.suppress(EngineMissingError):
            native_library()  # loads OpenVINO; its Python package takes longer and 29 MiB
            return installed_version()
        return str(openvino_package().get_version()).split("-")[0]

    @staticmethod
    def note() -> str | None:
        """Why deformable attention is slower here than it could be, and what helps, in one line; or None."""
        try:
            native_library()
        except EngineMissingError as error:
            return f"deformable attention is slower than it could be: {error}"
        return None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.run`."""
        if self._request is None:
            raise EngineError(f"{self._model_file}: the engine was closed")
        if inputs.keys() != self._inputs:  # OpenVINO would silently take the last run's
            raise EngineError(f"{self._model_file}: needs {sorted(self._inputs)}, was given {sorted(inputs)}")
        try:
            read = {n: channels_last(v) if n in self._features else v for n, v in inputs.items()}
            results = self._request.infer(read, share_inputs=True, share_outputs=True)
            given = {name: results[index] for index, name in enumerate(self._outputs)}
            return {n: channels_first(v) if n in self._features else v for n, v in given.items()}
        except Exception as error:
            raise EngineError(f"{self._model_file}: OpenVINO failed to run it: {_cause(error)}") from error

    def exported(self) -> tuple[bytes, dict[str, str]]:
        """The compiled network as OpenVINO writes it to disk, and the settings to load it with."""
        content = self._compiled.export_model()
        return content if isinstance(content, bytes) else content.getvalue(), dict(self._settings)

    def close(self) -> None:
        """See `Engine.close`."""
        self._request = self._compiled = None


@cache
def _core() -> Any:
    """The one Core of this process, never destroyed.

    On CPUs with AMX each Core gives its thread a stack for signal handlers and puts the former one back
    when it is destroyed. Of several, the last one may put back memory long freed: then the next signal
    (Ctrl-C, the end of a child process) is a segmentation fault. Seen with OpenVINO 2026.4.
    """
    return openvino_package().Core()


def openvino_package() -> ModuleType:
    """OpenVINO's Python package, reporting nothing. Raises EngineMissingError with the pip line."""
    if "openvino" in sys.modules:
        return require("openvino", "openvino")
    known = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = cast("ModuleType", None)  # an import of it fails, as if it were not installed
    try:
        return require("openvino", "openvino")
    finally:
        del sys.modules[TELEMETRY]
        if known is not None:
            sys.modules[TELEMETRY] = known


def create_operation() -> Create:
    """What makes nodes of our own operation. Raises EngineMissingError where its library cannot be used."""
    openvino_package()
    library = ops_library(OpenVINOEngine.version())
    factory = require("openvino.utils.node_factory", "openvino").NodeFactory()
    try:
        factory.add_extension(library)
    except Exception as error:
        raise EngineMissingError(f"{library} does not load: {_cause(error)}") from error
    create: Create = factory.create
    return create


def respell(model: Any, samplings: bool = True, products: bool = True) -> set[str]:
    """Rewrite an openvino.Model, as it was read, to what this CPU is fast at (docs/openvino.md).

    Returns the names of the inputs and outputs that it has with channels last.
    """
    create = require("openvino.utils.node_factory", "openvino").NodeFactory().create
    op = require("openvino.op", "openvino")
    constant = op.Constant
    if samplings:
        with contextlib.suppress(EngineMissingError):  # `note` tells
            ours = create_operation()
            replace_samplings(model, ours)
            replace_regions(model, ours, constant)
    spell_argmax(model, create, constant)
    features = set(this_machine().features)
    if products and "avx2" in features and not features & VNNI:
        spell_products(model, create, constant)
    return features_last(model, create, constant, op.Parameter)


def _output_name(port: Any) -> str:
    """The graph output's own name: where OpenVINO dropped a cast, the port also has the name before it."""
    own = str(port.node.friendly_name).removesuffix("/sink_port_0")
    return own if own in port.names else str(port.get_any_name())


def _float_type(precision: Precision, capabilities: list[str]) -> str:
    """The float type that unquantised layers are computed in, from what the CPU has instructions for."""
    if precision == "fp32":
        return "f32"
    if "BF16" in capabilities:
        return "bf16"
    return "f16" if "FP16" in capabilities else "f32"


def _cause(error: Exception) -> str:
    """The last line that says something: OpenVINO puts its own source positions first and the cause last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
