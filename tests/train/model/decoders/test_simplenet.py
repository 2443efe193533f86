"""SimpleNet against the published pooling written out; categories apart from each other; noise; learning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.errors import InputError
from argus_edge.train.losses.anomaly import simplenet_loss
from argus_edge.train.model.decoders.simplenet import SimpleNet, neighbourhood_filters

WIDTH, DIM, CATEGORIES = 24, 32, 3


def maps(batch: int = 2, width: int = WIDTH) -> list[Tensor]:
    """F1 and F2 of an image of 64 x 96 pixels."""
    torch.manual_seed(0)
    return [torch.randn(batch, width, 8, 12), torch.randn(batch, width, 4, 6)]


def simplenet(noise: float = 0.015) -> SimpleNet:
    torch.manual_seed(1)
    return SimpleNet(WIDTH, CATEGORIES, DIM, 16, noise)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published_description(features: list[Tensor], dim: int) -> Tensor:
    """(B, h, w, dim) by unfolding every neighbourhood and pooling twice, as the original does."""
    height, width = features[0].shape[-2:]
    levels = []
    for level in features:
        patches = functional.unfold(level, 3, padding=1).unflatten(2, tuple(level.shape[-2:]))
        patches = functional.interpolate(patches, (height, width), mode="bilinear", align_corners=False)
        levels.append(functional.adaptive_avg_pool1d(patches.permute(0, 2, 3, 1).flatten(0, 2), dim))
    stacked = torch.stack(levels, dim=1).flatten(1).unsqueeze(1)
    return functional.adaptive_avg_pool1d(stacked, dim).view(-1, height, width, dim)


def test_the_base_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        decoder = SimpleNet(768, 4)
    assert [parameters(part) for part in decoder.adapters] == [2_360_832] * 4
    assert [parameters(part) for part in decoder.discriminators] == [1_576_960] * 4
    assert parameters(decoder) == 4 * (2_360_832 + 1_576_960)


@pytest.mark.parametrize("width", [24, 20])
@pytest.mark.parametrize("dim", [32, 36, 48, 70, 600])
@pytest.mark.parametrize("levels", [1, 2])
def test_descriptions_are_the_published_pooling(width: int, dim: int, levels: int) -> None:
    decoder = SimpleNet(width, 1, dim, 8, levels=(1, 2)[:levels]).double()
    features = [f.double() for f in maps(width=width)[:levels]]
    expected = published_description(features, dim)
    torch.testing.assert_close(decoder.describe(features), expected, rtol=0, atol=1e-6)


def test_at_base_size_every_description_is_one_channel_s_blurred_neighbourhood() -> None:
    filters = neighbourhood_filters(768, 1536, 2)
    assert filters.shape == (768, 1, 3, 3)
    torch.testing.assert_close(filters[0, 0].flatten(), torch.tensor([1, 1, 1, 1, 2, 1, 1, 1, 1]) / 10)
    assert (filters == filters[0]).all()


def test_training_scores_every_location_with_and_without_noise() -> None:
    decoder = simplenet(noise=0.5).train()
    outputs = decoder(maps(3), torch.tensor([2, 0, 2]))
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        "normal": (3, 8, 12),
        "noised": (3, 8, 12),
    }
    assert not torch.allclose(outputs["normal"], outputs["noised"], atol=0.01)
    without = simplenet(noise=0.0).train()(maps(3), torch.tensor([2, 0, 2]))
    torch.testing.assert_close(without["normal"], without["noised"])


def test_noise_has_its_standard_deviation_and_comes_from_the_generator() -> None:
    """Seen through a discriminator that passes the first feature on."""
    decoder = simplenet(noise=0.3).eval()
    with torch.no_grad():
        for discriminator in decoder.discriminators:
            assert isinstance(discriminator, nn.Sequential)
            enter, leave = discriminator[0], discriminator[-1]
            assert isinstance(enter, nn.Linear)
            assert isinstance(leave, nn.Linear)
            nn.init.zeros_(enter.weight)
            nn.init.constant_(enter.bias, 100.0)  # far from the leaky side
            enter.weight[0, 0] = 1
            nn.init.zeros_(leave.weight)
            leave.weight[0, 0] = 1
        first, again, other = (
            decoder(maps(9), torch.arange(9) % 3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
        )
    assert torch.equal(first["noised"], again["noised"])
    assert not torch.equal(first["noised"], other["noised"])
    noise = first["noised"] - first["normal"]
    assert float(noise.std()) == pytest.approx(0.3, rel=0.1)
    assert abs(float(noise.mean())) < 0.05


def test_each_image_trains_the_network_of_its_category_alone() -> None:
    decoder = simplenet().train()
    outputs = decoder(maps(4), torch.tensor([2, 0, 2, 0]))
    simplenet_loss(outputs).backward()
    for index, learns in enumerate((True, False, True)):
        for part in (decoder.adapters[index], decoder.discriminators[index]):
            assert all(p.grad is not None and p.grad.any() == learns for p in part.parameters())
    untouched = list(decoder.discriminators[1].children())[1]
    assert isinstance(untouched, nn.BatchNorm1d)
    assert untouched.running_mean is not None
    assert not untouched.running_mean.any()


def test_scores_stay_with_their_images_whatever_the_order_of_categories() -> None:
    decoder, features = simplenet(noise=0.0).eval(), maps(4)
    categories = torch.tensor([2, 0, 1, 0])
    with torch.no_grad():
        normal = decoder(features, categories)["normal"]
        answer = decoder.infer(features)["maps"]
    torch.testing.assert_close(normal, -answer[torch.arange(4), categories])


def test_no_gradient_reaches_the_features() -> None:
    features = [f.requires_grad_() for f in maps()]
    outputs = simplenet().train()(features, torch.tensor([0, 1]))
    simplenet_loss(outputs).backward()
    assert all(f.grad is None for f in features)


def test_maps_have_one_channel_per_category_and_grow_with_anomaly() -> None:
    decoder = simplenet().eval()
    with torch.no_grad():
        answer = decoder.infer(maps())
        described = decoder.describe(maps())
        expected = [
            -discriminator(adapter(described).flatten(0, 2)).view(2, 8, 12)
            for adapter, discriminator in zip(decoder.adapters, decoder.discriminators, strict=True)
        ]
    assert set(answer) == {"maps"}
    assert (answer["maps"].shape, answer["maps"].dtype) == ((2, CATEGORIES, 8, 12), torch.float32)
    torch.testing.assert_close(answer["maps"], torch.stack(expected, dim=1))


def test_a_single_location_is_enough_for_batch_norm() -> None:
    decoder = SimpleNet(WIDTH, 1, DIM, 16, noise=0.1, levels=(3,)).train()
    outputs = decoder([torch.randn(1, WIDTH, 1, 1)], torch.tensor([0]))
    loss = simplenet_loss(outputs)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_an_empty_batch_has_empty_answers_and_costs_nothing() -> None:
    decoder = simplenet()
    assert decoder.eval().infer(maps(0))["maps"].shape == (0, CATEGORIES, 8, 12)
    loss = simplenet_loss(decoder.train()(maps(0), torch.zeros(0, dtype=torch.int64)))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in decoder.parameters())
    assert all(torch.isfinite(value).all() for value in decoder.state_dict().values())


def test_it_learns_to_see_what_flawless_images_do_not_have() -> None:
    torch.manual_seed(2)
    palette = torch.randn(4, WIDTH)  # flawless locations show mixtures of four patterns

    def features(batch: int) -> list[Tensor]:
        mixture = torch.rand(batch, 4, 8, 12).softmax(1)
        fine = torch.einsum("kc,bkhw->bchw", palette, mixture)
        return [fine, functional.avg_pool2d(fine, 2)]

    decoder = SimpleNet(WIDTH, 1, DIM, 32, noise=0.3).train()
    optimiser = torch.optim.AdamW(decoder.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = simplenet_loss(decoder(features(4), torch.zeros(4, dtype=torch.int64)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    flawed = features(8)
    for f, cells in zip(flawed, (slice(4, 6), slice(2, 3)), strict=True):
        f[:, :, cells, cells] += torch.randn(8, WIDTH, 1, 1)
    with torch.no_grad():
        answer = decoder.eval().infer(flawed)["maps"][:, 0]
    assert answer[:, 4:6, 4:6].amin() > answer[:, :, 8:].amax()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="2 levels cannot share the 33 values"):
        SimpleNet(WIDTH, 1, 33)
    with pytest.raises(InputError, match=r"\(B, 24, H/8, W/8\).*\(2, 23, 8, 12\)"):
        simplenet().infer(maps(width=23))
    for wrong in (torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([0])):
        with pytest.raises(InputError, match="categories are 0 to 2"):
            simplenet()(maps(), wrong)
