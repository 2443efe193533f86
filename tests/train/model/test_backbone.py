"""The ViT as the adapter sees it: sizes, patch handling, and that cutting it into stages changes nothing."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from argus_edge.train.model.backbone import Backbone, build_backbone


def small_vit(patch: int, size: int) -> VisionTransformer:
    """Twelve blocks of 24 channels: quick, yet cut as the real ones are."""
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=size,
        patch_size=patch,
        embed_dim=24,
        depth=12,
        num_heads=3,
        num_classes=0,
        init_values=0.5,
        dynamic_img_size=True,
    )
    return vit.eval()


def test_vit_b14_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        vit = timm.create_model("vit_base_patch14_dinov2.lvd142m", pretrained=False, num_classes=0)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in vit.named_children()}
    assert sum(p.numel() for p in vit.parameters()) == 86_579_712
    assert count["blocks"] == 12 * 7_089_408
    assert count["patch_embed"] == 452_352


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("size", [(96, 96), (64, 160)])
def test_the_token_grid_is_a_sixteenth_whatever_the_patch(patch: int, size: tuple[int, int]) -> None:
    backbone = Backbone(small_vit(patch, 6 * patch), frozen=True)
    prefix, patches = backbone.embed(torch.randn(2, 3, *size))
    assert prefix.shape == (2, 1, 24)
    assert patches.shape == (2, size[0] // 16 * (size[1] // 16), 24)


def test_stages_one_after_another_are_the_whole_vit() -> None:
    vit = small_vit(14, 84)
    backbone = Backbone(vit, frozen=True)
    assert [list(stage) for stage in backbone.stages] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    image = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        tokens = backbone.embed(image)
        for stage in range(4):
            tokens = backbone.run_stage(stage, *tokens)
        resized = torch.nn.functional.interpolate(image, (84, 112), mode="bilinear")
        torch.testing.assert_close(vit.norm(torch.cat(tokens, dim=1)), vit.forward_features(resized))


def test_a_fixed_input_size_gives_the_same_tokens() -> None:
    """What an exporter makes of the position embedding is what training interpolates anew each time."""
    backbone = Backbone(small_vit(14, 84), frozen=True)
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        free = torch.cat(backbone.embed(image), dim=1)
        backbone.fix_input_size(64, 128)
        torch.testing.assert_close(torch.cat(backbone.embed(image), dim=1), free)


def test_only_a_frozen_vit_is_without_gradient() -> None:
    assert not any(p.requires_grad for p in Backbone(small_vit(14, 84), frozen=True).parameters())
    assert all(p.requires_grad for p in Backbone(small_vit(16, 96), frozen=False).parameters())


def test_an_untrained_vit_gets_the_grid_of_its_input_size() -> None:
    backbone = build_backbone("vit_tiny_patch16_224", 320, frozen=False, pretrained=False)
    assert (backbone.width, backbone.patch) == (192, 16)
    assert backbone.vit.pos_embed is not None
    assert backbone.vit.pos_embed.shape == (1, 1 + 20 * 20, 192)
