"""A package for TensorRT, from the command to the engines that can run its graphs here."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from argus_edge import Runtime
from argus_edge.export.commands.export import run
from argus_edge.export.parity import FP32_BOUND
from argus_edge.export.symmetric import SYMMETRIC_RECIPE
from argus_edge.export.targets.plugins import call_plugins
from argus_edge.export.targets.tensorrt import check_graphs
from argus_edge.package import ModelPackage, model_path, parity_rows
from argus_edge.runtime.engines import engine_status
from argus_edge.runtime.engines.tensorrt_options import NORM_PLUGIN, SAMPLE_PLUGIN
from argus_edge.spec import BACKBONE, Precision
from argus_edge.train.data.scenes import render

COMPONENTS = (BACKBONE, "det", "seg")
PRECISIONS = ("fp32", "fp16", "int8")
ARGUMENTS = ["--tasks", "det,seg", "--target", "tensorrt", "--precision", ",".join(PRECISIONS)]


@pytest.fixture(scope="module")
def told_and_package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ModelPackage]:
    out = tmp_path_factory.mktemp("export") / "orin.argus"
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert (
            run([str(checkpoint), *ARGUMENTS, "--calibration-images", "8", "--out", str(out), "--no-report"])
            == 0
        )
    return told.getvalue(), ModelPackage.open(out)


@pytest.fixture(scope="module")
def package(told_and_package: tuple[str, ModelPackage]) -> ModelPackage:
    return told_and_package[1]


def test_every_graph_is_one_that_tensorrt_reads(package: ModelPackage) -> None:
    for precision in package.spec.precisions:
        graphs = {name: onnx.load(package.model_file(name, precision)) for name in package.spec.components}
        assert tuple(graphs) == COMPONENTS
        check_graphs(graphs)
        for graph in graphs.values():
            onnx.checker.check_model(graph)
            names = [node.name for node in graph.graph.node]
            assert len(set(names)) == len(names)
            assert {"GridSample", "GroupNormalization"}.isdisjoint(n.op_type for n in graph.graph.node)
            quantised = any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
            assert quantised == (precision == "int8")


def test_it_says_what_it_is_for_and_how_near_it_came(package: ModelPackage) -> None:
    assert package.spec.target == "tensorrt"
    assert package.spec.report["opset"] == 20
    variant = package.spec.components["det"].variants["int8"]
    assert variant.quantization is not None
    assert variant.quantization.recipe == SYMMETRIC_RECIPE
    rows = list(parity_rows(package.spec.report))
    assert {(precision, engine) for precision, engine, *_ in rows} == {(p, "onnxruntime") for p in PRECISIONS}
    for precision, _, output, error, sqnr in rows:
        if output.startswith(BACKBONE) and precision != "fp32":
            assert sqnr is not None
            assert sqnr >= {"fp16": 35.0, "int8": 15.0}[precision], f"{precision} {output}"
        assert precision != "fp32" or error <= FP32_BOUND


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_of_cpus_run_it(engine: str, package: ModelPackage) -> None:
    image = np.ascontiguousarray(render(7, (90, 120)).image)
    with Runtime(package, engine=engine, precision="fp32", threads=1) as runtime:
        errors = runtime.golden_errors()
        assert errors
        assert max(errors.values()) <= FP32_BOUND
    with Runtime(package, engine=engine, precision="fp16", tasks=["seg"], threads=1) as runtime:
        assert runtime(image).seg.labels.shape == image.shape[:2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_calls_of_plugins_compute_the_same(precision: Precision, package: ModelPackage) -> None:
    """As --plugins writes them."""
    golden = package.golden()
    assert golden is not None
    standard = onnx.load(package.model_file(BACKBONE, precision))
    called = call_plugins(standard)
    onnx.checker.check_model(called)
    calls = Counter(node.op_type for node in called.graph.node if node.domain)
    assert calls[SAMPLE_PLUGIN] == 18
    assert calls[NORM_PLUGIN] >= (
        10 if precision == "fp32" else 6
    )  # the others' types are their surroundings'
    answers = []
    for graph in (standard, called):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        answers.append(session.run(None, {"image": golden.image}))
    for expected, given in zip(*answers, strict=True):
        np.testing.assert_array_equal(given, expected)


def test_what_remains_is_told_before_and_after(
    told_and_package: tuple[str, ModelPackage],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if engine_status("tensorrt").available:
        pytest.skip("this machine has TensorRT")
    told, package = told_and_package
    out = tmp_path / "dry.argus"
    assert run([str(checkpoint), *ARGUMENTS, "--out", str(out), "--dry-run"]) == 0
    before = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert "check every operation, type and Q/DQ against what tensorrt is published to read" in before
    for text, folder in ((told, package.path), (before, out)):
        assert "pip install 'argus-edge[tensorrt]'" in text
        commands = [line.strip() for line in text.splitlines() if line.strip().startswith("trtexec ")]
        models = [f"--onnx={folder / model_path(name, p)}" for p in PRECISIONS for name in COMPONENTS]
        assert [command.split()[1] for command in commands] == models
        assert all("--stronglyTyped" in command for command in commands)
