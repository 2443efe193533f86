"""How much each task's loss counts: fixed weights, FAMO, GradNorm or learnt uncertainties.

Tasks are back-propagated one after another, so a weight is asked for when only that task's loss is known:
gradients are a sum of weight x gradient, and `factor` scales that sum once all tasks are done.
"""

# ruff: noqa: ARG002  (each way of balancing looks at another part of what a step tells)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from argus_edge.errors import InputError
from argus_edge.train.recipe import BALANCERS

LEAST_LOSS: Final = 1e-8  # keeps logarithms finite


@dataclass(frozen=True)
class StepLosses:
    """What one step tells about the tasks, each by name."""

    before: Mapping[str, float]  # losses, without weights
    gradients: Mapping[str, float]  # norms of the gradient of each loss, without its weight, with respect to
    # the feature maps, averaged over images and places
    after: Mapping[str, float]  # losses of the same batches after the step; empty where nobody asked


class Balancer(Protocol):
    """Weighs the tasks of one training run. All numbers are of one step, by the name of the task."""

    @property
    def repeats(self) -> bool:
        """Whether `update` needs the losses of the same batches after the step."""
        ...

    def weight(self, task: str, loss: float) -> float:
        """What to multiply the loss of `task` with before its backward pass."""
        ...

    def factor(self, losses: Mapping[str, float]) -> float:
        """What to multiply the gradients with when all tasks have been back-propagated."""
        ...

    def update(self, step: StepLosses) -> None:
        """Learn from a step."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`."""
        ...


class FixedWeights:
    """The paper's heuristic: weights that bring every loss to the order of 1, set once."""

    repeats = False

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)

    def weight(self, task: str, loss: float) -> float:
        return self.weights[task]

    def factor(self, losses: Mapping[str, float]) -> float:
        return 1.0

    def update(self, step: StepLosses) -> None:
        """Nothing is learnt."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """There is no state."""


class _Learnt:
    """One number per task, moved by an Adam of its own; on the CPU in double precision."""

    def __init__(self, tasks: Sequence[str], rate: float, decay: float) -> None:
        self.tasks = tuple(tasks)
        self.logits = torch.zeros(len(self.tasks), dtype=torch.float64)
        self._adam = torch.optim.Adam([self.logits], lr=rate, weight_decay=decay)

    def _values(self, numbers: Mapping[str, float]) -> Tensor:
        return torch.tensor([numbers[task] for task in self.tasks], dtype=torch.float64)

    def _step(self, gradient: Tensor) -> None:
        self.logits.grad = gradient
        self._adam.step()

    def state_dict(self) -> dict[str, Tensor]:
        moments = self._adam.state[self.logits]
        return {"logits": self.logits.clone(), **{k: torch.as_tensor(v).clone() for k, v in moments.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.logits.copy_(state["logits"])
        moments = {k: v.clone() for k, v in state.items() if k != "logits"}
        if moments:
            self._adam.state[self.logits] = moments


class Famo(_Learnt):
    """Fast Adaptive Multitask Optimization (Liu et al., NeurIPS 2023): every loss falls at the same rate.

    With z = softmax(logits) the step descends sum(z ln L) / sum(z / L), whose gradient weighs task i by
    z_i / L_i, normalised; the weights here sum to the number of tasks, as the paper of Argus has them. How
    much each ln L fell on the same batch moves the logits, with Adam at 0.025 and decay 0.001.
    """

    repeats = True

    def __init__(self, tasks: Sequence[str], rate: float = 0.025, decay: float = 1e-3) -> None:
        super().__init__(tasks, rate, decay)

    def weight(self, task: str, loss: float) -> float:
        share = torch.softmax(self.logits, 0)[self.tasks.index(task)]
        return float(share) / (max(loss, 0.0) + LEAST_LOSS)

    def factor(self, losses: Mapping[str, float]) -> float:
        return len(self.tasks) / sum(self.weight(task, loss) for task, loss in losses.items())

    def update(self, step: StepLosses) -> None:
        fallen = self._logarithms(step.before) - self._logarithms(step.after)
        shares = torch.softmax(self.logits, 0)
        self._step(shares * (fallen - (shares * fallen).sum()))  # the softmax's Jacobian, transposed

    def _logarithms(self, losses: Mapping[str, float]) -> Tensor:
        return (self._values(losses).clamp(min=0) + LEAST_LOSS).log()


class GradNorm(_Learnt):
    """GradNorm (Chen et al., ICML 2018): tasks that learn slowly get larger gradients.

    Weights are T softmax(logits). Gradients are measured at the feature maps, averaged over images and
    places, as the supplementary of Argus does, because tasks differ in both. The target of each weighted norm
    is their mean times r^alpha, where r is the task's loss relative to its first one, by the mean of these.
    """

    repeats = False

    def __init__(self, tasks: Sequence[str], rate: float = 0.025, alpha: float = 1.5) -> None:
        super().__init__(tasks, rate, decay=0.0)
        self.alpha = alpha
        self._first: Tensor | None = None

    def weight(self, task: str, loss: float) -> float:
        return len(self.tasks) * float(torch.softmax(self.logits, 0)[self.tasks.index(task)])

    def factor(self, losses: Mapping[str, float]) -> float:
        return 1.0

    def update(self, step: StepLosses) -> None:
        losses = self._values(step.before).clamp(min=LEAST_LOSS)
        if self._first is None:
            self._first = losses
        norms = self._values(step.gradients)
        logits = self.logits.clone().requires_grad_()
        weighted = len(self.tasks) * torch.softmax(logits, 0) * norms
        relative = losses / self._first
        target = weighted.detach().mean() * (relative / relative.mean()) ** self.alpha
        (gradient,) = torch.autograd.grad((weighted - target).abs().sum(), logits)
        self._step(gradient)

    def state_dict(self) -> dict[str, Tensor]:
        first = {} if self._first is None else {"first": self._first}
        return super().state_dict() | first

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "first"})
        self._first = state.get("first")


class Uncertainty(_Learnt):
    """Homoscedastic uncertainty (Kendall, Gal and Cipolla, CVPR 2018): sum of exp(-s) L / 2 + s / 2."""

    repeats = False

    def __init__(self, tasks: Sequence[str], rate: float = 0.025) -> None:
        super().__init__(tasks, rate, decay=0.0)

    def weight(self, task: str, loss: float) -> float:
        return 0.5 * float(torch.exp(-self.logits[self.tasks.index(task)]))

    def factor(self, losses: Mapping[str, float]) -> float:
        return 1.0

    def update(self, step: StepLosses) -> None:
        self._step(0.5 - 0.5 * torch.exp(-self.logits) * self._values(step.before))


def make_balancer(name: str, weights: Mapping[str, float], tasks: Sequence[str]) -> Balancer:
    """The balancer called `name`, for `tasks`; `weights` are the fixed ones.

    Raises InputError for an unknown name.
    """
    match name:
        case "fixed":
            return FixedWeights({task: weights[task] for task in tasks})
        case "famo":
            return Famo(tasks)
        case "gradnorm":
            return GradNorm(tasks)
        case "uncertainty":
            return Uncertainty(tasks)
    raise InputError(f"balancing {name!r}: expected one of {', '.join(BALANCERS)}")
