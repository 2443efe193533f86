"""The video of a camera lasts as long as what it shows."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.results import Frame
from argus_edge.runtime.commands.outputs import RunFolder
from argus_edge.runtime.sources import LiveSource, SourceFrame

IMAGE: NDArray[np.uint8] = np.zeros((48, 64, 3), np.uint8)


class _Camera:
    """10 frames/s, as it says; gives one."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended
        self._images: list[NDArray[np.uint8]] = [IMAGE]

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        if self._images:
            return True, self._images.pop()
        self._ended.wait(30)
        return False, None

    def get(self, property_id: int, /) -> float:
        return 10.0

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("times", "frames"),
    [
        ([0.1 * step for step in range(20)], 20),  # at the rate that the camera tells
        ([0.5 * step for step in range(5)], 21),  # slower
        ([0.02 * step for step in range(101)], 21),  # faster
        ([0.0, 0.1, 60.1, 60.2], 13),  # lost for a minute, of which a second is shown
    ],
    ids=["as told", "slow", "fast", "gap"],
)
def test_the_video_of_a_camera_keeps_time(tmp_path: Path, times: list[float], frames: int) -> None:
    ended = threading.Event()
    with LiveSource("camera", lambda: _Camera(ended)) as source:
        with RunFolder(tmp_path, source) as folder:
            for number, time in enumerate(times):
                item = SourceFrame(number, f"{number}", time, time, IMAGE)
                folder.add(item, Frame(48, 64, {}), IMAGE)
        ended.set()
    video = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 10
    assert abs(video.get(cv2.CAP_PROP_FRAME_COUNT) - frames) <= 1
