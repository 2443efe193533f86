"""Cross entropy of images against plain numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from argus_edge.train.losses.classification import classification_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_mean_cross_entropy_with_the_truth_partly_spread(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5) * 4, torch.tensor([0, 4, 2, 2, 1, 3])
    x = logits.double().numpy()
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    truth = np.full((6, 5), smoothing / 5)
    truth[np.arange(6), labels.numpy()] += 1 - smoothing
    expected = -(truth * logs).sum(1).mean()
    answer = classification_loss({"logits": logits}, labels, smoothing)
    assert float(answer) == pytest.approx(expected, rel=1e-5)


def test_logits_of_any_size_have_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = classification_loss({"logits": logits}, torch.tensor([1]), 0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_an_empty_batch_costs_nothing() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = classification_loss({"logits": logits}, torch.zeros(0, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
