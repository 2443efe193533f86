"""benchmarks/gpu: every part runs, in tiny sizes; without a CUDA device it says what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
PARTS = {"copy", "product", "GroupNorm", "deformable", "frames", "forward", "training", "profile"}


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton, which torch's wheels for CUDA bring, is absent")
    file = tmp_path / "gpu.json"
    done = started("--smoke", "--json", str(file))
    assert done.returncode == 0, done.stderr
    told = json.loads(file.read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == told
    rows = told["rows"]
    assert {row["part"] for row in rows} == PARTS
    assert all(not row["note"] and row["what"] for row in rows)
    errors = {(row["part"], row["what"]): row["error"] for row in rows if "error" in row}
    assert len(errors) == 15
    assert max(errors.values()) <= 2e-3, errors


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_what_it_needs() -> None:
    done = started()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "torch.cuda.is_available()" in done.stderr
