"""argus-train as a process that is killed or asked to stop: resumed, it goes the way of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from argus_edge.train.commands.train import main
from argus_edge.train.state import saved_steps

pytestmark = pytest.mark.slow

STEPS = 12
RECIPE = {
    "tasks": ["seg"], "precision": "fp32", "scenes": 6, "warmup": 2, "workers": 0, "log_every": 1,
    "phases": [{"steps": STEPS, "size": 64, "batch": 2}],
    "save_every": 3, "validate_every": STEPS, "validate_scenes": 1,
}  # fmt: skip

# The command, which gets a signal when it is about to take a step.
SIGNALLED = """
import os, sys
from argus_edge.train.commands.train import main
from argus_edge.train.loop import Trainer

step, number, advance = int(sys.argv[1]), int(sys.argv[2]), Trainer.advance

def signalled(self, batches):
    if self.step == step:
        os.kill(os.getpid(), number)
    return advance(self, batches)

Trainer.advance = signalled
main(sys.argv[3:])
"""


def losses(out: Path) -> dict[int, float]:
    """Step -> loss, as logged."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    told = [(row["step"], row["loss/seg"]) for row in rows if "loss/seg" in row]
    assert [step for step, _ in told] == list(range(1, len(told) + 1))
    return dict(told)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    return ["--recipe", str(folder / "recipe.json"), "--cache", str(folder / "scenes"), "--device", "cpu"]


def train(*arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0


@pytest.fixture(scope="module")
def uninterrupted(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(*arguments, "--out", str(out))
    found = losses(out)
    assert len(found) == STEPS
    return found


def signalled(step: int, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SIGNALLED, str(step), str(int(number)), *arguments]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=300, check=False)


def test_a_killed_run_resumes_to_the_same_losses(
    arguments: list[str], uninterrupted: dict[int, float], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ended = signalled(8, signal.SIGKILL, *arguments, "--out", str(out))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert saved_steps(out) == [3, 6]
    assert len(losses(out)) == 8
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "loss/s')  # a line that the kill has torn
    train(*arguments, "--out", str(out), "--resume")
    resumed = losses(out)
    assert resumed.keys() == uninterrupted.keys()
    assert max(abs(resumed[step] - loss) for step, loss in uninterrupted.items()) <= 1e-6


def test_a_run_that_is_asked_to_stop_saves_and_resumes(
    arguments: list[str], uninterrupted: dict[int, float], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ended = signalled(4, signal.SIGTERM, *arguments, "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert "stopped after step 5; --resume continues there" in ended.stderr
    assert saved_steps(out) == [3, 5]
    assert not (out / "checkpoint").exists()
    train(*arguments, "--out", str(out), "--resume")
    assert losses(out) == pytest.approx(uninterrupted, abs=1e-6)
    assert (out / "checkpoint" / "model.json").exists()
