"""DPT's forms beside depth: unit normals and keypoint heatmaps; sizes, counts and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.losses.heatmaps import heatmap_loss
from argus_edge.train.model.decoders.dpt import DPTDepth, DPTNormals, DPTPose, DPTTrunk, ResidualUnit

WIDTH = 24


def pyramid(batch: int, height: int = 64, width: int = 96) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, WIDTH, height // s, width // s) for s in (4, 8, 16, 32)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_base_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        unused = ResidualUnit(256)  # the original builds one that its coarsest level never runs
        decoders = {
            331_969: DPTDepth(768, 256, 32),
            332_035: DPTNormals(768, 256, 32),
            332_497: DPTPose(768, 256, 17, 32),
            594_449: DPTPose(768, 256, 17),  # one wide convolution in place of DPT's two
        }
    assert parameters(unused) == 1_180_160
    for head, decoder in decoders.items():
        assert isinstance(decoder.trunk, DPTTrunk)
        assert parameters(decoder.trunk) == 16_782_336 - 1_180_160
        assert parameters(decoder) - parameters(decoder.trunk) == head


def test_normals_have_length_one_at_full_size() -> None:
    torch.manual_seed(1)
    decoder = DPTNormals(WIDTH, 16, 8)
    with torch.no_grad():
        untrained = decoder.infer(pyramid(2))["normals"]
        decoder.regress.weight.mul_(50)  # as if trained: directions that differ
        answer = decoder.infer(pyramid(2))
    assert set(answer) == {"normals"}
    assert (answer["normals"].shape, answer["normals"].dtype) == ((2, 3, 64, 96), torch.float32)
    torch.testing.assert_close(answer["normals"].norm(dim=1), torch.ones(2, 64, 96))
    assert answer["normals"].std(dim=(0, 2, 3)).min() > 0.1
    assert untrained[:, 2].mean() < -0.9  # surfaces seen straight on
    torch.testing.assert_close(decoder(pyramid(2))["normals"], answer["normals"])


def test_a_direction_of_no_length_is_zero_and_has_a_finite_gradient() -> None:
    decoder = DPTNormals(WIDTH, 16, 8)
    with torch.no_grad():
        nn.init.zeros_(decoder.regress.weight)
        assert decoder.regress.bias is not None
        decoder.regress.bias.zero_()
    normals = decoder(pyramid(1))["normals"]
    assert not normals.any()
    normals.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


@pytest.mark.parametrize("hidden", [None, 8])
def test_heatmaps_have_a_quarter_of_the_input_s_size(hidden: int | None) -> None:
    decoder, features = DPTPose(WIDTH, 16, 17, hidden), pyramid(3, 256, 192)
    with torch.no_grad():
        answer = decoder.infer(features)
        assert set(answer) == {"heatmaps"}
        assert (answer["heatmaps"].shape, answer["heatmaps"].dtype) == ((3, 17, 64, 48), torch.float32)
        assert answer["heatmaps"].abs().max() < 0.05  # empty, before training
        torch.testing.assert_close(decoder(features)["heatmaps"], answer["heatmaps"])
        alone = decoder.infer([f[1:2] for f in features])["heatmaps"]
    torch.testing.assert_close(alone, answer["heatmaps"][1:2])  # persons are answered one by one


def test_the_trunk_without_its_last_doubling_is_the_trunk_before_it() -> None:
    whole, short = DPTTrunk(WIDTH, 16), DPTTrunk(WIDTH, 16, last_doubling=False)
    short.load_state_dict(whole.state_dict())
    features = pyramid(1)
    with torch.no_grad():
        assert whole(features).shape == (1, 16, 32, 48)
        assert short(features).shape == (1, 16, 16, 24)
        # A pointwise projection commutes with the resize, whose aligned corners keep their values.
        torch.testing.assert_close(short(features)[..., ::15, ::23], whole(features)[..., ::31, ::47])


@pytest.mark.parametrize("decoder", [DPTDepth(WIDTH, 16, 8), DPTNormals(WIDTH, 16, 8), DPTPose(WIDTH, 16)])
def test_double_precision_reaches_the_answer(decoder: DPTDepth | DPTNormals | DPTPose) -> None:
    features = pyramid(1)
    with torch.no_grad():
        (single,) = decoder.infer(features).values()
        (inside,) = decoder.double()([f.double() for f in features]).values()
        (double,) = decoder.infer([f.double() for f in features]).values()
    assert (inside.dtype, double.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(double, single)


def test_nobody_in_the_image_costs_nothing() -> None:
    decoder = DPTPose(WIDTH, 16)
    heatmaps = decoder(pyramid(0))["heatmaps"]
    assert heatmaps.shape == (0, 17, 16, 24)
    loss = heatmap_loss(heatmaps, torch.zeros(0, 17, 16, 24), torch.zeros(0, 17))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in decoder.parameters())


def test_maps_that_do_not_fit_are_refused() -> None:
    for decoder in (DPTDepth(WIDTH + 1, 16, 8), DPTNormals(WIDTH + 1, 16, 8), DPTPose(WIDTH + 1, 16)):
        with pytest.raises(InputError, match=r"\(B, 25, H/4, W/4\).*\(1, 24, 16, 24\)"):
            decoder.infer(pyramid(1))
