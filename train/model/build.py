"""The one place with numbers: three variants, and the decoder of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import nn

from argus_edge.errors import InputError
from argus_edge.tasks import get_task
from argus_edge.train.custom import custom_task
from argus_edge.train.model.adapter import Adapter, VitScale
from argus_edge.train.model.argus import Argus, decoders_of
from argus_edge.train.model.backbone import PatchFit, build_backbone
from argus_edge.train.model.custom_decoder import build_custom_decoder
from argus_edge.train.model.decoders.dpt import DPTDepth, DPTNormals, DPTPose
from argus_edge.train.model.decoders.mask2former import Mask2Former
from argus_edge.train.model.decoders.mask_dino import InitialBoxes, MaskDINO
from argus_edge.train.model.decoders.pooler import AttentionalPooler
from argus_edge.train.model.decoders.simplenet import SimpleNet
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm

Variant = Literal["nano", "small", "base"]
AdapterNorm = Literal["group", "batch"]  # of adapter and projection; the paper compares them (Fig. 6)


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
    patch_fit: PatchFit = "resize_image"  # how patches of 14 px meet strides of 16


@dataclass(frozen=True)
class QueryNumbers:
    """Mask DINO or Mask2Former."""

    dim: int
    queries: int
    encoder_layers: int
    decoder_layers: int
    encoder_ffn: int
    ffn: int


@dataclass(frozen=True)
class DecoderNumbers:
    det: QueryNumbers  # det and inst
    initial_boxes: InitialBoxes  # of inst's queries: "masks" as published, "regressed" as det's
    pan: QueryNumbers
    upernet: int  # channels of seg, parse, sal and edge
    auxiliary: int  # channels of their training-only FCN
    dense: int  # channels of depth and normal
    dense_hidden: int
    pose: int  # channels
    pose_hidden: int | None  # of DPT's head with three convolutions; None: two, as wide as the rest
    pooler_heads: int
    anomaly: int  # features of a place
    anomaly_hidden: int
    anomaly_noise: float  # that makes a feature anomalous; the published one is for another backbone


BACKBONES: dict[Variant, BackboneNumbers] = {
    "nano": BackboneNumbers("vit_tiny_patch16_224", 192, 320, False, 24, 3, 8, "none"),
    "small": BackboneNumbers("vit_small_patch14_dinov2.lvd142m", 384, 448, True, 64, 6, 32, "const"),
    "base": BackboneNumbers("vit_base_patch14_dinov2.lvd142m", 768, 512, True, 64, 12, 32, "const"),
}
DECODERS: dict[Variant, DecoderNumbers] = {
    "nano": DecoderNumbers(
        det=QueryNumbers(96, 100, 2, 3, 256, 256),
        initial_boxes="regressed",
        pan=QueryNumbers(96, 50, 2, 3, 256, 256),
        upernet=48, auxiliary=48, dense=40, dense_hidden=16, pose=48, pose_hidden=None, pooler_heads=3,
        anomaly=192, anomaly_hidden=128, anomaly_noise=0.1,
    ),
    "small": DecoderNumbers(
        det=QueryNumbers(256, 300, 4, 6, 1024, 1024),
        initial_boxes="masks",
        pan=QueryNumbers(256, 100, 4, 6, 1024, 1024),
        upernet=256, auxiliary=128, dense=128, dense_hidden=32, pose=128, pose_hidden=32, pooler_heads=6,
        anomaly=768, anomaly_hidden=512, anomaly_noise=0.1,
    ),
    "base": DecoderNumbers(
        det=QueryNumbers(256, 300, 6, 9, 2048, 2048),
        initial_boxes="masks",
        pan=QueryNumbers(256, 100, 6, 9, 1024, 2048),
        upernet=512, auxiliary=256, dense=256, dense_hidden=32, pose=256, pose_hidden=32, pooler_heads=8,
        anomaly=1536, anomaly_hidden=1024, anomaly_noise=0.1,
    ),
}  # fmt: skip
NEED_CLASSES = ("mask_dino", "mask2former", "pooler", "simplenet")  # decoders that name what they answer


def variant_named(name: str) -> Variant:
    for variant in get_args(Variant):
        if name == variant:
            return variant  # type: ignore[no-any-return]
    raise InputError(f"model variant {name!r} is unknown; choose one of {', '.join(get_args(Variant))}")


def norm_named(name: str) -> AdapterNorm:
    for norm in get_args(AdapterNorm):
        if name == norm:
            return norm  # type: ignore[no-any-return]
    raise InputError(f"norm {name!r} is unknown; choose one of {', '.join(get_args(AdapterNorm))}")


def build_adapter(variant: Variant, norm: AdapterNorm = "group") -> Adapter:
    n = BACKBONES[variant]
    layer = group_norm(n.groups) if norm == "group" else nn.BatchNorm2d
    return Adapter(n.width, n.inplane, n.heads, layer, vit_scale=n.vit_scale)


def build_decoder(variant: Variant, task: str, classes: Sequence[str]) -> nn.Module:
    """The decoder of `task`, untrained; `classes` empty for tasks without any.

    Raises InputError when a task with classes gets none, TaskError for an unknown task.
    """
    n, width = DECODERS[variant], BACKBONES[variant].width
    row = get_task(task)
    if not classes and (row.decoder in NEED_CLASSES or row.kind in ("label_map", "keypoints")):
        raise InputError(f"task {task!r} needs the names of its classes, got none")
    match row.decoder:
        case "mask_dino":
            q, masks = n.det, row.kind == "masks"
            published = masks and n.initial_boxes == "masks"  # else inst is det with masks, for `--init`
            return MaskDINO(
                width, len(classes), q.dim, q.queries, q.encoder_layers, q.decoder_layers,
                q.encoder_ffn, q.ffn,
                masks=masks, initial_boxes="masks" if published else "regressed",
                published_norms=published, cells="corner" if published else "centre",
            )  # fmt: skip
        case "mask2former":
            q = n.pan
            return Mask2Former(
                width,
                len(classes),
                q.dim,
                q.queries,
                q.encoder_layers,
                q.decoder_layers,
                q.encoder_ffn,
                q.ffn,
            )
        case "upernet":
            probability = None if row.kind == "label_map" else task
            auxiliary = None if task == "sal" else n.auxiliary
            return UPerNet(
                width, n.upernet, len(classes) if probability is None else 2, nn.BatchNorm2d, auxiliary,
                probability=probability,
            )  # fmt: skip
        case "dpt":
            if task == "pose":
                return DPTPose(width, n.pose, len(classes), n.pose_hidden)
            dense = DPTDepth if task == "depth" else DPTNormals
            return dense(width, n.dense, n.dense_hidden)
        case "pooler":
            return AttentionalPooler(width, len(classes), n.pooler_heads)
        case "simplenet":
            return SimpleNet(width, len(classes), n.anomaly, n.anomaly_hidden, n.anomaly_noise)
        case None:
            return build_custom_decoder(custom_task(task), variant, classes, width)


def build_model(
    variant: Variant,
    tasks: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    pretrained: bool = False,
    weights: Path | None = None,
    norm: AdapterNorm = "group",
) -> Argus:
    """A model of finished parts, the ViT with the published weights: `pretrained` fetches them through timm,
    `weights` reads a local file with the official names. `norm` is that of the adapter.
    """
    n = BACKBONES[variant]
    return Argus(
        build_backbone(n.timm_name, n.input_size, n.frozen, pretrained, weights, n.patch_fit),
        build_adapter(variant, norm),
        {task: build_decoder(variant, task, classes.get(task, ())) for task in decoders_of(tasks)},
    )
