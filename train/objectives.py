"""The loss of every task, before its weight."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from argus_edge.tasks import get_task
from argus_edge.train.losses.anomaly import simplenet_loss
from argus_edge.train.losses.classification import classification_loss
from argus_edge.train.losses.depth import depth_loss
from argus_edge.train.losses.detection import (
    DenoisingSettings,
    DetectionWeights,
    detection_loss,
    make_denoising,
)
from argus_edge.train.losses.heatmaps import heatmap_loss
from argus_edge.train.losses.mask2former import mask2former_loss
from argus_edge.train.losses.normals import normals_loss
from argus_edge.train.losses.segmentation import segmentation_loss
from argus_edge.train.model.argus import with_all
from argus_edge.train.model.decoders.mask_dino import MaskDINO
from argus_edge.train.model.roi import PoseOnRegions


class Objective(nn.Module):
    """One task's decoder with its loss, which data-parallel training wraps as one module.

    `whole`: every parameter takes part in the backward pass, as data-parallel training expects, also what a
    batch without objects does not touch.
    """

    def __init__(self, task: str, decoder: nn.Module, encoder_copies: int = 1, whole: bool = False) -> None:
        super().__init__()
        self.task, self.decoder, self.encoder_copies, self.whole = task, decoder, encoder_copies, whole

    def forward(self, features: Sequence[Tensor], target: Any, generator: torch.Generator) -> Tensor:
        """See `task_loss`."""
        loss = task_loss(self.task, self.decoder, features, target, generator, self.encoder_copies)
        return with_all(self.decoder, loss) if self.whole else loss


def task_loss(
    task: str,
    decoder: nn.Module,
    features: Sequence[Tensor],
    target: Any,
    generator: torch.Generator,
    encoder_copies: int = 1,
) -> Tensor:
    """The loss of one task's decoder, a scalar.

    features: F0..F3. target: as `targets.py` makes it for the task. generator: on the CPU, draws the noise of
    denoising queries and of anomalies, and the points of masks. encoder_copies: of each object, matched among
    the detector's proposals.
    """
    inputs = [features[level] for level in decoder.levels]  # type: ignore[union-attr]
    match get_task(task).decoder:
        case "mask_dino":
            assert isinstance(decoder, MaskDINO)
            denoising = make_denoising(
                target, decoder.classes, decoder.queries, DenoisingSettings(), generator
            )
            with torch.autocast(inputs[0].device.type, enabled=False):  # as published; on the CPU faster, too
                outputs = decoder([f.float() for f in inputs], denoising)
                return detection_loss(
                    outputs, target, DetectionWeights(encoder_copies=encoder_copies), generator
                )
        case "mask2former":
            with torch.autocast(inputs[0].device.type, enabled=False):
                return mask2former_loss(decoder([f.float() for f in inputs]), target, generator)
        case "upernet":
            return segmentation_loss(decoder(inputs), target)
        case "pooler":
            return classification_loss(decoder(inputs), target)
        case "simplenet":
            return simplenet_loss(decoder(inputs, target, generator))
    if task == "depth":
        return depth_loss(decoder(inputs)["depth"], target)
    if task == "normal":
        return normals_loss(decoder(inputs)["normals"], target)
    # Crops have been through the backbone one by one: the decoder reads their features as they are.
    people = inputs if target.persons is None else PoseOnRegions(decoder).cut(inputs, target.persons)
    heatmaps = decoder([f[target.known] for f in people])["heatmaps"]
    return heatmap_loss(heatmaps, target.heatmaps, target.weights)
