"""Energy where the machine tells it: RAPL counters, tegrastats on a Jetson, nvidia-smi.

Nothing is estimated, and nothing is added up: rails overlap, and a counter of the whole package also counts
what else runs on it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Meters", "open_meters"]

RAPL: Final = Path("/sys/class/powercap")
INTERVAL: Final = 100  # between readings of a command [ms]
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "tegrastats": ("tegrastats", "--interval", str(INTERVAL)),
    "nvidia-smi": (
        "nvidia-smi", "--query-gpu=index,power.draw", "--format=csv,noheader,nounits",
        f"--loop-ms={INTERVAL}",
    ),
}  # fmt: skip
_RAIL: Final = re.compile(r"\b((?:VDD|VIN|POM)_\w+) (\d+)(?:mW)?/")
_GPU: Final = re.compile(r"^(\d+), (\d+(?:\.\d+)?)$")

Powers = Mapping[str, float]  # rail -> [W]


class Meters:
    """Every meter of this machine, running. `missing` says why the others are not."""

    def __init__(self, rapl: Iterable[Rapl], samplers: Iterable[Sampler], missing: Iterable[str]) -> None:
        self._rapl, self._samplers, self.missing = tuple(rapl), tuple(samplers), tuple(missing)

    def joules(self) -> dict[str, float]:
        """Rail -> energy since some moment [J]; only differences say something."""
        rails: dict[str, float] = {each.name: each.joules() for each in self._rapl}
        for sampler in self._samplers:
            rails.update(sampler.joules())
        return rails


@contextmanager
def open_meters(rapl: Path = RAPL) -> Iterator[Meters]:
    """Find and start what this machine has; the commands end with the `with`."""
    counters, missing = _rapl_counters(rapl)
    with ExitStack() as stack:
        samplers = []
        for name, command in COMMANDS.items():
            if shutil.which(name) is None:
                missing.append(f"{name}: not found")
            else:
                parse = _rails if name == "tegrastats" else _gpus
                samplers.append(stack.enter_context(_sampling(command, parse)))
        yield Meters(counters, samplers, missing)


class Rapl:
    """One counter of the CPU's energy, which starts again from 0 at its greatest value."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._most = int((folder / "max_energy_range_uj").read_text())
        self.name = f"rapl {(folder / 'name').read_text().strip()}"
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        """Energy since it was opened [J]."""
        now = self._read()
        self._total += (now - self._last) % (self._most + 1)
        self._last = now
        return self._total / 1e6

    def _read(self) -> int:
        return int(self._file.read_text())


class Sampler:
    """Adds up a command's readings of power. `feed` takes its lines, from another thread."""

    def __init__(self, parse: Callable[[str], Powers], clock: Callable[[], float] = time.monotonic) -> None:
        self._parse, self._clock = parse, clock
        self._lock = threading.Lock()
        self._watts: dict[str, float] = {}
        self._joules: dict[str, float] = {}
        self._since = clock()

    def feed(self, line: str) -> None:
        """Take one line of the command: its powers hold until the next."""
        powers = self._parse(line.strip())
        with self._lock:
            self._advance()
            self._watts.update(powers)

    def joules(self) -> dict[str, float]:
        """Rail -> energy since its first reading [J]."""
        with self._lock:
            self._advance()
            return dict(self._joules)

    def _advance(self) -> None:
        now = self._clock()
        for rail, watts in self._watts.items():
            self._joules[rail] = self._joules.get(rail, 0.0) + watts * (now - self._since)
        self._since = now


@contextmanager
def _sampling(command: tuple[str, ...], parse: Callable[[str], Powers]) -> Iterator[Sampler]:
    sampler = Sampler(parse)
    # In a group of its own: Ctrl-C is for us, and the last energy is still asked for after it.
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        thread = threading.Thread(target=_feed, args=(process.stdout, sampler), daemon=True)
        thread.start()
        try:
            yield sampler
        finally:
            process.terminate()
            thread.join()


def _feed(lines: Iterable[str], sampler: Sampler) -> None:
    for line in lines:
        sampler.feed(line)


def _rails(line: str) -> Powers:
    """Of a line of tegrastats: "VDD_IN 4800mW/4750mW", current and average [mW]."""
    return {f"tegrastats {rail}": int(value) / 1e3 for rail, value in _RAIL.findall(line)}


def _gpus(line: str) -> Powers:
    """Of a line of nvidia-smi: "0, 68.12"; a GPU that does not tell says "[N/A]"."""
    return {f"nvidia-smi GPU {index}": float(watts) for index, watts in _GPU.findall(line)}


def _rapl_counters(folder: Path) -> tuple[list[Rapl], list[str]]:
    """Those of whole packages (`intel-rapl:0`, on AMD too), not of their parts (`intel-rapl:0:1`)."""
    found: list[Rapl] = []
    missing: list[str] = []
    for each in sorted(folder.glob("*-rapl:*")):
        if each.name.count(":") == 1:
            try:
                found.append(Rapl(each))
            except OSError as error:
                missing.append(f"RAPL: {each}: {error.strerror}")
    if not found and not missing:
        missing.append(f"RAPL: no counters in {folder}")
    return found, missing
