"""Deformable attention against a loop that does what the paper says, one sample at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from argus_edge.train.model.deformable import DeformableAttention, Shape, pixel_centres, sample_values

SHAPES: list[Shape] = [(5, 7), (3, 4), (2, 2)]


def bilinear(plane: Tensor, x: float, y: float) -> Tensor:
    """The value of `plane` (H, W, D) at (x, y) in [0, 1], cell centres at (i + 0.5) / size, 0 outside."""
    height, width = plane.shape[:2]
    column, row = x * width - 0.5, y * height - 0.5
    left, top = math.floor(column), math.floor(row)
    total = torch.zeros(plane.shape[2], dtype=plane.dtype)
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= i < height and 0 <= j < width:
            total += plane[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def looped(module: DeformableAttention, query: Tensor, reference: Tensor, source: Tensor) -> Tensor:
    batch, queries, _ = query.shape
    heads, levels, points = module.heads, module.levels, module.points
    value = module.value(source)
    depth = value.shape[-1] // heads
    answers = torch.zeros(batch, queries, heads * depth, dtype=query.dtype)
    for b in range(batch):
        for q in range(queries):
            offsets = module.offsets(query[b, q]).view(heads, levels, points, 2)
            weights = (
                module.weights(query[b, q])
                .view(heads, levels * points)
                .softmax(-1)
                .view(heads, levels, points)
            )
            for m in range(heads):
                start = 0
                for level, (height, width) in enumerate(SHAPES[:levels]):
                    cells = value[b, start : start + height * width, m * depth : (m + 1) * depth]
                    start += height * width
                    for p in range(points):
                        dx, dy = offsets[m, level, p].tolist()
                        place = reference[b % len(reference), q].tolist()
                        if len(place) == 2:
                            x, y = place[0] + dx / width, place[1] + dy / height
                        else:
                            x, y = (
                                place[0] + dx / points * place[2] / 2,
                                place[1] + dy / points * place[3] / 2,
                            )
                        sample = bilinear(cells.view(height, width, depth), x, y)
                        answers[b, q, m * depth : (m + 1) * depth] += weights[m, level, p] * sample
    return module.output(answers)  # type: ignore[no-any-return]


def random_module(levels: int, dtype: torch.dtype) -> DeformableAttention:
    torch.manual_seed(3)
    module = DeformableAttention(16, 4, levels, points=3, ratio=0.5)
    with torch.no_grad():
        for linear in (module.offsets, module.weights):
            linear.weight.normal_(std=0.3)
    return module.to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("form", [2, 4])
def test_it_equals_the_loop(dtype: torch.dtype, tolerance: float, levels: int, form: int) -> None:
    module = random_module(levels, dtype)
    cells = sum(h * w for h, w in SHAPES[:levels])
    query, source = torch.randn(2, 6, 16, dtype=dtype), torch.randn(2, cells, 16, dtype=dtype)
    reference = torch.rand(2, 6, form, dtype=dtype)
    with torch.no_grad():
        expected = looped(module, query, reference, source)
        answer = module(query, reference, source, SHAPES[:levels])
    torch.testing.assert_close(answer, expected, rtol=tolerance, atol=tolerance)


def test_one_reference_serves_the_whole_batch() -> None:
    module = random_module(3, torch.float32)
    query, source = torch.randn(3, 6, 16), torch.randn(3, 51, 16)
    reference = torch.rand(1, 6, 2)
    with torch.no_grad():
        shared = module(query, reference, source, SHAPES)
        torch.testing.assert_close(shared, module(query, reference.expand(3, -1, -1), source, SHAPES))


def test_places_outside_the_map_give_nothing() -> None:
    value = torch.ones(1, 6, 1, 4)
    locations = torch.tensor([[-0.5, 0.5], [0.5, 1.9], [0.5, 0.5]]).view(1, 3, 1, 1, 1, 2)
    answer = sample_values(value, [(2, 3)], locations, torch.ones(1, 3, 1, 1, 1))
    torch.testing.assert_close(answer, torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1).expand(-1, -1, 4))


def test_centres_are_x_then_y_row_by_row() -> None:
    centres = pixel_centres([(2, 4), (1, 1)], torch.zeros(()))
    x, y = (0.125, 0.375, 0.625, 0.875), (0.25, 0.75)
    expected = [(i, j) for j in y for i in x] + [(0.5, 0.5)]
    torch.testing.assert_close(centres, torch.tensor(expected))


def test_offsets_start_on_a_star() -> None:
    module = DeformableAttention(16, 8, 2, points=4)
    query = torch.randn(5, 16)
    with torch.no_grad():
        offsets = module.offsets(query).view(5, 8, 2, 4, 2)
        weights = module.weights(query)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        for point in range(4):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            torch.testing.assert_close(
                offsets[:, head, :, point], expected.expand(5, 2, 2), atol=1e-5, rtol=0
            )
    assert weights.abs().max() == 0
    assert module.value.bias.abs().max() == module.output.bias.abs().max() == 0
    # Xavier: uniform within sqrt(6 / (inputs + outputs)).
    assert float(module.value.weight.detach().abs().max()) == pytest.approx(math.sqrt(6 / 32), rel=0.05)


def test_gradients_agree_with_finite_differences() -> None:
    module = random_module(1, torch.float64)
    value = torch.randn(1, 12, 2, 3, dtype=torch.float64, requires_grad=True)
    locations = torch.rand(1, 4, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 4, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *x: sample_values(x[0], [(3, 4)], x[1], x[2]), (value, locations, weights)
    )
    assert module.value.weight.dtype == torch.float64
