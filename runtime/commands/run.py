"""argus-run: a model package on images, a folder, a video, a camera or a stream.

    argus-run nano.argus --source clip.mp4 --out run      # video, contact sheet, results and latency in run/
    argus-run nano.argus --source 0                       # camera -> one line of JSON per frame on stdout

Ctrl-C and SIGTERM end a run with its files finished.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import argus_edge
from argus_edge.command import name_list, positive_number, run_command
from argus_edge.errors import ImageError, InputError
from argus_edge.results import Frame
from argus_edge.runtime.commands.coco import object_classes
from argus_edge.runtime.commands.ending import ending_between_frames
from argus_edge.runtime.commands.outputs import RunFolder, result_line
from argus_edge.runtime.commands.progress import progress
from argus_edge.runtime.draw import draw
from argus_edge.runtime.engines import ENGINES
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.report import LatencyTable
from argus_edge.runtime.session import Runtime
from argus_edge.runtime.sources import (
    READER,
    Source,
    SourceEvent,
    SourceFrame,
    open_source,
    without_passwords,
)
from argus_edge.runtime.tracking import LOW, Tracker
from argus_edge.spec import PRECISIONS

WINDOW = "argus-run (q ends)"


@dataclass
class _Counts:
    """What a run counts."""

    latency: LatencyTable = field(default_factory=LatencyTable)
    frames: int = 0
    skipped: int = 0
    source_events: Counter[str] = field(default_factory=Counter)  # by kind
    seconds: float = 0.0


def main() -> NoReturn:
    """The command: see `run`."""
    try:
        run_command(lambda: run(sys.argv[1:]), "argus-run")
    except SystemExit as end:
        if any(thread.name.startswith(READER) for thread in threading.enumerate()):
            # A read that hangs would abort the process if it came back while the interpreter ends.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code; raises ArgusError for bad input."""
    arguments = _parser().parse_args(argv)
    # Set before OpenCV is loaded: a file it cannot read is our error to tell, in one line.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if arguments.show:
        _check_display()
    if arguments.coco and arguments.out is None:
        raise InputError("--coco writes into the folder of --out, and none was given")

    counts = _Counts()

    def skip(error: ImageError) -> None:
        counts.skipped += 1
        print(f"argus-run: skipped: {error}", file=sys.stderr)

    def tell(event: SourceEvent) -> None:
        counts.source_events[event.kind] += 1
        print(f"argus-run: {event.message}", file=sys.stderr)

    with ExitStack() as stack:
        source = stack.enter_context(open_source(arguments.source, on_skip=skip, on_event=tell))
        runtime = stack.enter_context(
            Runtime(
                arguments.package,
                engine=arguments.engine,
                precision=arguments.precision,
                tasks=arguments.tasks,
                threads=arguments.threads,
                score_threshold=_least_score(arguments),
                size=arguments.size,
                rates=arguments.rate,
                priorities={task: int(value) for task, value in (arguments.priority or {}).items()},
                deadline_ms=arguments.deadline,
            )
        )
        coco = object_classes(runtime.package.spec, runtime.tasks) if arguments.coco else None
        folder = stack.enter_context(RunFolder(arguments.out, source, coco)) if arguments.out else None
        try:
            _run_frames(counts, runtime, source, folder, arguments)
        finally:
            if folder is not None:
                folder.write_text("latency.md", _latency_page(counts, runtime, arguments.source))
            if arguments.profile is not None:
                runtime.trace(arguments.profile)
    summary = _summary(counts, runtime, arguments.source, folder)
    if arguments.json:
        print(json.dumps(summary, indent=2))
    else:
        print(_closing_line(counts, folder), file=sys.stderr if folder is None else sys.stdout)
    return 0


def _run_frames(
    counts: _Counts, runtime: Runtime, source: Source, folder: RunFolder | None, arguments: argparse.Namespace
) -> None:
    """Take every frame through the runtime to where it goes: the folder, the window, or stdout."""
    to_stdout = folder is None and not arguments.json
    count = (
        source.count
        if arguments.max_frames is None
        else min(source.count or sys.maxsize, arguments.max_frames)
    )
    tracker = Tracker(high=arguments.score, low=_least_score(arguments)) if arguments.track else None
    begin = time.perf_counter()
    with ExitStack() as stack:
        frame_at_hand = stack.enter_context(ending_between_frames())
        # Lines of results on stdout are progress enough.
        step = None if to_stdout else stack.enter_context(progress("frames", count))
        frames = stack.enter_context(closing(runtime.stream(source)))
        for item, frame in islice(frames, arguments.max_frames):
            with frame_at_hand():
                if tracker is not None:
                    frame = _tracked(tracker, frame, item)
                start = time.perf_counter()
                if to_stdout:
                    print(result_line(item, frame), flush=True)
                drawn = folder is not None or arguments.show
                annotated = draw(item.image, frame, min_score=0) if drawn else item.image
                if folder is not None:
                    folder.add(item, frame, annotated)
                write_ms = (time.perf_counter() - start) * 1e3
                counts.latency.add({**frame.timings, "write": write_ms})
                counts.frames += 1
                counts.seconds = time.perf_counter() - begin
                if step is not None:
                    step()
            if arguments.show and _shown_to_the_end(annotated):
                break


def _least_score(arguments: argparse.Namespace) -> float:
    """What results must have; doubtful ones are of use to the tracker, which leaves out the rest of them."""
    score: float = arguments.score
    return min(score, LOW) if arguments.track else score


