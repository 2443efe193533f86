"""The result of a run as a JSON object: put together, written, read, and compared with another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import InputError
from argus_edge.runtime.bench.page import render
from argus_edge.runtime.bench.summary import compare, noises

__all__ = ["FORMAT", "joined", "read_result", "with_findings", "write_folder"]

FORMAT: Final = "argus-bench 1"
_KEYS: Final = frozenset(
    {
        "format", "complete", "command", "before", "after", "versions", "settings", "energy_missing",
        "not_measured", "subjects", "noise", "comparisons",
    }
)  # fmt: skip


def with_findings(result: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A result of one run with what is found in it: noise, and every two subjects of it compared."""
    subjects = [subject for subject in result["subjects"] if subject["scenarios"]]
    comparisons = [
        {
            "subject": second["name"],
            "reference": first["name"],
            "scenarios": compare(second, first, paired=True, seed=seed),
            "notes": [],
        }
        for first, second in combinations(subjects, 2)
    ]
    found = {"noise": noises({"subjects": subjects}), "comparisons": comparisons}
    return {**result, "subjects": subjects, **found}


def read_result(path: Path) -> dict[str, Any]:
    """Read a file that `--json` or `--out` wrote. Raises InputError for any other."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: expected a result of argus-bench, got no JSON: {error}") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT or not result.keys() >= _KEYS:
        raise InputError(f"{path}: expected a result of argus-bench of the form {FORMAT!r}; measure again")
    return result


def joined(results: Sequence[Mapping[str, Any]], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Two results as one: subjects of the second against those of the first that are of the same kind.

    They were not measured in turn, so a machine that changed in between looks like a difference; which is
    said. Raises InputError where nothing in them can be compared.
    """
    first, second = results
    notes = ["measured at different times: what changed on the machine in between is in the difference"]
    notes += [
        f"{what} differ: {first[key]!r} and {second[key]!r}"
        for what, key in (("versions", "versions"), ("settings", "settings"))
        if first[key] != second[key]
    ]
    cpus = [result["before"]["cpu"] for result in results]
    if cpus[0] != cpus[1]:
        notes.append(f"machines differ: {cpus[0]} and {cpus[1]}")
    pairs = _pairs(first["subjects"], second["subjects"])
    if not pairs:
        raise InputError(f"{names[0]} and {names[1]}: no precision and engine is in both; nothing to compare")
    comparisons = [
        {
            "subject": f"{names[1]} {theirs['name']}",
            "reference": f"{names[0]} {ours['name']}",
            "scenarios": compare(theirs, ours, paired=False, seed=seed),
            "notes": [],
        }
        for ours, theirs in pairs
    ]
    comparisons[-1]["notes"] = notes
    subjects = [
        {**subject, "name": f"{name} {subject['name']}"}
        for name, result in zip(names, results, strict=True)
        for subject in result["subjects"]
    ]
    return {
        **first,
        "complete": all(result["complete"] for result in results),
        "command": "\n".join(result["command"] for result in results),
        "not_measured": [line for result in results for line in result["not_measured"]],
        "noise": [line for result in results for line in result["noise"]],
        "subjects": subjects,
        "comparisons": comparisons,
    }


def _pairs(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Those of the same engine and precision; where each has only one, these two whatever they are."""
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    return [(a, b) for a in first for b in second if _kind(a) == _kind(b)]


def _kind(subject: Mapping[str, Any]) -> tuple[str, str]:
    return subject["engine"]["name"], subject["precision"]


def write_folder(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json and report.html into `folder`, made if missing. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, allow_nan=False) + "\n"
        (folder / "result.json").write_text(text, encoding="utf-8")
        (folder / "report.html").write_text(render(result), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written to: {error.strerror or error}") from error
