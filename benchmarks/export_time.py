r"""Asks how long an export takes and how much memory, of the shipped nano or of random weights.

Runs `argus-export` in a process of its own and reads its peak resident memory and its processor time, which
other work on the machine hardly changes, from the system. Wanted: at
most 3 minutes and 4 GiB for det and seg of nano in int8 with the default calibration; 15 minutes and 16 GiB
for det, seg and depth of base at 512 px in fp32 and int8 with 16 images. Prints one JSON line.

    python benchmarks/export_time.py
    python benchmarks/export_time.py --variant base --size 512 --tasks det,seg,depth --precision fp32,int8 \
        --calibration-images 16 --parity-images 4 --max-drop 1
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from argus_edge.runtime.machine import this_machine
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.model.build import build_model, variant_named
from argus_edge.train.model.checkpoint import CheckpointInfo, save_checkpoint

KIB: Final = 1024 if sys.platform != "darwin" else 1  # ru_maxrss is in KiB, on macOS in bytes
CLASSES: Final = {"det": DET_CLASSES, "seg": SEG_CLASSES}


def random_checkpoint(folder: Path, variant: str, tasks: Sequence[str], size: int) -> None:
    """A model of `variant` that has learnt nothing, its gains and biases random, too."""
    torch.manual_seed(0)
    classes = {task: CLASSES[task] for task in tasks if task in CLASSES}
    model = build_model(variant_named(variant), tuple(tasks), classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    save_checkpoint(folder, model, CheckpointInfo(variant, tuple(tasks), classes, size))


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark; others go to argus-export as they are."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--variant", help="random weights of nano, small or base (default: the shipped nano)")
    p.add_argument(
        "--tasks", default="det,seg", help="det, seg and depth with --variant (default: %(default)s)"
    )
    p.add_argument("--precision", default="int8", help="(default: %(default)s)")
    p.add_argument("--size", type=int, default=320, help="side of the input [px] (default: %(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code is argus-export's."""
    options, rest = parser().parse_known_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = "nano"
        if options.variant is not None:
            checkpoint = str(Path(folder) / options.variant)
            random_checkpoint(Path(checkpoint), options.variant, options.tasks.split(","), options.size)
        out = Path(folder) / "measured.argus"
        arguments = ["--tasks", options.tasks, "--precision", options.precision, "--size", str(options.size)]
        command = [sys.executable, "-m", "argus_edge.export.commands.export", checkpoint, *arguments, *rest]
        start = time.perf_counter()
        code = subprocess.run(  # noqa: S603
            [*command, "--out", str(out)], stdout=subprocess.DEVNULL, check=False
        ).returncode
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "machine": this_machine().to_json(),
        "arguments": [checkpoint if options.variant is None else options.variant, *arguments, *rest],
        "exit_code": code,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss * KIB / 2**20),
        "package_mib": round(size / 2**20, 1),
    }
    print(json.dumps(found))
    return code


if __name__ == "__main__":
    sys.exit(main())
