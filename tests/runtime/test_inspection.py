"""argus-inspect: what a package holds, and that it says so only of a sound one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage
from argus_edge.runtime.commands.inspection import describe, run


def test_everything_is_told(tiny_package: ModelPackage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tiny_package.path)]) == 0
    page = capsys.readouterr().out
    assert tiny_package.sha256 in page
    for task, entry in tiny_package.spec.tasks.items():
        assert f"  {task} " in page
        assert entry.component in page
    for component in tiny_package.spec.components.values():
        for tensor in (*component.inputs, *component.outputs):
            assert tensor.name in page
            assert str(tensor.shape) in page
    for name in tiny_package.files:
        assert not name.endswith(".onnx") or name in page


def test_json_is_the_same_for_programs(
    tiny_package: ModelPackage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(tiny_package.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads(json.dumps(describe(tiny_package)))
    on_disk = [path for path in tiny_package.path.rglob("*") if path.is_file()]
    assert facts["files"] == len(on_disk)
    manifest = (tiny_package.path / "manifest.json").stat().st_size
    assert facts["bytes"] == sum(path.stat().st_size for path in on_disk) - manifest
    assert list(facts["tasks"]) == list(tiny_package.spec.tasks)


def test_a_package_that_was_changed_is_refused(tiny_package: ModelPackage, tmp_path: Path) -> None:
    path = tmp_path / "changed.argus"
    shutil.copytree(tiny_package.path, path)
    graph = next(path.rglob("*.onnx"))
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    with pytest.raises(PackageError, match=r"SHA-256 is not the one in manifest\.json"):
        run([str(path)])


def test_the_command_ends_with_2_and_one_line_for_what_is_no_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "argus_edge.runtime.commands.inspection", str(tmp_path / "none.argus")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("argus-inspect: error: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout
