"""The tensors at the boundary of a graph on a CUDA device, each at an address that does not change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np

from argus_edge.errors import EngineError
from argus_edge.runtime.engines.cuda_memory import Cuda, DeviceArray, DevicePart
from argus_edge.spec import IMAGE_TENSOR

if TYPE_CHECKING:
    from argus_edge.runtime.engines import Array

__all__ = ["Addresses", "Declared", "DeviceTensors"]

# Name -> shape, which may hold a name or nothing for a side that is not fixed, and dtype.
Declared: TypeAlias = Mapping[str, tuple[tuple[Any, ...], np.dtype[Any]]]
Addresses: TypeAlias = tuple[int, ...]  # of the inputs, in the order they are declared in


class DeviceTensors:
    """Inputs are uploaded, or taken where they are when another graph has left them on the device.

    A backbone (which reads an image and nothing else) leaves its outputs there, for decoders to read; other
    outputs are downloaded. Raises EngineError, naming the file, for shapes that are not fixed and, later, for
    inputs that are not as declared.
    """

    def __init__(
        self, model_file: Path, cuda: Cuda, stream: Any, inputs: Declared, outputs: Declared
    ) -> None:
        self._model_file, self._cuda, self._stream = model_file, cuda, stream
        for name, (shape, _) in {**inputs, **outputs}.items():
            if not all(isinstance(side, int) and side > 0 for side in shape):
                raise EngineError(f"{model_file}: {name} has the shape {shape}, which is not fixed")
        self.inputs: Final = inputs
        self.outputs: Final[dict[str, DeviceArray]] = {}
        self._uploaded: dict[str, DeviceArray] = {}
        self._stay = inputs.keys() == {IMAGE_TENSOR}
        try:
            for name, (shape, dtype) in outputs.items():
                self.outputs[name] = DeviceArray(cuda, stream, shape, dtype)
        except BaseException:
            self.free()
            raise

    def place(self, inputs: Mapping[str, Array]) -> Addresses:
        """Put the inputs of a run onto the device, where they are not there yet; returns where they are."""
        if inputs.keys() != self.inputs.keys():
            raise EngineError(f"{self._model_file}: needs {sorted(self.inputs)}, was given {sorted(inputs)}")
        return tuple(self._place(name, inputs[name]) for name in self.inputs)

    def collect(self) -> dict[str, Array]:
        """Wait for a run to end, and return what it gave: on the device, or downloaded."""
        if self._stay:
            self._cuda.wait(self._stream)
            return cast("dict[str, Array]", dict(self.outputs))  # see Engine.run
        values = {name: array.download() for name, array in self.outputs.items()}
        self._cuda.wait(self._stream)
        return values

    def free(self) -> None:
        """Give all memory back. Harmless when repeated."""
        for array in (*self._uploaded.values(), *self.outputs.values()):
            array.free()

    def _place(self, name: str, values: Array | DeviceArray | DevicePart) -> int:
        shape, dtype = self.inputs[name]
        if values.shape != shape or values.dtype != dtype:
            raise EngineError(
                f"{self._model_file}: {name} is {dtype} {shape}, was given {values.dtype} {values.shape}"
            )
        if isinstance(values, DeviceArray | DevicePart):
            if not values.pointer:
                raise EngineError(f"{self._model_file}: {name} comes from an engine that was closed")
            return values.pointer
        if name not in self._uploaded:
            self._uploaded[name] = DeviceArray(self._cuda, self._stream, shape, dtype)
        self._uploaded[name].upload(values)
        return self._uploaded[name].pointer
