"""Our kernels against torch in float64: in Triton's interpreter, and on a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
ERRORS = Path(__file__).with_name("errors.py")
LIMITS = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 8e-3}  # half a step of bf16 at the top of a power of two: 0.4 %
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton, which torch's wheels for CUDA bring, is absent",
)
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def load_errors() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_errors", ERRORS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


errors = load_errors()


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    """What errors.py finds, in a process of its own: Triton interprets everything in one, or nothing."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, str(ERRORS)], env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_triton
@pytest.mark.parametrize("name", errors.NORMS)
def test_group_norm(name: str, interpreted: dict[str, Any]) -> None:
    limit = LIMITS[errors.NORMS[name].dtype]
    assert interpreted[name] <= limit


@needs_triton
@pytest.mark.parametrize("name", errors.DEFORMABLES)
def test_deformable_attention_and_its_gradients(name: str, interpreted: dict[str, Any]) -> None:
    limit = LIMITS[errors.DEFORMABLES[name].dtype]
    assert all(error <= limit for error in interpreted[name].values()), interpreted[name]


@needs_triton
def test_a_place_that_is_no_number_gives_nothing(interpreted: dict[str, Any]) -> None:
    assert interpreted["no number"] == 0


@needs_triton
def test_the_model_calls_kernels_where_they_run(interpreted: dict[str, Any]) -> None:
    assert interpreted["model"] <= LIMITS["fp32"]


@needs_triton
def test_exported_graphs_have_operations_of_onnx_alone(interpreted: dict[str, Any]) -> None:
    assert interpreted["export"] == ["Conv", "GroupNormalization", "Relu"]


def test_the_model_on_a_cpu_is_torch_alone() -> None:
    from argus_edge.train.kernels.launch import runs_kernels

    assert not runs_kernels(torch.ones(1))


class TestOnGPU:
    pytestmark = needs_gpu

    @pytest.mark.parametrize("name", errors.NORMS)
    def test_group_norm(self, name: str) -> None:
        case = errors.NORMS[name]
        assert errors.norm_error(case, "cuda") <= LIMITS[case.dtype]

    @pytest.mark.parametrize("name", errors.DEFORMABLES)
    def test_deformable_attention_and_its_gradients(self, name: str) -> None:
        case = errors.DEFORMABLES[name]
        found = errors.deformable_errors(case, "cuda")
        assert all(error <= LIMITS[case.dtype] for error in found.values()), found

    def test_a_place_that_is_no_number_gives_nothing(self) -> None:
        assert errors.no_number_error("cuda") == 0

    def test_the_model_calls_kernels(self) -> None:
        assert errors.model_error("cuda") <= 1e-3  # convolutions and products are in TF32 there
