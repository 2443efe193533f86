"""The heatmap loss against plain numpy in double precision, and where nobody is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from argus_edge.train.losses.heatmaps import heatmap_loss


def heatmaps(persons: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    prediction, target = torch.randn(persons, 17, 8, 6), torch.rand(persons, 17, 8, 6)
    return prediction, target, (torch.rand(persons, 17) < 0.7).float()


def test_the_loss_is_the_mean_squared_error_of_weighted_maps() -> None:
    prediction, target, weight = heatmaps()
    weight[0] *= 0.5
    p, t, w = (x.double().numpy() for x in (prediction, target, weight))
    joints = [
        np.mean((p[:, k] * w[:, k, None, None] - t[:, k] * w[:, k, None, None]) ** 2) for k in range(17)
    ]
    assert float(heatmap_loss(prediction, target, weight)) == pytest.approx(np.mean(joints), rel=1e-5)


def test_an_unseen_keypoint_teaches_nothing_but_counts_in_the_mean() -> None:
    prediction, target, weight = heatmaps()
    weight[:] = 1
    weight[1, 4] = 0
    learned = prediction.requires_grad_()
    loss = heatmap_loss(learned, target, weight)
    loss.backward()
    error = (prediction.detach() - target).double().square()
    error[1, 4] = 0
    assert loss.item() == pytest.approx(float(error.mean()), rel=1e-5)
    assert learned.grad is not None
    assert not learned.grad[1, 4].any()
    assert learned.grad[1, 5].all()


@pytest.mark.parametrize("persons", [0, 2])
def test_with_nobody_to_be_seen_it_costs_nothing(persons: int) -> None:
    prediction, target, _ = heatmaps(persons)
    prediction.requires_grad_()
    loss = heatmap_loss(prediction, target, torch.zeros(persons, 17))
    loss.backward()
    assert loss == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()
