"""Mask2Former's matching and loss against those of transformers, at the same random points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from argus_edge.train.losses.mask2former import (
    Mask2FormerWeights,
    mask2former_loss,
    mask_prediction_loss,
    match_masks,
)
from argus_edge.train.losses.masks import MaskTargets, PointSettings
from argus_edge.train.model.decoders.mask2former import MaskPrediction

CLASSES, QUERIES, SIDE = 4, 8, 32
WEIGHTS, POINTS = Mask2FormerWeights(), PointSettings(points=200)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def prediction(batch: int) -> MaskPrediction:
    logits = torch.randn(batch, QUERIES, CLASSES + 1) * 2
    masks = torch.nn.functional.interpolate(
        torch.randn(batch, QUERIES, 3, 3) * 6, size=(SIDE // 4, SIDE // 4)
    )
    return MaskPrediction(logits.requires_grad_(), masks.requires_grad_())


def targets(*counts: int) -> list[MaskTargets]:
    """Rectangles of at least a quarter of the side."""
    images = []
    for count in counts:
        masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
        for mask in masks:
            y, x, h, w = torch.randint(SIDE // 4, SIDE // 2, (4,)).tolist()
            mask[y : y + h, x : x + w] = True
        images.append(MaskTargets(torch.randint(CLASSES, (count,)), masks))
    return images


def theirs() -> Mask2FormerLoss:
    config = Mask2FormerConfig(train_num_points=POINTS.points)
    config.num_labels = CLASSES
    return Mask2FormerLoss(config, {})


def their_loss(outputs: list[MaskPrediction], truths: list[MaskTargets]) -> Tensor:
    """The weighted sum; they take the last output first."""
    *others, last = outputs
    terms = theirs()(
        last.masks,
        last.logits,
        [t.masks.float() for t in truths],
        [t.labels for t in truths],
        [{"masks_queries_logits": p.masks, "class_queries_logits": p.logits} for p in others],
    )
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    total = torch.zeros(())
    for name, term in terms.items():
        total = total + term * next(weight for prefix, weight in weights.items() if name.startswith(prefix))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_matching_is_that_of_transformers(seed: int) -> None:
    torch.manual_seed(seed)
    answer, truths = prediction(3), targets(4, 1, QUERIES)
    torch.manual_seed(7)
    expected = theirs().matcher(
        answer.masks, answer.logits, [t.masks.float() for t in truths], [t.labels for t in truths]
    )
    pairs = match_masks(answer, truths, WEIGHTS, POINTS, torch.Generator().manual_seed(7))
    for (rows, columns), (their_rows, their_columns) in zip(pairs, expected, strict=True):
        assert torch.equal(rows, their_rows)
        assert torch.equal(columns, their_columns)


@pytest.mark.parametrize("counts", [(4, 1), (2, QUERIES), (3,)])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients_are_those_of_transformers(counts: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    truths, outputs = targets(*counts), [prediction(len(counts)) for _ in range(3)]
    leaves = [x for p in outputs for x in (p.logits, p.masks)]
    torch.manual_seed(9)
    expected = their_loss(outputs, truths)
    expected_gradients = torch.autograd.grad(expected, leaves)
    first = [outputs[-1], *outputs[:-1]]
    loss = mask2former_loss(first, truths, torch.Generator().manual_seed(9), WEIGHTS, POINTS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for gradient, other in zip(torch.autograd.grad(loss, leaves), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-7)


def test_more_objects_than_queries_leaves_the_dearest_without() -> None:
    ((rows, columns),) = match_masks(prediction(1), targets(QUERIES + 3), WEIGHTS, POINTS)
    assert sorted(rows.tolist()) == list(range(QUERIES))
    assert len(set(columns.tolist())) == QUERIES


def test_every_output_counts_alike() -> None:
    truths, outputs = targets(2, 3), [prediction(2) for _ in range(4)]
    alone = []
    generator = torch.Generator().manual_seed(1)
    for p in outputs:
        pairs = match_masks(p, truths, WEIGHTS, POINTS, generator)
        alone.append(mask_prediction_loss(p, truths, pairs, 5.0, WEIGHTS, POINTS, generator))
    loss = mask2former_loss(outputs, truths, torch.Generator().manual_seed(1), WEIGHTS, POINTS)
    torch.testing.assert_close(loss, torch.stack(alone).sum())
    assert len({round(term.item(), 3) for term in alone}) == 4


@pytest.mark.parametrize("counts", [(0, 2), (0, 0)])
def test_without_objects_loss_and_gradients_are_finite(counts: tuple[int, int]) -> None:
    outputs = [prediction(2) for _ in range(2)]
    loss = mask2former_loss(outputs, targets(*counts), points=POINTS)
    loss.backward()
    assert loss.isfinite()
    assert loss > 0
    for p in outputs:
        assert p.logits.grad is not None
        assert p.masks.grad is not None
        assert p.logits.grad.isfinite().all()
        assert p.logits.grad[0].all()  # an image without objects still teaches "nothing here"
        assert p.masks.grad.isfinite().all()
        assert bool(p.masks.grad.any()) == (counts != (0, 0))
        assert not p.masks.grad[0].any()


def test_perfect_masks_and_classes_cost_next_to_nothing() -> None:
    """Next to their opposite: between two pixels, inside and outside, logits are not certain."""
    truth = targets(QUERIES - 1)[0]
    truth.masks[0], truth.masks[1] = True, False  # nothing to overlap with, and nothing else
    wanted = torch.cat([truth.labels, torch.tensor([CLASSES])])
    masks = torch.cat([truth.masks, torch.zeros(1, SIDE, SIDE, dtype=torch.bool)]).float() * 200 - 100
    perfect = MaskPrediction(torch.eye(CLASSES + 1)[wanted][None] * 40 - 20, masks[None])
    opposite = MaskPrediction(perfect.logits, -perfect.masks)
    points = replace(POINTS, importance=0.0)  # no search for the borders between pixels
    best, worst = (mask2former_loss([answer], [truth], points=points) for answer in (perfect, opposite))
    assert best < 0.02 * worst


def test_a_prediction_that_is_not_a_number_makes_the_loss_so() -> None:
    """The trainer then stops, naming the task, instead of an error from inside the matching."""
    for part in ("logits", "masks"):
        answer = prediction(1)
        with torch.no_grad():
            getattr(answer, part).fill_(float("nan"))
        assert mask2former_loss([answer], targets(2), points=POINTS).isnan()
