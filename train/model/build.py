"""The one place with numbers: three variants, and the decoder of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from argus_edge.errors import InputError
from argus_edge.tasks import require_built
from argus_edge.train.model.adapter import Adapter, VitScale
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.backbone import build_backbone
from argus_edge.train.model.decoders.dpt import DPTDepth
from argus_edge.train.model.decoders.mask_dino import MaskDINO
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm

Variant = Literal["nano", "small", "base"]


@dataclass(frozen=True)
class BackboneNumbers:
    timm_name: str
    width: int
    input_size: int  # [px], default side of the network input
    frozen: bool
    inplane: int  # channels of the spatial prior's stem
    heads: int  # of the adapter's deformable attention
    groups: int  # of the adapter's GroupNorm
    vit_scale: VitScale


@dataclass(frozen=True)
class DecoderNumbers:
    det_dim: int
    det_queries: int
    det_encoder: int  # layers
    det_decoder: int  # layers
    det_ffn: int
    seg_channels: int
    seg_auxiliary: int
    depth_channels: int
    depth_hidden: int


BACKBONES: dict[Variant, BackboneNumbers] = {
    "nano": BackboneNumbers("vit_tiny_patch16_224", 192, 320, False, 24, 3, 8, "none"),
    "small": BackboneNumbers("vit_small_patch14_dinov2.lvd142m", 384, 448, True, 64, 6, 32, "const"),
    "base": BackboneNumbers("vit_base_patch14_dinov2.lvd142m", 768, 512, True, 64, 12, 32, "const"),
}
DECODERS: dict[Variant, DecoderNumbers] = {
    "nano": DecoderNumbers(96, 100, 2, 3, 256, 48, 48, 40, 16),
    "small": DecoderNumbers(256, 300, 4, 6, 1024, 256, 128, 128, 32),
    "base": DecoderNumbers(256, 300, 6, 9, 2048, 512, 256, 256, 32),
}


def variant_named(name: str) -> Variant:
    for variant in get_args(Variant):
        if name == variant:
            return variant  # type: ignore[no-any-return]
    raise InputError(f"model variant {name!r} is unknown; choose one of {', '.join(get_args(Variant))}")


def build_adapter(variant: Variant) -> Adapter:
    n = BACKBONES[variant]
    return Adapter(n.width, n.inplane, n.heads, group_norm(n.groups), vit_scale=n.vit_scale)


def build_decoder(variant: Variant, task: str, classes: Sequence[str]) -> nn.Module:
    """The decoder of `task`, untrained; `classes` empty for tasks without any."""
    n, width = DECODERS[variant], BACKBONES[variant].width
    decoder = require_built(task).decoder
    if decoder in ("mask_dino", "upernet") and not classes:
        raise InputError(f"task {task!r} needs the names of its classes, got none")
    match decoder:
        case "mask_dino":
            return MaskDINO(
                width, len(classes), n.det_dim, n.det_queries, n.det_encoder, n.det_decoder, n.det_ffn
            )
        case "upernet":
            return UPerNet(width, n.seg_channels, len(classes), nn.BatchNorm2d, n.seg_auxiliary)
        case "dpt":
            return DPTDepth(width, n.depth_channels, n.depth_hidden)
        case other:
            raise InputError(f"task {task!r} needs the decoder {other!r}, which this version does not have")


def build_model(
    variant: Variant, tasks: Sequence[str], classes: Mapping[str, Sequence[str]], pretrained: bool = False
) -> Argus:
    """A model of finished parts; `pretrained` fetches the published ViT weights through timm."""
    n = BACKBONES[variant]
    return Argus(
        build_backbone(n.timm_name, n.input_size, n.frozen, pretrained),
        build_adapter(variant),
        {task: build_decoder(variant, task, classes.get(task, ())) for task in tasks},
    )
