"""Runs scenarios on several subjects in turn, block by block, so that a drifting machine cancels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.package import accuracy_rows
from argus_edge.runtime.bench.power import Meters
from argus_edge.runtime.bench.scenarios import Block, Clock, Scenario, Timings, run_block
from argus_edge.runtime.bench.statistics import percentiles
from argus_edge.runtime.bench.summary import summarise
from argus_edge.runtime.session import Runtime
from argus_edge.spec import PackageSpec

__all__ = ["TIME_LINE", "WARM_UP", "Plan", "Subject", "measure"]

WARM_UP: Final = 3  # frames of each subject before anything is measured; one before every block
TIME_LINE: Final = 1000.0  # of the camera's frames that is kept [ms]


@dataclass(frozen=True)
class Plan:
    """How long each scenario lasts, and in how many turns."""

    scenarios: Sequence[Scenario]
    seconds: float  # of each scenario, of each subject
    blocks: int
    rate: float  # of the camera [frames/s]

    @property
    def turns(self) -> int:
        """Blocks of one subject in all scenarios."""
        return len(self.scenarios) * self.blocks


@dataclass
class Subject:
    """One package on one engine in one precision, and what was measured of it so far."""

    name: str
    runtime: Runtime
    images: Sequence[NDArray[np.uint8]]  # (H, W, 3) RGB
    blocks: dict[Scenario, list[Block]] = field(default_factory=dict)
    joules: dict[Scenario, dict[str, float]] = field(default_factory=dict)
    starts: dict[str, Any] = field(default_factory=dict)  # "cold", "warm" -> what measure_start found
    run: Callable[[], Timings] = field(init=False)

    def __post_init__(self) -> None:
        runtime, images = self.runtime, cycle(self.images)
        self.run = lambda: runtime(next(images)).timings

    def to_json(self) -> dict[str, Any]:
        """What it is, and what came of each scenario."""
        runtime = self.runtime
        package = runtime.package
        return {
            "name": self.name,
            "package": {
                "name": package.spec.name,
                "path": str(package.path),
                "sha256": package.sha256,
                "target": package.spec.target,
                "input": package.spec.input.size,
            },
            "engine": {
                "name": runtime.engine,
                "version": runtime.engine_version,
                "why": list(runtime.why),
            },
            "precision": runtime.precision,
            "tasks": list(runtime.tasks),
            "threads": runtime.threads,
            "accuracy": _accuracy(package.spec, runtime.engine, runtime.precision),
            "start": self.starts or None,
            "scenarios": {name: self._scenario(name) for name in self.blocks},
        }

    def _scenario(self, name: Scenario) -> dict[str, Any]:
        blocks = self.blocks[name]
        stages = [timings for block in blocks for timings in block.stages]
        found = {
            "summary": summarise(name, blocks, self.joules.get(name, {})),
            "blocks": [block.to_json() for block in blocks],
            "stages_ms": {
                stage: percentiles(np.array([each[stage] for each in stages if stage in each]))
                for stage in dict.fromkeys(stage for each in stages for stage in each)
            },
        }
        if name == "camera":
            found["time_line"] = [
                {
                    "captured_ms": round(shot.captured, 3),
                    "begun_ms": round(shot.begun, 3),
                    "stages_ms": {stage: round(ms, 3) for stage, ms in shot.stages.items()},
                }
                for shot in blocks[0].shots
                if shot.captured < TIME_LINE
            ]
        return found


def measure(
    plan: Plan, subjects: Sequence[Subject], meters: Meters, clock: Clock, step: Callable[[], None]
) -> None:
    """Fill the subjects. Who is first rotates with the blocks; what is done stays when this breaks off."""
    for subject in subjects:
        for _ in range(WARM_UP):
            subject.run()
    for scenario, turn in _turns(plan, subjects):
        for subject in turn:
            subject.run()  # what another subject has driven out of the caches
            before = meters.joules()
            block = run_block(scenario, subject.run, plan.seconds / plan.blocks, plan.rate, clock)
            spent = subject.joules.setdefault(scenario, {})
            for rail, joules in meters.joules().items():
                spent[rail] = spent.get(rail, 0.0) + joules - before.get(rail, 0.0)
            subject.blocks.setdefault(scenario, []).append(block)
            step()


def _turns(plan: Plan, subjects: Sequence[Subject]) -> Iterator[tuple[Scenario, list[Subject]]]:
    for scenario in plan.scenarios:
        for number in range(plan.blocks):
            first = number % len(subjects)
            yield scenario, [*subjects[first:], *subjects[:first]]


def _accuracy(spec: PackageSpec, engine: str, precision: str) -> dict[str, Any]:
    """Task -> what the package says was measured on this engine in this precision, if it does."""
    return {
        task: {"figure": figure, "value": value}
        for measured, on, task, figure, value in accuracy_rows(spec.report)
        if (measured, on) == (precision, engine)
    }
