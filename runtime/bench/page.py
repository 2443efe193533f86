"""report.html of a result: one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from argus_edge.errors import shown
from argus_edge.runtime import html
from argus_edge.runtime.bench.drawings import scatter, time_line
from argus_edge.runtime.bench.measure import TIME_LINE
from argus_edge.runtime.bench.table import Table, comparison_lines, facts, number, stage_table, tables
from argus_edge.runtime.charts import histogram, in_short

__all__ = ["render"]

BINS: Final = 40


def render(result: Mapping[str, Any]) -> str:
    """The page. All that comes from outside is escaped."""
    subjects = result["subjects"]
    state = "complete" if result["complete"] else "PARTIAL: the run was interrupted"
    warnings = "".join(f'<p class="bad">{html.text(line)}</p>' for line in _warnings(result))
    compared = "".join(f"<p>{html.text(line)}</p>" for line in comparison_lines(result))
    sections = (
        ("To be careful about", warnings),
        ("Comparison", compared),
        ("Latency and throughput", "".join(map(_table, tables(result)))),
        ("Latency histograms", _histograms(subjects)),
        ("The first second of the camera", _time_lines(result)),
        ("Accuracy against latency", _accuracy(subjects)),
        ("Stages", "".join(_table(stage_table(s, name)) for s in subjects for name in s["scenarios"])),
        ("Machine and method", html.facts(facts(result).items())),
        ("Command", f"<pre>{html.text(result['command'])}</pre>"),
    )
    return html.page("argus-bench", f"{', '.join(s['name'] for s in subjects)}; {state}", sections)


def _warnings(result: Mapping[str, Any]) -> list[str]:
    missing = [f"not measured: {line}" for line in result["not_measured"]]
    return [*result["noise"], *missing]


def _table(table: Table) -> str:
    return f"<h3>{html.text(table.title)}</h3>{html.table(table.head, table.rows)}"


def _histograms(subjects: Sequence[Mapping[str, Any]]) -> str:
    drawn = []
    for subject in subjects:
        for scenario, found in subject["scenarios"].items():
            if scenario == "Offline":
                continue
            for kind, key in (("latency", "latency_ms"), ("age of frames", "age_ms")):
                times = [ms for block in found["blocks"] for ms in block[key]]
                if times:
                    counts, edges = np.histogram(times, BINS)
                    summary = found["summary"][key]
                    marks = [summary[p] for p in ("p50", "p99") if summary[p] is not None]
                    note = f"{len(times)}, {in_short(min(times))} to {in_short(max(times))} ms"
                    title = shown(f"{subject['name']}, {scenario}, {kind} [ms]")
                    span = (float(edges[0]), float(edges[-1]))
                    drawn.append(histogram(title, note, span, counts.tolist(), marks))
    note = '<p class="note">Counts on a logarithmic scale; lines at p50 and p99 where there are enough.</p>'
    return (note + html.grid("charts", drawn)) if drawn else ""


def _time_lines(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    span = min(TIME_LINE, 1e3 * settings["seconds"] / settings["blocks"])  # the first block, if it is shorter
    drawn = [
        time_line(shown(subject["name"]), settings["rate"], span, camera["time_line"])
        for subject in result["subjects"]
        if (camera := subject["scenarios"].get("camera"))
    ]
    note = (
        '<p class="note">Frames of the camera on top, in the colour of errors those that nobody looked at; '
        "then what each stage was busy with, a decoder together with the making of its result.</p>"
    )
    return (note + "".join(drawn)) if drawn else ""


def _accuracy(subjects: Sequence[Mapping[str, Any]]) -> str:
    points: dict[str, dict[str, tuple[float, float]]] = {}
    rows = []
    for subject in subjects:
        stream = subject["scenarios"].get("SingleStream")
        for task, found in subject["accuracy"].items():
            rows.append([subject["name"], task, found["figure"], number(found["value"], 4)])
            if stream is not None:
                title = f"{task}: {found['figure']}, by p50 of whole frames [ms]"
                name = f"{subject['precision']} {subject['engine']['name']}"
                ms = stream["summary"]["latency_ms"]["p50"]
                if ms is not None:
                    points.setdefault(title, {})[name] = (ms, found["value"])
    if not rows:
        return '<p class="note">The packages tell no accuracy on these engines; export measures it.</p>'
    drawn = html.grid("charts", [scatter(shown(title), each) for title, each in points.items()])
    return drawn + html.table(["package", "task", "figure", "value, by the package"], rows)
