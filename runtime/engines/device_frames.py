"""Frames on a CUDA device, and the network's input made of them there."""

from __future__ import annotations

import threading
import weakref
from ctypes import c_int, c_void_p
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox
from argus_edge.runtime.engines.cuda_kernels import Kernel
from argus_edge.runtime.engines.cuda_memory import Cuda, DeviceArray
from argus_edge.runtime.preprocess import PixelFormat, check_image, image_size, preprocess
from argus_edge.spec import ImageSpec

__all__ = ["DeviceFrame", "DeviceFrames"]

BLOCK: Final = (32, 8)  # threads: a warp writes neighbouring pixels


class DeviceFrame:
    """One frame on the device; its memory goes to the next one once the network's input was made of it, or
    when nobody holds it any more.
    """

    def __init__(self, memory: DeviceArray, letterbox: Letterbox, red: int, owner: list[DeviceArray]) -> None:
        self.letterbox: Final = letterbox
        self.memory: Final = memory
        self.red: Final = red  # its place among the channels
        self.release: Final = weakref.finalize(self, owner.append, memory)


class DeviceFrames:
    """Uploads frames as they come, and makes of each the network's input, as `preprocess` does to one level.

    Opening compiles the kernel and compares it with `preprocess` on one frame. Raises EngineMissingError
    where CUDA's compiler is not found, EngineError for whatever else keeps it from being used.
    """

    formats: Final[tuple[PixelFormat, ...]] = ("rgb", "bgr")

    def __init__(self, spec: ImageSpec, extra: str) -> None:
        self._spec = spec
        self._cuda: Final = Cuda(extra)
        self._free: list[DeviceArray] = []
        self._all: list[DeviceArray] = []
        self._lock: Final = threading.Lock()
        self._kernel: Kernel | None = None
        self._uploads: Any = None
        self._stream: Any = None
        try:
            self._uploads, self._stream = self._cuda.stream(), self._cuda.stream()
            self._kernel = Kernel(self._cuda, "letterbox.cu", "letterbox", extra)
            self._input: Final = self._new((1, spec.height, spec.width, 3))
            self._check()
        except BaseException:
            self.close()
            raise

    def upload(self, image: NDArray[np.uint8], pixel_format: PixelFormat = "rgb") -> DeviceFrame:
        """Bring a frame (H, W, 3) uint8 of one of `formats` to the device. May be called from any thread.

        Raises as `preprocess` does, and EngineError when there is no memory for it.
        """
        image = check_image(image, pixel_format)
        letterbox = Letterbox(*image_size(image), self._spec.height, self._spec.width)
        memory = self._memory(image.size)
        frame = DeviceFrame(memory, letterbox, 2 if pixel_format == "bgr" else 0, self._free)
        pinned = memory.host[: image.size]
        np.copyto(pinned.reshape(image.shape), image)
        self._cuda.copy(
            memory.pointer, pinned.ctypes.data, image.size, "cudaMemcpyHostToDevice", self._uploads
        )
        self._cuda.wait(self._uploads)
        return frame

    def network_input(self, frame: DeviceFrame) -> DeviceArray:
        """The network's input (1, H, W, 3) uint8 RGB, on the device; valid until the next call."""
        if self._kernel is None:
            raise EngineError("a frame on the device was asked for after it was closed")
        box, (_, height, width, _) = frame.letterbox, self._input.shape
        red, green, blue = self._spec.pad_color
        self._kernel.launch(
            (-(-width // BLOCK[0]), -(-height // BLOCK[1])),
            BLOCK,
            self._stream,
            c_void_p(frame.memory.pointer),
            *map(c_int, (box.image_height, box.image_width, frame.red)),
            c_void_p(self._input.pointer),
            *map(c_int, (height, width, box.resized_height, box.resized_width)),
            c_int(red | green << 8 | blue << 16),
        )
        self._cuda.wait(self._stream)
        frame.release()
        return self._input

    def close(self) -> None:
        """Free its memory. Harmless when repeated."""
        for array in self._all:
            array.free()
        self._all.clear()
        if self._kernel is not None:
            self._kernel.unload()
            self._kernel = None
        for stream in filter(None, (self._uploads, self._stream)):
            self._cuda.destroy(stream)
        self._uploads = self._stream = None

    def _memory(self, size: int) -> DeviceArray:
        """Memory of at least `size` bytes; one that is free and too small makes room for it."""
        with self._lock:
            fitting = next((each for each in self._free if each.shape[0] >= size), None)
            if fitting is not None:
                self._free.remove(fitting)
                return fitting
            if self._free:
                small = self._free.pop()
                self._all.remove(small)
                small.free()
            return self._new((size,))

    def _new(self, shape: tuple[int, ...]) -> DeviceArray:
        array = DeviceArray(self._cuda, self._stream, shape, np.dtype(np.uint8))
        self._all.append(array)
        return array

    def _check(self) -> None:
        """Compare a frame, which shrinks, with what the CPU makes of it."""
        height, width = 2 * self._spec.height + 3, 2 * self._spec.width - 5
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        made = np.asarray(self.network_input(self.upload(image, "bgr"))).astype(np.int16)
        apart = int(np.abs(made - preprocess(image, self._spec, "bgr")[0]).max())
        if apart > 1:
            raise EngineError(f"the kernel that resizes frames is {apart} grey levels off what the CPU makes")
