"""What an evaluation found, as tables for people or one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from argus_edge.tasks import get_task
from argus_edge.train.data.problems import Problems
from argus_edge.train.evaluation_sets import EvaluationSet
from argus_edge.train.metrics import COUNTS, TaskMetric, is_of_class, is_of_size
from argus_edge.train.validate import Evaluation, time_ratio

if TYPE_CHECKING:
    from rich.console import Console

PROBLEMS: Final = 10  # that are shown


@dataclass(frozen=True)
class Comparison:
    """One precision against the first one, from the same frames."""

    kept: dict[str, dict[str, float]]  # task -> headline figure -> share kept, more is better
    frame_time_ratio: float  # median over the frames


@dataclass(frozen=True)
class Measurement:
    """What the predictors of a model did on one set of images; there is at least one predictor."""

    on: EvaluationSet
    engine: str
    evaluations: Mapping[str, Evaluation]  # precision -> its figures

    @property
    def images(self) -> int:
        """Number of images that were used."""
        return len(self.first.frame_ms)

    @property
    def first(self) -> Evaluation:
        """What the others are compared with."""
        return next(iter(self.evaluations.values()))

    def to_json(self) -> dict[str, Any]:
        """The set, what was left out of it, and precision -> task -> figures."""
        problems = self.on.problems
        return {
            "data": self.on.data,
            "title": self.on.title,
            "split": self.on.split,
            "images": self.images,
            "problems": {
                "images": problems.count("image"),
                "annotations": problems.count("annotation"),
            },
            "metrics": {name: evaluation.metrics for name, evaluation in self.evaluations.items()},
            "protocols": self.first.protocols,
        }


def compare(evaluations: Mapping[str, Evaluation], rows: Mapping[str, TaskMetric]) -> dict[str, Comparison]:
    """Every precision but the first with that one; `rows` tell the headline figures of each task."""
    reference, *others = evaluations
    first = evaluations[reference]
    return {
        name: Comparison(
            kept={t: rows[t].kept(first.metrics[t], m) for t, m in evaluations[name].metrics.items()},
            frame_time_ratio=time_ratio(first, evaluations[name]),
        )
        for name in others
    }


def to_json(
    path: Path, scenes: Mapping[str, int] | None, measurements: Sequence[Measurement]
) -> dict[str, Any]:
    """All of it; `scenes` tells which ones were rendered, if any were."""
    evaluations = _together(measurements)
    reference = next(iter(evaluations))
    rows = {task: each.on.metrics[task] for each in measurements for task in each.on.tasks}
    comparisons = compare(evaluations, rows)
    return {
        "path": str(path),
        "engine": measurements[0].engine,
        "scenes": scenes,
        "data": [measurement.to_json() for measurement in measurements],
        "protocols": evaluations[reference].protocols,
        "precisions": {
            name: {"metrics": evaluation.metrics, "frame_ms": evaluation.percentiles()}
            for name, evaluation in evaluations.items()
        },
        "compared_with": reference if comparisons else None,
        "comparisons": {
            name: {"kept": comparison.kept, "frame_time_ratio": comparison.frame_time_ratio}
            for name, comparison in comparisons.items()
        },
    }


def _together(measurements: Sequence[Measurement]) -> dict[str, Evaluation]:
    """Precision -> its figures on all sets, of which no two measure the same task.

    Times of frames are those on the set with the most tasks.
    """
    fullest = max(measurements, key=lambda each: len(each.on.tasks))
    return {
        name: Evaluation(
            {task: v for each in measurements for task, v in each.evaluations[name].metrics.items()},
            {task: v for each in measurements for task, v in each.evaluations[name].protocols.items()},
            fullest.evaluations[name].frame_ms,
        )
        for name in measurements[0].evaluations
    }


def print_tables(
    console: Console,
    path: Path,
    measurements: Sequence[Measurement],
    per_class: bool = False,
    per_size: bool = False,
) -> None:
    """A table for each set of images, and below it how it was measured and what was left out."""
    for measurement in measurements:
        console.print(f"{path} on {measurement.engine}, {measurement.on.title}")
        _print_table(console, measurement, per_class, per_size)


def _print_table(console: Console, measurement: Measurement, per_class: bool, per_size: bool) -> None:
    from rich.table import Column, Table

    evaluations, rows = measurement.evaluations, measurement.on.metrics
    comparisons = compare(evaluations, rows)
    headings = [*evaluations, *(f"{name} keeps" for name in comparisons)]
    table = Table("task", "figure", *(Column(heading, justify="right") for heading in headings))
    for task in measurement.on.tasks:
        metrics = [evaluation.metrics[task] for evaluation in evaluations.values()]
        for figure in dict.fromkeys(name for each in metrics for name in each):
            if (is_of_class(figure) and not per_class) or (is_of_size(figure) and not per_size):
                continue
            shares = [comparison.kept[task].get(figure) for comparison in comparisons.values()]
            table.add_row(
                get_task(task).title,
                figure,
                *(_cell(figure, each.get(figure)) for each in metrics),
                *("" if share is None else f"{100 * share:.2f} %" for share in shares),
                style="bold" if figure in rows[task].headline else None,
            )
        table.add_section()
    times = [evaluation.percentiles() for evaluation in evaluations.values()]
    for percentile in times[0]:
        table.add_row("frame time [ms]", percentile, *(f"{each[percentile]:.2f}" for each in times))
    console.print(table)
    for task, protocol in measurement.first.protocols.items():
        console.print(f"{get_task(task).title}: {protocol}")
    for name, comparison in comparisons.items():
        console.print(f"frame time of {name} by that of {headings[0]}: {comparison.frame_time_ratio:.3f}")
    problems = measurement.on.problems
    console.print(
        f"{measurement.images} images measured; left out: {problems.count('image')} images, "
        f"{problems.count('annotation')} annotations"
    )


def _cell(figure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return str(int(value)) if figure in COUNTS else f"{value:.4f}"


def problem_lines(title: str, problems: Problems) -> Iterator[str]:
    """The first problems of a data set, and how many more there are."""
    for number, problem in enumerate(problems):
        if number == PROBLEMS:
            yield f"{title}: {len(problems) - PROBLEMS} problems more; --problems FILE writes all of them"
            return
        yield f"{title}: {problem} ({problem.lost} left out)"


def problem_rows(title: str, problems: Problems) -> Iterator[str]:
    """All problems of a data set, each as one line of JSON."""
    for problem in problems:
        row = {"data": title, "path": problem.path, "what": problem.what, "lost": problem.lost}
        yield json.dumps(row) + "\n"
