"""Energy from files and commands that look as those of machines that have them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from argus_edge.runtime.bench.power import Sampler, _gpus, _rails, open_meters


def counter(folder: Path, microjoules: int, most: int = 1000_000_000) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text("package-0\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_rapl_counts_from_its_opening_and_over_its_end(tmp_path: Path) -> None:
    file = counter(tmp_path / "intel-rapl:0", 999_000_000)
    counter(tmp_path / "intel-rapl:0:0", 5)  # a part of it
    with open_meters(tmp_path) as meters:
        assert meters.joules()["rapl package-0"] == 0
        file.write_text("999500000\n")
        assert meters.joules()["rapl package-0"] == pytest.approx(0.5)
        file.write_text("999999\n")  # past its greatest value
        assert meters.joules()["rapl package-0"] == pytest.approx(2.0)
        assert list(meters.joules()) == ["rapl package-0"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rapl_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    counter(tmp_path / "intel-rapl:0", 1).chmod(0)
    with open_meters(tmp_path) as meters:
        assert meters.joules() == {}
        assert any("Permission denied" in line for line in meters.missing)


def test_machine_without_meters_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with open_meters(tmp_path) as meters:
        assert meters.joules() == {}
        assert [line.partition(":")[0] for line in meters.missing] == ["RAPL", "tegrastats", "nvidia-smi"]


def test_power_holds_until_the_next_reading() -> None:
    moment = 0.0
    sampler = Sampler(_gpus, lambda: moment)
    moment = 5.0  # nothing is known of the time before the first reading
    sampler.feed("0, 10.00\n")
    sampler.feed("1, [N/A]\n")
    moment = 6.0
    sampler.feed("0, 20.00\n")
    moment = 6.5
    assert sampler.joules() == {"nvidia-smi GPU 0": pytest.approx(10 * 1 + 20 * 0.5)}


def test_rails_of_a_jetson() -> None:
    orin = (
        "11-28-2026 04:00:00 RAM 2448/7620MB (lfb 2x4MB) SWAP 0/3810MB CPU [5%@1510,off] GR3D_FREQ 0% "
        "cpu@50.2C VDD_IN 4842mW/4800mW VDD_CPU_GPU_CV 815mW/800mW VDD_SOC 1383mW/1383mW"
    )
    assert _rails(orin) == {
        "tegrastats VDD_IN": 4.842,
        "tegrastats VDD_CPU_GPU_CV": 0.815,
        "tegrastats VDD_SOC": 1.383,
    }
    assert _rails("RAM 1/2MB POM_5V_IN 2532/2532 POM_5V_GPU 0/0") == {
        "tegrastats POM_5V_IN": 2.532,
        "tegrastats POM_5V_GPU": 0.0,
    }


def test_command_is_read_while_it_runs_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "tegrastats"
    script.write_text("#!/bin/sh\necho $$ > pid\nwhile :; do echo VDD_IN 1000mW/9mW; /bin/sleep 0.02; done\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with open_meters(tmp_path) as meters:
        deadline = time.monotonic() + 20
        while meters.joules().get("tegrastats VDD_IN", 0) <= 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first, since = meters.joules()["tegrastats VDD_IN"], time.monotonic()
        time.sleep(0.1)
        spent, seconds = meters.joules()["tegrastats VDD_IN"] - first, time.monotonic() - since
        assert 0.1 <= spent <= seconds + 0.05
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
