"""argus-run and argus-doctor as a user starts them: files, exit codes, one line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from argus_edge.package import ModelPackage, model_path
from argus_edge.runtime.engines import ENGINES, available_engines

pytestmark = pytest.mark.skipif(
    not any(status.available for status in available_engines()), reason="no engine is installed here"
)


def _command(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", f"argus_edge.runtime.commands.{name}", *map(str, arguments)]


def _start(name: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(name, *arguments), cwd=cwd, capture_output=True, text=True, timeout=60)


def _write_clip(path: Path, frames: int = 30, width: int = 160, height: int = 120) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (width, height))
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for index in range(frames):
        writer.write(np.roll(noise, 4 * index, axis=1))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return _write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.full((321, 517, 3), 90, np.uint8))
    return path


def test_a_video_leaves_its_files(tmp_path: Path, clip: Path, tiny_package: ModelPackage) -> None:
    arguments = ("--source", clip, "--out", "run", "--score", "0", "--coco", "--json")
    done = _start("run", tiny_package.path, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == 30
    assert summary["package"] == {"name": "tiny", "sha256": tiny_package.sha256}
    assert summary["latency_ms"]["total"]["p50"] > 0
    out = tmp_path / "run"
    assert sorted(summary["files"]) == sorted(f"run/{path.name}" for path in out.iterdir())

    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(30))
    assert lines[4]["time_s"] == pytest.approx(0.4)
    assert lines[0]["image"] == {"height": 120, "width": 160}
    assert lines[0]["results"]["det"]["boxes"]
    assert set(lines[0]["results"]) == {"det", "seg", "depth"}
    assert lines[0]["timings_ms"]["total"] > 0

    coco = json.loads((out / "det.coco.json").read_text())
    assert len(coco) == sum(len(line["results"]["det"]["boxes"]) for line in lines)
    assert len(json.loads((out / "images.coco.json").read_text())["images"]) == 30

    video = cv2.VideoCapture(str(out / "annotated.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert video.get(cv2.CAP_PROP_FPS) == 10
    assert video.read()[1].shape == (120, 160, 3)
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] > 120
    page = (out / "latency.md").read_text()
    for told in (
        "tiny, fp32",
        tiny_package.sha256,
        "25 measured, after 5 of warm-up",
        "| backbone |",
    ):
        assert told in page


def test_a_folder_skips_and_counts_what_is_no_image(
    tmp_path: Path, image: Path, tiny_package: ModelPackage
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(image, folder / "b.png")
    cv2.imwrite(str(folder / "c.png"), np.zeros((48, 64, 3), np.uint8))
    (folder / "a.jpg").write_bytes(b"not an image")
    done = _start("run", tiny_package.path, "--source", "images", "--out", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["frames"], json.loads(done.stdout)["skipped"]) == (2, 1)
    assert "skipped: images/a.jpg: not an image" in done.stderr
    video = cv2.VideoCapture(str(tmp_path / "run" / "annotated.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_an_image_is_annotated_in_full_size(tmp_path: Path, image: Path, tiny_package: ModelPackage) -> None:
    done = _start("run", tiny_package.path, "--source", image, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 frame" in done.stdout
    annotated = cv2.imread(str(tmp_path / "run" / "annotated.png"))
    assert annotated is not None
    assert annotated.shape == (321, 517, 3)
    assert not (tmp_path / "run" / "annotated.mp4").exists()
    sheet = cv2.imread(str(tmp_path / "run" / "contact-sheet.png"))
    assert sheet is not None
    assert min(sheet.shape[:2]) > 2 * 298  # two by two tiles for det, seg and depth, each of 298 x 480 px


def test_without_a_folder_results_go_to_stdout(
    tmp_path: Path, clip: Path, tiny_package: ModelPackage
) -> None:
    done = _start(
        "run", tiny_package.path, "--source", clip, "--max-frames", "3", "--tasks", "det", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert set(lines[0]["results"]) == {"det"}
    assert all(box["score"] >= 0.35 for box in lines[0]["results"]["det"]["boxes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_a_second_run_replaces_the_files_of_the_first(
    tmp_path: Path, clip: Path, tiny_package: ModelPackage
) -> None:
    for frames in (4, 2):
        arguments = ("--source", clip, "--out", "run", "--max-frames", str(frames))
        assert _start("run", tiny_package.path, *arguments, cwd=tmp_path).returncode == 0
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 2
    assert cv2.VideoCapture(str(tmp_path / "run" / "annotated.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2


def _wait_for_results(results: Path) -> None:
    begin = time.monotonic()
    while not (results.exists() and results.stat().st_size > 0) and time.monotonic() - begin < 30:
        time.sleep(0.02)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_ended_from_outside_its_files_are_finished(
    tmp_path: Path, tiny_package: ModelPackage, ending: signal.Signals
) -> None:
    clip = _write_clip(tmp_path / "long.mp4", frames=3000, width=64, height=48)
    command = _command("run", tiny_package.path, "--source", clip, "--out", "run")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    results = tmp_path / "run" / "results.jsonl"
    _wait_for_results(results)
    process.send_signal(ending)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert 0 < len(lines) < 3000
    video = cv2.VideoCapture(str(tmp_path / "run" / "annotated.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(lines)
    assert (tmp_path / "run" / "contact-sheet.png").stat().st_size > 0
    assert "| total |" in (tmp_path / "run" / "latency.md").read_text()


def test_one_signal_ends_the_wait_for_a_stream_that_hangs(tmp_path: Path, tiny_package: ModelPackage) -> None:
    """A server gives some frames and then nothing."""
    data = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://me:secret@127.0.0.1:{server.getsockname()[1]}/live"
        command = _command("run", tiny_package.path, "--source", url, "--out", "run")
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        connection, _ = server.accept()
        with connection:
            connection.sendall(head + part * 20)
            _wait_for_results(tmp_path / "run" / "results.jsonl")
            time.sleep(0.3)  # now it waits for the next frame
            process.send_signal(signal.SIGINT)
            begin = time.monotonic()
            _, told = process.communicate(timeout=30)
            assert time.monotonic() - begin < 15  # no second signal, and not the attempts of 150 s
    assert process.returncode == 130
    page = (tmp_path / "run" / "latency.md").read_text()
    assert "http://***@127.0.0.1" in page
    assert "secret" not in page + told


def test_tracks_are_numbered(tmp_path: Path, clip: Path, tiny_package: ModelPackage) -> None:
    arguments = ("--source", clip, "--tasks", "det", "--score", "0.5", "--track", "--out", "run")
    done = _start("run", tiny_package.path, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    tracks = [[box["track_id"] for box in line["results"]["det"]["boxes"]] for line in lines]
    assert tracks[0] == list(range(1, len(tracks[0]) + 1))
    assert all(len(set(ids)) == len(ids) for ids in tracks)
    assert set(tracks[0]) & set(tracks[1])
    assert lines[0]["timings_ms"]["track"] > 0
    assert "| track |" in (tmp_path / "run" / "latency.md").read_text()


def _truncate(package: Path) -> None:
    graph = package / model_path("det", "fp32")
    graph.write_bytes(graph.read_bytes()[:-100])


def _edit_weights(package: Path) -> None:
    graph = package / model_path("seg", "fp32")
    data = bytearray(graph.read_bytes())
    data[-40] ^= 0x10
    graph.write_bytes(data)


def _edit_manifest(package: Path, edit: Callable[[str], str]) -> None:
    manifest = package / "manifest.json"
    manifest.write_text(edit(manifest.read_text()))


def _unknown_key(package: Path) -> None:
    _edit_manifest(package, lambda text: text.replace("{", '{"surprise": 1, ', 1))


def _leave_folder(package: Path) -> None:
    _edit_manifest(package, lambda text: text.replace('"models/det', '"../models/det', 1))


def _cut_manifest(package: Path) -> None:
    _edit_manifest(package, lambda text: text[: len(text) // 2])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_truncate, "det"),
        (_edit_weights, "seg"),
        (_unknown_key, "surprise"),
        (_leave_folder, "../models/det"),
        (_cut_manifest, "manifest.json"),
        (shutil.rmtree, "got nothing"),
    ],
    ids=["truncated", "edited weights", "unknown key", "path that leaves", "cut manifest", "missing"],
)
def test_a_hostile_package_is_one_line(
    tmp_path: Path, image: Path, tiny_package: ModelPackage, harm: Callable[[Path], None], told: str
) -> None:
    package = tmp_path / "harmed.argus"
    shutil.copytree(tiny_package.path, package)
    harm(package)
    _assert_one_line(
        _start("run", package, "--source", image, "--out", "run", cwd=tmp_path), "harmed.argus", told
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.png", b"hello"), ("empty.jpg", b""), ("missing.png", None), ("text.mp4", b"hello")],
)
def test_a_hostile_source_is_one_line(
    tmp_path: Path, tiny_package: ModelPackage, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    _assert_one_line(_start("run", tiny_package.path, "--source", name, "--out", "run", cwd=tmp_path), name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "97"), "camera 97"),
        (("--source", "image.png", "--tasks", "det,pose"), "has no task 'pose'; it has: det, seg, depth"),
        (("--source", "image.png", "--tasks", "det,dept"), "unknown task 'dept'"),
        (("--source", "image.png", "--precision", "int8"), "it has: fp32"),
        (("--source", "image.png", "--engine", "tensorrt"), "tensorrt is not installed"),
        (("--source", "image.png", "--score", "7"), "[0, 1]"),
        (("--source", "image.png", "--out", "image.png"), "image.png"),
        (("--source", "image.png", "--show"), "--show needs a display"),
        (("--source", "image.png", "--coco"), "--coco writes into the folder of --out"),
        (("--source", "videotestsrc ! fakesink"), "GStreamer"),
    ],
    ids=["camera", "task", "unknown task", "precision", "engine", "score", "out", "show", "coco", "pipeline"],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path,
    image: Path,
    tiny_package: ModelPackage,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    _assert_one_line(_start("run", tiny_package.path, *arguments, cwd=tmp_path), told)


def _assert_one_line(done: subprocess.CompletedProcess[str], *told: str) -> None:
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("argus-run: error: ")
    for part in told:
        assert part in lines[0]


def test_argus_run_does_without_rich(tmp_path: Path, clip: Path, tiny_package: ModelPackage) -> None:
    code = (
        "import sys; sys.modules['rich'] = None; from argus_edge.runtime.commands.run import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(tiny_package.path), "--source", str(clip), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "frames 30/30\n"


def test_the_doctor_tells_what_there_is(tmp_path: Path, tiny_package: ModelPackage) -> None:
    done = _start("doctor", tiny_package.path, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [engine["name"] for engine in facts["engines"]] == list(ENGINES)
    assert all(engine["available"] or engine["reason"] for engine in facts["engines"])
    assert facts["extension"] == "loads"
    assert facts["ready"] is True
    for errors in facts["package"]["golden_errors"].values():
        assert max(errors.values()) <= 1e-5

    page = _start("doctor", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    for told in (
        facts["argus_edge"],
        facts["machine"]["cpu"],
        "tensorrt     missing: tensorrt is not installed",
    ):
        assert told in page.stdout


NO_ENGINE = """
import sys
for name in ("tensorrt", "openvino", "onnxruntime"):
    sys.modules[name] = None  # as if they were not installed
from argus_edge.runtime.commands.doctor import run
sys.exit(run(["--json"]))
"""


def test_the_doctor_exits_with_1_where_nothing_can_run() -> None:
    done = subprocess.run([sys.executable, "-c", NO_ENGINE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    facts = json.loads(done.stdout)
    assert facts["ready"] is False
    assert not any(engine["available"] for engine in facts["engines"])


def test_the_doctor_names_a_broken_package(tmp_path: Path, tiny_package: ModelPackage) -> None:
    package = tmp_path / "harmed.argus"
    shutil.copytree(tiny_package.path, package)
    _truncate(package)
    done = _start("doctor", package, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("argus-doctor: error: ")
    assert "Traceback" not in done.stderr


def test_the_environment_can_ask_for_the_traceback(tmp_path: Path, tiny_package: ModelPackage) -> None:
    command = _command("run", tiny_package.path, "--source", "missing.png")
    environment = {**os.environ, "ARGUS_DEBUG": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
