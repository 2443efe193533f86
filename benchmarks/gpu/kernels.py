"""The device's limits, and our kernels beside torch's operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from argus_edge.train.kernels import operations
from argus_edge.train.model.deformable import Shape, pixel_centres, sample_with_grids
from argus_edge.train.model.layers import constant
from benchmarks.gpu.measure import DTYPES, Card, Row

EPS = 1e-5
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def copy_rate(card: Card, size: int) -> float:
    """Bytes a second, read and written, of copies of `size` bytes."""
    x = torch.empty(size, dtype=torch.uint8, device=card.device)
    return 2 * size / (card.cold_ms(lambda to, of: to.copy_(of), x, x.clone()) / 1e3)


def limits(card: Card) -> Iterator[Row]:
    """Copy bandwidth by size, and the rate of matrix products by precision."""
    for size in card.size((25 << 20, 1 << 30), (1 << 10,)):
        rate = copy_rate(card, size)
        yield Row("copy", f"{size / 2**20:.3g} MiB", {"GB/s": rate / 1e9})
    for name in ("fp32", "tf32", "fp16", "bf16"):
        yield Row("product", name, {"TFLOP/s": product_rate(card, name) / 1e12})


def product_rate(card: Card, precision: str) -> float:
    """Operations a second of one large matrix product."""
    side = card.size(8192, 32)
    a = torch.randn(side, side, device=card.device, dtype=DTYPES.get(precision, torch.float32))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    milliseconds = card.cold_ms(torch.mm, a, a.clone())
    torch.set_float32_matmul_precision(before)
    return float(2 * side**3 / (milliseconds / 1e3))


def norms(card: Card) -> Iterator[Row]:
    """GroupNorm and ReLU at the size of F0 of base at 512 px, by layout and spelling."""
    shape, groups = card.size(((1, 768, 128, 128), 32), ((1, 24, 8, 8), 1))
    torch.manual_seed(0)
    weight, bias = torch.randn(2, shape[1], device=card.device)
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "torch": lambda x: functional.relu(
            functional.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), EPS)
        ),
        "InstanceNorm": lambda x: instance_form(x, groups, weight, bias),
        "ours": lambda x: operations.group_norm(x, None, groups, weight, bias, EPS, "relu"),
    }
    for precision in card.size(("fp16", "fp32"), ("fp16",)):
        values = (torch.randn(shape, device=card.device) + 1).to(DTYPES[precision])
        rate = copy_rate(card, values.nbytes)
        wanted = functional.group_norm(values.double(), groups, weight.double(), bias.double(), EPS).relu()
        for layout, memory in LAYOUTS.items():
            x = values.contiguous(memory_format=memory)
            for form, call in forms.items():
                milliseconds = card.cold_ms(call, x)
                share = 2 * x.nbytes / (milliseconds / 1e3) / rate
                error = relative(call(x), wanted)
                aimed = form == "ours" and precision == "fp16"
                yield Row(
                    "GroupNorm",
                    f"{form}, {layout}, {precision}",
                    {"us": 1e3 * milliseconds, "of copy": share, "error": error},
                    reached=(share >= 0.8 and error <= 1e-3) if aimed else None,
                )
            other = torch.randn_like(x)
            added = partial(operations.group_norm, groups=groups, weight=weight, bias=bias, eps=EPS)
            milliseconds = card.cold_ms(partial(added, activation="relu"), x, other)
            share = 3 * x.nbytes / (milliseconds / 1e3) / rate
            figures = {"us": 1e3 * milliseconds, "of copy": share}
            yield Row("GroupNorm", f"ours with addition, {layout}, {precision}", figures)


def instance_form(x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
    """GroupNorm as engines without it have it: InstanceNorm of the groups, then scale and shift, and ReLU."""
    normed = functional.instance_norm(x.reshape(len(x), groups, -1), eps=EPS).view(x.shape)
    return functional.relu(normed * weight[:, None, None].to(x.dtype) + bias[:, None, None].to(x.dtype))


def deformable(card: Card) -> Iterator[Row]:
    """The core of deformable attention at the sizes of base at 512 px: GridSample, gathers, our kernel."""
    pyramid = card.size([(64, 64), (32, 32), (16, 16)], [(2, 2), (1, 1)])
    vit = card.size([(32, 32)], [(2, 2)])
    cases: dict[str, tuple[list[Shape], list[Shape], int]] = {
        "extractor": (pyramid, vit, 12),
        "injector": (vit, pyramid, 12),
        "encoder layer": (pyramid, pyramid, 8),
    }
    for name, (queries, levels, heads) in cases.items():
        value, locations, weights = core_inputs(card, queries, levels, heads)
        wanted = sample_with_grids(value.double(), levels, locations.double(), weights.double())
        sizes = [side for shape in levels for side in shape]
        forms: dict[str, Callable[..., Tensor]] = {
            "GridSample": partial(sample_in_half, shapes=levels),
            "gather": partial(sample_with_gathers, shapes=levels),
            "ours": lambda v, p, w, sizes=sizes: operations.sample_deformable(v, sizes, p, w),
        }
        times = {form: card.cold_ms(call, value, locations, weights) for form, call in forms.items()}
        for form, call in forms.items():
            ratio = times["GridSample"] / times[form]
            error = relative(call(value, locations, weights), wanted)
            yield Row(
                "deformable",
                f"{form}, {name}, fp16",
                {"us": 1e3 * times[form], "times GridSample": ratio, "error": error},
                reached=(ratio >= 3 and error <= 2e-3) if form == "ours" else None,
            )


def sample_in_half(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[Shape]) -> Tensor:
    return sample_with_grids(value, shapes, locations.half(), weights.half())


def core_inputs(
    card: Card, queries: list[Shape], levels: list[Shape], heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Value in half precision, 32 channels a head; locations about two cells around each query; weights."""
    torch.manual_seed(0)
    cells, device = sum(height * width for height, width in levels), card.device
    centres = pixel_centres(queries, torch.empty(0, device=device))[None, :, None, None, None]
    form = (1, centres.shape[1], heads, len(levels), 4)
    sides = torch.tensor([[w, h] for h, w in levels], device=device, dtype=torch.float32)[:, None]
    locations = centres + 2 * torch.randn(*form, 2, device=device) / sides
    weights = torch.randn(form, device=device).flatten(3).softmax(-1).view(form)
    return torch.randn(1, cells, heads, 32, device=device).half(), locations, weights


def sample_with_gathers(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[Shape]) -> Tensor:
    """The same by four indexed reads for each sample, as graphs for TensorRT have it."""
    image = torch.arange(len(value), device=value.device)[:, None, None, None]
    head = torch.arange(value.shape[2], device=value.device)[:, None]
    total, start = torch.zeros((), device=value.device), 0
    for level, (height, width) in enumerate(shapes):
        column, row = (locations[:, :, :, level] * constant((width, height), value.device) - 0.5).unbind(-1)
        left, top = column.floor(), row.floor()
        for x, y in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            at = start + (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            share = weights[:, :, :, level] * (1 - (column - x).abs()) * (1 - (row - y).abs()) * inside
            total = total + (value[image, at, head] * share[..., None].to(value.dtype)).sum(3)
        start += height * width
    return total.flatten(2)


def relative(answer: Tensor, wanted: Tensor) -> float:
    return float((answer.double() - wanted).abs().max() / wanted.abs().max())
