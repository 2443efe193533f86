"""From a camera's frame to the network's input: on the CPU, and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.engines.device_frames import DeviceFrames
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import ImageSpec
from benchmarks.gpu.measure import WARM_UP, Card, Row, percentiles, timed


def frames(card: Card) -> Iterator[Row]:
    """Of 1080p: resized on the CPU; brought to the device as it is, and resized there. What the CPU makes is
    uploaded as well, which is not in its row: 0.3 MB for nano, 0.8 MB for base, against 6.2 MB.
    """
    height, width = card.size((1080, 1920), (54, 96))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for side in card.size((320, 512), (32,)):
        spec = ImageSpec(side, side)
        device = DeviceFrames(spec, "cuda")
        calls: dict[str, Callable[[], object]] = {
            "CPU": partial(preprocess, image, spec),
            "GPU, upload": partial(device.upload, image),
            "GPU, upload and kernel": partial(made, device, image),
        }
        for where, call in calls.items():
            times = [timed(call) for _ in range(WARM_UP + card.rounds)][WARM_UP:]
            yield Row("frames", f"{height} x {width} to {side} px, {where}", percentiles(times))
        device.close()


def made(device: DeviceFrames, image: NDArray[np.uint8]) -> object:
    return device.network_input(device.upload(image))
