"""How TensorRT engines are built on this machine: a few settings, as Python and as `trtexec` take them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from argus_edge.errors import InputError
from argus_edge.spec import Precision

__all__ = [
    "NORM_PLUGIN",
    "PLUGINS",
    "SAMPLE_PLUGIN",
    "VARIABLE",
    "BuildOptions",
    "Hardware",
    "options_from_environment",
    "trtexec_command",
]

Hardware = Literal["none", "ampere+", "sameComputeCapability"]

VARIABLE: Final = "ARGUS_TENSORRT"
"""The environment variable that holds them, such as `workspace=512,dla=0`."""

PLUGINS: Final = "argus"
"""The namespace of our plugins, and the domain of their calls in a graph; their names follow."""
NORM_PLUGIN: Final = "ArgusGroupNorm"
SAMPLE_PLUGIN: Final = "ArgusSample"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """They are the device's, not the model's.

    `workspace` is the most scratch memory that one layer may have [MiB]; `version_compatible` engines load in
    later versions of TensorRT; `hardware` says on which other GPUs an engine may run; `dla` is the core of a
    Deep Learning Accelerator, with the GPU for what that cannot do. `plugins` has kernels of ours
    compute what graphs call by name, and not the standard spelling, which they bring along.
    """

    workspace: int = 1024
    version_compatible: bool = False
    hardware: Hardware = "none"
    dla: int | None = None
    plugins: bool = False

    def flags(self) -> tuple[str, ...]:
        """What an engine depends on, as `name=value` each."""
        return tuple(f"{name}={value}" for name, value in asdict(self).items())


def options_from_environment(environment: Mapping[str, str] = os.environ) -> BuildOptions:
    """The settings of this machine. Raises InputError for a name or value that does not exist."""
    options = BuildOptions()
    for entry in filter(None, environment.get(VARIABLE, "").split(",")):
        name, _, text = entry.strip().partition("=")
        try:
            options = replace(options, **{name: _READERS[name](text)})
        except (KeyError, ValueError):
            raise InputError(
                f"{VARIABLE}: expected workspace=MIB, dla=CORE, version_compatible=1, plugins=1 or hardware="
                f"{'|'.join(get_args(Hardware))} with commas between them, got {entry!r}"
            ) from None
    return options


def trtexec_command(
    model: Path | str, plan: Path | str, precision: Precision, options: BuildOptions
) -> list[str]:
    """The command of TensorRT 10 that builds the same engine; 11 takes it too, and `--stronglyTyped` for
    granted.

    There is no --fp16 or --int8 in it: the graph's types say all about precision.
    """
    command = ["trtexec", f"--onnx={model}", f"--saveEngine={plan}", "--stronglyTyped"]
    command.append(f"--memPoolSize=workspace:{options.workspace}")
    command.append("--timingCacheFile=timing.cache")
    if precision == "fp32":
        command.append("--noTF32")
    if options.version_compatible:
        command.append("--versionCompatible")
    if options.hardware != "none":
        command.append(f"--hardwareCompatibilityLevel={options.hardware}")
    if options.dla is not None:
        command += [f"--useDLACore={options.dla}", "--allowGPUFallback"]
    return command


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return read


def _choice(*values: str) -> Callable[[str], str]:
    return lambda text: values[values.index(text)]


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "workspace": _count(1),
    "dla": _count(0),
    "version_compatible": lambda text: bool(("0", "1").index(text)),
    "plugins": lambda text: bool(("0", "1").index(text)),
    "hardware": _choice(*get_args(Hardware)),
}
