"""argus-bench from its command line to its files, on a tiny package."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from argus_edge.errors import ArgusError, EngineMissingError, InputError, PackageError
from argus_edge.package import ModelPackage
from argus_edge.runtime.bench.page import render
from argus_edge.runtime.bench.result import read_result
from argus_edge.runtime.commands.bench import BLOCKS, run

QUICK = ("--seconds", "0.2", "--engine", "onnxruntime")


@pytest.fixture(scope="module")
def measured(tiny_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole run."""
    folder = tmp_path_factory.mktemp("bench")
    assert (
        run([str(tiny_package.path), *QUICK, "--engine", "openvino,onnxruntime", "--out", str(folder)]) == 0
    )
    return folder


class Page(HTMLParser):
    """Checks that elements are closed, and collects what a page would fetch."""

    VOID = ("meta", "line", "rect", "circle", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID


def test_result_holds_every_scenario_and_what_it_came_of(measured: Path) -> None:
    result = read_result(measured / "result.json")
    assert result["complete"]
    assert [subject["engine"]["name"] for subject in result["subjects"]] == ["openvino", "onnxruntime"]
    for subject in result["subjects"]:
        assert list(subject["scenarios"]) == ["SingleStream", "MultiStream", "Offline", "camera"]
        for name, scenario in subject["scenarios"].items():
            summary, blocks = scenario["summary"], scenario["blocks"]
            assert len(blocks) == BLOCKS
            assert summary["frames"] == sum(block["frames"] for block in blocks)
            assert {"preprocess", "backbone", "det", "total"} <= scenario["stages_ms"].keys()
            if name != "Offline":
                assert summary["queries"] == sum(len(block["latency_ms"]) for block in blocks)
        camera = subject["scenarios"]["camera"]
        assert camera["summary"]["offered"] == BLOCKS  # one every 33 ms, of blocks of 20 ms
        assert camera["time_line"]
        assert subject["start"]["cold"]["total_ms"] >= subject["start"]["cold"]["open_ms"] > 0
        assert subject["start"]["warm"]["peak_mib"] > 10
    (comparison,) = result["comparisons"]
    assert comparison["scenarios"]["SingleStream"]["low"] <= comparison["scenarios"]["SingleStream"]["ratio"]
    assert result["settings"]["frames"]["what"] == "the package's recorded input"
    assert re.fullmatch("[0-9a-f]{64}", result["subjects"][0]["package"]["sha256"])


def test_page_is_whole_and_fetches_nothing(measured: Path) -> None:
    text = (measured / "report.html").read_text(encoding="utf-8")
    assert Page(text).fetched == []
    assert "url(" not in text
    assert "<script" not in text
    for heading in ("Latency histograms", "The first second of the camera", "Comparison", "Stages"):
        assert f"<h2>{heading}</h2>" in text


def test_page_escapes_what_comes_from_outside(measured: Path) -> None:
    result = read_result(measured / "result.json")
    evil = "<script>alert('x')</script>&\x1b[31m"
    for subject in result["subjects"]:
        subject["name"] = evil
        subject["accuracy"] = {evil: {"figure": evil, "value": 0.5}}
    result["not_measured"] = [evil]
    text = render(result)
    Page(text)
    assert "<script" not in text
    assert "\x1b" not in text


def with_report(package: ModelPackage, path: Path, report: dict[str, Any]) -> str:
    """A copy of the package whose report is another; its path."""
    shutil.copytree(package.path, path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["additional_metadata"]["argus"]["report"] = report
    (path / "manifest.json").write_text(json.dumps(manifest))
    return str(path)


def test_accuracy_of_the_package_is_drawn_against_latency(
    tiny_package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"engine": "onnxruntime", "figure": "mIoU", "fp32": 0.51, "value": 0.5}
    report = {"gate": {"int8": {"tasks": {"seg": row}}}}
    path = with_report(tiny_package, tmp_path / "judged.argus", report)
    run([path, *QUICK, "--scenarios", "SingleStream", "--no-start", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["subjects"][0]["accuracy"] == {"seg": {"figure": "mIoU", "value": 0.51}}
    assert "seg: mIoU, by p50 of whole frames [ms]" in render(result)


def test_terminal_shows_tables_and_what_is_missing(
    tiny_package: ModelPackage, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--engine",
        "tensorrt,onnxruntime",
        "--seconds",
        "0.1",
        "--scenarios",
        "camera",
        "--no-start",
    ]
    assert run([str(tiny_package.path), *arguments]) == 0
    out = capsys.readouterr().out
    assert "camera: a frame every period" in out
    assert "(needs 662)" in out
    assert "not measured: engine 'tensorrt': tensorrt is not installed" in out


def test_only_a_missing_engine_is_an_error(tiny_package: ModelPackage) -> None:
    with pytest.raises(EngineMissingError, match="tensorrt is not installed"):
        run([str(tiny_package.path), "--engine", "tensorrt"])


def test_package_of_another_machines_engine_runs_and_says_on_what(
    tiny_package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_report(tiny_package, tmp_path / "orin.argus", {"target": "tensorrt"})
    assert run([path, "--seconds", "0.1", "--scenarios", "SingleStream", "--no-start"]) == 0
    assert re.search(r"passed over +tensorrt: tensorrt is not installed", capsys.readouterr().out)


def test_two_results_are_compared(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slower: dict[str, Any] = read_result(measured / "result.json")
    for subject in slower["subjects"]:
        for block in subject["scenarios"]["SingleStream"]["blocks"]:
            block["latency_ms"] = [2 * ms for ms in block["latency_ms"]]
    other = tmp_path / "slower.json"
    other.write_text(json.dumps(slower))
    assert run([str(measured / "result.json"), str(other), "--out", str(tmp_path / "joined")]) == 0
    out = capsys.readouterr().out
    assert len(re.findall("^SingleStream: .* against .*: 100.0 % slower", out, re.MULTILINE)) == 2
    assert "measured at different times" in out
    Page((tmp_path / "joined" / "report.html").read_text(encoding="utf-8"))


def test_one_result_is_shown_again(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(measured / "result.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == read_result(measured / "result.json")


@pytest.mark.parametrize("text", ["", "[]", '{"format": "argus-bench 0"}', '{"format": "argus-bench 1"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected a result of argus-bench"):
        run([str(path)])


def test_what_cannot_be_meant_is_refused(measured: Path, tiny_package: ModelPackage, tmp_path: Path) -> None:
    file, folder = str(measured / "result.json"), str(tiny_package.path)
    cases: list[tuple[list[str], type[ArgusError], str]] = [
        ([file, folder], InputError, "got one of each"),
        ([folder] * 3, InputError, "expected one or two"),
        ([str(tmp_path / "none.argus")], PackageError, "expected a model package"),
        ([folder, "--precision", "int8"], InputError, "has no precision 'int8'"),
        ([folder, "--cpus", "9999"], InputError, "--cpus: expected some of"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            run(arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_tells_what_it_has(
    tiny_package: ModelPackage,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The signal comes after the third block of twenty."""
    steps = count()

    @contextmanager
    def progress(_label: str, _total: int | None) -> Iterator[Callable[[], None]]:
        yield lambda: signal.raise_signal(number) if next(steps) == 2 else None

    monkeypatch.setattr("argus_edge.runtime.commands.bench.progress", progress)
    before = signal.getsignal(number)
    arguments = [*QUICK, "--scenarios", "SingleStream,camera", "--out", str(tmp_path)]
    assert run([str(tiny_package.path), *arguments]) == 130
    assert signal.getsignal(number) is before
    assert capsys.readouterr().out.rstrip().endswith("PARTIAL: the run was interrupted")
    result = read_result(tmp_path / "result.json")
    assert not result["complete"]
    (subject,) = result["subjects"]
    assert {name: len(found["blocks"]) for name, found in subject["scenarios"].items()} == {"SingleStream": 3}
    assert subject["start"] is None
    assert "PARTIAL" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_run_interrupted_at_once_has_nothing_to_tell(
    tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def progress(_label: str, _total: int | None) -> Iterator[Callable[[], None]]:
        signal.raise_signal(signal.SIGINT)
        yield lambda: None

    monkeypatch.setattr("argus_edge.runtime.commands.bench.progress", progress)
    assert run([str(tiny_package.path), *QUICK, "--json"]) == 130
    result = json.loads(capsys.readouterr().out)
    assert (result["complete"], result["subjects"]) == (False, [])
    Page(render(result))
