"""The loss of every task, before its weight: one function per task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from argus_edge.errors import TaskError
from argus_edge.train.custom import custom_task, users_code
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
from argus_edge.train.losses.masks import PointSettings
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

    def __init__(
        self,
        task: str,
        decoder: nn.Module,
        encoder_copies: int = 1,
        mask_points: int = 0,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.task, self.decoder, self.whole = task, decoder, whole
        self.encoder_copies, self.mask_points = encoder_copies, mask_points

    def forward(self, features: Sequence[Tensor], target: Any, generator: torch.Generator) -> Tensor:
        """See `task_loss`."""
        loss = task_loss(
            self.task, self.decoder, features, target, generator, self.encoder_copies, self.mask_points
        )
        return with_all(self.decoder, loss) if self.whole else loss


def task_loss(
    task: str,
    decoder: nn.Module,
    features: Sequence[Tensor],
    target: Any,
    generator: torch.Generator,
    encoder_copies: int = 1,
    mask_points: int = 0,
) -> Tensor:
    """The loss of one task's decoder, a scalar.

    features: F0..F3. target: as `targets.py` makes it for the task. generator: draws the noise of
    denoising queries and of anomalies, and the points of masks. encoder_copies: of each object, matched among
    the detector's proposals. mask_points: at which masks are compared; 0 as `points_of` says.
    """
    points = PointSettings(mask_points) if mask_points else None
    inputs = [features[level] for level in decoder.levels]  # type: ignore[union-attr]
    if task not in _LOSSES:
        return _custom_loss(task, decoder, inputs, target)
    return _LOSSES[task](_Terms(decoder, inputs, target, generator, encoder_copies, points))


def _custom_loss(task: str, decoder: nn.Module, inputs: Sequence[Tensor], target: Any) -> Tensor:
    with users_code(task, "decoder"):
        outputs = decoder(inputs)
    with users_code(task, "loss"):
        loss: object = custom_task(task).loss(outputs, target)
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TaskError(f"task {task!r}: its loss must be a tensor without axes, got {got}")
    return loss


@dataclass(frozen=True)
class _Terms:
    """What the loss of a task is made of."""

    decoder: nn.Module
    inputs: Sequence[Tensor]  # those of F0..F3 that the decoder reads
    target: Any
    generator: torch.Generator
    encoder_copies: int
    points: PointSettings | None  # at which masks are compared

    def outputs(self) -> Any:
        return self.decoder(self.inputs)


def _detection(terms: _Terms) -> Tensor:
    decoder, target = terms.decoder, terms.target
    assert isinstance(decoder, MaskDINO)
    denoising = make_denoising(target, decoder.classes, decoder.queries, DenoisingSettings(), terms.generator)
    with torch.autocast(terms.inputs[0].device.type, enabled=False):  # as published; on the CPU faster, too
        outputs = decoder([f.float() for f in terms.inputs], denoising)
        weights = DetectionWeights(encoder_copies=terms.encoder_copies, points=terms.points)
        return detection_loss(outputs, target, weights, terms.generator)


def _panoptic(terms: _Terms) -> Tensor:
    with torch.autocast(terms.inputs[0].device.type, enabled=False):
        outputs = terms.decoder([f.float() for f in terms.inputs])
        return mask2former_loss(outputs, terms.target, terms.generator, points=terms.points)


def _segmentation(terms: _Terms) -> Tensor:
    return segmentation_loss(terms.outputs(), terms.target)


def _pose(terms: _Terms) -> Tensor:
    # Crops have been through the backbone one by one: the decoder reads their features as they are.
    target, people = terms.target, terms.inputs
    if target.persons is not None:
        people = PoseOnRegions(terms.decoder).cut(people, target.persons)
    heatmaps = terms.decoder([f[target.known] for f in people])["heatmaps"]
    return heatmap_loss(heatmaps, target.heatmaps, target.weights)


def _anomaly(terms: _Terms) -> Tensor:
    return simplenet_loss(terms.decoder(terms.inputs, terms.target, terms.generator))


_LOSSES: Final[Mapping[str, Callable[[_Terms], Tensor]]] = {
    "det": _detection,
    "inst": _detection,
    "pan": _panoptic,
    "seg": _segmentation,
    "parse": _segmentation,
    "sal": _segmentation,
    "edge": _segmentation,
    "depth": lambda terms: depth_loss(terms.outputs()["depth"], terms.target),
    "normal": lambda terms: normals_loss(terms.outputs()["normals"], terms.target),
    "pose": _pose,
    "cls": lambda terms: classification_loss(terms.outputs(), terms.target),
    "anom": _anomaly,
}
