"""The number formats of training: which of them a machine is fast in."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch

from argus_edge.runtime.machine import this_machine
from argus_edge.train.recipe import Recipe

DTYPES: Final = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Instructions without which a CPU computes in bf16 many times slower than in fp32, not faster.
BF16_FEATURES: Final = {"avx512_bf16", "amx_bf16", "bf16"}


def with_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with "auto" replaced: bf16 where `device` has instructions for it, fp32 elsewhere."""
    if recipe.precision != "auto":
        return recipe
    return dataclasses.replace(recipe, precision="bf16" if _has_bf16(device) else "fp32")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a model trains in `precision`; none in fp32."""
    dtype = DTYPES[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(BF16_FEATURES & set(this_machine().features))
