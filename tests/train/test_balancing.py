"""Weights of tasks against steps computed by hand on two tasks."""

from __future__ import annotations

import math

import pytest

from argus_edge.errors import InputError
from argus_edge.train.balancing import (
    Famo,
    FixedWeights,
    GradNorm,
    StepLosses,
    Uncertainty,
    make_balancer,
)
from argus_edge.train.recipe import BALANCERS

TASKS = ("a", "b")
BEFORE = {"a": 2.0, "b": 8.0}
GRADIENTS = {"a": 3.0, "b": 1.0}
AFTER = {"a": 1.0, "b": 7.0}


class Adam:
    """Adam on plain numbers, decay as part of the gradient."""

    def __init__(self, rate: float, decay: float = 0.0) -> None:
        self.rate, self.decay, self.steps = rate, decay, 0
        self.value, self.mean, self.square = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]

    def step(self, gradient: list[float]) -> None:
        self.steps += 1
        for i in range(2):
            g = gradient[i] + self.decay * self.value[i]
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * g
            self.square[i] = 0.999 * self.square[i] + 0.001 * g * g
            mean = self.mean[i] / (1 - 0.9**self.steps)
            square = self.square[i] / (1 - 0.999**self.steps)
            self.value[i] -= self.rate * mean / (math.sqrt(square) + 1e-8)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def test_fixed_weights_stay() -> None:
    fixed = FixedWeights({"a": 2.0, "b": 0.5})
    fixed.update(StepLosses(BEFORE, GRADIENTS, {}))
    assert (fixed.weight("a", 9.0), fixed.weight("b", 9.0), fixed.factor(BEFORE)) == (2.0, 0.5, 1.0)


def test_famo_by_hand() -> None:
    famo, adam = Famo(TASKS), Adam(0.025, 0.001)
    for before, after in ((BEFORE, AFTER), (AFTER, {"a": 0.9, "b": 3.0}), (BEFORE, BEFORE)):
        shares = softmax(adam.value)
        normaliser = shares[0] / before["a"] + shares[1] / before["b"]
        weights = [famo.weight(task, before[task]) * famo.factor(before) for task in TASKS]
        for task, share, weight in zip(TASKS, shares, weights, strict=True):
            assert weight == pytest.approx(2 * share / before[task] / normaliser, rel=1e-6)
        assert sum(weights) == pytest.approx(2)
        famo.update(StepLosses(before, {}, after))
        fallen = [math.log(before[t]) - math.log(after[t]) for t in TASKS]
        mean = shares[0] * fallen[0] + shares[1] * fallen[1]
        adam.step([shares[i] * (fallen[i] - mean) for i in range(2)])
        assert famo.logits.tolist() == pytest.approx(adam.value, rel=1e-6, abs=1e-9)


def test_famo_turns_to_the_task_that_falls_less() -> None:
    famo = Famo(TASKS)
    for _ in range(20):
        famo.update(StepLosses({"a": 1.0, "b": 1.0}, {}, {"a": 0.5, "b": 1.0}))
    assert famo.weight("b", 1.0) > famo.weight("a", 1.0)


def test_gradnorm_by_hand() -> None:
    gradnorm, adam = GradNorm(TASKS), Adam(0.025)
    for losses, norms in (
        (BEFORE, GRADIENTS),
        (AFTER, {"a": 2.0, "b": 2.5}),
        ({"a": 0.1, "b": 7.0}, GRADIENTS),
    ):
        shares = softmax(adam.value)
        weighted = [2 * shares[0] * norms["a"], 2 * shares[1] * norms["b"]]
        relative = [losses["a"] / 2.0, losses["b"] / 8.0]
        targets = [sum(weighted) / 2 * (r / (sum(relative) / 2)) ** 1.5 for r in relative]
        signs = [math.copysign(1.0, g - t) if g != t else 0.0 for g, t in zip(weighted, targets, strict=True)]
        pulls = [signs[0] * 2 * norms["a"], signs[1] * 2 * norms["b"]]  # by share
        mean = shares[0] * pulls[0] + shares[1] * pulls[1]
        assert gradnorm.weight("a", 1.0) == pytest.approx(2 * shares[0], rel=1e-6)
        gradnorm.update(StepLosses(losses, norms, {}))
        adam.step([shares[i] * (pulls[i] - mean) for i in range(2)])
        assert gradnorm.logits.tolist() == pytest.approx(adam.value, rel=1e-6, abs=1e-9)
    assert gradnorm.weight("a", 1.0) + gradnorm.weight("b", 1.0) == pytest.approx(2)


def test_gradnorm_evens_out_gradients_of_tasks_that_learn_alike() -> None:
    gradnorm = GradNorm(TASKS)
    for _ in range(400):
        gradnorm.update(StepLosses({"a": 1.0, "b": 1.0}, GRADIENTS, {}))
    assert gradnorm.weight("a", 1.0) * 3 == pytest.approx(gradnorm.weight("b", 1.0), rel=0.05)


def test_uncertainty_by_hand() -> None:
    uncertainty, adam = Uncertainty(TASKS), Adam(0.025)
    for _ in range(3):
        for i, task in enumerate(TASKS):
            assert uncertainty.weight(task, 1.0) == pytest.approx(0.5 * math.exp(-adam.value[i]))
        uncertainty.update(StepLosses(BEFORE, {}, {}))
        adam.step([0.5 - 0.5 * math.exp(-adam.value[i]) * BEFORE[t] for i, t in enumerate(TASKS)])
        assert uncertainty.logits.tolist() == pytest.approx(adam.value, rel=1e-6)


@pytest.mark.parametrize("name", BALANCERS)
def test_a_resumed_balancer_goes_on_as_if_nothing_had_happened(name: str) -> None:
    whole, first = (make_balancer(name, {"a": 1.0, "b": 1.0}, TASKS) for _ in range(2))
    steps = [
        StepLosses({"a": 2.0 / (i + 1), "b": 8.0 - i}, GRADIENTS, {"a": 1.5 / (i + 1), "b": 7.9 - i})
        for i in range(4)
    ]
    for step in steps[:2]:
        whole.update(step)
        first.update(step)
    second = make_balancer(name, {"a": 1.0, "b": 1.0}, TASKS)
    second.load_state_dict(first.state_dict())
    for step in steps[2:]:
        whole.update(step)
        second.update(step)
    assert [second.weight(t, 3.0) for t in TASKS] == [whole.weight(t, 3.0) for t in TASKS]


def test_a_balancer_that_was_never_updated_can_be_saved() -> None:
    for name in BALANCERS:
        balancer = make_balancer(name, {"a": 1.0, "b": 1.0}, TASKS)
        balancer.load_state_dict(balancer.state_dict())


def test_a_loss_of_zero_is_no_trouble() -> None:
    for name in BALANCERS:
        balancer = make_balancer(name, {"a": 1.0, "b": 1.0}, TASKS)
        nothing = {"a": 0.0, "b": 0.0}
        balancer.update(StepLosses(nothing, nothing, nothing))
        assert all(math.isfinite(balancer.weight(t, 0.0) * balancer.factor(nothing)) for t in TASKS)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of fixed, famo"):
        make_balancer("magic", {}, TASKS)
