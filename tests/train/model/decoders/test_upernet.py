"""UPerNet's forms: label maps and probability maps, with and without the FCN, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.errors import InputError
from argus_edge.train.losses.segmentation import segmentation_loss
from argus_edge.train.model.decoders.upernet import UPerNet

WIDTH = 24


def pyramid(batch: int, width: int = WIDTH) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, width, 64 // s, 96 // s) for s in (4, 8, 16, 32)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def saliency() -> UPerNet:
    torch.manual_seed(1)
    return UPerNet(WIDTH, 16, 2, nn.BatchNorm2d, None, probability="sal").eval()


@pytest.mark.parametrize(
    ("classes", "head", "auxiliary"),
    [(150, 32_332_950, 1_808_534), (7, 32_259_591, 1_771_783), (2, 32_257_026, 1_770_498)],
)
def test_the_base_size_has_the_published_number_of_parameters(
    classes: int, head: int, auxiliary: int
) -> None:
    with torch.device("meta"):
        whole = UPerNet(768, 512, classes, nn.BatchNorm2d, 256)
        alone = UPerNet(768, 512, classes, nn.BatchNorm2d, None)
    assert parameters(alone) == head
    assert parameters(whole) == head + auxiliary


def test_without_the_fcn_training_answers_logits_alone() -> None:
    assert set(saliency().train()(pyramid(2))) == {"logits"}


def test_a_probability_map_is_the_softmax_of_the_resized_logits() -> None:
    decoder, features = saliency(), pyramid(2)
    with torch.no_grad():
        decoder.classify.weight.mul_(1000)  # as if trained: probabilities near 0 and near 1
        answer = decoder.infer(features)
        full = functional.interpolate(decoder(features)["logits"], (64, 96), mode="bilinear")
    assert set(answer) == {"sal"}
    assert (answer["sal"].shape, answer["sal"].dtype) == ((2, 64, 96), torch.float32)
    torch.testing.assert_close(answer["sal"], full.softmax(1)[:, 1])
    assert 0 <= answer["sal"].min() < 0.2
    assert 0.8 < answer["sal"].max() <= 1


def test_double_precision_reaches_the_answer() -> None:
    decoder, features = saliency(), pyramid(1)
    with torch.no_grad():
        single = decoder.infer(features)["sal"]
        double = decoder.double().infer([f.double() for f in features])["sal"]
    assert double.dtype == torch.float32
    torch.testing.assert_close(double, single)


@pytest.mark.parametrize(
    "decoder", [saliency(), UPerNet(WIDTH, 16, 5, nn.BatchNorm2d, 8)], ids=["sal", "seg"]
)
def test_an_empty_batch_has_empty_answers_and_costs_nothing(decoder: UPerNet) -> None:
    features = pyramid(0)
    (answer,) = decoder.eval().infer(features).values()
    assert answer.shape == (0, 64, 96)
    loss = segmentation_loss(decoder.train()(features), torch.zeros(0, 64, 96, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    gradient = decoder.fuse[0].weight.grad
    assert isinstance(gradient, Tensor)
    assert not gradient.any()
    assert all(torch.isfinite(value).all() for value in decoder.state_dict().values())


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="'edge' is of 2 classes, not 3"):
        UPerNet(WIDTH, 16, 3, nn.BatchNorm2d, 8, probability="edge")
    with pytest.raises(InputError, match="1 to 255 classes, not 256"):
        UPerNet(WIDTH, 16, 256, nn.BatchNorm2d, 8)


def test_maps_that_do_not_fit_are_refused() -> None:
    decoder = saliency()
    with pytest.raises(InputError, match=r"\(B, 24, H/4, W/4\).*\(1, 23, 16, 24\)"):
        decoder.infer(pyramid(1, width=23))
    with pytest.raises(InputError, match="reads maps"):
        decoder(pyramid(1)[:3])
    with pytest.raises(InputError, match="of one batch of images"):
        decoder([*pyramid(1)[:3], torch.zeros(2, WIDTH, 2, 3)])
    with pytest.raises(InputError, match="reads maps"):
        decoder([f[:, :, 1:] for f in pyramid(1)])
