"""benchmarks/compare.py: interrupted runs go on, finished ones are not run again, all are compared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from argus_edge.errors import InputError
from argus_edge.train.state import saved_steps
from argus_edge.train.study import study_from

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare.py"
STEPS = 20
TINY: dict[str, Any] = {
    "title": "Two norms",
    "base": {
        "tasks": ["seg"], "precision": "fp32", "scenes": 4, "warmup": 2, "workers": 0, "log_every": 1,
        "phases": [{"steps": STEPS, "size": 64, "batch": 2}],
        "save_every": 1000, "validate_every": 1000, "validate_scenes": 1,
    },
    "runs": {"group": {}, "batch": {"norm": "batch"}},
    "measure": ["seg/mIoU"], "reference": "group", "scenes": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def compare(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("compare")


def run(compare: ModuleType, *arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        compare.main(list(arguments))
    return int(caught.value.code or 0)


@pytest.mark.slow
def test_a_study_that_is_stopped_goes_on_where_it_was(
    compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.json", tmp_path / "out"
    study.write_text(json.dumps(TINY))
    arguments = [str(study), "--out", str(out), "--device", "cpu"]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stderr=subprocess.PIPE, text=True)
    log = out / "group" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 0, message
    assert "stopped in run group" in message
    (step,) = saved_steps(out / "group")
    assert 2 <= step < STEPS
    assert not (out / "batch").exists()
    assert not (out / "results.json").exists()

    assert run(compare, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "results.json").read_text())
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows if "loss/seg" in row] == list(range(1, STEPS + 1))
    runs = found["runs"]
    assert [(name, r["settings"], r["steps"]) for name, r in runs.items()] == [
        ("group", {}, STEPS),
        ("batch", {"norm": "batch"}, STEPS),
    ]
    values = [r["figures"]["seg/mIoU"] for r in runs.values()]
    assert runs["batch"]["share_of_reference"]["seg/mIoU"] == pytest.approx(values[1] / values[0])
    assert runs["group"]["share_of_reference"] == {}
    table = (out / "results.md").read_text()
    assert f"| group | {values[0]:.3f} | {STEPS} |" in table
    curves = ElementTree.fromstring((out / "curves.svg").read_text())
    assert len(curves.findall(".//{*}svg")) == 2  # of the figure and the loss
    assert len([c for c in curves.iter() if c.tag.endswith("polyline")]) == 2 + 2 * 2  # key, panels

    states = {path: path.stat().st_mtime_ns for path in out.rglob("state-*")}
    measured = (out / "batch" / "figures.json").stat().st_mtime_ns
    assert run(compare, *arguments, "--only", "batch", "--json") == 0
    again = json.loads(capsys.readouterr().out)["runs"]
    assert again["batch"]["figures"] == runs["batch"]["figures"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("state-*")} == states
    assert (out / "batch" / "figures.json").stat().st_mtime_ns == measured

    assert run(compare, *arguments, "--steps-scale", "0.5") == 2
    assert "holds a run with other settings for phases" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused_before_anything_runs(
    compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = tmp_path / "tiny.json", tmp_path / "out"
    for changes, options, message in (
        ({"runs": {}}, (), "runs must name at least one run"),
        ({}, ("--only", "layer"), "no run 'layer'; there are group, batch"),
        ({}, ("--scenes", "0"), "--scenes 0: expected at least one"),
        ({"needs_data": "name it with --data maps:PATH"}, (), "learns from a data set: name it with --data"),
        ({}, ("--data", "maps:/nowhere"), "/nowhere"),
        ({"base": TINY["base"] | {"weights": str(tmp_path)}}, (), "not a checkpoint folder"),
    ):
        study.write_text(json.dumps(TINY | changes))
        assert run(compare, str(study), "--out", str(out), *options) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_a_run_brings_those_it_starts_from(compare: ModuleType) -> None:
    runs = {"a": {}, "b": {"init": {"run": "a"}}, "c": {"weights": {"run": "b"}}, "d": {}}
    study = study_from(TINY | {"runs": runs, "reference": []}, "here")
    assert [r.name for r in compare.chosen(study, ["c"])] == ["a", "b", "c"]
    assert [r.name for r in compare.chosen(study, ["d", "a"])] == ["a", "d"]
    assert [r.name for r in compare.chosen(study, None)] == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="no run 'e'"):
        compare.chosen(study, ["e"])


def test_shares_turn_errors_over(compare: ModuleType) -> None:
    study = study_from(TINY, "here")
    first, second = (
        compare.Outcome(run, figures, ("some scenes",), 1.0, ())
        for run, figures in zip(
            study.runs,
            ({"depth/RMSE": 2.0, "seg/mIoU": 0.5}, {"depth/RMSE": 4.0, "seg/mIoU": 0.4}),
            strict=True,
        )
    )
    assert compare.share(second, "depth/RMSE", [first]) == pytest.approx(0.5)
    assert compare.share(second, "seg/mIoU", [first]) == pytest.approx(0.8)
    assert compare.share(first, "seg/mIoU", [first]) is None
    assert compare.share(second, "det/AP", [first]) is None
