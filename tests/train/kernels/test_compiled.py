"""Our kernels compiled for GPUs, at the sizes of base at 512 px, with the compiler that Triton brings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton, which torch's wheels for CUDA bring, is absent")
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from argus_edge.train.kernels import deformable, group_norm

ALIGNED = [["tt.divisibility", 16]]
SINGLE = {"means", "squares", "locations", "weights", "to_value", "to_locations", "to_weights"}  # in fp32
NUMBERS = {"places", "chunk", "parts", "step_image", "step_channel", "step_place", "rows", "cells"}


def compiled(kernel: Any, constants: Mapping[str, Any], capability: int, warps: int) -> Any:
    """The kernel for fp16 tensors whose addresses and steps are multiples of 16."""
    names = kernel.arg_names
    types = {"eps": "fp32"} | dict.fromkeys(NUMBERS, "i32") | dict.fromkeys(SINGLE, "*fp32")
    signature = {name: "constexpr" if name in constants else types.get(name, "*fp16") for name in names}
    aligned = {(i,): ALIGNED for i, n in enumerate(names) if n not in constants and n not in ("eps", "parts")}
    source = ASTSource(kernel, signature, dict(constants), aligned)
    options = {"num_warps": warps, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def norms(channels_last: bool) -> dict[str, tuple[Any, dict[str, Any], int]]:
    """F0 (1, 768, 128, 128), and with it F3 (1, 768, 16, 16), whose groups fit into one program."""
    plan = group_norm._plan(1, 32, 24, 128 * 128, channels_last, 4 * 132)
    tile = {name: getattr(plan, name) for name in ("padded", "block_groups", "block_places")}
    contiguous = {"step_channel" if channels_last else "step_place": 1}
    base = {"groups": 32, "size": 24, "has_added": True, **contiguous}
    normalise = base | tile | {"block_parts": 256, "activation": "relu"}
    whole = base | {"padded": 32, "block_places": 256, "activation": "relu"}
    return {
        "statistics": (group_norm._statistics, base | tile, 4),
        "normalise": (group_norm._normalise, normalise, 4),
        "whole": (group_norm._whole, whole, 16),
    }


def sampler(kernel: Any, sizes: tuple[int, ...], heads: int) -> tuple[Any, dict[str, Any], int]:
    value, weights = torch.empty(1, 1, heads, 32), torch.empty(1, 1, heads, len(sizes) // 2, 4)
    _, constants = deformable._launch(value, sizes, weights)
    del constants["enable_fp_fusion"]  # an option of the compiler
    return kernel, constants, 4


INJECTOR, ENCODER = (64, 64, 32, 32, 16, 16), (64, 64, 32, 32, 16, 16, 8, 8)
KERNELS = {
    **{f"{name}, NCHW": each for name, each in norms(False).items()},
    **{f"{name}, NHWC": each for name, each in norms(True).items()},
    "injector": sampler(deformable._sample, INJECTOR, 12),
    "encoder": sampler(deformable._sample, ENCODER, 8),
    "gradient": sampler(deformable._gradient, INJECTOR, 12),
}


@pytest.mark.parametrize("capability", [87, 90], ids=["Orin", "H100"])
@pytest.mark.parametrize("name", KERNELS)
def test_reads_are_wide_and_registers_suffice(name: str, capability: int, tmp_path: Path) -> None:
    kernel, constants, warps = KERNELS[name]
    assembly = compiled(kernel, constants, capability, warps).asm
    assert f".target sm_{capability}" in assembly["ptx"]
    assert "ld.global.v4" in assembly["ptx"], "reads are of less than 16 bytes"
    file = tmp_path / "kernel.cubin"
    file.write_bytes(assembly["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+)", told)
    assert usage is not None, told
    assert int(usage[2]) == 0, f"{usage[0]}: values are kept in slow memory for want of registers"
