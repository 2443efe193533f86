"""The ViT against transformers' DINOv2, with and without registers, and DINOv3: weights mapped both ways.

On the grid of the position embedding nothing is interpolated. On another, timm does as DINOv2 with registers
was published (antialiased); plain DINOv2 was published without antialias, which moves tokens by up to about
1 % of their size where positions are random. There, theirs is given the embedding that ours has made.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from argus_edge.train.model.backbone import Backbone, load_weights

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
WIDTH, HEADS, DEPTH, SIDE = 48, 3, 4, 56
Tensors = dict[str, Tensor]

# Name of ours, name of theirs; the first that fits.
NAMES = [
    (r"patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
    (r"norm\.(\w+)", r"layernorm.\1"),
    (r"blocks\.(\d+)\.attn\.proj", r"encoder.layer.\1.attention.o_proj"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.", r"encoder.layer.\1."),
]
NAMES_DINOV3 = [
    (r"patch_embed\.proj", "embeddings.patch_embeddings"),
    (r"storage_tokens", "embeddings.register_tokens"),
    (r"(cls_token|mask_token)", r"embeddings.\1"),
    (r"blocks\.(\d+)\.attn\.proj", r"model.layer.\1.attention.o_proj"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"model.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.mlp\.fc1", r"model.layer.\1.mlp.up_proj"),
    (r"blocks\.(\d+)\.mlp\.fc2", r"model.layer.\1.mlp.down_proj"),
    (r"blocks\.(\d+)\.", r"model.layer.\1."),
]


def theirs(official: Tensors, names: list[tuple[str, str]]) -> Tensors:
    """Officially named tensors under transformers' names."""
    mapped: Tensors = {}
    for name, tensor in official.items():
        pattern, answer = next(((p, a) for p, a in names if re.match(p, name)), ("", ""))
        other = re.sub(f"^{pattern}", answer, name)
        if ".attn.qkv." in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                mapped[other.replace("attn.qkv", f"attention.{part}_proj")] = piece
        else:
            mapped[other] = tensor
    return mapped


def official(theirs_: Tensors, like: Tensors, names: list[tuple[str, str]]) -> Tensors:
    """The way back: `like` tells which official names there are."""
    tensors: Tensors = {}
    for name, tensor in like.items():
        mapped = theirs({name: tensor}, names)
        tensors[name] = torch.cat([theirs_[other] for other in mapped])
    return tensors


def officially_named(vit: nn.Module) -> Tensors:
    """Ours as it is published: tokens of registers and class, positions of class and cells, apart."""
    tensors = dict(vit.state_dict())
    tensors["mask_token"] = torch.zeros(1, WIDTH)
    if "reg_token" in tensors:
        tensors["register_tokens"] = tensors.pop("reg_token")
        place = torch.randn(1, 1, WIDTH)
        tensors["cls_token"] = tensors["cls_token"] - place
        tensors["pos_embed"] = torch.cat([place, tensors["pos_embed"]], dim=1)
    return tensors


def our_dinov2(registers: int) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=SIDE,
        patch_size=14,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        init_values=1.0,
        reg_tokens=registers,
        no_embed_class=registers > 0,
        dynamic_img_size=True,
    )
    randomise(vit)
    return vit


def their_dinov2(registers: int, side: int = SIDE) -> nn.Module:
    options: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    options |= {"image_size": side, "patch_size": 14, "mlp_ratio": 4}
    if registers:
        config = Dinov2WithRegistersConfig(num_register_tokens=registers, **options)
        model: nn.Module = Dinov2WithRegistersModel(config)
    else:
        model = Dinov2Model(Dinov2Config(**options))
    randomise(model)
    return model


def randomise(module: nn.Module) -> None:
    """Every weight random, those too that start as zeros or ones; in evaluation mode."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    module.eval()


def our_answer(vit: VisionTransformer | Eva, image: Tensor) -> Tensor:
    """All tokens after the last stage and the ViT's final norm."""
    backbone = Backbone(vit, frozen=True, patch_fit="keep")
    tokens = backbone.embed(image)
    for stage in range(4):
        tokens = backbone.run_stage(stage, tokens)
    answer: Tensor = vit.norm(torch.cat([tokens.prefix, tokens.patches], dim=1))
    return answer


@torch.no_grad()
def assert_same_answers(
    vit: VisionTransformer | Eva, other: nn.Module, side: int, dtype: torch.dtype
) -> None:
    image = torch.randn(2, 3, side, side, dtype=dtype)
    ours, reference = our_answer(vit.to(dtype), image), other.to(dtype)(image).last_hidden_state
    assert reference.std() > 0.5
    assert (ours - reference).abs().max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("registers", [0, 4])
def test_their_weights_give_their_tokens(tmp_path: Path, registers: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    vit, other = our_dinov2(registers), their_dinov2(registers)
    published = official(other.state_dict(), officially_named(vit), NAMES)
    torch.save(published, tmp_path / "vit.pth")
    load_weights(vit, tmp_path / "vit.pth")
    assert_same_answers(vit, other, SIDE, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("registers", [0, 4])
def test_our_weights_give_our_tokens(registers: int, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    vit, other = our_dinov2(registers), their_dinov2(registers)
    other.load_state_dict(theirs(officially_named(vit), NAMES))
    assert_same_answers(vit, other, SIDE, dtype)


@pytest.mark.parametrize("side", [42, 84])
def test_positions_of_a_vit_with_registers_are_theirs_on_every_grid(side: int) -> None:
    torch.manual_seed(2)
    vit, other = our_dinov2(4), their_dinov2(4)
    other.load_state_dict(theirs(officially_named(vit), NAMES))
    assert_same_answers(vit, other, side, torch.float64)


@pytest.mark.parametrize("side", [42, 84])
def test_interpolation_is_all_that_differs_of_a_plain_vit_on_another_grid(side: int) -> None:
    torch.manual_seed(2)
    vit, other, resampled = our_dinov2(0), their_dinov2(0, side), our_dinov2(0)
    resampled.load_state_dict(vit.state_dict())
    resampled.set_input_size(img_size=(side, side))
    other.load_state_dict(theirs(officially_named(resampled), NAMES))
    assert_same_answers(vit, other, side, torch.float64)


def our_dinov3() -> Eva:
    vit = Eva(
        img_size=64,
        patch_size=16,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        qkv_bias=False,
        init_values=1.0,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=lambda width, **options: nn.LayerNorm(width, eps=1e-5, **options),
        dynamic_img_size=True,
    )
    randomise(vit)
    return vit


def their_dinov3() -> nn.Module:
    options: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    options |= {"intermediate_size": 4 * WIDTH, "num_register_tokens": 4, "rope_theta": 100.0}
    config = DINOv3ViTConfig(**options, query_bias=False, value_bias=False, image_size=64, patch_size=16)
    model: nn.Module = DINOv3ViTModel(config)
    randomise(model)
    return model


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("side", [64, 96])
def test_rotary_positions_of_dinov3_are_theirs_on_every_grid(
    tmp_path: Path, side: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    vit, other = our_dinov3(), their_dinov3()
    tensors = {"mask_token": torch.zeros(1, 1, WIDTH)}
    for name, tensor in vit.state_dict().items():
        name = re.sub(r"gamma_([12])$", r"ls\1.gamma", name)
        tensors["storage_tokens" if name == "reg_token" else name] = tensor
    torch.save(official(other.state_dict(), tensors, NAMES_DINOV3), tmp_path / "vit.pth")
    load_weights(vit, tmp_path / "vit.pth")
    assert_same_answers(vit, other, side, dtype)
