"""Small blocks that several parts share."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.train.kernels import operations
from argus_edge.train.kernels.launch import runs_kernels

Norm = Callable[[int], nn.Module]  # channels -> normalisation layer over (B, C, H, W)

# Activations that our kernel for GroupNorm does along with it.
ACTIVATIONS: Final = {nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu"}


def group_norm(groups: int) -> Norm:
    """GroupNorm with a fixed number of groups (eps 1e-5), the adapter's norm (paper, recipe 2)."""
    return lambda channels: nn.GroupNorm(groups, channels)


def normalised(
    norm: nn.Module, x: Tensor, added: Tensor | None = None, activation: nn.Module | None = None
) -> Tensor:
    """activation(norm(x + added)) of maps (B, C, H, W); GroupNorm on a GPU is one kernel with both, where
    nothing is to be learnt from it.
    """
    if isinstance(norm, nn.GroupNorm) and runs_kernels(x) and not torch.is_grad_enabled():
        name = "none" if activation is None else ACTIVATIONS[type(activation)]
        numbers = norm.num_groups, norm.weight, norm.bias, norm.eps
        fused: Tensor = operations.group_norm(x, added, *numbers, name)
        return fused
    y: Tensor = norm(x if added is None else x + added)
    return y if activation is None else activation(y)


class ConvNorm(nn.Sequential):
    """A convolution, its norm and, as a third part, its activation: (B, C, H, W) -> (B, C', H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, *activation = self
        return normalised(norm, convolution(x), activation=activation[0] if activation else None)


def conv_norm_relu(inputs: int, outputs: int, kernel: int, norm: Norm, stride: int = 1) -> ConvNorm:
    """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride): "same" convolution without bias, norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return ConvNorm(convolution, norm(outputs), nn.ReLU(inplace=True))


def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the numbers `values` (nested tuples).

    On a GPU it is made once and kept: a copy from the host waits for the GPU, and none may come while a CUDA
    graph is captured.
    """
    if device.type == "cuda" and not torch.compiler.is_exporting():
        return _kept(values, device, dtype)
    return torch.tensor(values, dtype=dtype, device=device)


def _make_once(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype | None) -> Tensor:
    key = values, device, dtype
    if key not in _constants:
        with torch.inference_mode(False):  # else no later training could use it
            _constants[key] = torch.tensor(values, dtype=dtype, device=device)
    return _constants[key]


_constants: dict[tuple[tuple[Any, ...], torch.device, torch.dtype | None], Tensor] = {}
_kept: Callable[..., Tensor] = torch.compiler.assume_constant_result(_make_once)


def at_least_single(x: Tensor) -> Tensor:
    """`x` in single precision, or in double where it is: half precision is too coarse for what follows."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mlp(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` linear layers with ReLU between them, over the last dimension."""
    widths = [inputs] + [hidden] * (layers - 1) + [outputs]
    parts: list[nn.Module] = []
    for index, (left, right) in enumerate(pairwise(widths)):
        parts += [nn.ReLU(inplace=True)] if index else []
        parts.append(nn.Linear(left, right))
    return nn.Sequential(*parts)


def resize(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear resize of (B, C, H, W) to `size` (h, w)."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


class Attention(nn.Module):
    """Multi-head attention in which queries and keys carry positions and values do not (DETR)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """query (B, Q, C), key and value (B, N, C). `mask` broadcasts to (B, heads, Q, N): bool, True = may
        attend, or float, added to the logits. Returns (B, Q, C).
        """

        def split(x: Tensor) -> Tensor:
            heads: Tensor = x.unflatten(-1, (self.heads, -1))
            return heads.transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split(self.query(query)), split(self.key(key)), split(self.value(value)), attn_mask=mask
        )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


def sine_embedding(position: Tensor, features: int, temperature: float = 10000.0) -> Tensor:
    """position (..., D) in [0, 1] -> (..., D * features): sines of each coordinate times 2 pi (DETR)."""
    exponent = torch.arange(features, dtype=position.dtype, device=position.device) // 2 * (2.0 / features)
    angle = position.unsqueeze(-1) * (2 * torch.pi) / temperature**exponent
    pairs = torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1)
    return pairs.flatten(-3)
