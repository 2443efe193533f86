"""The deformable pixel decoder against `transformers`' Mask2Former, weights mapped both ways."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    Mask2FormerPixelDecoderEncoderOnly,
)

from argus_edge.train.model.decoders.pixel_decoder import PixelDecoder, split_levels
from argus_edge.train.model.deformable import DeformableAttention, pixel_centres

WIDTHS, DIM, FFN, LAYERS = [24, 24, 24, 24], 64, 80, 3
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}  # largest absolute difference

ATTENTION = {
    "offsets": "sampling_offsets",
    "weights": "attention_weights",
    "value": "value_proj",
    "output": "output_proj",
}
LAYER = {"norm1": "self_attn_layer_norm", "ffn.0": "fc1", "ffn.2": "fc2", "norm2": "final_layer_norm"}
MASKS = {"lateral": "adapter_1", "smooth": "layer_1", "project": "mask_projection"}


def their_name(name: str) -> str:
    """Our parameter's name in their pixel decoder."""
    if name == "level_embedding":
        return "level_embed"
    if match := re.fullmatch(r"inputs\.(\d)\.(.+)", name):
        return f"input_projections.{2 - int(match[1])}.{match[2]}"  # theirs begin with the coarsest map
    if match := re.fullmatch(r"mask_features\.(\w+)\.(.+)", name):
        return f"{MASKS[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"layers\.(\d+)\.attention\.(\w+)\.(\w+)", name):
        return f"encoder.layers.{match[1]}.self_attn.{ATTENTION[match[2]]}.{match[3]}"
    match = re.fullmatch(r"layers\.(\d+)\.(.+)\.(\w+)", name)
    assert match is not None, name
    return f"encoder.layers.{match[1]}.{LAYER[match[2]]}.{match[3]}"


def randomise(module: nn.Module) -> None:
    """Every parameter away from its initial value, norms near 1."""
    for name, parameter in module.named_parameters():
        scale = 0.1 if parameter.ndim == 1 else 0.15
        offset = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, offset, scale)


def pixel_decoders(to_ours: bool, dtype: torch.dtype) -> tuple[PixelDecoder, nn.Module]:
    """Ours and theirs with the same random weights, copied from theirs `to_ours` or the other way."""
    config = Mask2FormerConfig(
        feature_size=DIM,
        mask_feature_size=DIM,
        encoder_feedforward_dim=FFN,
        encoder_layers=LAYERS,
        num_attention_heads=8,
        dropout=0.0,
        feature_strides=[4, 8, 16, 32],
        common_stride=4,
    )
    theirs = Mask2FormerPixelDecoder(config, WIDTHS).to(dtype).eval()
    ours = PixelDecoder(24, DIM, LAYERS, FFN, levels=3, coarse_first=True, masks=True, cells="corner")
    ours = ours.to(dtype).eval()
    names = {name: their_name(name) for name in ours.state_dict()}
    if to_ours:
        randomise(theirs)
        ours.load_state_dict({name: theirs.state_dict()[other] for name, other in names.items()})
        assert set(names.values()) == set(theirs.state_dict())
    else:
        randomise(ours)
        theirs.load_state_dict({other: ours.state_dict()[name] for name, other in names.items()})
    return ours, theirs


@pytest.mark.parametrize("to_ours", [True, False], ids=["from-theirs", "to-theirs"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
def test_the_pixel_decoder_is_mask2former_s(to_ours: bool, dtype: torch.dtype) -> None:
    """Up to their 1e-6 beside the size by which positions are divided."""
    torch.manual_seed(0)
    ours, theirs = pixel_decoders(to_ours, dtype)
    features = [torch.randn(2, 24, 128 // s, 160 // s, dtype=dtype) for s in (4, 8, 16, 32)]
    with torch.no_grad():
        memory, shapes = ours(features[1:])
        masks = ours.mask_map(features[0], memory, shapes)
        expected = theirs(features)
    assert shapes == [(4, 5), (8, 10), (16, 20)]
    levels = split_levels(memory, shapes)
    for tokens, truth in zip(levels, expected.multi_scale_features, strict=True):
        difference = (tokens.transpose(1, 2).reshape(truth.shape) - truth).abs().max()
        assert difference <= TOLERANCE[dtype]
    assert truth.std() > 0.3
    assert (masks - expected.mask_features).abs().max() <= TOLERANCE[dtype]
    assert expected.mask_features.std() > 0.3


@pytest.mark.parametrize("boxes", [False, True], ids=["points", "boxes"])
@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
def test_deformable_attention_is_theirs(boxes: bool, levels: int, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    shapes = [(8, 12), (4, 6), (2, 3), (1, 2)][:levels]
    ours = DeformableAttention(32, 4, levels).to(dtype)
    theirs = Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(32, 4, levels, 4).to(dtype)
    randomise(ours)
    renamed = {}
    for name, value in ours.state_dict().items():
        part, leaf = name.split(".")
        renamed[f"{ATTENTION[part]}.{leaf}"] = value
    theirs.load_state_dict(renamed)
    source = torch.randn(2, sum(h * w for h, w in shapes), 32, dtype=dtype)
    query = torch.randn(2, 7, 32, dtype=dtype)
    reference = torch.rand(2, 7, 4 if boxes else 2, dtype=dtype)
    with torch.no_grad():
        answer = ours(query, reference, source, shapes)
        expected = their_answer(theirs, query, reference, source, shapes)
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() <= TOLERANCE[dtype]


def their_answer(
    theirs: nn.Module, query: Tensor, reference: Tensor, source: Tensor, shapes: list[tuple[int, int]]
) -> Tensor:
    output, _ = theirs(
        hidden_states=query,
        encoder_hidden_states=source,
        reference_points=reference[:, :, None].expand(-1, -1, len(shapes), -1),
        spatial_shapes_list=shapes,
    )
    assert isinstance(output, Tensor)
    return output


def test_reference_points_are_theirs() -> None:
    shapes, whole = [(8, 12), (4, 6)], torch.ones(1, 2, 2)
    theirs = Mask2FormerPixelDecoderEncoderOnly.get_reference_points(  # type: ignore[no-untyped-call]
        shapes, whole, torch.device("cpu")
    )
    torch.testing.assert_close(pixel_centres(shapes, whole), theirs[0, :, 0])
