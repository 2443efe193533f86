"""argus-export, stopped from outside: it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from argus_edge.package import ModelPackage

HEARS_CTRL_C = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="Ctrl-C is ignored here, as under nohup"
)

# The command, which gets a signal when it begins to trace.
SIGNALLED = """
import os, signal, sys
from argus_edge.export import components
from argus_edge.export.commands import export

def signalled(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

components.trace_backbone = signalled
export.main()
"""
# Writes a package over another one, and gets a signal when the old one is out of the way.
REPLACED = """
import os, signal, sys
from pathlib import Path
from argus_edge.command import run_command, terminated_as_interrupted
from argus_edge.package import ModelPackage, write_package

def replace():
    old = ModelPackage.open(sys.argv[1])
    files = {name: old.path / name for name in old.files if not name.endswith(".json")}
    rename = Path.rename

    def signalled(path, target):
        if path.name.endswith(".partial"):
            os.kill(os.getpid(), signal.SIGINT)
        return rename(path, target)

    Path.rename = signalled
    write_package(old.path, old.spec, files, overwrite=True)
    return 0

with terminated_as_interrupted():
    run_command(replace, "replace")
"""


def temporary(folder: Path) -> dict[str, str]:
    """An environment whose temporary files are in `folder`."""
    folder.mkdir()
    return {**os.environ, "TMPDIR": str(folder)}


@pytest.mark.slow
def test_sigterm_while_tracing(checkpoint: Path, tmp_path: Path) -> None:
    arguments = [str(checkpoint), "--tasks", "seg", "--precision", "int8", "--calibration-images", "2"]
    command = [sys.executable, "-c", SIGNALLED, *arguments, "--out", str(tmp_path / "x.argus")]
    environment = temporary(tmp_path / "temporary")
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("argus-export: interrupted\n")
    assert left(tmp_path) == []


@HEARS_CTRL_C
@pytest.mark.slow
def test_ctrl_c_while_scenes_are_rendered(checkpoint: Path, tmp_path: Path) -> None:
    """At a terminal it reaches the rendering processes too."""
    environment = temporary(tmp_path / "temporary")
    program = "import sys; from argus_edge.export.commands.export import main; main()"
    arguments = [str(checkpoint), "--tasks", "seg", "--precision", "int8", "--calibration-images", "3000"]
    command = [sys.executable, "-c", program, *arguments, "--out", str(tmp_path / "x.argus")]
    process = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    begin = time.monotonic()
    while process.poll() is None and len(children(process.pid)) < 2 and time.monotonic() - begin < 300:
        time.sleep(0.2)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert left(tmp_path) == []


def left(folder: Path) -> list[str]:
    """What is in a folder and in that of temporary files within, but for a file of ONNX Runtime's own."""
    names = [path.name for path in (*folder.iterdir(), *(folder / "temporary").iterdir())]
    return [name for name in names if name not in ("temporary", ".ses")]


def children(pid: int) -> list[str]:
    """The processes that a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


@HEARS_CTRL_C
def test_an_old_package_stays_where_its_successor_does_not_come(
    tiny_package: ModelPackage, tmp_path: Path
) -> None:
    out = tmp_path / "old.argus"
    for name in (*tiny_package.files, "manifest.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes((tiny_package.path / name).read_bytes())
    command = [sys.executable, "-c", REPLACED, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "replace: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["old.argus"]
    assert ModelPackage.open(out).sha256 == tiny_package.sha256
