"""What was measured, as tables for a terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argus_edge.runtime.bench.statistics import PERCENTILES

__all__ = ["Table", "aligned", "comparison_lines", "facts", "tables"]


@dataclass(frozen=True)
class Table:
    """A heading, the names of the columns, and rows of text; the first column is text, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def aligned(table: Table) -> str:
    """The table for a terminal."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    cells = (
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )
    return "\n".join([table.title, *(f"  {line}".rstrip() for line in cells)])


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Every table of a result: a scenario each, then the stages, starts and energy; empty ones left out."""
    subjects = result["subjects"]
    scenarios = dict.fromkeys(name for subject in subjects for name in subject["scenarios"])
    found = [_scenario(name, [s for s in subjects if name in s["scenarios"]]) for name in scenarios]
    found += [_energy(subjects), _starts(subjects)]
    return [table for table in found if table.rows]


def stage_table(subject: Mapping[str, Any], scenario: str) -> Table:
    """The stages of a subject in one scenario."""
    stages = subject["scenarios"][scenario]["stages_ms"]
    rows = [[stage, *(number(times[p]) for p in PERCENTILES)] for stage, times in stages.items()]
    return Table(f"{subject['name']}, {scenario}", ["stage [ms]", *PERCENTILES], rows)


def number(value: float | None, digits: int = 2) -> str:
    """A number, or "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _scenario(name: str, subjects: Sequence[Mapping[str, Any]]) -> Table:
    if name == "Offline":
        title = "Offline: all frames at once, one after another"
        return Table(title, ["", "frames", "frames/s"], [_offline(subject) for subject in subjects])
    tail = subjects[0]["scenarios"][name]["summary"]["early_stopping"]
    wanted = f"{tail['percentile']} at most"
    head = ["latency [ms]", "queries", *PERCENTILES, wanted, "jitter"]
    title = {
        "SingleStream": "SingleStream: one frame after another, judged by p90",
        "MultiStream": "MultiStream: queries of eight frames, judged by p99",
        "camera": "camera: a frame every period, the newest wins, judged by p99",
    }[name]
    rows = [_latencies(subject["name"], subject["scenarios"][name]["summary"]) for subject in subjects]
    if name == "camera":
        head += ["dropped", *(f"age {p}" for p in PERCENTILES)]
        for row, subject in zip(rows, subjects, strict=True):
            summary = subject["scenarios"][name]["summary"]
            row += [f"{summary['dropped']} of {summary['offered']}"]
            row += [number(summary["age_ms"][p]) for p in PERCENTILES]
    return Table(title, head, rows)


def _latencies(name: str, summary: Mapping[str, Any]) -> list[str]:
    tail = summary["early_stopping"]
    bound = number(tail["ms"]) if tail["ms"] is not None else f"(needs {tail['queries_needed']})"
    times = [number(summary["latency_ms"][p]) for p in PERCENTILES]
    return [name, str(summary["queries"]), *times, bound, number(summary["jitter_ms"])]


def _offline(subject: Mapping[str, Any]) -> list[str]:
    summary = subject["scenarios"]["Offline"]["summary"]
    return [subject["name"], str(summary["frames"]), number(summary["frames_per_second"])]


def _energy(subjects: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [f"{subject['name']}, {scenario}", rail, number(value, 3)]
        for subject in subjects
        for scenario, found in subject["scenarios"].items()
        for rail, value in (found["summary"]["joules_per_frame"] or {}).items()
    ]
    return Table("Energy, of the whole rail", ["", "rail", "J per frame"], rows)


def _starts(subjects: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for subject in subjects:
        for kind, start in (subject["start"] or {}).items():
            told = kind if kind == "warm" or start["evicted"] else "cold (files stayed in memory)"
            times = [
                number(start[key], 0) for key in ("ready_ms", "open_ms", "first_ms", "total_ms", "peak_mib")
            ]
            rows.append([f"{subject['name']}, {told}", *times])
    head = ["start [ms]", "process", "open", "first frame", "all", "peak [MiB]"]
    return Table("Start of a fresh process", head, rows)


def comparison_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each scenario of each comparison."""
    for each in result["comparisons"]:
        for scenario, found in each["scenarios"].items():
            change = 100 * (found["ratio"] - 1)
            told = f"{abs(change):.1f} % {'slower' if change > 0 else 'faster'}"
            between = f"ratio {found['ratio']:.3f}, 95 % between {found['low']:.3f} and {found['high']:.3f}"
            verdict = told if found["tells"] else "no difference that can be told"
            yield f"{scenario}: {each['subject']} against {each['reference']}: {verdict} ({between})"
        yield from each["notes"]


def facts(result: Mapping[str, Any]) -> dict[str, str]:
    """What -> value: where, with what and how it was measured."""
    before, after, settings = result["before"], result["after"], result["settings"]
    return {
        "machine": f"{before['cpu']}, {before['cores']} cores",
        "instructions": ", ".join(before["features"]) or "unknown",
        "system": f"{before['system']}, Python {before['python']}",
        "memory": "unknown" if before["memory_mib"] is None else f"{before['memory_mib']} MiB",
        "clocks": f"{_clocks(before['mhz'])} before, {_clocks(after['mhz'])} after",
        "governor": ", ".join(before["governors"] or ()) or "unknown",
        "GPU": "; ".join(before["gpus"] or ()) or "no nvidia-smi",
        "battery": "; ".join(f"{b['status']}, {b['percent']} %" for b in before["batteries"] or ()) or "none",
        "load": f"{before['load']} before, {after['load']} after",
        "energy": "; ".join(result["energy_missing"]) or "measured",
        "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "packages": "; ".join(
            dict.fromkeys(f"{s['package']['path']} {s['package']['sha256']}" for s in result["subjects"])
        ),
        "engines": "; ".join(
            dict.fromkeys(f"{s['engine']['name']} {s['engine']['version']}" for s in result["subjects"])
        ),
        "passed over": "; ".join(
            dict.fromkeys(line for s in result["subjects"] for line in s["engine"]["why"])
        )
        or "nothing",
        "tasks": ", ".join(dict.fromkeys(task for s in result["subjects"] for task in s["tasks"])),
        "frames": f"{settings['frames']['count']} of {settings['frames']['what']}, "
        f"{', '.join(settings['frames']['sizes'])}, sha256 {settings['frames']['sha256'][:12]}...",
        "method": f"{settings['seconds']:g} s of each scenario in {settings['blocks']} blocks, in turn; "
        f"camera at {settings['rate']:g} Hz; seed {settings['seed']}; CPUs {settings['cpus'] or 'unknown'}",
    }


def _clocks(mhz: Sequence[float] | None) -> str:
    return f"{min(mhz):.0f} to {max(mhz):.0f} MHz" if mhz else "unknown"
