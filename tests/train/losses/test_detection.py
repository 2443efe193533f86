"""The detection losses against torchvision, brute force and what they must not depend on."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou, sigmoid_focal_loss  # type: ignore[import-untyped]
from transformers.models.mask2former import modeling_mask2former as mask2former

from argus_edge.errors import TrainingError
from argus_edge.train.losses.detection import (
    BoxTargets,
    DenoisingSettings,
    DetectionWeights,
    detection_loss,
    focal_loss,
    generalised_iou,
    make_denoising,
    match,
    prediction_loss,
)
from argus_edge.train.losses.masks import PointSettings, mask_losses, random_points, sample_masks
from argus_edge.train.model.decoders.mask_dino import DetectionOutputs, Prediction, to_corners

CLASSES, QUERIES = 3, 6
POINTS = PointSettings(points=32)


def boxes(*shape: int) -> Tensor:
    """Random cxcywh inside the image."""
    return torch.cat([torch.rand(*shape, 2) * 0.6 + 0.2, torch.rand(*shape, 2) * 0.35 + 0.05], dim=-1)


def targets(*counts: int) -> list[BoxTargets]:
    return [BoxTargets(torch.randint(CLASSES, (n,)), boxes(n)) for n in counts]


def prediction(batch: int, queries: int = QUERIES) -> Prediction:
    logits = torch.randn(batch, queries, CLASSES)
    return Prediction(logits.requires_grad_(), boxes(batch, queries).requires_grad_())


def outputs(batch: int, denoising_queries: int = 0) -> DetectionOutputs:
    copies = [prediction(batch, denoising_queries) for _ in range(2)] if denoising_queries else []
    return DetectionOutputs(prediction(batch), [prediction(batch) for _ in range(2)], copies)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_focal_loss_is_torchvision_s() -> None:
    logits, wanted = torch.randn(4, 7) * 4, torch.randint(2, (4, 7)).float()
    torch.testing.assert_close(focal_loss(logits, wanted), sigmoid_focal_loss(logits, wanted, 0.25, 2))


def test_generalised_iou_is_torchvision_s() -> None:
    left, right = to_corners(boxes(8)), to_corners(boxes(5))
    answer = generalised_iou(left[:, None], right[None])
    torch.testing.assert_close(answer, generalized_box_iou(left, right))
    assert answer.min() < 0 < answer.max()


def test_generalised_iou_of_empty_boxes_has_a_finite_gradient() -> None:
    left = torch.tensor([[0.5, 0.5, 0.5, 0.5]], requires_grad=True)
    value = generalised_iou(left, torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert left.grad is not None
    assert torch.isfinite(left.grad).all()


def pair_cost(p: Prediction, image: int, query: int, target: BoxTargets, index: int) -> float:
    probability = p.logits[image, query, target.labels[index]].double().sigmoid()
    positive = -0.25 * (1 - probability) ** 2 * probability.log()
    negative = -0.75 * probability**2 * (1 - probability).log()
    box, truth = p.boxes[image, query].double(), target.boxes[index].double()
    giou = generalized_box_iou(to_corners(box)[None], to_corners(truth)[None])[0, 0]
    return float(4 * (positive - negative) + 5 * (box - truth).abs().sum() - 2 * giou)


@pytest.mark.parametrize("seed", range(6))
def test_the_matching_is_the_cheapest_of_all(seed: int) -> None:
    torch.manual_seed(seed)
    p, truths = prediction(2), targets(3, 2)
    with torch.no_grad():
        for image, (rows, columns) in enumerate(match(p, truths, DetectionWeights())):
            truth = truths[image]
            count = len(truth.labels)
            costs = {
                order: sum(pair_cost(p, image, q, truth, i) for i, q in enumerate(order))
                for order in permutations(range(QUERIES), count)
            }
            best = min(costs, key=costs.__getitem__)
            assert sorted(zip(columns.tolist(), rows.tolist(), strict=True)) == list(enumerate(best))


def test_more_objects_than_queries_leaves_the_dearest_without() -> None:
    ((rows, columns),) = match(prediction(1, 2), targets(5), DetectionWeights())
    assert sorted(rows.tolist()) == [0, 1]
    assert len(set(columns.tolist())) == 2


def test_one_output_is_the_weighted_sum_of_its_terms() -> None:
    learned, truths = prediction(2), targets(2, 1)
    p = Prediction(learned.logits.detach(), learned.boxes.detach())
    weights = DetectionWeights(4.0, 5.0, 2.0)
    pairs = match(p, truths, weights)
    wanted = torch.zeros(2, QUERIES, CLASSES)
    l1 = giou = 0.0
    for image, (rows, columns) in enumerate(pairs):
        for q, i in zip(rows.tolist(), columns.tolist(), strict=True):
            truth = truths[image]
            wanted[image, q, truth.labels[i]] = 1
            l1 += float((p.boxes[image, q] - truth.boxes[i]).abs().sum())
            corners = to_corners(p.boxes[image, q])[None], to_corners(truth.boxes[i])[None]
            giou += 1 - float(generalized_box_iou(*corners))
    classes = float(sigmoid_focal_loss(p.logits, wanted, 0.25, 2, reduction="sum"))
    answer = float(prediction_loss(p, truths, pairs, 3.0, weights))
    assert answer == pytest.approx((4 * classes + 5 * l1 + 2 * giou) / 3, rel=1e-5)


def test_the_whole_loss_sums_encoder_layers_and_copies() -> None:
    truths, weights = targets(2, 3), DetectionWeights()
    out = outputs(2, denoising_queries=6)  # two groups of three copies
    alone = sum(
        prediction_loss(p, truths, match(p, truths, weights), 5.0, weights).item()
        for p in (out.encoder, *out.layers)
    )
    assert detection_loss(replace(out, denoising=[]), truths).item() == pytest.approx(alone, rel=1e-5)
    first = torch.tensor([0, 1, 3, 4]), torch.tensor([0, 1, 0, 1])
    second = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([0, 1, 2, 0, 1, 2])
    counted = torch.tensor([[1.0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
    copies = sum(
        prediction_loss(p, truths, [first, second], 5.0 * 2, weights, counted).item() for p in out.denoising
    )
    assert detection_loss(out, truths).item() == pytest.approx(alone + copies, rel=1e-5)


def test_the_encoder_may_match_every_object_several_times() -> None:
    truths, out = targets(2, 1), outputs(2)
    weights = DetectionWeights(encoder_copies=2)
    twice = [BoxTargets(t.labels.repeat(2), t.boxes.repeat(2, 1)) for t in truths]
    pairs = match(out.encoder, twice, weights)
    assert [len(set(rows.tolist())) for rows, _ in pairs] == [4, 2]
    expected = prediction_loss(out.encoder, twice, pairs, 6.0, weights).item() + sum(
        prediction_loss(p, truths, match(p, truths, weights), 3.0, weights).item() for p in out.layers
    )
    assert detection_loss(out, truths, weights).item() == pytest.approx(expected, rel=1e-5)


def test_padding_copies_count_nowhere() -> None:
    truths, out = targets(1, 3), outputs(2, denoising_queries=6)
    loss = detection_loss(out, truths)
    loss.backward()
    padding = torch.tensor([1, 2, 4, 5])  # of the image with one object
    for p in out.denoising:
        assert p.logits.grad is not None
        assert p.boxes.grad is not None
        assert not p.logits.grad[0, padding].any()
        assert not p.boxes.grad[0, padding].any()
        assert p.logits.grad[0, [0, 3]].all()
        assert p.logits.grad[1].all()


@pytest.mark.parametrize("counts", [(0, 2), (0, 0)])
def test_without_objects_loss_and_gradients_are_finite(counts: tuple[int, int]) -> None:
    truths = targets(*counts)
    noise = make_denoising(truths, CLASSES, QUERIES, DenoisingSettings(8), torch.Generator())
    assert (noise is None) == (counts == (0, 0))
    out = outputs(2, 0 if noise is None else noise.labels.shape[1])
    loss = detection_loss(out, truths)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    for p in (out.encoder, *out.layers, *out.denoising):
        assert p.logits.grad is not None
        assert torch.isfinite(p.logits.grad).all()
        assert p.boxes.grad is None or torch.isfinite(p.boxes.grad).all()
    for p in out.layers:  # an image without objects still teaches "nothing here"
        assert p.logits.grad is not None
        assert p.logits.grad[0].all()


def test_perfect_boxes_and_classes_cost_next_to_nothing() -> None:
    truths = targets(3, 3)
    logits = torch.stack([torch.eye(CLASSES)[t.labels] * 40 - 20 for t in truths])
    perfect = Prediction(logits, torch.stack([t.boxes for t in truths]))
    assert float(detection_loss(DetectionOutputs(perfect, [perfect], []), truths)) < 1e-5


def test_a_prediction_that_is_not_a_number_makes_the_loss_so() -> None:
    """The trainer then stops, naming the task, instead of an error from inside the matching."""
    out = outputs(1)
    with torch.no_grad():
        out.layers[0].boxes.fill_(float("nan"))
    assert torch.isnan(detection_loss(out, targets(2)))


def test_denoising_copies_stay_near_their_objects() -> None:
    truths = targets(4, 2)
    settings = DenoisingSettings(queries=40, label_flip=0.2, box_noise=0.4)
    noise = make_denoising(truths, CLASSES, QUERIES, settings, torch.Generator().manual_seed(1))
    assert noise is not None
    groups, most = 10, 4
    assert noise.labels.shape == (2, groups * most)
    for image, truth in enumerate(truths):
        count = len(truth.labels)
        copies = noise.boxes[image].view(groups, most, 4)[:, :count]
        shift = (copies - truth.boxes).abs()
        limit = 0.4 * torch.cat([truth.boxes[:, 2:] / 2, truth.boxes[:, 2:]], dim=-1) + 1e-6
        assert (shift <= limit).all()
        assert (shift.amax(0) > 0.5 * limit).all()
        changed = noise.labels[image].view(groups, most)[:, :count] != truth.labels
        assert (
            0 < changed.float().mean() < 0.35
        )  # a fifth is drawn anew, a third of which hits the same class
    assert 0 < noise.boxes.min() < noise.boxes.max() < 1


def test_denoising_groups_are_walled_off() -> None:
    noise = make_denoising(targets(3, 1), CLASSES, QUERIES, DenoisingSettings(7), torch.Generator())
    assert noise is not None
    group = [0, 0, 0, 1, 1, 1] + [None] * QUERIES
    expected = [[of is None or of == by for of in group] for by in group]
    assert noise.mask.tolist() == expected


def test_denoising_is_the_same_for_the_same_generator() -> None:
    truths = targets(3, 2)
    first, again, other = (
        make_denoising(truths, CLASSES, QUERIES, DenoisingSettings(9), torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    )
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first.boxes, again.boxes)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.boxes, other.boxes)


def with_masks(p: Prediction) -> Prediction:
    batch, queries, _ = p.logits.shape
    return replace(p, masks=torch.randn(batch, queries, 8, 8).requires_grad_())


def masked_targets(*counts: int) -> list[BoxTargets]:
    return [replace(t, masks=torch.rand(len(t.labels), 32, 32) > 0.6) for t in targets(*counts)]


def masked_outputs(batch: int, denoising_queries: int = 0) -> DetectionOutputs:
    plain = outputs(batch, denoising_queries)
    layers, copies = ([with_masks(p) for p in ps] for ps in (plain.layers, plain.denoising))
    return DetectionOutputs(with_masks(plain.encoder), layers, copies)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("seed", range(4))
def test_masks_take_part_in_the_matching(seed: int) -> None:
    """The cheapest assignment with Mask2Former's costs at the same points added to boxes and classes."""
    torch.manual_seed(seed)
    p, truths = with_masks(prediction(2)), masked_targets(3, 2)
    assert p.masks is not None
    weights = DetectionWeights(points=POINTS)
    generator = seeded()
    with torch.no_grad():
        for image, (rows, columns) in enumerate(match(p, truths, weights, seeded())):
            truth = truths[image]
            assert truth.masks is not None
            where = random_points(1, 32, p.masks, generator)
            logits = sample_masks(p.masks[image : image + 1], where)[0].double()
            wanted = sample_masks(truth.masks.float()[None], where)[0].double()
            extra = 5 * mask2former.pair_wise_sigmoid_cross_entropy_loss(logits, wanted)
            extra += 5 * mask2former.pair_wise_dice_loss(logits, wanted)
            count = len(truth.labels)
            costs = {
                order: sum(pair_cost(p, image, q, truth, i) + float(extra[q, i]) for i, q in enumerate(order))
                for order in permutations(range(QUERIES), count)
            }
            best = min(costs, key=costs.__getitem__)
            assert sorted(zip(columns.tolist(), rows.tolist(), strict=True)) == list(enumerate(best))


