"""Mask DINO's losses: Hungarian matching; focal, L1, GIoU and, for outputs with masks, cross entropy and dice
at points; denoising copies; all layers summed.

Source: Mask DINO (arXiv 2206.02777), with the weights of its published configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from argus_edge.errors import TrainingError
from argus_edge.train.losses.masks import PointSettings, mask_costs, mask_losses
from argus_edge.train.losses.matching import Pairs, assign, matched
from argus_edge.train.model.decoders.mask_dino import Denoising, DetectionOutputs, Prediction, to_corners
from argus_edge.train.processes import objects_in

ALPHA, GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class BoxTargets:
    """The true objects of one image."""

    labels: Tensor  # (M,) int64
    boxes: Tensor  # (M, 4) cxcywh in [0, 1] of the network input
    masks: Tensor | None = None  # (M, H, W) bool, for a decoder with masks

    def repeated(self, times: int) -> "BoxTargets":
        masks = None if self.masks is None else self.masks.repeat(times, 1, 1)
        return BoxTargets(self.labels.repeat(times), self.boxes.repeat(times, 1), masks)


@dataclass(frozen=True)
class DetectionWeights:
    classes: float = 4.0
    l1: float = 5.0
    giou: float = 2.0
    encoder_copies: int = 1  # how often each object is matched among the encoder's proposals; 1 as published
    mask: float = 5.0  # cross entropy
    dice: float = 5.0
    points: PointSettings | None = None  # where masks are compared; None: by their size, see `points_of`


@dataclass(frozen=True)
class DenoisingSettings:
    queries: int = 100
    label_flip: float = 0.2
    box_noise: float = 0.4


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU of xyxy boxes (..., 4) against (..., 4), broadcast."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    other_area = (others[..., 2:] - others[..., :2]).prod(-1)
    union = area + other_area - intersection
    hull = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    hull_area = hull.prod(-1)
    return intersection / union.clamp(min=1e-9) - (hull_area - union) / hull_area.clamp(min=1e-9)


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of every element; `targets` 0 or 1."""
    probability = logits.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    correct = probability * targets + (1 - probability) * (1 - targets)
    alpha = ALPHA * targets + (1 - ALPHA) * (1 - targets)
    return alpha * (1 - correct) ** GAMMA * entropy


@torch.no_grad()
def match(
    prediction: Prediction,
    targets: Sequence[BoxTargets],
    weights: DetectionWeights,
    generator: torch.Generator | None = None,
) -> Pairs:
    """The cheapest one-to-one assignment per image: (query indices, target indices).

    `generator` draws the points of the masks. Raises TrainingError: masks predicted, but targets without.
    """
    probability = prediction.logits.sigmoid()
    positive = ALPHA * (1 - probability) ** GAMMA * -(probability + 1e-8).log()
    negative = (1 - ALPHA) * probability**GAMMA * -(1 - probability + 1e-8).log()
    labels, true_boxes = _padded(targets)
    boxes, queries = prediction.boxes, probability.shape[1]
    cost = (
        weights.classes * (positive - negative).gather(2, labels[:, None].expand(-1, queries, -1))
        + weights.l1 * torch.cdist(boxes, true_boxes, p=1)
        - weights.giou * generalised_iou(to_corners(boxes)[:, :, None], to_corners(true_boxes)[:, None])
    )
    if prediction.masks is not None:
        points = weights.points.points if weights.points else None
        masks = [_true_masks(target) for target in targets]
        entropy, dice = mask_costs(prediction.masks, masks, points, generator)
        cost = cost + weights.mask * entropy + weights.dice * dice
    return assign(cost, [len(t.labels) for t in targets])


def _padded(targets: Sequence[BoxTargets]) -> tuple[Tensor, Tensor]:
    """Labels (B, M) and boxes (B, M, 4) of all images, M that of the fullest."""
    labels = pad_sequence([t.labels for t in targets], batch_first=True)
    return labels, pad_sequence([t.boxes for t in targets], batch_first=True, padding_value=0.5)


