"""The Argus network: one backbone with its adapter, a decoder per task."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.layers import constant
from argus_edge.train.model.roi import PoseOnRegions

MEAN = (123.675, 116.28, 103.53)  # RGB, 0-255 scale (ImageNet)
STD = (58.395, 57.12, 57.375)


def normalise(image: Tensor) -> Tensor:
    """image (B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, normalised."""
    mean, std = constant(MEAN, image.device), constant(STD, image.device)
    return ((image.float() - mean) / std).permute(0, 3, 1, 2)


def decoder_of(task: str, others: Collection[str]) -> str:
    """Which decoder answers `task` in a model that has `others`: boxes come with masks if there are any."""
    return "inst" if task == "det" and "inst" in others else task


def decoders_of(tasks: Sequence[str]) -> tuple[str, ...]:
    """The decoders of a model for `tasks`, each once."""
    return tuple(dict.fromkeys(decoder_of(task, tasks) for task in tasks))


class BoxesOnly(nn.Module):
    """A decoder of boxes and masks that is asked for the boxes: what the masks alone need is left out."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.levels = decoder.box_levels

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.decoder.infer_boxes(features)  # type: ignore[operator, no-any-return]


class Pyramid(nn.Module):
    """Backbone and adapter as one module: image (B, 3, H, W) -> F0..F3.

    `whole`: every parameter takes part in the backward pass, as data-parallel training expects, also those of
    the ViT that nothing reads.
    """

    def __init__(self, backbone: Backbone, adapter: Adapter, whole: bool = False) -> None:
        super().__init__()
        self.backbone, self.adapter, self.whole = backbone, adapter, whole

    def forward(self, image: Tensor) -> list[Tensor]:
        finest, *others = self.adapter(image, self.backbone)
        return [with_all(self, finest) if self.whole else finest, *others]


def with_all(module: nn.Module, value: Tensor) -> Tensor:
    """`value`, which now depends on every trained parameter of the module, if only by nothing."""
    if not value.requires_grad:
        return value
    return value + 0 * sum(p.sum() for p in module.parameters() if p.requires_grad)


class Argus(nn.Module):
    """Receives finished parts; `model/build.py` makes them."""

    def __init__(self, backbone: Backbone, adapter: Adapter, decoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.adapter = adapter
        self.decoders = nn.ModuleDict(decoders)

    def features(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W), normalised RGB, H and W multiples of 32 [px] -> F0..F3, (B, C, H/s, W/s) at
        s = 4, 8, 16, 32.
        """
        return self.adapter(image, self.backbone)  # type: ignore[no-any-return]

    def head(self, task: str) -> nn.Module:
        """What answers `task`: a module with `levels` (of F0..F3) and `infer`, which takes these maps (and
        boxes of persons, for pose).
        """
        decoder = self.decoders[decoder_of(task, self.decoders.keys())]
        if task == "det" and "det" not in self.decoders:
            return BoxesOnly(decoder)
        return PoseOnRegions(decoder) if task == "pose" else decoder

    def infer(
        self, task: str, features: Sequence[Tensor], persons: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The inference form of one task's decoder over F0..F3: the outputs that a model package holds.

        `pose` needs `persons` (P, 4), xyxy in [0, 1] of the network input, of one image.
        """
        head = self.head(task)
        chosen = [features[level] for level in head.levels]  # type: ignore[union-attr]
        return head.infer(chosen, *([] if persons is None else [persons]))  # type: ignore[operator, no-any-return]
