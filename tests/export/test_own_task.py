"""A task from outside on its whole way: its file, a checkpoint, a package, and results without the file."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from argus_edge import Runtime
from argus_edge.errors import CheckpointError
from argus_edge.export.commands import export
from argus_edge.export.parity import FP32_BOUND
from argus_edge.results import LabelMap, Result
from argus_edge.tasks import all_tasks
from argus_edge.train.commands import evaluate, train
from argus_edge.train.data.scenes import render
from argus_edge.train.model.checkpoint import load_checkpoint
from argus_edge.train.predict import TorchPredictor

EXAMPLE = Path(__file__).parents[2] / "examples" / "near_ground.py"
SIZE = 64


def printed(command: Callable[[list[str]], int], *arguments: object) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert command([str(argument) for argument in arguments]) == 0
    return text.getvalue()


def labels_of(result: Result) -> LabelMap:
    assert isinstance(result, LabelMap)
    return result


@pytest.fixture
def stage2(checkpoint: Path, forget_own_tasks: Callable[[], None], tmp_path: Path) -> Path:
    """The checkpoint of two steps of the example's decoder, beside those of `checkpoint`."""
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"validate_scenes": 2, "workers": 0, "precision": "fp32", "scenes": 2}))
    given = ["--recipe", str(recipe), "--task-file", str(EXAMPLE), "--tasks", "ground"]
    start = ["--init", str(checkpoint), "--freeze", "backbone+adapter", "--keep"]
    with pytest.raises(SystemExit) as ended:
        train.main([*given, *start, "--phases", f"2:{SIZE}:2", "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    return tmp_path / "run" / "checkpoint"


@pytest.mark.slow
def test_the_example_trains_exports_and_runs_without_its_file(
    stage2: Path, forget_own_tasks: Callable[[], None], tmp_path: Path
) -> None:
    image = np.ascontiguousarray(render(7, (90, 120)).image)
    out = tmp_path / "ground.argus"
    model, info = load_checkpoint(stage2)
    assert info.tasks == ("ground", "det", "seg", "depth")
    expected = labels_of(TorchPredictor(model, info, ["ground"])(image)["ground"])
    assert "ground.labels" in printed(export.run, stage2, "--tasks", "ground", "--out", out)
    measured = json.loads(printed(evaluate.run, out, "--scenes", 2, "--json"))
    assert 0 <= measured["precisions"]["fp32"]["metrics"]["ground"]["mIoU"] <= 1

    forget_own_tasks()
    with pytest.raises(CheckpointError, match=r"unknown task 'ground'; .* trained with 'near_ground\.py'"):
        export.run([str(stage2), "--tasks", "ground", "--out", str(tmp_path / "again.argus")])
    with Runtime(out) as runtime:
        errors, found = runtime.golden_errors(), labels_of(runtime(image)["ground"])
    assert "ground" not in all_tasks()
    assert errors is not None
    assert max(errors.values()) <= FP32_BOUND
    assert found.class_names == ("elsewhere", "near ground", "far ground")
    assert np.mean(found.labels != expected.labels) < 1e-3
