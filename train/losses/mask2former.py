"""Mask2Former's loss: Hungarian matching, cross entropy with "no object", masks at points, every output.

Source: Mask2Former (arXiv 2112.01527), section 3.3, with the weights of its published configurations. To be
computed in single precision, outside of autocast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from argus_edge.train.losses.masks import MaskTargets, PointSettings, mask_costs, mask_losses
from argus_edge.train.losses.matching import Pairs, assign, matched
from argus_edge.train.model.decoders.mask2former import MaskPrediction
from argus_edge.train.processes import objects_in


@dataclass(frozen=True)
class Mask2FormerWeights:
    """The weights of the losses, and of the same terms in the matching."""

    classes: float = 2.0
    bce: float = 5.0
    dice: float = 5.0
    no_object: float = 0.1  # of a query without an object, in the cross entropy


@torch.no_grad()
def match_masks(
    prediction: MaskPrediction,
    targets: Sequence[MaskTargets],
    weights: Mask2FormerWeights,
    points: PointSettings | None,
    generator: torch.Generator | None = None,
) -> Pairs:
    """The cheapest one-to-one assignment per image: (query indices, target indices)."""
    probability = prediction.logits.softmax(-1)
    labels = pad_sequence([t.labels for t in targets], batch_first=True)
    chosen = probability.gather(2, labels[:, None].expand(-1, probability.shape[1], -1))
    masks = [t.masks for t in targets]
    bce, dice = mask_costs(prediction.masks, masks, points.points if points else None, generator)
    cost = weights.bce * bce + weights.dice * dice - weights.classes * chosen
    return assign(cost, [len(t.labels) for t in targets])


def mask_prediction_loss(
    prediction: MaskPrediction,
    targets: Sequence[MaskTargets],
    pairs: Pairs,
    objects: float,
    weights: Mask2FormerWeights,
    points: PointSettings | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weighted sum for one output; `objects` normalises the masks' terms."""
    logits = prediction.logits
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], no_object, dtype=torch.int64, device=logits.device)
    image, query, of = matched(pairs, [len(t.labels) for t in targets], logits.device)
    wanted[image, query] = torch.cat([t.labels for t in targets])[of]
    class_weights = torch.ones(no_object + 1, dtype=logits.dtype, device=logits.device)
    class_weights[no_object] = weights.no_object
    classes = functional.cross_entropy(logits.transpose(1, 2), wanted, class_weights)
    truths = torch.cat([t.masks for t in targets])
    bce, dice = mask_losses(prediction.masks[image, query], truths, of, points, generator)
    return weights.classes * classes + (weights.bce * bce + weights.dice * dice) / objects


def mask2former_loss(
    outputs: Sequence[MaskPrediction],
    targets: Sequence[MaskTargets],
    generator: torch.Generator | None = None,
    weights: Mask2FormerWeights | None = None,
    points: PointSettings | None = None,
) -> Tensor:
    """Sum over what the queries answered before the first decoder layer and after each; a scalar.

    Every output is matched on its own. Without an object in any image the queries learn "no object" alone.
    `generator` draws the points.
    """
    weights = weights or Mask2FormerWeights()
    objects = objects_in(sum(len(target.labels) for target in targets))
    losses = []
    for prediction in outputs:
        pairs = match_masks(prediction, targets, weights, points, generator)
        losses.append(mask_prediction_loss(prediction, targets, pairs, objects, weights, points, generator))
    return torch.stack(losses).sum()
