"""SimpleNet's hinge against plain numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from argus_edge.train.losses.anomaly import simplenet_loss


def test_it_is_the_mean_hinge_of_both_sides() -> None:
    torch.manual_seed(0)
    normal, noised = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    above = np.maximum(0, 0.5 - normal.double().numpy()).mean()
    below = np.maximum(0, 0.5 + noised.double().numpy()).mean()
    answer = simplenet_loss({"normal": normal, "noised": noised})
    assert float(answer) == pytest.approx(above + below, rel=1e-5)


def test_what_is_beyond_the_margin_costs_nothing() -> None:
    normal, noised = torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), -0.5)
    assert simplenet_loss({"normal": normal, "noised": noised}) == 0
    assert float(simplenet_loss({"normal": noised, "noised": normal})) == pytest.approx(2)


def test_an_empty_batch_costs_nothing() -> None:
    scores = torch.zeros(0, 4, 5, requires_grad=True)
    loss = simplenet_loss({"normal": scores, "noised": scores})
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
