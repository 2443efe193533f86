"""report.html of a training run: one file that needs no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from argus_edge.errors import TrainingError, shown
from argus_edge.runtime.charts import Points, chart
from argus_edge.runtime.html import facts, grid, page, text
from argus_edge.tasks import all_tasks
from argus_edge.train.metrics import COUNTS, TaskMetric, is_of_class
from argus_edge.train.model.checkpoint import CheckpointInfo, write_atomically
from argus_edge.train.run_log import Row
from argus_edge.train.samples import Sample

PICTURES: Final = 3_000_000  # bytes that all pictures may take, in base64
FAULTS: Final = 20  # that are listed


@dataclass(frozen=True)
class RunReport:
    """What is known of a run."""

    info: CheckpointInfo
    step: int
    steps: int
    machine: Mapping[str, str]  # what -> value
    data: Sequence[str]  # titles of the sets that were validated on
    rows: Sequence[Row]  # of the log
    metrics: Mapping[str, TaskMetric]  # of the tasks that are measured
    protocols: Mapping[str, str]  # task -> how
    samples: Sequence[Sample]


def write_report(path: Path, report: RunReport) -> None:
    """Write the page. Raises TrainingError where that fails."""
    try:
        write_atomically(path, render(report).encode("utf-8"))
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); make room and resume: states are whole"
        ) from error


def render(report: RunReport) -> str:
    """The page. All that comes from outside is escaped."""
    title = f"{report.info.variant}: {', '.join(report.info.tasks)}"
    sections = (
        ("Skipped steps", _faults(report.rows)),
        ("Validation", _metric_charts(report)),
        ("Figures of the last validation", _tables(report)),
        ("Samples", _pictures(report.samples)),
        ("Training", _loss_charts(report)),
        ("Run", _run(report)),
    )
    return page(title, _state(report), sections)


def _title(task: str) -> str:
    rows = all_tasks()
    return rows[task].title if task in rows else task


def _state(report: RunReport) -> str:
    state = "finished" if report.step == report.steps else f"step {report.step} of {report.steps}"
    validations = [row for row in report.rows if "score" in row]
    if not validations:
        return f"{state}; not validated yet"
    last, best = validations[-1], max(validations, key=lambda row: float(row["score"]))
    return (
        f"{state}; last validated after step {last['step']} (score {last['score']:.4f}), "
        f"best after step {best['step']} ({best['score']:.4f})"
    )


def _points(rows: Sequence[Row], name: str) -> Points:
    return [(row["step"], row[name]) for row in rows if name in row]


def _loss_charts(report: RunReport) -> str:
    names = dict.fromkeys(name for row in report.rows for name in row if name.startswith("loss/"))
    for name in [name.replace("loss/", "weight/", 1) for name in names]:
        if len({value for _, value in _points(report.rows, name)}) > 1:  # a balancer's
            names[name] = None
    rest = ("learning_rate", "gradient_norm", "images_per_second")
    return _charts(report, {shown(name).replace("_", " "): name for name in (*names, *rest)})


def _metric_charts(report: RunReport) -> str:
    titles = {"score, by which the best is chosen": "score"}
    for task, metric in report.metrics.items():
        for figure in metric.headline:
            better = " (less is better)" if figure in metric.errors else ""
            titles[f"{_title(task)}: {figure}{better}"] = f"{task}/{figure}"
    return _charts(report, titles)


def _charts(report: RunReport, titles: Mapping[str, str]) -> str:
    """Title -> name of a number in the log, each as a chart."""
    drawn = [chart(title, _points(report.rows, name), report.steps) for title, name in titles.items()]
    return grid("charts", drawn)


def _tables(report: RunReport) -> str:
    validations = [row for row in report.rows if "score" in row]
    if not validations:
        return ""
    on = "".join(f"<p>On {text(title)}</p>" for title in report.data)
    return on + "".join(_table(report, task, validations) for task in report.metrics)


def _table(report: RunReport, task: str, validations: Sequence[Row]) -> str:
    """The figures of a task, those of single classes folded."""
    metric = report.metrics[task]
    names = [name.removeprefix(f"{task}/") for name in validations[-1] if name.startswith(f"{task}/")]
    whole = [_line(task, name, metric, validations) for name in names if not is_of_class(name)]
    single = [_line(task, name, metric, validations) for name in names if is_of_class(name)]
    head = (
        '<tr><th>figure</th><th class="n">last</th><th class="n">best</th><th class="n">after step</th></tr>'
    )
    folded = (
        f'<details><summary>{len(single)} figures of single classes</summary><div class="wide"><table>{head}'
        f"{''.join(single)}</table></div></details>"
    )
    return (
        f"<h3>{text(_title(task))}</h3>"
        f'<div class="wide"><table>{head}{"".join(whole)}</table></div>{folded if single else ""}'
        f'<p class="note">{text(report.protocols.get(task, ""))}</p>'
    )


def _line(task: str, figure: str, metric: TaskMetric, validations: Sequence[Row]) -> str:
    points = _points(validations, f"{task}/{figure}")
    last, cells = points[-1][1], ("", "")
    if figure in COUNTS:
        value = f"{int(last)}"
    else:
        step, best = (min if figure in metric.errors else max)(points, key=lambda point: point[1])
        value, cells = f"{last:.4f}", (f"{best:.4f}", f"{int(step)}")
    row = ' class="head"' if figure in metric.headline else ""
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in (value, *cells))
    return f"<tr{row}><td>{text(figure)}</td>{numbers}</tr>"


def _pictures(samples: Sequence[Sample]) -> str:
    """Truth and prediction side by side; fewer of each task where all would be too large."""
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task, []).append(sample)
    count = max((len(each) for each in by_task.values()), default=0)
    while sum(len(s.jpeg) * 4 // 3 for each in by_task.values() for s in each[:count]) > PICTURES:
        count -= 1
    if not count:
        return ""
    groups = (
        f"<h3>{text(_title(task))}</h3>{grid('pictures', [_picture(s) for s in each[:count]])}"
        for task, each in by_task.items()
    )
    return '<p class="note">Truth on the left, prediction on the right.</p>' + "".join(groups)


def _picture(sample: Sample) -> str:
    data = base64.b64encode(sample.jpeg).decode("ascii")
    alt = text(f"{_title(sample.task)} of {sample.image}")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{sample.width}" height="{sample.height}" '
        f'alt="{alt}"><figcaption>{text(sample.image)}</figcaption></figure>'
    )


def _faults(rows: Sequence[Row]) -> str:
    faults = [text(row["fault"]) for row in rows if "fault" in row]
    more = f"<p>and {len(faults) - FAULTS} before them</p>" if len(faults) > FAULTS else ""
    return "".join(f'<p class="bad">{fault}</p>' for fault in faults[-FAULTS:]) + more


def _run(report: RunReport) -> str:
    recipe = "\n".join(text(line) for line in _recipe_lines(report.info.recipe))
    return (
        f"<p>Command</p><pre>{text(report.info.command)}</pre><p>Machine</p>{facts(report.machine.items())}"
        f"<p>Recipe</p><pre>{recipe}</pre>"
    )


def _recipe_lines(recipe: Mapping[str, Any]) -> Iterator[str]:
    yield from yaml.safe_dump(_plain(recipe), sort_keys=False, default_flow_style=None).splitlines()


def _plain(value: Any) -> Any:
    """With lists in place of tuples, which YAML would tag."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
