"""The loss of surface normals against plain numpy in double precision, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from argus_edge.train.losses.normals import normals_loss
from argus_edge.train.model.decoders.dpt import UNIT_EPS


def directions(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Predicted and true unit vectors, a quarter of the truth unknown."""
    torch.manual_seed(0)
    prediction, truth = (functional.normalize(torch.randn(batch, 3, 6, 7), dim=1) for _ in range(2))
    truth = torch.where(torch.rand(batch, 1, 6, 7) < 0.25, 0, truth)
    return prediction, truth


def test_the_loss_is_the_mean_squared_error_over_valid_pixels() -> None:
    prediction, truth = directions()
    errors = []
    for p, t in zip(
        prediction.double().permute(0, 2, 3, 1).reshape(-1, 3).numpy(),
        truth.double().permute(0, 2, 3, 1).reshape(-1, 3).numpy(),
        strict=True,
    ):
        if t.any():
            errors.extend((p - t) ** 2)
    assert 150 < len(errors) < 250
    assert float(normals_loss(prediction, truth)) == pytest.approx(np.mean(errors), rel=1e-5)


def test_it_measures_the_angle() -> None:
    """Unit vectors at an angle a are 2 - 2 cos(a) apart, squared."""
    angle = torch.linspace(0, torch.pi, 30).view(1, 1, 5, 6)
    prediction = torch.cat([angle.sin(), torch.zeros_like(angle), -angle.cos()], dim=1)
    truth = torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1).expand(1, 3, 5, 6)
    expected = (2 - 2 * angle.double().cos()).mean() / 3
    assert float(normals_loss(prediction, truth)) == pytest.approx(float(expected), rel=1e-5)
    assert normals_loss(truth, truth) == 0


def test_unknown_pixels_have_no_part_in_it() -> None:
    prediction, truth = directions()
    changed = torch.where((truth != 0).any(1, keepdim=True), prediction, -prediction)
    assert not torch.equal(changed, prediction)
    assert normals_loss(changed, truth) == normals_loss(prediction, truth)


@pytest.mark.parametrize("batch", [0, 2])
def test_without_a_known_pixel_it_costs_nothing(batch: int) -> None:
    prediction = directions(batch)[0].requires_grad_()
    loss = normals_loss(prediction, torch.zeros(batch, 3, 6, 7))
    loss.backward()
    assert loss == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()


def test_a_perfect_or_undecided_prediction_has_a_finite_gradient() -> None:
    truth = directions()[1]
    for start in (truth.clone(), torch.zeros_like(truth)):
        raw = start.requires_grad_()
        normals_loss(functional.normalize(raw, dim=1, eps=UNIT_EPS), truth).backward()
        assert raw.grad is not None
        assert torch.isfinite(raw.grad).all()
