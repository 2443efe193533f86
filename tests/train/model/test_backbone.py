"""The ViT as the adapter sees it: sizes, patch handling, and that cutting it into stages changes nothing."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from argus_edge.errors import CheckpointError, InputError
from argus_edge.train.model.backbone import Backbone, PatchFit, Tokens, build_backbone

KINDS = ("plain14", "registers14", "plain16", "rotary16")
FITS = get_args(PatchFit)


def small_vit(kind: str, **options: Any) -> VisionTransformer | Eva:
    """Twelve blocks of 24 channels, positions on 6 x 6 cells: quick, yet cut as the real ones are."""
    torch.manual_seed(0)
    patch = int(kind[-2:])
    options |= {"img_size": 6 * patch, "patch_size": patch, "embed_dim": 24, "depth": 12, "num_heads": 3}
    options |= {"num_classes": 0, "init_values": 0.5, "dynamic_img_size": True}
    if kind == "rotary16":
        rotary: dict[str, Any] = {"use_rot_pos_emb": True, "use_abs_pos_emb": False, "rope_type": "dinov3"}
        return Eva(num_reg_tokens=4, qkv_bias=False, use_fc_norm=False, **rotary, **options).eval()
    if kind == "registers14":
        options |= {"reg_tokens": 4, "no_embed_class": True}
    return VisionTransformer(**options).eval()


def through(backbone: Backbone, image: Tensor) -> Tensor:
    """All tokens after the last stage."""
    tokens = backbone.embed(image)
    for stage in range(4):
        tokens = backbone.run_stage(stage, tokens)
    return joined(tokens)


def joined(tokens: Tokens) -> Tensor:
    return torch.cat([tokens.prefix, tokens.patches], dim=1)


def test_vit_b14_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        vit = timm.create_model("vit_base_patch14_dinov2.lvd142m", pretrained=False, num_classes=0)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in vit.named_children()}
    assert sum(p.numel() for p in vit.parameters()) == 86_579_712
    assert count["blocks"] == 12 * 7_089_408
    assert count["patch_embed"] == 452_352


@pytest.mark.parametrize(
    ("name", "width", "patch", "prefix"),
    [
        ("vit_tiny_patch16_224", 192, 16, 1),
        ("vit_small_patch14_dinov2.lvd142m", 384, 14, 1),
        ("vit_small_patch14_reg4_dinov2.lvd142m", 384, 14, 5),
        ("vit_small_patch16_dinov3.lvd1689m", 384, 16, 5),
        ("vit_base_patch14_dinov2.lvd142m", 768, 14, 1),
        ("vit_base_patch14_reg4_dinov2.lvd142m", 768, 14, 5),
    ],
)
def test_every_backbone_on_offer_is_built(name: str, width: int, patch: int, prefix: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 448, frozen=True, pretrained=False)
        tokens = backbone.embed(torch.zeros(1, 3, 64, 96))
    assert (backbone.width, backbone.patch) == (width, patch)
    assert tokens.prefix.shape == (1, prefix, width)
    assert tokens.patches.shape == (1, 4 * 6, width)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(96, 96), (64, 160)])
def test_the_token_grid_is_a_sixteenth_unless_patches_of_14_are_kept(
    kind: str, fit: PatchFit, size: tuple[int, int]
) -> None:
    backbone = Backbone(small_vit(kind), frozen=True, patch_fit=fit)
    tokens = backbone.embed(torch.randn(2, 3, *size))
    cell = 14 if fit == "keep" and kind.endswith("14") else 16
    assert tokens.grid == backbone.grid(*size) == (size[0] // cell, size[1] // cell)
    assert tokens.patches.shape == (2, tokens.grid[0] * tokens.grid[1], 24)
    assert tokens.prefix.shape == (2, 1 if kind.startswith("plain") else 5, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit", FITS)
def test_stages_one_after_another_are_the_whole_vit(kind: str, fit: PatchFit) -> None:
    vit = small_vit(kind).double()
    backbone = Backbone(vit, frozen=True, patch_fit=fit)
    assert [list(stage) for stage in backbone.stages] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    image = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    seen = image
    if kind.endswith("14") and fit == "resize_image":
        seen = functional.interpolate(image, (84, 112), mode="bilinear")
    elif kind.endswith("14") and fit == "keep":
        seen = image[..., :84, :126]
    with torch.no_grad():
        assert (vit.norm(through(backbone, image)) - vit.forward_features(seen)).abs().max() < 1e-12


def test_the_resized_kernel_sees_in_resized_patches_what_the_published_one_saw() -> None:
    """<resized kernel, resized patch> = <kernel, patch>, which is what the pseudo-inverse is for."""
    vit = small_vit("plain14")
    patches = torch.randn(5, 3, 14, 14)
    with torch.no_grad():
        published = vit.patch_embed.proj(patches)
        Backbone(vit, frozen=True, patch_fit="resize_kernel")
        larger = functional.interpolate(patches, (16, 16), mode="bicubic", antialias=True)
        torch.testing.assert_close(vit.patch_embed.proj(larger), published, rtol=1e-4, atol=1e-4)
    assert vit.patch_embed.grid_size == (6, 6)
    assert not vit.patch_embed.proj.weight.requires_grad


def test_kept_patches_leave_the_image_as_it_is_and_its_remainder_unseen() -> None:
    backbone = Backbone(small_vit("plain14"), frozen=True, patch_fit="keep")
    image = torch.randn(1, 3, 64, 96)
    other = image.clone()
    other[..., 56:, :] += 1
    other[..., :, 84:] += 1
    with torch.no_grad():
        assert torch.equal(joined(backbone.embed(image)), joined(backbone.embed(other)))
        other[..., 55, 83] += 1
        assert not torch.equal(joined(backbone.embed(image)), joined(backbone.embed(other)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit", FITS)
def test_a_fixed_input_size_gives_the_same_tokens(kind: str, fit: PatchFit) -> None:
    """What an exporter makes of the positions is what training interpolates anew each time."""
    backbone = Backbone(small_vit(kind), frozen=True, patch_fit=fit)
    names = set(backbone.state_dict())
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        free = through(backbone, image)
        backbone.fix_input_size(64, 128)
        torch.testing.assert_close(through(backbone, image), free)
    assert set(backbone.state_dict()) == names
    with pytest.raises(InputError, match="fixed to"):
        backbone.embed(torch.randn(1, 3, 64, 64))


def test_a_fixed_input_size_leaves_no_resampling_of_positions() -> None:
    backbone = Backbone(small_vit("plain16"), frozen=True)
    backbone.fix_input_size(64, 128)
    image = torch.randn(1, 3, 64, 128)

    class Embedding(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return backbone.embed(image).patches

    graph = torch.export.export(Embedding(), (image,)).graph
    assert not [node.name for node in graph.nodes if "upsample" in node.name or "interpolate" in node.name]


@pytest.mark.parametrize("kind", KINDS)
def test_fused_attention_and_matrix_products_agree(kind: str) -> None:
    backbone = Backbone(small_vit(kind).double(), frozen=True)
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    answers = []
    with torch.no_grad():
        for fused in (True, False):
            backbone.fuse_attention(fused)
            answers.append(through(backbone, image))
    assert 0 < (answers[0] - answers[1]).abs().max() < 1e-12


def test_only_a_frozen_vit_is_without_gradient() -> None:
    assert not any(p.requires_grad for p in Backbone(small_vit("plain14"), frozen=True).parameters())
    assert all(p.requires_grad for p in Backbone(small_vit("plain16"), frozen=False).parameters())


def test_a_frozen_vit_drops_nothing_while_all_else_trains() -> None:
    image = torch.randn(4, 3, 64, 64)
    for frozen in (True, False):
        backbone = Backbone(small_vit("plain16", drop_path_rate=0.5), frozen).train()
        with torch.no_grad():
            same = torch.equal(through(backbone, image), through(backbone, image))
        assert same == frozen
        assert (backbone.training, backbone.vit.training) == (True, not frozen)


def test_blocks_that_no_stage_would_run_are_refused() -> None:
    with pytest.raises(InputError, match="12 blocks cannot be cut into 5 equal stages"):
        Backbone(small_vit("plain16"), frozen=True, stages=5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_of_no_kind", "has no such model"),
        ("resnet18", "cannot build it as a ViT"),
        ("vit_tiny_r_s16_p8_224", "expected a plain ViT .* with HybridEmbed"),
        ("eva02_tiny_patch14_224", "expected a plain ViT .* got timm's Eva"),
        ("deit_tiny_distilled_patch16_224", "expected a plain ViT .* VisionTransformerDistilled"),
    ],
)
def test_what_is_no_plain_vit_of_timm_is_refused(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=f"{name}: .*{message}"):
        build_backbone(name, 320, frozen=True, pretrained=False)


def test_published_weights_that_do_not_exist_are_a_checkpoint_error() -> None:
    with (
        torch.device("meta"),
        pytest.raises(CheckpointError, match=r"cannot be fetched .*; give a local file"),
    ):
        build_backbone("vit_base_patch32_plus_256", 256, frozen=True, pretrained=True)


def test_an_untrained_vit_gets_the_grid_of_its_input_size() -> None:
    backbone = build_backbone("vit_tiny_patch16_224", 320, frozen=False, pretrained=False)
    assert (backbone.width, backbone.patch) == (192, 16)
    assert backbone.vit.pos_embed is not None
    assert backbone.vit.pos_embed.shape == (1, 1 + 20 * 20, 192)
