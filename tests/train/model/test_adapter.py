"""The adapter against the published sizes, and the properties that a frozen ViT depends on."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from argus_edge.train.model.adapter import Adapter, VitScale
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.build import build_adapter
from argus_edge.train.model.deformable import DeformableAttention
from argus_edge.train.model.layers import group_norm

WIDTH = 24


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=84,
        patch_size=14,
        embed_dim=WIDTH,
        depth=4,
        num_heads=3,
        num_classes=0,
        init_values=0.5,
        dynamic_img_size=True,
    )
    return Backbone(vit.eval(), frozen=True)


def small_adapter(vit_scale: VitScale = "const") -> Adapter:
    torch.manual_seed(1)
    return Adapter(WIDTH, 8, 3, group_norm(4), vit_scale=vit_scale)


class Watched(Backbone):
    """Keeps the tokens that enter each stage and leave the last one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone.vit, backbone.frozen)
        self.stream: list[Tensor] = []

    def run_stage(self, index: int, prefix: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        self.stream.append(torch.cat([prefix, patches], dim=1))
        leaving = super().run_stage(index, prefix, patches)
        self.left = torch.cat(leaving, dim=1)
        return leaving


def test_base_has_the_papers_number_of_trained_parameters_in_every_part() -> None:
    with torch.device("meta"):
        adapter = build_adapter("base")
    injector, extractor = adapter.injectors[0], adapter.extractors[0]
    assert isinstance(injector.attention, nn.Module)
    assert parameters(adapter) == 13_680_608
    assert parameters(adapter.prior) == 1_579_328
    assert adapter.level_embedding.numel() == 2_304
    assert (len(adapter.injectors), parameters(injector), parameters(injector.attention)) == (
        4,
        927_024,
        923_184,
    )
    assert (len(adapter.extractors), parameters(extractor)) == (6, 1_004_112)
    assert parameters(adapter.up) == 2_360_064
    assert parameters(adapter.norms) == 6_144
    assert parameters(adapter) / (86_579_712 + parameters(adapter)) == pytest.approx(0.136, abs=5e-4)


def test_every_norm_of_prior_and_projection_is_a_group_norm() -> None:
    adapter = small_adapter()
    for part in (adapter.prior, adapter.norms):
        assert not any(isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)) for m in part.modules())
    assert sum(isinstance(m, nn.GroupNorm) for m in adapter.modules()) == 6 + 4


