"""What this machine is: the facts beside every measurement and in every bug report."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from argus_edge.runtime.engines import default_threads

FEATURES: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
    "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""CPU instructions that int8 and 16-bit float inference live on, as Linux names them (x86, then ARM)."""
LIBRARIES: Final = (
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "cuda-bindings",
)
"""Distributions whose versions belong beside what this machine did."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts. `cores` are those this process may use, `features` those of FEATURES that the CPU has."""

    cpu: str
    cores: int
    features: tuple[str, ...]
    system: str
    python: str

    def to_json(self) -> dict[str, Any]:
        """Return a dict that json.dumps accepts."""
        return {**asdict(self), "features": list(self.features)}


def this_machine() -> Machine:
    """Look at the machine that runs this."""
    facts = _cpu_facts()
    have = {*facts.get("flags", "").split(), *facts.get("Features", "").split()}
    return Machine(
        cpu=facts.get("model name") or platform.processor() or platform.machine(),
        cores=default_threads(),
        features=tuple(feature for feature in FEATURES if feature in have),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def installed_version(distribution: str) -> str | None:
    """Version of an installed Python distribution, None when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_facts() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
