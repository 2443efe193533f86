"""The adapter against the published sizes, and the properties that a frozen ViT depends on."""

from __future__ import annotations

import re

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.errors import InputError
from argus_edge.train.model.adapter import Adapter, VitScale
from argus_edge.train.model.backbone import Backbone, PatchFit, Tokens
from argus_edge.train.model.build import build_adapter
from argus_edge.train.model.deformable import DeformableAttention
from argus_edge.train.model.layers import Norm, group_norm

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


def small_adapter(vit_scale: VitScale = "const", norm: Norm | None = None) -> Adapter:
    torch.manual_seed(1)
    return Adapter(WIDTH, 8, 3, norm or group_norm(4), vit_scale=vit_scale)


class Watched(Backbone):
    """Keeps the tokens that enter each stage and leave the last one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone.vit, backbone.frozen, patch_fit=backbone.patch_fit)
        self.stream: list[Tensor] = []

    def run_stage(self, index: int, tokens: Tokens) -> Tokens:
        self.stream.append(torch.cat([tokens.prefix, tokens.patches], dim=1))
        tokens = super().run_stage(index, tokens)
        self.left = torch.cat([tokens.prefix, tokens.patches], dim=1)
        return tokens


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


def test_batch_norm_takes_the_place_of_every_group_norm_at_equal_size(backbone: Backbone) -> None:
    """The comparison that the paper draws; attention and ConvFFN keep their LayerNorm."""
    adapter, other = small_adapter(), small_adapter(norm=nn.BatchNorm2d)
    assert parameters(adapter) == parameters(other)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in other.modules()) == 6 + 4
    assert not any(isinstance(m, nn.GroupNorm) for m in other.modules())
    assert {k for k, m in adapter.named_modules() if isinstance(m, nn.LayerNorm)} == {
        k for k, m in other.named_modules() if isinstance(m, nn.LayerNorm)
    }
    pyramid = other.train()(torch.randn(2, 3, 64, 64), backbone)
    for level in pyramid:
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(WIDTH), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fit", ["resize_image", "resize_kernel", "keep"])
@pytest.mark.parametrize("size", [(64, 96), (160, 224), (32, 32)])
def test_the_pyramid_has_strides_4_to_32(backbone: Backbone, fit: PatchFit, size: tuple[int, int]) -> None:
    """Also where the token grid is another: 11 x 16 instead of 10 x 14 when patches of 14 px are kept."""
    pyramid = small_adapter()(torch.randn(2, 3, *size), Backbone(backbone.vit, True, patch_fit=fit))
    assert [tuple(f.shape) for f in pyramid] == [
        (2, WIDTH, size[0] // s, size[1] // s) for s in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
def test_every_level_gets_the_same_last_tokens_resized(grid: tuple[int, int]) -> None:
    adapter = small_adapter()
    vit, f0 = torch.randn(1, WIDTH, *grid), torch.randn(1, WIDTH, 16, 24)
    spatial, shapes = torch.randn(1, 8 * 12 + 4 * 6 + 2 * 3, WIDTH), [(8, 12), (4, 6), (2, 3)]
    with torch.no_grad():
        answer = adapter._project(f0, spatial, shapes, vit)
        parts = spatial.transpose(1, 2).split([96, 24, 6], dim=2)
        c2, c3, c4 = (p.unflatten(2, s) for p, s in zip(parts, shapes, strict=True))
        for level, norm, result in zip((f0 + adapter.up(c2), c2, c3, c4), adapter.norms, answer, strict=True):
            size = (level.shape[-2], level.shape[-1])
            resized = functional.interpolate(vit, size, mode="bilinear", align_corners=False)
            torch.testing.assert_close(result, norm(level + resized))


@pytest.mark.parametrize("size", [(64, 80), (72, 64), (31, 64)])
def test_sides_that_no_level_divides_are_refused(backbone: Backbone, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"multiples of 32 px, got {size[0]}x{size[1]}"):
        small_adapter()(torch.randn(1, 3, *size), backbone)


@pytest.mark.parametrize("shape", [(0, 3, 64, 64), (1, 3, 0, 64), (1, 4, 64, 64), (3, 64, 64)])
def test_what_is_no_batch_of_images_is_refused(backbone: Backbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"at least one, got a tensor {shape}")):
        small_adapter()(torch.randn(shape), backbone)


@pytest.mark.parametrize("vit_scale", ["none", "const", "learned"])
@pytest.mark.parametrize("fit", ["resize_image", "resize_kernel", "keep"])
def test_at_the_start_the_vit_is_the_plain_vit(
    backbone: Backbone, vit_scale: VitScale, fit: PatchFit
) -> None:
    """Gamma 0: what leaves the last stage, normalised, is timm's own answer."""
    watched = Watched(Backbone(backbone.vit.double(), True, patch_fit=fit))
    adapter = small_adapter(vit_scale).double()
    image = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    seen = {"resize_image": functional.interpolate(image, (56, 84), mode="bilinear")}
    with torch.no_grad():
        adapter.scale.copy_(torch.tensor([0.31, 3.7, 11.0, 0.043]))
        adapter(image, watched)
        plain = backbone.vit.forward_features(seen.get(fit, image if fit != "keep" else image[..., :56, :84]))
        assert (backbone.vit.norm(watched.left) - plain).abs().max() < 1e-6


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
    with pytest.raises(InputError, match="'learned'"):
        small_adapter("learned").measure_scales(images, backbone)
    with pytest.raises(InputError, match="got none"):
        adapter.measure_scales([], backbone)


def test_tokens_are_read_at_the_scale_of_the_stage_that_they_enter_next(backbone: Backbone) -> None:
    adapter, scales, read = small_adapter(), [0.5, 4.0, 8.0, 0.125], []
    with torch.no_grad():
        adapter.scale.copy_(torch.tensor(scales))
    for extractor in adapter.extractors:
        extractor.register_forward_pre_hook(lambda _, inputs: read.append(inputs[3]))
    watched = Watched(backbone)
    with torch.no_grad():
        adapter(torch.randn(1, 3, 64, 64), watched)
    left = [*watched.stream[1:], watched.left]
    for tokens, stage in zip(read, (0, 1, 2, 3, 3, 3), strict=True):
        assert torch.equal(tokens, left[stage][:, 1:] * scales[min(stage + 1, 3)])


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


@pytest.mark.parametrize("fit", ["resize_image", "resize_kernel", "keep"])
def test_gamma_learns_at_once_and_what_it_held_back_one_step_later(backbone: Backbone, fit: PatchFit) -> None:
    """From the initialisation, through the last tokens alone: nothing but the injectors changes those."""
    adapter, watched = small_adapter(), Watched(Backbone(backbone.vit, True, patch_fit=fit))
    image, target = torch.randn(1, 3, 64, 64), torch.randn(WIDTH)
    optimiser = torch.optim.SGD(adapter.parameters(), lr=0.1)

    def reached() -> set[str]:
        optimiser.zero_grad()
        adapter(image, watched)
        (watched.left * target).sum().backward()
        return {name for name, p in adapter.named_parameters() if p.grad is not None and p.grad.any()}

    gammas = {f"injectors.{stage}.gamma" for stage in range(4)}
    assert reached() == gammas
    optimiser.step()
    later = reached()
    prior = {name for name, _ in adapter.named_parameters() if name.startswith("prior.stem")}
    values = {
        f"injectors.{stage}.attention.{part}.weight" for stage in range(4) for part in ("value", "output")
    }
    assert gammas | values | prior | {"level_embedding", "prior.conv4.0.weight"} <= later
    assert all(p.grad is None for p in backbone.vit.parameters())


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