def prediction_loss(
    prediction: Prediction,
    targets: Sequence[BoxTargets],
    pairs: Pairs,
    objects: float,
    weights: DetectionWeights,
    counted: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weighted sum for one output.

    `objects` normalises; `counted` (B, Q), 1 or 0, masks padding queries out of the class loss; `generator`
    draws the points of the masks. Raises TrainingError: masks predicted, but targets without.
    """
    image, query, of = matched(pairs, [len(t.labels) for t in targets], prediction.logits.device)
    labels = torch.cat([t.labels for t in targets])[of]
    wanted = torch.zeros_like(prediction.logits)
    wanted[image, query, labels] = 1
    classes = focal_loss(prediction.logits, wanted).sum(-1)
    if counted is not None:
        classes = classes * counted
    boxes = prediction.boxes[image, query]
    true_boxes = torch.cat([t.boxes for t in targets])[of]
    l1 = (boxes - true_boxes).abs().sum()
    giou = (1 - generalised_iou(to_corners(boxes), to_corners(true_boxes))).sum()
    total = weights.classes * classes.sum() + weights.l1 * l1 + weights.giou * giou
    if prediction.masks is not None:
        masks = prediction.masks[image, query]
        truths = torch.cat([_true_masks(target) for target in targets])
        entropy, dice = mask_losses(masks, truths, of, weights.points, generator)
        total = total + weights.mask * entropy + weights.dice * dice
    return total / objects


def _true_masks(target: BoxTargets) -> Tensor:
    """(M, H, W) bool. Raises TrainingError when the target has none."""
    if target.masks is None:
        raise TrainingError("a decoder with masks learns from masks, but the batch holds boxes only")
    return target.masks


def make_denoising(
    targets: Sequence[BoxTargets],
    classes: int,
    queries: int,
    settings: DenoisingSettings,
    generator: torch.Generator,
) -> Denoising | None:
    """Noised copies of the true objects in groups that cannot see each other; None without objects."""
    most = max(len(t.labels) for t in targets)
    if most == 0:
        return None
    groups = max(1, settings.queries // most)
    device = targets[0].boxes.device
    labels, boxes = _padded(targets)
    labels, boxes = labels.repeat(1, groups), boxes.repeat(1, groups, 1)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device).to(device)

    flipped = draw(*labels.shape) < settings.label_flip
    random_labels = (draw(*labels.shape) * classes).long().clamp(max=classes - 1)
    size = torch.cat([boxes[..., 2:] / 2, boxes[..., 2:]], dim=-1)
    noise = (draw(*boxes.shape) * 2 - 1) * settings.box_noise
    noised = (boxes + noise * size).clamp(1e-4, 1 - 1e-4)

    extra = groups * most
    group = torch.cat([torch.arange(groups).repeat_interleave(most), torch.full((queries,), -1)]).to(device)
    mask = (group[:, None] == group[None, :]) | (group[None, :] == -1)  # matching queries are seen by all
    assert mask.shape == (extra + queries, extra + queries)
    return Denoising(torch.where(flipped, random_labels, labels), noised, mask)


def detection_loss(
    outputs: DetectionOutputs,
    targets: Sequence[BoxTargets],
    weights: DetectionWeights | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sum over the encoder's proposals, the initial queries, all layers, and their denoising copies.

    Outputs with masks need targets with masks, else TrainingError; `generator` draws the points at which they
    are compared (None: torch's own).
    """
    weights = weights or DetectionWeights()
    objects = objects_in(sum(len(t.labels) for t in targets))
    total = torch.zeros((), device=outputs.encoder.logits.device)
    for prediction in outputs.layers:
        pairs = match(prediction, targets, weights, generator)
        total = total + prediction_loss(prediction, targets, pairs, objects, weights, generator=generator)
    # One-to-many matching (H-DETR, arXiv 2207.13080) makes the encoder learn from few images.
    copies = weights.encoder_copies
    repeated = [t.repeated(copies) for t in targets]
    pairs = match(outputs.encoder, repeated, weights, generator)
    total = total + prediction_loss(
        outputs.encoder, repeated, pairs, objects * copies, weights, generator=generator
    )
    if outputs.denoising:
        total = total + _denoising_loss(outputs.denoising, targets, objects, weights, generator)
    return total


def _denoising_loss(
    layers: Sequence[Prediction],
    targets: Sequence[BoxTargets],
    objects: float,
    weights: DetectionWeights,
    generator: torch.Generator | None,
) -> Tensor:
    """The copies know their object, so nothing is matched; padding copies count nowhere."""
    most = max(len(t.labels) for t in targets)
    groups = layers[0].logits.shape[1] // most
    device = layers[0].logits.device
    counted = torch.zeros(len(targets), groups, most)
    pairs = []
    for image, target in enumerate(targets):
        indices = torch.arange(len(target.labels)).repeat(groups)
        start = torch.arange(groups).repeat_interleave(len(target.labels)) * most
        counted[image, :, : len(target.labels)] = 1
        pairs.append((start + indices, indices))
    counted = counted.flatten(1).to(device)
    total = torch.zeros((), device=device)
    for prediction in layers:
        total = total + prediction_loss(
            prediction, targets, pairs, objects * groups, weights, counted, generator
        )
    return total
