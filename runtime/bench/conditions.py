"""In what state this machine measures: its CPUs and their clocks, memory, GPUs, battery, load."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import argus_edge
from argus_edge.errors import InputError
from argus_edge.runtime.machine import LIBRARIES, installed_version, this_machine

__all__ = ["conditions", "pinned", "versions"]

SYSTEM: Final = Path("/sys")
PROC: Final = Path("/proc")
GPU: Final = (
    "nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,power.limit", "--format=csv,noheader",
)  # fmt: skip


@contextmanager
def pinned(cpus: Sequence[int] | None) -> Iterator[list[int] | None]:
    """Keep this process, and those it starts, on `cpus`; gives those it runs on, None where nobody knows.

    Raises InputError for CPUs that it may not use.
    """
    if not hasattr(os, "sched_setaffinity"):
        if cpus is not None:
            raise InputError("--cpus: this system cannot keep a process on chosen CPUs; leave it out")
        yield None
        return
    before = os.sched_getaffinity(0)
    if cpus is not None:
        if not set(cpus) <= before:
            raise InputError(f"--cpus: expected some of {sorted(before)}, got {sorted(set(cpus))}")
        os.sched_setaffinity(0, cpus)
    try:
        yield sorted(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)


def conditions(system: Path = SYSTEM, proc: Path = PROC) -> dict[str, Any]:
    """The machine and its state now; what it does not tell is None."""
    return {
        **this_machine().to_json(),
        "memory_mib": _memory(proc),
        "governors": sorted({_text(f) or "" for f in _of_cpus(system, "scaling_governor")}) or None,
        "mhz": _clocks(system, proc),
        "gpus": _gpus(),
        "batteries": _batteries(system),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of what is measured with."""
    found = {name: version for name in LIBRARIES if (version := installed_version(name))}
    return {"argus_edge": argus_edge.__version__, **found}


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _of_cpus(system: Path, name: str) -> list[Path]:
    return sorted(system.glob(f"devices/system/cpu/cpu[0-9]*/cpufreq/{name}"))


def _clocks(system: Path, proc: Path) -> list[float] | None:
    """Of every CPU, now [MHz]."""
    scaled = [float(text) / 1e3 for f in _of_cpus(system, "scaling_cur_freq") if (text := _text(f))]
    if scaled:
        return scaled
    lines = (_text(proc / "cpuinfo") or "").splitlines()
    return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")] or None


def _memory(proc: Path) -> int | None:
    for line in (_text(proc / "meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _gpus() -> list[str] | None:
    """Name, driver, clock and power limit of each NVIDIA GPU; None where there is no nvidia-smi."""
    if shutil.which(GPU[0]) is None:
        return None
    done = subprocess.run(GPU, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    return done.stdout.splitlines() if done.returncode == 0 else None


def _batteries(system: Path) -> list[dict[str, str | None]] | None:
    """Status ("Discharging" ...) and charge [%] of each; None where there is none."""
    folders = sorted((system / "class" / "power_supply").glob("*"))
    return [
        {"name": each.name, "status": _text(each / "status"), "percent": _text(each / "capacity")}
        for each in folders
        if _text(each / "type") == "Battery"
    ] or None
