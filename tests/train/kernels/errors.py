"""How far the kernels are from torch in float64, case by case; as a program, in Triton's interpreter.

TRITON_INTERPRET=1 python errors.py    # one JSON object: case -> error, as a share of the greatest value
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NHWC, NCHW = torch.channels_last, torch.contiguous_format
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
}


@dataclass(frozen=True)
class Norm:
    shape: tuple[int, int, int, int]  # (B, C, H, W)
    groups: int
    dtype: str = "fp32"
    layout: torch.memory_format = NCHW
    added: str = ""  # type of what is added before, if anything is
    activation: str = "none"
    mean: float = 0.0  # of the values, whose deviation is about 1


@dataclass(frozen=True)
class Deformable:
    shapes: tuple[tuple[int, int], ...]  # (h, w) of the levels
    form: tuple[int, int, int, int]  # images, queries, heads, points
    depth: int  # channels of a head
    dtype: str = "fp32"


# The groups of the first five fit into one program; the others are taken in parts.
NORMS = {
    "whole": Norm((2, 24, 7, 9), 8, activation="relu"),
    "whole, fp16": Norm((1, 48, 9, 8), 2, "fp16", NHWC, "fp16", "relu"),
    "whole, bf16": Norm((1, 48, 9, 8), 2, "bf16", NHWC, "bf16"),
    "whole, one place": Norm((2, 12, 1, 1), 3),
    "whole, one channel in a group": Norm((1, 5, 6, 7), 5, "fp16", NHWC, activation="gelu"),
    "parts": Norm((1, 10, 88, 89), 1, activation="silu"),
    "parts, NHWC": Norm((1, 10, 88, 89), 1, layout=NHWC, added="fp32"),
    "parts, fp16": Norm((2, 24, 64, 64), 1, "fp16", NHWC, activation="relu"),
    "parts, fp16, added": Norm((2, 24, 64, 64), 1, "fp16", NCHW, "fp32", "relu"),
    "parts, bf16": Norm((1, 40, 61, 67), 2, "bf16", NHWC, "fp16", "gelu"),
    "parts, seven groups": Norm((1, 49, 71, 73), 7, "fp16", NHWC),
    "parts, large mean": Norm((1, 12, 64, 65), 1, mean=1000.0, layout=NHWC),
}
DEFORMABLES = {
    "three levels": Deformable(((5, 7), (3, 4), (1, 2)), (2, 9, 3, 4), 13),
    "three levels, fp16": Deformable(((5, 7), (3, 4), (1, 2)), (2, 9, 3, 4), 13, "fp16"),
    "one level, bf16": Deformable(((6, 6),), (1, 19, 2, 2), 32, "bf16"),
    "four levels, fp16": Deformable(((8, 8), (4, 4), (2, 2), (1, 1)), (1, 5, 8, 4), 8, "fp16"),
}


def relative(answer: Tensor, reference: Tensor) -> float:
    assert answer.shape == reference.shape
    assert bool(answer.isfinite().all())
    return float((answer.detach().double() - reference.detach()).abs().max() / reference.detach().abs().max())


def norm_error(case: Norm, device: str) -> float:
    from argus_edge.train.kernels.operations import group_norm

    generator = torch.Generator().manual_seed(0)
    channels = case.shape[1]

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x = (case.mean + draw(*case.shape) + draw(channels, 1, 1)).to(DTYPES[case.dtype])
    added = draw(*case.shape).to(DTYPES[case.added]).to(device) if case.added else None
    x = x.to(device).contiguous(memory_format=case.layout)
    weight, bias = draw(channels).to(device), draw(channels).to(device)
    y = group_norm(x, added, case.groups, weight, bias, 1e-5, case.activation)
    assert y.dtype == x.dtype
    assert y.stride() == x.stride()
    total = x.double() if added is None else x.double() + added.double()
    wanted = functional.group_norm(total, case.groups, weight.double(), bias.double(), 1e-5)
    return relative(y, ACTIVATIONS[case.activation](wanted))


def samples(case: Deformable, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Value, locations and weights, with places inside, at the rim, beyond it, and where none can be."""
    generator = torch.Generator().manual_seed(0)
    images, queries, heads, points = case.form
    form = (images, queries, heads, len(case.shapes), points)
    locations = torch.rand(*form, 2, generator=generator) * 1.8 - 0.4
    corners = torch.tensor([[0.0, 0], [1, 1], [0, 1], [-50, 0.5], [0.5, 50], [1e6, -1e6], [0.5, 0.5]])
    locations.view(-1, 2)[: len(corners)] = corners
    cells = sum(height * width for height, width in case.shapes)
    value = torch.randn(images, cells, heads, case.depth, generator=generator).to(DTYPES[case.dtype])
    weights = torch.rand(form, generator=generator)
    return value.to(device), locations.to(device), weights.to(device)


