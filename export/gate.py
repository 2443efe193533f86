"""The gate: no task may lose more than it is allowed, and layers are returned to float until none does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from argus_edge.export.sensitivity import Layer, without
from argus_edge.spec import JsonValue

__all__ = ["Loss", "Outcome", "as_json", "hold_gate", "missed", "missed_by"]

Graphs = Mapping[str, onnx.ModelProto]  # component -> graph


@dataclass(frozen=True)
class Loss:
    """What one task lost in a lower precision, on the engine where it lost most."""

    loss: float  # of the figure, as a share of it in fp32; without labels: the disagreement itself
    limit: float
    figure: str
    engine: str
    fp32: float | None = None  # the figure; None where there are no labels to measure it with
    value: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within the limit; what is no number is not."""
        return self.loss <= self.limit


@dataclass(frozen=True)
class Outcome:
    """The graphs that came out, and what each task lost before and after layers were returned to float."""

    graphs: Graphs
    before: Mapping[str, Loss]
    after: Mapping[str, Loss]
    returned: tuple[Layer, ...] = ()


def missed(losses: Mapping[str, Loss]) -> list[str]:
    """The tasks that lost more than they may."""
    return [task for task, loss in losses.items() if not loss.holds]


def missed_by(losses: Mapping[str, Loss]) -> str:
    """Which tasks lost too much, and how much, for people."""
    return "; ".join(f"{task} {_told(losses[task])}" for task in missed(losses))


def hold_gate(
    quantised: Graphs,
    original: Graphs,
    measure: Callable[[Graphs], Mapping[str, Loss]],
    rank: Callable[[Sequence[str]], Sequence[Layer]],
    notify: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Return layers to float, the worst first, until no task loses too much or none is left.

    Their number is doubled until the gate holds, and then halved between the last two numbers, so that N
    layers are measured about 2 log2 N times.

    Args:
        quantised: graphs with int8 layers, by component.
        original: the same in float.
        measure: what each task loses with some graphs.
        rank: of the tasks that lose too much, the int8 layers that they depend on, the costliest first.
        notify: is told what begins.
    """
    before = measure(quantised)
    if not missed(before):
        return Outcome(quantised, before, before)
    ranked = rank(missed(before))

    def attempt(count: int) -> Outcome:
        notify(f"gate: {count} of {len(ranked)} layers in float")
        graphs = without(quantised, original, ranked[:count])
        return Outcome(graphs, before, measure(graphs), tuple(ranked[:count]))

    few, many = 0, min(1, len(ranked))
    found = attempt(many)
    while missed(found.after) and many < len(ranked):
        few, many = many, min(2 * many, len(ranked))
        found = attempt(many)
    while not missed(found.after) and many - few > 1:
        middle = (few + many) // 2
        tried = attempt(middle)
        if missed(tried.after):
            few = middle
        else:
            many, found = middle, tried
    return found


def as_json(losses: Mapping[str, Loss]) -> JsonValue:
    """Task -> its row of the report."""
    rows: dict[str, JsonValue] = {}
    for task, loss in losses.items():
        row: dict[str, JsonValue] = {"figure": loss.figure, "engine": loss.engine, "holds": loss.holds}
        for name, number in (
            ("fp32", loss.fp32), ("value", loss.value), ("loss", loss.loss), ("limit", loss.limit),
        ):  # fmt: skip
            if number is not None:
                row[name] = float(f"{number:.4g}") if math.isfinite(number) else None
        rows[task] = row
    return rows


def _told(loss: Loss) -> str:
    if loss.fp32 is None or loss.value is None:
        return (
            f"({loss.figure}) differs from fp32 by {loss.loss:.3g} on {loss.engine}, at most {loss.limit:.3g}"
        )
    return (
        f"loses {100 * loss.loss:.2f} % of its {loss.figure} on {loss.engine} ({loss.fp32:.4f} to "
        f"{loss.value:.4f}), at most {100 * loss.limit:.3g} %"
    )
