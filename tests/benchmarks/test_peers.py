"""benchmarks/peers.py: one backbone and several are run as they should be, and compared round by round."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, Engine


@pytest.fixture(scope="module")
def peers(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("peers")


class Counted:
    """An engine that notes what it answers."""

    def __init__(self, engine: Engine, answers: list[dict[str, Array]]) -> None:
        self.engine, self.answers = engine, answers

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        answer = {name: np.array(values) for name, values in self.engine.run(inputs).items()}
        self.answers.append(answer)
        return answer


def test_both_ways_give_the_same_answers(
    peers: ModuleType, tiny_package: ModelPackage, tmp_path: Path
) -> None:
    tasks = ("det", "seg", "depth")
    alone: list[dict[str, Array]] = []
    with ExitStack() as stack:
        opened = peers.opener(stack, "onnxruntime", "fp32", 1)
        answers: list[dict[str, Array]] = []
        peers.shared_run(tiny_package, tasks, "fp32", lambda file: Counted(opened(file), answers))(0)
        together = answers[1:]
        assert answers[0].keys() == {"f0", "f1", "f2", "f3"}  # the backbone, once
        runs = peers.alone_runs(
            tiny_package, tasks, "fp32", lambda file: Counted(opened(file), alone), tmp_path
        )
        for run in runs.values():
            run(0)
    assert list(runs) == list(tasks)
    for one, other in zip(together, alone, strict=True):
        for name, values in one.items():
            (same,) = (v for key, v in other.items() if key.endswith(f".{name}"))
            np.testing.assert_allclose(values, same, rtol=1e-4, atol=1e-5)


def test_ratio_is_of_the_same_round(peers: ModuleType) -> None:
    """The machine is half as fast in the second half, which no ratio shows."""
    slow = np.array([1.0, 1.0, 2.0, 2.0])
    rows = peers.shared_rows({peers.SHARED: 10 * slow, "a": 8 * slow, "b": 12 * slow})
    assert rows == {
        "a alone": {"p50_ms": 12.0, "times": 0.8},
        "b alone": {"p50_ms": 18.0, "times": 1.2},
        peers.SHARED: {"p50_ms": 15.0, "times": 1.0},
        "2 networks": {"p50_ms": 30.0, "times": 2.0},
    }


def test_package_in_one_precision_is_refused(peers: ModuleType, tiny_package: ModelPackage) -> None:
    with pytest.raises(InputError, match="expected fp32 and int8, has fp32"):
        peers.main([str(tiny_package.path)])