def _tracked(tracker: Tracker, frame: Frame, item: SourceFrame) -> Frame:
    """The frame with its objects numbered, and the time that took as a stage of its own."""
    start = time.perf_counter()
    frame = tracker(frame, item.capture_time if item.time is None else item.time)
    return replace(frame, timings={**frame.timings, "track": (time.perf_counter() - start) * 1e3})


def _check_display() -> None:
    # Qt ends the whole process when it finds no display, so this is asked before OpenCV is.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError(
            "--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; use --out instead"
        )
    import cv2

    try:
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise InputError(
            "--show needs an OpenCV with windows, and this build has none; use --out instead, or "
            "pip install opencv-python"
        ) from error


def _shown_to_the_end(annotated: NDArray[np.uint8]) -> bool:
    """Show one frame; tell whether the user wants no more (q, Escape)."""
    import cv2

    cv2.imshow(WINDOW, cv2.cvtColor(annotated, cv2.COLOR_RGB2BGR))
    return cv2.waitKey(1) & 0xFF in (ord("q"), 27)


def _latency_page(counts: _Counts, runtime: Runtime, source: str) -> str:
    package = runtime.package
    facts = {
        "package": f"{package.spec.name}, {runtime.precision}, manifest sha256 `{package.sha256}`",
        "tasks": ", ".join(runtime.tasks),
        "engine": f"{runtime.engine} {runtime.engine_version}, {runtime.threads} threads",
        "argus_edge": argus_edge.__version__,
        "source": without_passwords(source),
    }
    return counts.latency.to_markdown(this_machine(), facts)


def _summary(counts: _Counts, runtime: Runtime, source: str, folder: RunFolder | None) -> dict[str, Any]:
    return {
        "package": {"name": runtime.package.spec.name, "sha256": runtime.package.sha256},
        "precision": runtime.precision,
        "tasks": list(runtime.tasks),
        "engine": {"name": runtime.engine, "version": runtime.engine_version, "why": list(runtime.why)},
        "threads": runtime.threads,
        "machine": this_machine().to_json(),
        "source": without_passwords(source),
        "frames": counts.frames,
        "skipped": counts.skipped,
        "source_events": dict(counts.source_events),
        "frames_per_second": round(counts.frames / counts.seconds, 3) if counts.seconds else None,
        "warm_up_frames": counts.latency.warm_up,
        "latency_ms": counts.latency.to_json(),
        "stats": runtime.stats().to_json(),
        "files": [str(file) for file in folder.files] if folder is not None else [],
    }


def _closing_line(counts: _Counts, folder: RunFolder | None) -> str:
    total = counts.latency.stages().get("total")
    speed = f", {total.p50:.1f} ms per frame (p50)" if total else ""
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    files = f": {', '.join(str(file) for file in folder.files)}" if folder is not None else ""
    return f"{counts.frames} frames{skipped}{speed}{files}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="argus-run",
        description="Run a model package on images, a folder of them, a video file, a camera or a stream.",
        epilog="Without --out or --json, results go to stdout, one JSON object per frame.",
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="folder NAME.argus")
    parser.add_argument(
        "--source",
        required=True,
        help="image, folder of images, video file, camera (0, /dev/video0), URL (rtsp://, http://) or "
        "GStreamer pipeline (... ! appsink)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for video, contact sheet, results, latency"
    )
    parser.add_argument(
        "--coco", action="store_true", help="objects as COCO results as well, in --out: det.coco.json, ..."
    )
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="default: %(default)s")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: the lowest in the package")
    parser.add_argument("--tasks", type=name_list, metavar="A,B", help="default: all of the package")
    parser.add_argument(
        "--size",
        type=_sides,
        metavar="S",
        help="448 or 320x448 (height first) [px]; default: the package's first",
    )
    parser.add_argument("--threads", type=positive_number, metavar="N", help="default: one for each core")
    parser.add_argument(
        "--score",
        type=float,
        default=0.35,
        metavar="S",
        help="leave out boxes, instances and persons below it (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=_values,
        metavar="A=HZ,B=HZ",
        help="how often a task runs [1/s]; default: on every frame",
    )
    parser.add_argument(
        "--priority", type=_values, metavar="A=N,B=N", help="more is more important; default: 0 for each task"
    )
    parser.add_argument(
        "--deadline", type=float, metavar="MS", help="skip tasks that would end later after a frame's capture"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="write a trace for Perfetto or chrome://tracing"
    )
    parser.add_argument("--track", action="store_true", help="number objects so that they keep their numbers")
    parser.add_argument("--max-frames", type=positive_number, metavar="N", help="stop after so many")
    parser.add_argument("--show", action="store_true", help="show the frames in a window; q ends")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    parser.add_argument("--version", action="version", version=f"%(prog)s {argus_edge.__version__}")
    return parser


def _values(text: str) -> dict[str, float]:
    """{"det": 30.0, "seg": 10.0} of "det=30,seg=10"."""
    values = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected TASK=NUMBER,TASK=NUMBER, got {text}") from error
    return values


def _sides(text: str) -> tuple[int, int]:
    """Height and width [px] of "448" or "320x448"."""
    sides = [positive_number(side) for side in text.split("x")]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"expected 448 or 320x448, got {text}")
    return sides[0], sides[-1]


if __name__ == "__main__":
    main()
