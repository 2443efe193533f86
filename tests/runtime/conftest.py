"""TensorRT and CUDA as far as they can be stood in for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from argus_edge.runtime.engines import tensorrt_engine
from argus_edge.runtime.engines.tensorrt_builder import build_in_process

FAKES = Path(__file__).with_name("fakes")


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "cuda")]


@pytest.fixture
def fake_onnxruntime_gpu(fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Makes of the onnxruntime that is installed one with CUDA, and gives what was put into it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.delitem(sys.modules, "onnxruntime_gpu", raising=False)  # it knows one fake device
    fake = importlib.import_module("onnxruntime_gpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [fake.PROVIDER])
    monkeypatch.setattr(onnxruntime, "InferenceSession", fake.open_session)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", lambda *_: None)
    return fake


@pytest.fixture
def fake_gpu(
    fake_onnxruntime_gpu: ModuleType, fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """The stand-in of the device, with both libraries on it; TensorRT builds in this process, as is quick."""
    monkeypatch.setattr(tensorrt_engine, "build_engine", build_in_process)
    return fake_cuda


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """Puts stand-ins for tensorrt and cuda.bindings where they are imported from, here and in processes that
    are started, and gives the latter; the cache of built engines is a folder of its own.
    """
    for name in _loaded():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(FAKES)
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), *([known] if known else [])]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield importlib.import_module("cuda.bindings.runtime")
    for name in _loaded():
        del sys.modules[name]
