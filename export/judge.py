"""Judges what was converted, and takes note of it for the report of a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from argus_edge.errors import ParityError
from argus_edge.export import parity
from argus_edge.export.batch import in_batches, one_by_one
from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.export.engines import Graphs, answers_of
from argus_edge.export.gate import Outcome, as_json, hold_gate, missed, missed_by
from argus_edge.export.trial import Trial
from argus_edge.runtime.engines import Array
from argus_edge.runtime.timing import Times, median_ratio
from argus_edge.spec import PRECISIONS, JsonValue, Precision

__all__ = ["GAIN", "Judge", "fastest"]

GAIN: Final = 0.02  # what a lower precision has to gain over a higher one, of its time, to be worth it


@dataclass(frozen=True)
class Judge:
    """Compares graphs of `plan` with torch, holds the gate, and chooses a precision.

    What misses a bound raises ParityError or, with `keep_failed`, is one line of `failures`.
    """

    plan: Plan
    frames: Sequence[Array]  # network inputs (1, H, W, 3) uint8
    reference: Sequence[Answers]  # what torch answers to them
    extra: Sequence[Extra]  # and what pose read of them
    engines: Sequence[str]  # that graphs are judged on
    scratch: Path
    keep_failed: bool = False
    notify: Callable[[str], None] = lambda _: None
    single: Callable[[int], Answers] | None = None  # what torch answers to a frame in single precision
    # Of the report:
    parity: dict[str, JsonValue] = field(default_factory=dict)
    gate: dict[str, JsonValue] = field(default_factory=dict)
    choice: dict[str, JsonValue] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def check_parity(self, precision: Precision, graphs: Graphs) -> None:
        """Compare graphs with torch on every engine, image by image where they take several at once."""
        table: dict[str, JsonValue] = {}
        frames, extra = self.frames, self.extra
        if self.plan.input.batch > 1:
            frames = in_batches(frames, self.plan.input.batch)
            extra = [{} for _ in frames]
        for engine in self.engines:
            self.notify(f"parity of {precision} on {engine}")
            answers, _ = answers_of(self.plan, graphs, precision, engine, frames, extra, self.scratch)
            answers = one_by_one(answers, len(self.frames)) if self.plan.input.batch > 1 else answers
            table[engine], wrong = parity.judge(precision, engine, self.reference, answers, self.single)
            for what in wrong:
                self._fail(what)
        self.parity[precision] = table

    def hold_gate(
        self, trial: Trial, variants: Mapping[Precision, Graphs], give_up: bool
    ) -> dict[Precision, Graphs]:
        """The variants as they keep the gate: int8 with layers returned to float where it must be.

        With `give_up` those that do not keep it are left out, and no failure.
        """
        kept: dict[Precision, Graphs] = {}
        for precision, graphs in variants.items():
            if precision == "fp32":
                kept[precision] = graphs
                continue
            outcome = _gated(trial, precision, graphs, self.notify)
            self.gate[precision] = _told(trial, graphs, outcome)
            if not missed(outcome.after):
                kept[precision] = dict(outcome.graphs)
            elif not give_up:
                self._fail(f"{precision}: {missed_by(outcome.after)}")
                kept[precision] = dict(outcome.graphs)
        return kept

    def choose(self, trial: Trial, variants: Mapping[Precision, Graphs]) -> dict[Precision, Graphs]:
        """fp32, and the fastest of those that keep the gate."""
        self.notify(f"frame times on {trial.engines[0]}")
        times = trial.frame_times(variants)
        chosen = fastest(times)
        self.choice["precision"], self.choice["engine"] = chosen, trial.engines[0]
        self.choice["frame_ms"] = {p: round(float(np.median(t)), 2) for p, t in times.items()}
        self.choice["by_fp32"] = {p: round(median_ratio(t, times["fp32"]), 3) for p, t in times.items()}
        return {p: graphs for p, graphs in variants.items() if p in ("fp32", chosen)}

    def _fail(self, what: str) -> None:
        if not self.keep_failed:
            raise ParityError(f"{what}; no package was written")
        self.failures.append(what)


def fastest(times: Mapping[Precision, Times]) -> Precision:
    """The precision to take. `times` has fp32 and those that lose no more than they may.

    A lower one must be faster by `GAIN` than the one chosen so far, or it costs accuracy for nothing.
    """
    chosen: Precision = "fp32"
    for precision in PRECISIONS:
        if precision in times and median_ratio(times[precision], times[chosen]) < 1 - GAIN:
            chosen = precision
    return chosen


def _gated(trial: Trial, precision: Precision, graphs: Graphs, notify: Callable[[str], None]) -> Outcome:
    """int8 with layers returned to float until the gate holds; fp16 as it is."""
    if precision != "int8":
        losses = trial.measure(precision, graphs)
        return Outcome(graphs, losses, losses)
    return hold_gate(
        graphs,
        trial.fp32,
        lambda changed: trial.measure(precision, changed),
        lambda tasks: trial.rank(graphs, tasks),
        notify,
    )


def _told(trial: Trial, graphs: Graphs, outcome: Outcome) -> JsonValue:
    """What the report says of one precision."""
    row: dict[str, JsonValue] = {"tasks": as_json(outcome.after)}
    if outcome.returned:
        row["before"] = as_json(outcome.before)
        row["returned_to_float"] = [f"{each.component}: {each.name}" for each in outcome.returned]
        ratios: dict[str, JsonValue] = {}
        for component in dict.fromkeys(each.component for each in outcome.returned):
            times = trial.component_times({"before": graphs, "after": outcome.graphs}, component)
            ratios[component] = round(median_ratio(times["after"], times["before"]), 3)
        row["time_ratio"] = ratios
    return row