def test_the_pyramid_has_strides_4_to_32(backbone: Backbone) -> None:
    pyramid = small_adapter()(torch.randn(2, 3, 64, 96), backbone)
    assert [tuple(f.shape) for f in pyramid] == [(2, WIDTH, 64 // s, 96 // s) for s in (4, 8, 16, 32)]


def test_every_level_gets_the_same_last_tokens_resized(backbone: Backbone) -> None:
    adapter = small_adapter()
    vit, f0 = torch.randn(1, WIDTH, 4, 6), torch.randn(1, WIDTH, 16, 24)
    spatial, shapes = torch.randn(1, 8 * 12 + 4 * 6 + 2 * 3, WIDTH), [(8, 12), (4, 6), (2, 3)]
    with torch.no_grad():
        answer = adapter._project(f0, spatial, shapes, vit)
        parts = spatial.transpose(1, 2).split([96, 24, 6], dim=2)
        c2, c3, c4 = (p.unflatten(2, s) for p, s in zip(parts, shapes, strict=True))
        for level, norm, result in zip((f0 + adapter.up(c2), c2, c3, c4), adapter.norms, answer, strict=True):
            size = (level.shape[-2], level.shape[-1])
            resized = torch.nn.functional.interpolate(vit, size, mode="bilinear", align_corners=False)
            torch.testing.assert_close(result, norm(level + resized))


@pytest.mark.parametrize("size", [(64, 80), (72, 64)])
def test_sides_that_no_level_divides_are_refused(backbone: Backbone, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32 px, got {size[0]}x{size[1]}"):
        small_adapter()(torch.randn(1, 3, *size), backbone)


@pytest.mark.parametrize("vit_scale", ["none", "const", "learned"])
def test_at_the_start_the_vit_is_the_plain_vit(backbone: Backbone, vit_scale: VitScale) -> None:
    """Gamma 0: what leaves the last stage, normalised, is timm's own answer."""
    watched = Watched(backbone)
    adapter = small_adapter(vit_scale)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        adapter.scale.copy_(torch.tensor([0.31, 3.7, 11.0, 0.043]))
        adapter(image, watched)
        resized = torch.nn.functional.interpolate(image, (56, 84), mode="bilinear")
        plain = backbone.vit.forward_features(resized)
        torch.testing.assert_close(backbone.vit.norm(watched.left), plain, rtol=1e-4, atol=1e-5)


def test_descaling_undoes_scaling_exactly(backbone: Backbone) -> None:
    """A scale of a power of two costs no rounding: the stream is the same to the last bit at gamma 0, and
    with any gamma it equals the stream without scale at gamma / scale.
    """
    image = torch.randn(1, 3, 64, 64)
    scales = torch.tensor([0.5, 4.0, 8.0, 0.125])
    streams = {}
    for gamma in (0.0, 0.3):
        for name, scale in (("scaled", scales), ("plain", torch.ones(4))):
            adapter, watched = small_adapter(), Watched(backbone)
            with torch.no_grad():
                adapter.scale.copy_(scale)
                for stage, injector in enumerate(adapter.injectors):
                    assert isinstance(injector.gamma, Tensor)
                    injector.gamma.fill_(gamma if name == "scaled" else gamma / float(scales[stage]))
                adapter(image, watched)
            streams[name, gamma] = torch.stack(watched.stream)
    assert torch.equal(streams["scaled", 0.0], streams["plain", 0.0])
    assert not torch.equal(streams["scaled", 0.3], streams["scaled", 0.0])
    # The norms before the attention have an epsilon, of which the scaled tokens feel another share.
    torch.testing.assert_close(streams["scaled", 0.3], streams["plain", 0.3], rtol=1e-3, atol=1e-3)


def test_measured_scales_bring_the_tokens_to_unit_size(backbone: Backbone) -> None:
    adapter, watched = small_adapter(), Watched(backbone)
    images = [torch.randn(1, 3, 64, 64) * k for k in (0.5, 2.0)]
    adapter.measure_scales(images, watched)
    tokens = [torch.cat(watched.stream[stage::4])[:, 1:] for stage in range(4)]
    sizes = torch.stack(
        [scale * t.square().mean().sqrt() for scale, t in zip(adapter.scale, tokens, strict=True)]
    )
    torch.testing.assert_close(sizes, torch.ones(4))
    with pytest.raises(ValueError, match="'learned'"):
        small_adapter("learned").measure_scales(images, backbone)


def test_every_part_of_the_adapter_learns_and_no_part_of_a_frozen_vit(backbone: Backbone) -> None:
    adapter = small_adapter()
    with torch.no_grad():
        for injector in adapter.injectors:
            assert isinstance(injector.gamma, Tensor)
            injector.gamma.fill_(0.1)
        for module in adapter.modules():
            if isinstance(module, DeformableAttention):  # at the start its queries matter not yet
                module.offsets.weight.normal_(std=0.1)
                module.weights.weight.normal_(std=0.1)
    pyramid = adapter(torch.randn(1, 3, 64, 64), backbone)
    torch.stack([(f * torch.randn_like(f)).sum() for f in pyramid]).sum().backward()
    assert all(p.grad is None for p in backbone.parameters())
    assert not [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]


def test_gradients_pass_through_the_frozen_blocks(backbone: Backbone) -> None:
    """What leaves the last block alone moves every injector, the level embedding and the prior."""
    adapter, watched = small_adapter(), Watched(backbone)
    with torch.no_grad():
        for injector in adapter.injectors:
            assert isinstance(injector.gamma, Tensor)
            injector.gamma.fill_(0.1)
    adapter(torch.randn(1, 3, 64, 64), watched)
    watched.left.square().sum().backward()
    reached = {name for name, p in adapter.named_parameters() if p.grad is not None and p.grad.any()}
    wanted = {f"injectors.{stage}.gamma" for stage in range(4)}
    wanted |= {"level_embedding", "prior.stem.0.0.weight", "prior.conv4.0.weight", "prior.project.3.weight"}
    assert wanted <= reached
    assert all(p.grad is None for p in backbone.parameters())


def test_the_generic_initialisation_leaves_the_stars_and_gammas() -> None:
    adapter = small_adapter()
    for module in adapter.modules():
        if isinstance(module, DeformableAttention):
            assert module.offsets.weight.abs().max() == 0
            assert module.offsets.bias.abs().max() == module.points
            assert module.weights.weight.abs().max() == module.weights.bias.abs().max() == 0
    assert all(isinstance(i.gamma, Tensor) and i.gamma.abs().max() == 0 for i in adapter.injectors)
    assert float(adapter.level_embedding.detach().std()) == pytest.approx(1, abs=0.2)


def test_nano_is_small_and_base_keeps_the_order_of_sizes() -> None:
    with torch.device("meta"):
        nano, small, base = (parameters(build_adapter(v)) for v in ("nano", "small", "base"))
    assert nano < small < base
