"""The kernels as operations of torch, which torch.compile keeps in its graphs and CUDA graphs capture.

Triton is imported when one of them runs first. `sample_deformable` has a gradient; `group_norm` has none, as
torch.compile fuses torch's own norm with what is around it, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("argus::group_norm", mutates_args=())
def group_norm(
    x: Tensor,
    added: Tensor | None,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    activation: str,
) -> Tensor:
    """activation(GroupNorm(x + added)); x (B, C, H, W) in half or single precision, `added` of its shape.

    The activation is "none", "relu", "silu" or "gelu". The result has the type and the memory layout of x.
    """
    from argus_edge.train.kernels.group_norm import normalise

    return normalise(x, added, groups, weight, bias, eps, activation)


@group_norm.register_fake
def _group_norm_like(x: Tensor, *_: Any) -> Tensor:
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty_like(x, memory_format=layout)


@torch.library.custom_op("argus::sample_deformable", mutates_args=())
def sample_deformable(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """The core of deformable attention: value (B, N, M, D) in half or single precision, N the cells of all
    levels `sizes` (h0, w0, h1, w1, ...); locations (B, Q, M, L, P, 2) fp32, (x, y) in [0, 1]; weights
    (B, Q, M, L, P) fp32. Returns (B, Q, M * D) in the type of value.
    """
    from argus_edge.train.kernels.deformable import sample

    return sample(value, sizes, locations, weights)


@sample_deformable.register_fake
def _sample_like(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:  # noqa: ARG001
    batch, queries, heads = weights.shape[:3]
    return value.new_empty(batch, queries, heads * value.shape[-1])


@torch.library.custom_op("argus::sample_deformable_gradient", mutates_args=())
def sample_deformable_gradient(
    gradient: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of value, locations and weights, from that of the result."""
    from argus_edge.train.kernels.deformable import sample_gradient

    return sample_gradient(gradient, value, sizes, locations, weights)


@sample_deformable_gradient.register_fake
def _gradient_like(
    gradient: Tensor,  # noqa: ARG001
    value: Tensor,
    sizes: Sequence[int],  # noqa: ARG001
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    like = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, locations, weights))
    return tuple(like)  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    value, ctx.sizes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, locations, weights = ctx.saved_tensors
    to_value, to_locations, to_weights = sample_deformable_gradient(
        gradient, value, ctx.sizes, locations, weights
    )
    return to_value, None, to_locations, to_weights


sample_deformable.register_autograd(_backward, setup_context=_keep)
