"""The scripts that an owner of a GPU runs, to their end, on stand-ins of TensorRT and CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from argus_edge.package import ModelPackage

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
PARTS = {"copy", "product", "GroupNorm", "deformable", "frames", "forward", "training", "profile"}


def ran(
    folder: Path, script: str, *arguments: Path | str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """The script, started somewhere else than in the repository, with a cache of its own."""
    known = os.environ.get("PYTHONPATH")
    stand_ins = [str(ROOT / "tests/runtime/fakes"), *([known] if known else [])]
    own = {"PYTHON": sys.executable, "XDG_CACHE_HOME": str(folder / "cache")}
    own["PYTHONPATH"] = os.pathsep.join(stand_ins)
    return subprocess.run(
        [SCRIPTS / script, *arguments],
        cwd=folder, env=os.environ | own | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_verifying_tells_everything_of_a_package(tiny_package: ModelPackage, tmp_path: Path) -> None:
    settings = {"ENGINES": "tensorrt,onnxruntime", "FRAMES": "2", "SCENES": "2"}
    done = ran(tmp_path, "verify_tensorrt.sh", tiny_package.path, "found.json", **settings)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "found.json").read_text()
    found = json.loads(told)
    assert found["device"]["name"] == "Orin (nvgpu)"
    assert [row["engine"] for row in found["rows"]] == ["tensorrt", "onnxruntime"]
    for row in found["rows"]:
        assert row["components"].keys() == {"backbone", "det", "seg", "depth"}
        assert row["latency_ms"]["det+seg+depth"]["frames"] > 0
        assert row["components"]["depth"]["parity"]["depth"]["sqnr_db"] > 90
    tensorrt, onnxruntime = (found["metrics"][name] for name in ("tensorrt", "onnxruntime"))
    assert tensorrt.keys() == onnxruntime.keys()
    assert str(tmp_path) not in told
    assert str(tiny_package.path.parent) not in told


def test_verifying_goes_on_where_an_engine_is_missing(tiny_package: ModelPackage, tmp_path: Path) -> None:
    settings = {"ENGINES": "cuda,onnxruntime", "FRAMES": "1", "SCENES": "1"}
    done = ran(tmp_path, "verify_tensorrt.sh", tiny_package.path, "found.json", **settings)
    assert done.returncode == 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert "ONNX Runtime" in found["rows"][0]["error"]
    assert list(found["metrics"]) == ["onnxruntime"]


@pytest.mark.slow
def test_all_is_measured_with_one_command(tiny_package: ModelPackage, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton, which torch's wheels for CUDA bring, is absent")
    done = ran(tmp_path, "measure_gpu.sh", "--smoke", "figures", tiny_package.path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "figures"
    assert {file.name for file in folder.iterdir()} == {"engines.json", "gpu.json", "gpu.txt"}
    assert json.loads((folder / "engines.json").read_text())["metrics"].keys() == {"tensorrt"}
    rows = json.loads((folder / "gpu.json").read_text())["rows"]
    assert {row["part"] for row in rows} == PARTS
    assert all(not row["note"] and row["what"] for row in rows)
    errors = {(row["part"], row["what"]): row["error"] for row in rows if "error" in row}
    assert len(errors) == 15
    assert max(errors.values()) <= 2e-3, errors
    assert (folder / "gpu.txt").read_text().splitlines()[-1] == (folder / "gpu.json").read_text().strip()
