"""Importing the package costs next to nothing and brings no heavy library along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMIT = 0.3  # [s] of CPU time, which other work on the machine does not change
HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "nncf", "scipy", "matplotlib"}

PROGRAM = """
import json, sys, time
start = time.process_time()
import argus_edge
argus_edge.Runtime
print(json.dumps({"seconds": time.process_time() - start, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Several fresh interpreters; all but the first find compiled bytecode, as after an installation."""
    cache = tmp_path_factory.mktemp("bytecode")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(cache)
    command = [sys.executable, "-c", PROGRAM]
    return [json.loads(_output(command, cache, environment)) for _ in range(7)]


def _output(command: list[str], folder: Path, environment: dict[str, str]) -> bytes:
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True).stdout


def test_no_heavy_library_is_imported(runs: list[dict[str, Any]]) -> None:
    assert HEAVY.isdisjoint(runs[0]["modules"])


def test_import_is_quick(runs: list[dict[str, Any]]) -> None:
    seconds = min(run["seconds"] for run in runs)
    assert seconds <= LIMIT, f"import argus_edge; argus_edge.Runtime took {seconds:.2f} s of CPU at best"
