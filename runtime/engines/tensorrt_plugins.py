"""Plugins of TensorRT whose kernels are ours: GroupNorm, and the sampling in deformable attention.

They are ahead-of-time Python plugins (`tensorrt.plugin`): what is registered here compiles a kernel while an
engine is built, and TensorRT puts its PTX into the plan. To run that plan, nothing of this is needed. The
names are those that graphs exported with --plugins call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.errors import EngineError
from argus_edge.runtime.engines.cuda_kernels import compile_kernel
from argus_edge.runtime.engines.cuda_memory import Cuda
from argus_edge.runtime.engines.tensorrt_options import NORM_PLUGIN, PLUGINS, SAMPLE_PLUGIN, VARIABLE

__all__ = ["register_plugins"]

EXTRA: Final = "tensorrt"
WIDE: Final = 16  # bytes that are read at once where that many lie side by side
MOST: Final = 1024  # threads of a block
SAMPLES: Final = 256  # threads of a block, and so places


def register_plugins(trt: Any) -> None:
    """Make them known to this process, once, before a graph is parsed.

    Raises EngineError where this TensorRT has no such plugins, or the device or CUDA's compiler is missing.
    """
    plugin = require("tensorrt.plugin", EXTRA)
    if not hasattr(plugin, "aot_impl"):
        raise EngineError(
            f"TensorRT {trt.__version__} has no ahead-of-time Python plugins, which 10.9 and later have; "
            f"leave plugins=1 out of {VARIABLE}"
        )
    capability = Cuda(EXTRA).device().compute_capability
    _ptx("sample", capability, False, ())  # TensorRT would not tell why a kernel cannot be compiled
    _register_group_norm(trt, plugin, capability)
    _register_sample(trt, plugin, capability)


def _register_group_norm(trt: Any, plugin: Any, capability: str) -> None:
    """`sizes` are the groups of all images, channels, channels of a group, and places (H * W)."""

    def describe(x: Any, scale: Any, shift: Any, sizes: Any, epsilon: Any) -> Any:
        del scale, shift, sizes, epsilon
        return x.like()

    def build(x: Any, scale: Any, shift: Any, sizes: Any, epsilon: Any, outputs: Any, tactic: Any) -> Any:
        del scale, shift, outputs, tactic
        blocks, channels, size, places = map(int, sizes)
        half = x.dtype == trt.float16
        pack = WIDE // (2 if half else 4)
        pack = 1 if places % pack else pack
        threads = min(MOST, max(32, 1 << (size * places // pack - 1).bit_length()))
        macros = [f"THREADS={threads}", f"PACK={pack}", f"EPSILON={float(epsilon[0])!r}F"]
        code = _ptx("group_norm", capability, half, macros)
        return ("group_norm", code, *_launch(plugin, (blocks, 1), threads, (channels, size, places)))

    attributes = {"sizes": NDArray[np.int32], "epsilon": NDArray[np.float32]}
    _register(plugin, NORM_PLUGIN, ("x", "scale", "shift"), attributes, describe, build)


def _register_sample(trt: Any, plugin: Any, capability: str) -> None:
    """Values (N, C, H, W) and a grid (N, h, w, 2) in single precision -> (N, C, h, w)."""

    def describe(values: Any, grid: Any) -> Any:
        sides = (*values.shape_expr[:2], *grid.shape_expr[1:3])
        return plugin.from_shape_expr(sides, dtype=values.dtype)

    def build(values: Any, grid: Any, outputs: Any, tactic: Any) -> Any:
        del outputs, tactic
        images, channels, height, width = map(int, values.shape)
        places = int(grid.shape[1]) * int(grid.shape[2])
        blocks = -(-places // SAMPLES), images * channels
        code = _ptx("sample", capability, values.dtype == trt.float16, [])
        return ("sample", code, *_launch(plugin, blocks, SAMPLES, (channels, height, width, places)))

    _register(plugin, SAMPLE_PLUGIN, ("values", "grid"), {}, describe, build)


def _register(
    plugin: Any,
    name: str,
    inputs: Sequence[str],
    attributes: Mapping[str, Any],
    describe: Callable[..., Any],
    build: Callable[..., Any],
) -> None:
    """`describe` says what comes out, `build` gives name, PTX, launch and numbers of the kernel.

    TensorRT reads the kinds of inputs and attributes off the annotations, which have to be types, not text.
    """
    kinds = {**dict.fromkeys(inputs, plugin.TensorDesc), **attributes}
    describe.__annotations__ = {**kinds, "return": plugin.TensorDesc}
    given = tuple[str | bytes, str | bytes, plugin.KernelLaunchParams, plugin.SymExprs]
    build.__annotations__ = {**kinds, "outputs": tuple[plugin.TensorDesc], "tactic": int, "return": given}
    plugin.register(f"{PLUGINS}::{name}")(describe)
    plugin.aot_impl(f"{PLUGINS}::{name}")(build)


def _ptx(name: str, capability: str, half: bool, macros: Sequence[str]) -> str:
    macros = [*macros, *(["HALF"] if half else [])]
    return compile_kernel(f"{name}.cu", capability, "PTX", EXTRA, macros).rstrip(b"\0").decode()


def _launch(plugin: Any, grid: tuple[int, int], threads: int, numbers: Sequence[int]) -> tuple[Any, Any]:
    """How a kernel is launched, and the numbers that it takes between its inputs and its output."""
    launch = plugin.KernelLaunchParams()
    launch.grid_x, launch.grid_y = grid
    launch.block_x = threads
    return launch, plugin.SymIntExprs.from_tuple([plugin.SymInt32(number) for number in numbers])
