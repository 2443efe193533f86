"""The machine's state, from files as Linux has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argus_edge.errors import InputError
from argus_edge.runtime.bench.conditions import conditions, pinned, versions


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_a_laptop_tells(tmp_path: Path) -> None:
    for cpu, clock in enumerate((800000, 3400000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        write(folder / "scaling_governor", "powersave\n")
        write(folder / "scaling_cur_freq", f"{clock}\n")
    battery = tmp_path / "sys/class/power_supply/BAT0"
    for name, text in {"type": "Battery\n", "status": "Discharging\n", "capacity": "81\n"}.items():
        write(battery / name, text)
    write(tmp_path / "sys/class/power_supply/AC/type", "Mains\n")
    write(tmp_path / "proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    found = conditions(tmp_path / "sys", tmp_path / "proc")
    assert (found["governors"], found["mhz"]) == (["powersave"], [800.0, 3400.0])
    assert found["batteries"] == [{"name": "BAT0", "status": "Discharging", "percent": "81"}]
    assert found["memory_mib"] == 16000


def test_a_machine_that_tells_nothing_gets_nothing_invented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = conditions(tmp_path, tmp_path)
    assert [found[key] for key in ("governors", "mhz", "batteries", "memory_mib", "gpus")] == [None] * 5
    assert found["cores"] >= 1


def test_clocks_of_a_virtual_machine(tmp_path: Path) -> None:
    write(
        tmp_path / "cpuinfo", "processor : 0\ncpu MHz\t\t: 2445.404\n\nprocessor : 1\ncpu MHz\t\t: 2400.0\n"
    )
    assert conditions(tmp_path, tmp_path)["mhz"] == [2445.404, 2400.0]


def test_pinning_is_undone() -> None:
    before = os.sched_getaffinity(0)
    cpu = min(before)
    with pinned([cpu]) as cpus:
        assert cpus == [cpu]
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(InputError, match="--cpus: expected some of"), pinned([100_000]):
        pass


def test_versions_are_those_of_what_is_installed() -> None:
    import numpy as np

    assert versions()["numpy"] == np.__version__
