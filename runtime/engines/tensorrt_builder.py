"""From an ONNX file to a TensorRT engine, in a process of its own.

The calls are those that TensorRT 10 and 11 have in common: a strongly typed network, whose precision is the
graph's. The builder may need more memory than there is, or crash; then it takes its own process along, not
the caller's, and the caller gets an error.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from argus_edge.command import run_command
from argus_edge.dependencies import require
from argus_edge.errors import EngineError
from argus_edge.runtime.engines.plan_cache import write_atomically
from argus_edge.runtime.engines.tensorrt_options import NORM_PLUGIN, SAMPLE_PLUGIN, VARIABLE, BuildOptions
from argus_edge.runtime.engines.tensorrt_plugins import register_plugins
from argus_edge.spec import Precision

__all__ = ["build_engine", "build_in_process", "make_logger"]

PROGRAM: Final = "from argus_edge.runtime.engines.tensorrt_builder import main; main()"
NAME: Final = "builder"


def build_engine(
    model_file: Path, precision: Precision, options: BuildOptions, timing_file: Path | None = None
) -> bytes:
    """Build the engine of one ONNX file in another process; minutes, on a Jetson.

    Args:
        model_file: strongly typed ONNX graph, as `argus-export --target tensorrt` writes it.
        precision: what it was exported for; "fp32" is computed without TF32.
        options: of this machine.
        timing_file: timings of earlier builds on this device, used and added to; harmless when it is absent.

    Raises EngineError, with what the parser or builder said, or with the signal that ended it.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan_file = Path(folder) / "engine.plan"
        job = {
            "model": str(model_file.resolve()),
            "plan": str(plan_file),
            "timing": str(timing_file.resolve()) if timing_file else None,
            "precision": precision,
            "options": asdict(options),
        }
        # It is told what to import, and starts in an empty folder: nothing of the caller's is imported.
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(  # noqa: S603
            command, input=json.dumps(job), cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode or not plan_file.exists():
            raise EngineError(f"{model_file}: {_failure(done.returncode, done.stderr)}")
        return plan_file.read_bytes()


def main() -> None:
    """The other process: a job as JSON on stdin, its engine in the file that the job names."""
    run_command(_work, NAME)


def build_in_process(
    model_file: Path, precision: Precision, options: BuildOptions, timing_file: Path | None
) -> bytes:
    """See `build_engine`; here, and now."""
    trt = require("tensorrt", "tensorrt")
    logger = make_logger(trt)
    if options.plugins:
        register_plugins(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model_file)):
        raise EngineError(f"TensorRT {trt.__version__} cannot read it: {'; '.join(_refusals(parser))}")
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    if options.plugins and _calls(model_file) and not any(x.type == trt.LayerType.PLUGIN_V3 for x in layers):
        raise EngineError(
            f"TensorRT {trt.__version__} took the standard spelling and not the plugins; leave plugins=1 out "
            f"of {VARIABLE}"
        )
    samplers = [layer.name for layer in layers if layer.type == trt.LayerType.GRID_SAMPLE]
    if samplers:
        raise EngineError(
            f"TensorRT samples wrongly in some versions, and here it would in {', '.join(samplers)}; export "
            f"the package with --target tensorrt"
        )
    config = builder.create_builder_config()
    _configure(trt, builder, config, precision, options)
    known = timing_file.read_bytes() if timing_file is not None and timing_file.exists() else b""
    timings = config.create_timing_cache(known)
    if not config.set_timing_cache(timings, ignore_mismatch=False):  # of another device or version
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT {trt.__version__} built no engine: {logger.last()}")
    if timing_file is not None:
        timing_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(timing_file, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def make_logger(trt: Any) -> Any:
    """A logger for TensorRT that keeps its errors, with `last()` to tell the last of them."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(msg.split()))

        def last(self) -> str:
            return self.errors[-1] if self.errors else "it did not say why"

    return Logger()


def _work() -> int:
    job = json.load(sys.stdin)
    timing = Path(job["timing"]) if job["timing"] else None
    plan = build_in_process(Path(job["model"]), job["precision"], BuildOptions(**job["options"]), timing)
    write_atomically(Path(job["plan"]), plan)
    return 0


def _calls(model_file: Path) -> bool:
    """Whether a graph calls any of our plugins."""
    content = model_file.read_bytes()
    return any(name.encode() in content for name in (NORM_PLUGIN, SAMPLE_PLUGIN))


def _strongly_typed(trt: Any) -> int:
    """The flags of a network: on 10 it has to be asked for, on 11 there is nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configure(trt: Any, builder: Any, config: Any, precision: Precision, options: BuildOptions) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware != "none":
        level = {"ampere+": "AMPERE_PLUS", "sameComputeCapability": "SAME_COMPUTE_CAPABILITY"}
        found = getattr(trt.HardwareCompatibilityLevel, level[options.hardware], None)
        if found is None:
            raise EngineError(
                f"TensorRT {trt.__version__} has no hardware={options.hardware}; see {VARIABLE}"
            )
        config.hardware_compatibility_level = found
    if options.dla is not None:
        if options.dla >= builder.num_DLA_cores:
            raise EngineError(
                f"this device has {builder.num_DLA_cores} DLA cores for TensorRT {trt.__version__}, and "
                f"{VARIABLE} asks for core {options.dla}"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _refusals(parser: Any) -> Iterator[str]:
    """What the parser did not take, each with its operator and node."""
    for error in map(parser.get_error, range(parser.num_errors)):
        yield f"{error.node_operator()} {error.node_name()}: {' '.join(error.desc().split())}"


def _failure(code: int, output: str) -> str:
    """How a build ended, in words."""
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"TensorRT's builder was ended by {name}, most often for want of memory; close other programs, "
            f"add swap, or allow less with {VARIABLE}=workspace=256"
        )
    lines = [line for line in output.splitlines() if line.strip()]
    told = lines[-1] if lines else f"TensorRT's builder ended with {code} and said nothing"
    return told.removeprefix(f"{NAME}: error: ")
