"""What an owner of a Jetson or another NVIDIA device runs once, to tell what a package does there.

    python -m argus_edge.runtime.commands.verify_tensorrt nano.argus --out verified.json

Builds the engines of every precision, compares them with torch's recorded answers, measures latency, and
writes one JSON file to send back: versions and facts of the machine, and a row for each engine and precision.
Each row is made by a process of its own, so that one which fails, or crashes, costs no other. Nothing
personal is written: no names of hosts or users, no paths. Exit code 1: something failed, and the file says
what.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from argus_edge.command import positive_number, run_command
from argus_edge.errors import EngineError
from argus_edge.package import ModelPackage
from argus_edge.runtime.commands.doctor import examine
from argus_edge.runtime.engines import ENGINES
from argus_edge.runtime.engines.cuda_memory import Cuda
from argus_edge.runtime.engines.plan_cache import cache_folder
from argus_edge.runtime.engines.tensorrt_options import VARIABLE
from argus_edge.runtime.verification import verify

FORMAT: Final = 1
NAME: Final = "verify_tensorrt"
PROGRAM: Final = f"from argus_edge.runtime.commands.{NAME} import make_row; make_row()"
TEGRA_RELEASE: Final = Path("/etc/nv_tegra_release")


def main() -> NoReturn:
    """The command: see `run`."""
    run_command(lambda: run(sys.argv[1:]), NAME)


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code; raises ArgusError for bad input."""
    arguments = _parser().parse_args(argv)
    package = ModelPackage.open(arguments.package)
    rows: list[dict[str, Any]] = []
    found = {
        "format": FORMAT,
        **examine(None),
        "device": _device(),
        "jetson": _jetson(),
        "settings": os.environ.get(VARIABLE, ""),
        "package": {"name": package.spec.name, "sha256": package.sha256, "target": package.spec.target},
        "rows": rows,
    }
    for engine in arguments.engines:
        for precision in package.spec.precisions:
            rows.append(_row(package, engine, precision, arguments.frames))
            errors = list(_errors(rows[-1]))
            told = f"{len(errors)} errors, the first: {errors[0]}" if errors else "done"
            print(f"{engine} {precision}: {told}", file=sys.stderr, flush=True)
            # After each row: one that takes the machine along leaves those before it.
            arguments.out.write_text(
                _anonymous(json.dumps(found, indent=1, ensure_ascii=False), package.path), encoding="utf-8"
            )
    return 1 if any(error for row in rows for error in _errors(row)) else 0


def make_row() -> NoReturn:
    """The process of one row: a job as JSON on stdin, its row as JSON in the file that the job names."""
    run_command(_work, NAME)


def _work() -> int:
    job = json.load(sys.stdin)
    row = verify(ModelPackage.open(job["package"]), job["engine"], job["precision"], job["frames"])
    Path(job["row"]).write_text(json.dumps(row), encoding="utf-8")
    return 0


def _row(package: ModelPackage, engine: str, precision: str, frames: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        job = {
            "package": str(package.path.resolve()),
            "engine": engine,
            "precision": precision,
            "frames": frames,
            "row": str(file),
        }
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(job),
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return row
    told = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
    how = f"ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else told[-1]
    return {"engine": engine, "precision": precision, "error": how}


def _errors(row: Any) -> Iterator[str]:
    """Every "error" in a row, however deep."""
    if isinstance(row, dict):
        for key, value in row.items():
            if key == "error":
                yield str(value)
            else:
                yield from _errors(value)


def _device() -> dict[str, str] | str:
    """The GPU, or why there is none."""
    try:
        device = Cuda("tensorrt").device()
    except EngineError as error:
        return str(error)
    return {"name": device.name, "compute_capability": device.compute_capability, "driver": device.driver}


def _jetson() -> dict[str, str] | None:
    """Version of its Linux and the power mode; None on other machines."""
    if not TEGRA_RELEASE.exists():
        return None
    facts = {"release": TEGRA_RELEASE.read_text(encoding="utf-8").partition("\n")[0]}
    tool = shutil.which("nvpmodel")
    if tool is not None:
        asked = subprocess.run([tool, "-q"], capture_output=True, text=True, check=False)  # noqa: S603
        facts["power"] = " ".join(asked.stdout.split())
    return facts


def _anonymous(text: str, package: Path) -> str:
    """Paths name people: those of the package, of built engines and of the home are replaced."""
    names = {
        package.resolve(): package.name,
        package: package.name,
        cache_folder("tensorrt"): "CACHE",
        Path.home(): "~",
    }
    for path, name in names.items():
        if path != path.parent:  # the home of a container's user may be /
            text = text.replace(str(path), name)
    return text


def _engines(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(ENGINES):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(ENGINES)}, got {text!r}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Verify a package on an NVIDIA device and write what was found as JSON."
    )
    add = parser.add_argument
    add("package", type=Path, help="written by argus-export --target tensorrt")
    add("--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    add("--engines", type=_engines, default=["tensorrt", "cuda"], metavar="NAMES", help="(tensorrt,cuda)")
    add("--frames", type=positive_number, default=200, metavar="N", help="of each scenario (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