def deformable_errors(case: Deformable, device: str) -> dict[str, float]:
    """Of the result, and of the gradients of the three inputs."""
    from argus_edge.train.kernels.launch import without_kernels
    from argus_edge.train.kernels.operations import sample_deformable
    from argus_edge.train.model.deformable import sample_values

    inputs = [tensor.requires_grad_() for tensor in samples(case, device)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    with without_kernels():
        wanted = sample_values(doubles[0], case.shapes, *doubles[1:])
    sizes = [side for shape in case.shapes for side in shape]
    answer = sample_deformable(inputs[0], sizes, *inputs[1:])
    assert answer.dtype == inputs[0].dtype
    gradient = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    gradient = gradient.to(inputs[0].dtype).to(device)
    wanted_gradients = torch.autograd.grad(wanted, doubles, gradient.double())
    gradients = torch.autograd.grad(answer, inputs, gradient)
    names = ("value", "locations", "weights")
    errors = {name: relative(*pair) for name, *pair in zip(names, gradients, wanted_gradients, strict=True)}
    return {"result": relative(answer, wanted), **errors}


def no_number_error(device: str) -> float:
    """Of one query that reads at no number, beside one that reads in the middle."""
    from argus_edge.train.kernels.operations import sample_deformable

    locations = torch.tensor([[float("nan"), 0.5], [0.5, 0.5]], device=device).view(1, 2, 1, 1, 1, 2)
    value, weights = torch.ones(1, 6, 1, 4, device=device), torch.ones(1, 2, 1, 1, 1, device=device)
    answer = sample_deformable(value, [2, 3], locations, weights)
    return relative(answer, torch.tensor([[0.0] * 4, [1.0] * 4], device=device)[None].double())


def model_error(device: str) -> float:
    """Of layers of the model that call kernels where these run."""
    from argus_edge.train.kernels.launch import runs_kernels, without_kernels
    from argus_edge.train.model.deformable import DeformableAttention, pixel_centres
    from argus_edge.train.model.layers import conv_norm_relu, group_norm

    torch.manual_seed(0)
    shapes = [(4, 4), (2, 2)]
    attention = DeformableAttention(16, 2, len(shapes)).to(device)
    layer = conv_norm_relu(3, 8, 3, group_norm(2)).to(device)
    torch.nn.init.normal_(attention.offsets.weight)
    source, image = torch.randn(1, 20, 16, device=device), torch.randn(1, 3, 8, 8, device=device)
    centres = pixel_centres(shapes, source)[None]
    assert runs_kernels(source)
    with torch.no_grad():
        ours = attention(source, centres, source, shapes), layer(image)
        with without_kernels():
            assert not runs_kernels(source)
            wanted = attention(source, centres, source, shapes), layer(image)
    return max(relative(a, b.double()) for a, b in zip(ours, wanted, strict=True))


def check_operations() -> None:
    """What torch.compile relies on: shapes and layouts foretold, gradients registered, nothing changed."""
    from argus_edge.train.kernels.operations import group_norm, sample_deformable

    x = torch.randn(1, 4, 3, 2).contiguous(memory_format=NHWC)
    torch.library.opcheck(group_norm, (x, x, 2, torch.ones(4), torch.ones(4), 1e-5, "relu"))
    inputs = [tensor.requires_grad_() for tensor in samples(Deformable(((2, 2),), (1, 2, 2, 2), 4), "cpu")]
    torch.library.opcheck(sample_deformable, (inputs[0], [2, 2], *inputs[1:]))


def export_operators() -> list[str]:
    """Operators of a traced layer; kernels would run it, were it not traced."""
    from argus_edge.export.trace import trace_module
    from argus_edge.train.model.layers import conv_norm_relu, group_norm

    layer, image = conv_norm_relu(3, 8, 3, group_norm(2)).eval(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        graph = trace_module("layer", layer, {"image": image}, {"y": layer(image)}, {})
    return [node.op_type for node in graph.model.graph.node]


def main() -> None:
    from argus_edge.train.kernels import deformable

    deformable.ELEMENTS = 256  # several programs for these few samples
    check_operations()
    found: dict[str, object] = {name: norm_error(case, "cpu") for name, case in NORMS.items()}
    found |= {name: deformable_errors(case, "cpu") for name, case in DEFORMABLES.items()}
    found |= {"no number": no_number_error("cpu"), "model": model_error("cpu"), "export": export_operators()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
