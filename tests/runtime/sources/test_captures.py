"""What OpenCV opens: motion JPEG from a server of this test, cameras and pipelines that are not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from argus_edge.errors import SourceError
from argus_edge.runtime.sources import ReopenPolicy, SourceEvent, open_source, without_passwords

POLICY = ReopenPolicy(timeout=1.0, open_timeout=10.0, attempts=2, pause=0.01)


class _Server(ThreadingHTTPServer):
    """Serves motion JPEG: each connection gets `frames` grey pictures, brighter for each connection."""

    daemon_threads = True
    frames = 5
    hangs = False
    connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/live"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.connections += 1
        picture = np.full((48, 64, 3), 40 * self.server.connections, np.uint8)
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(self.server.frames):
            self.wfile.write(head + data + b"\r\n")
            time.sleep(0.02)
        if self.server.hangs:
            time.sleep(5)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_stream_that_ends_is_opened_again(server: _Server) -> None:
    events: list[SourceEvent] = []
    seen: list[int] = []
    with open_source(server.url, policy=POLICY, on_event=events.append) as source:
        assert (source.kind, source.count) == ("stream", None)
        indices = []
        for frame in source:
            assert frame.image.shape == (48, 64, 3)
            indices.append(frame.index)
            seen.append(round(float(frame.image.mean()) / 40))
            if seen[-1] == 3:
                break
    assert sorted(set(seen)) == [1, 2, 3]
    assert indices == sorted(set(indices))
    assert [event.kind for event in events] == ["ended", "reopened"] * 2
    assert events[0].message == f"{server.url}: gives no more frames"


def test_a_stream_that_stalls_is_opened_again(server: _Server) -> None:
    server.hangs = True
    events: list[SourceEvent] = []
    with open_source(server.url, policy=POLICY, on_event=events.append) as source:
        for frame in source:
            if round(float(frame.image.mean()) / 40) == 2:
                break
    assert [event.kind for event in events] in (["stalled", "reopened"], ["ended", "reopened"])


def test_a_stream_whose_server_dies_for_good_is_given_up(server: _Server) -> None:
    with open_source(server.url, policy=POLICY, on_event=lambda event: None) as source:
        frames = iter(source)
        next(frames)
        server.shutdown()
        server.server_close()
        with pytest.raises(SourceError, match="given up after 2 attempts"):
            list(frames)


def test_a_file_behind_a_url_is_no_stream(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(6):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with pytest.raises(SourceError, match="a file of 6 frames and no live stream; download it"):
        open_source(f"file://{tmp_path}/clip.mp4")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (97, "camera 97: cannot be opened"),
        ("97", "camera 97: cannot be opened"),
        ("/dev/video97", "camera /dev/video97: cannot be opened"),
        ("/dev/null", "camera /dev/null: cannot be opened"),
        (-1, "counts from 0"),
        ("http://127.0.0.1:9/live", "http://127.0.0.1:9/live: cannot be opened"),
        ("RTSP://me:secret@127.0.0.1:9/a", r"RTSP://\*\*\*@127.0.0.1:9/a: cannot be opened"),
        ("nonsense://there", "nonsense://there: cannot be opened"),
    ],
    ids=str,
)
def test_what_is_not_there_is_named(source: str | int, told: str) -> None:
    with pytest.raises(SourceError, match=told) as raised:
        open_source(source, policy=ReopenPolicy(open_timeout=5))
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


GSTREAMER = cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)


@pytest.mark.skipif(GSTREAMER, reason="this OpenCV has GStreamer")
def test_without_gstreamer_a_pipeline_says_so() -> None:
    with pytest.raises(SourceError, match="this OpenCV was built without GStreamer"):
        open_source("nvarguscamerasrc ! nvvidconv ! videoconvert ! appsink")


@pytest.mark.skipif(not GSTREAMER, reason="this OpenCV has no GStreamer")
def test_a_gstreamer_pipeline_gives_frames() -> None:
    caps = "video/x-raw, format=BGR, width=64, height=48"
    with open_source(f"videotestsrc is-live=true ! videoconvert ! {caps} ! appsink") as source:
        assert source.kind == "stream"
        assert next(iter(source)).image.shape == (48, 64, 3)
    with pytest.raises(SourceError, match="expected one that ends in '! appsink'"):
        open_source("videotestsrc ! fakesink")
    with pytest.raises(SourceError, match="does not start"):
        open_source("nosuchelement ! appsink")


def test_passwords_are_not_shown() -> None:
    assert without_passwords("rtsp://me:pw@host:554/a?b=c@d") == "rtsp://***@host:554/a?b=c@d"
    assert without_passwords("rtspsrc location=rtsp://h/a user-id=me user-pw=pw ! appsink") == (
        "rtspsrc location=rtsp://h/a user-id=me user-pw=*** ! appsink"
    )
    assert without_passwords("folder/a@b.mp4") == "folder/a@b.mp4"
