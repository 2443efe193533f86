"""Packages of several sizes, and one graph beside the package, made by the command."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from argus_edge import Runtime
from argus_edge.errors import InputError, PackageError
from argus_edge.export.commands.export import run
from argus_edge.package import ModelPackage
from argus_edge.train.data.scenes import render

SIZES = (96, 128)


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    out = tmp_path_factory.mktemp("sizes") / "sizes.argus"
    sizes = ",".join(map(str, SIZES))
    assert (
        run([str(checkpoint), "--tasks", "seg", "--size", sizes, "--layout", "fused", "--out", str(out)]) == 0
    )
    return ModelPackage.open(out)


def test_the_package_runs_in_each_size(package: ModelPackage) -> None:
    assert [image.size for image in package.spec.inputs] == ["96x96", "128x128"]
    image = render(3, size=160).image
    for size in SIZES:
        with Runtime(package, size=size) as runtime:
            assert runtime.package.spec.input.size == f"{size}x{size}"
            assert runtime(image).seg.labels.shape == image.shape[:2]
    with pytest.raises(PackageError, match="has inputs of 96x96, 128x128 px, asked for 160x160"):
        Runtime(package, size=160)


def test_each_size_was_compared_with_torch(package: ModelPackage) -> None:
    report = package.spec.report
    others = report["other_sizes"]
    assert isinstance(others, dict)
    (of_size,) = others.values()
    for each in (report, of_size):
        assert isinstance(each, dict)
        parity = each["parity"]
        assert isinstance(parity, dict)
        assert "seg.labels" in str(parity["fp32"])
    assert "command" in report
    assert isinstance(of_size, dict)
    assert "command" not in of_size


def test_the_fused_graph_lies_beside_it(package: ModelPackage) -> None:
    graph = onnx.load(package.path.with_name("sizes.fp32.onnx")).graph
    assert [tensor.name for tensor in graph.input] == ["image"]
    assert [tensor.name for tensor in graph.output] == ["seg.labels"]


def test_what_cannot_be_is_refused_before_the_work(checkpoint: Path, tmp_path: Path) -> None:
    wanted = "--size 100: expected a multiple of 32 px, at least 96 for det, seg, depth"
    with pytest.raises(InputError, match=wanted):
        run([str(checkpoint), "--size", "96,100", "--out", str(tmp_path / "x.argus")])
    assert not list(tmp_path.iterdir())


def test_a_fused_graph_is_not_replaced_unasked(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "x.fp32.onnx").write_text("precious")
    with pytest.raises(InputError, match=r"x\.fp32\.onnx exists already; add --overwrite"):
        run([str(checkpoint), "--layout", "fused", "--out", str(tmp_path / "x.argus")])
    assert (tmp_path / "x.fp32.onnx").read_text() == "precious"


@pytest.mark.parametrize("size", ["", "96,", "wide", "0"])
def test_a_size_is_a_number(checkpoint: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([str(checkpoint), "--size", size])
    assert "--size" in capsys.readouterr().err