def test_masks_add_cross_entropy_and_dice_to_an_output() -> None:
    p, truths = with_masks(prediction(2)), masked_targets(2, 1)
    weights = DetectionWeights(points=POINTS)
    pairs = match(p, truths, weights, seeded())
    with torch.no_grad():
        alone = prediction_loss(replace(p, masks=None), truths, pairs, 3.0, weights)
        whole = prediction_loss(p, truths, pairs, 3.0, weights, generator=seeded())
        assert p.masks is not None
        chosen = torch.cat([p.masks[image, rows] for image, (rows, _) in enumerate(pairs)])
        wanted = torch.cat(
            [t.masks[i] for t, (_, i) in zip(truths, pairs, strict=True) if t.masks is not None]
        )
        entropy, dice = mask_losses(chosen, wanted, torch.arange(len(wanted)), POINTS, seeded())
    assert float(whole - alone) == pytest.approx(float(5 * entropy + 5 * dice) / 3, rel=1e-5)


def test_the_whole_loss_sums_the_masks_of_encoder_layers_and_copies() -> None:
    truths, out = masked_targets(2, 3), masked_outputs(2, denoising_queries=6)
    weights = DetectionWeights(points=POINTS, encoder_copies=2)
    generator = seeded()
    first = torch.tensor([0, 1, 3, 4]), torch.tensor([0, 1, 0, 1])
    second = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([0, 1, 2, 0, 1, 2])
    counted = torch.tensor([[1.0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
    expected = 0.0
    with torch.no_grad():
        for p in out.layers:
            pairs = match(p, truths, weights, generator)
            expected += float(prediction_loss(p, truths, pairs, 5.0, weights, generator=generator))
        twice = [t.repeated(2) for t in truths]
        pairs = match(out.encoder, twice, weights, generator)
        expected += float(prediction_loss(out.encoder, twice, pairs, 10.0, weights, generator=generator))
        for p in out.denoising:
            expected += float(prediction_loss(p, truths, [first, second], 10.0, weights, counted, generator))
        answer = float(detection_loss(out, truths, weights, seeded()))
    assert answer == pytest.approx(expected, rel=1e-5)
    plain = DetectionOutputs(
        replace(out.encoder, masks=None),
        [replace(p, masks=None) for p in out.layers],
        [replace(p, masks=None) for p in out.denoising],
    )
    assert answer > 1.2 * detection_loss(plain, truths, weights).item()


def test_repeated_targets_hold_every_object_as_often() -> None:
    (target,) = masked_targets(2)
    thrice = target.repeated(3)
    assert target.masks is not None
    assert thrice.masks is not None
    for copy in range(3):
        part = slice(2 * copy, 2 * copy + 2)
        assert torch.equal(thrice.labels[part], target.labels)
        assert torch.equal(thrice.boxes[part], target.boxes)
        assert torch.equal(thrice.masks[part], target.masks)


@pytest.mark.parametrize("counts", [(2, 1), (0, 2), (0, 0)])
@pytest.mark.parametrize("empty", [False, True], ids=["masks", "zero-area"])
def test_with_masks_loss_and_gradients_are_finite(counts: tuple[int, int], empty: bool) -> None:
    truths = masked_targets(*counts)
    if empty:
        truths = [replace(t, masks=torch.zeros(len(t.labels), 32, 32, dtype=torch.bool)) for t in truths]
    out = masked_outputs(2, 6 if sum(counts) else 0)
    loss = detection_loss(out, truths, DetectionWeights(points=POINTS), seeded())
    loss.backward()
    assert torch.isfinite(loss)
    for p in (out.encoder, *out.layers, *out.denoising):
        assert p.logits.grad is not None
        assert p.masks is not None
        assert p.masks.grad is not None
        for part in (p.logits, p.boxes, p.masks):
            assert part.grad is None or torch.isfinite(part.grad).all()
        for image, count in enumerate(counts):
            assert bool(p.masks.grad[image].any()) == (count > 0)


def test_padding_copies_have_no_masks_to_learn() -> None:
    truths, out = masked_targets(1, 3), masked_outputs(2, denoising_queries=6)
    detection_loss(out, truths, DetectionWeights(points=POINTS), seeded()).backward()
    for p in out.denoising:
        assert p.masks is not None
        assert p.masks.grad is not None
        learned = p.masks.grad.flatten(2).any(-1)
        assert learned.tolist() == [[True, False, False, True, False, False], [True] * 6]


def test_the_points_are_drawn_by_the_generator() -> None:
    truths, out = masked_targets(2, 1), masked_outputs(2)
    weights = DetectionWeights(points=POINTS)
    first, again = (detection_loss(out, truths, weights, seeded()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, detection_loss(out, truths, weights, torch.Generator().manual_seed(8)))


def test_masks_predicted_but_not_given_are_an_error() -> None:
    with pytest.raises(TrainingError, match="boxes only"):
        detection_loss(masked_outputs(1), targets(2))


def test_masks_given_but_not_predicted_change_nothing() -> None:
    truths, out = masked_targets(2, 1), outputs(2)
    plain = [replace(t, masks=None) for t in truths]
    assert torch.equal(detection_loss(out, truths), detection_loss(out, plain))
