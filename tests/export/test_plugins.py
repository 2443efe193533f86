"""Calls of our plugins: to everybody but TensorRT the same graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from argus_edge.errors import ExportError, InputError
from argus_edge.export import package
from argus_edge.export.commands.export import run
from argus_edge.export.package import ExportSettings
from argus_edge.export.precision import to_fp16
from argus_edge.export.targets import TENSORRT
from argus_edge.export.targets.plugins import call_plugins
from argus_edge.runtime.engines.tensorrt_options import NORM_PLUGIN, SAMPLE_PLUGIN
from tests.runtime.references.norm_and_samples import norm_and_samples, some_inputs

Array = NDArray[Any]


def answers(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, inputs)
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_calls_compute_the_standard_spelling(precision: str) -> None:
    standard = TENSORRT.spell(norm_and_samples(6, 10))
    if precision == "fp16":
        standard = to_fp16(standard)
    called = call_plugins(standard)
    onnx.checker.check_model(called, full_check=True)
    calls = [node for node in called.graph.node if node.domain]
    assert [node.op_type for node in calls] == [NORM_PLUGIN, SAMPLE_PLUGIN]
    assert len(called.graph.node) < len(standard.graph.node) / 2
    inputs = some_inputs(6, 10)
    np.testing.assert_array_equal(answers(called, inputs)[0], answers(standard, inputs)[0])
    assert call_plugins(called) == called  # nothing is left to call
    assert all(not node.domain for node in standard.graph.node)


@pytest.mark.parametrize("options", [["--target", "cpu"], ["--target", "tensorrt", "--layout", "fused"]])
def test_only_graphs_for_tensorrt_call_plugins(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--plugins: expected --target tensorrt"):
        run(["nano", *options, "--plugins", "--out", str(tmp_path / "nano.argus")])


def test_the_command_has_them_called_in_what_it_writes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ExportSettings] = []

    def stop(model: object, info: object, settings: ExportSettings, *_: object) -> None:
        seen.append(settings)
        raise ExportError("far enough")

    monkeypatch.setattr(package, "export", stop)
    arguments = ["--target", "tensorrt", "--tasks", "det", "--plugins", "--out", str(tmp_path / "p.argus")]
    with pytest.raises(ExportError, match="far enough"):
        run([str(checkpoint), *arguments])
    (settings,) = seen
    assert settings.target.write is call_plugins
    assert settings.target.check is TENSORRT.check
    assert TENSORRT.write is not call_plugins
