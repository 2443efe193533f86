"""Where the stages of a package run: on engines that Python calls, or in the C++ core without Python.

A `Load` is one frame on its way: the network's input going in, the decoders' answers coming out. A device
makes loads, its `executor` runs the pipeline's stages on them, and it gives their answers back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.package import ModelPackage
from argus_edge.results import Detections, Result
from argus_edge.runtime import _native
from argus_edge.runtime.decode import decode
from argus_edge.runtime.engines import Array
from argus_edge.runtime.engines.device_frames import DeviceFrame, DeviceFrames
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.persons import Persons, fill_slots, find_persons, grid_matrix, warp
from argus_edge.runtime.preprocess import PixelFormat, preprocess, to_rgb
from argus_edge.runtime.selection import POSE, Selection
from argus_edge.spec import BACKBONE, TaskEntry

__all__ = ["MAX_CROPS", "Device", "Load", "PersonFinder", "PythonDevice"]

MAX_CROPS: Final = 20
"""Most people of one frame that go through a backbone for crops, one after the other."""


@dataclass(eq=False)
class Load:
    """One frame on its way through a device."""

    tensor: NDArray[np.uint8] | DeviceFrame  # (1, H, W, 3) RGB, the network's input, or what it is made of
    letterbox: Letterbox
    image: NDArray[np.uint8] | None  # (H, W, 3) RGB, where crops are taken from the image itself
    work: Any = None  # what the pipeline carries for the device; None: this
    answers: dict[str, dict[str, Array]] = field(default_factory=dict)  # component -> its outputs
    results: dict[str, Result] = field(default_factory=dict)  # task -> what is decoded already
    persons: Persons | None = None
    errors: dict[str, Exception] = field(default_factory=dict)  # stage -> why it failed
    begin: float = 0.0  # when it was handed in [s]
    preprocess: float = 0.0  # how long that took [s]


class Device(Protocol):
    """Runs stages, in the order and at the time that a pipeline says."""

    @property
    def executor(self) -> _native.Executor: ...

    def load(self, image: NDArray[np.uint8], pixel_format: PixelFormat) -> Load:
        """Make one frame ready to be run, in the thread that hands it in. Raises as `preprocess` does."""
        ...

    def outputs(self, load: Load, component: str) -> Mapping[str, Array]:
        """What a decoder that has run on a frame answered."""
        ...

    def error(self, load: Load, component: str) -> Exception | None:
        """Why a stage has failed on a frame, if it has."""
        ...

    def close(self) -> None:
        """Free the engines. Nothing runs any more. Harmless when repeated."""
        ...


class PersonFinder:
    """Finds the people for pose among what a detector has answered."""

    def __init__(self, package: ModelPackage, selection: Selection, score_threshold: float) -> None:
        self._spec, self._selection = package.spec, selection
        self._score_threshold = score_threshold

    def find(self, load: Load, entry: TaskEntry, outputs: Mapping[str, Array]) -> Persons:
        """The best people, as many as there are slots for. Keeps them, and the detections, in the load."""
        detector = self._selection.detector
        assert detector is not None
        detections = decode(
            detector, outputs, load.letterbox, self._spec.tasks[detector], self._score_threshold
        )
        assert isinstance(detections, Detections)
        load.results[detector] = detections
        slots = self._spec.components[entry.component].persons
        if slots is None:
            load.persons = find_persons(detections, MAX_CROPS)
        else:
            load.persons = find_persons(detections, slots.shape[0], load.letterbox)
        return load.persons

    @property
    def component(self) -> str:
        """The decoder of the detector."""
        assert self._selection.detector is not None
        return self._spec.tasks[self._selection.detector].component


class PythonDevice:
    """Runs the stages on engines that Python calls, in the pipeline's own thread.

    `graphs` are those for one frame, and for each number of them that may run at once. With `frames`, images
    go to the device as they are, and the network's input is made there as part of the backbone's stage; such
    frames run one by one.
    """

    def __init__(
        self,
        package: ModelPackage,
        selection: Selection,
        graphs: Mapping[int, Graphs],
        finder: PersonFinder,
        frames: DeviceFrames | None = None,
    ) -> None:
        self._spec, self._graphs, self._finder, self._frames = package.spec, graphs, finder, frames
        self._stages = [stage.name for stage in selection.stages]
        entries = [package.spec.tasks[task] for task in selection.tasks]
        self._poses = {
            entry.component: entry
            for task, entry in zip(selection.tasks, entries, strict=True)
            if entry.row(task).kind == POSE
        }
        self._features: Mapping[str, Array] = {}
        self._needs_image = any(entry.backbone != BACKBONE for entry in entries)
        self.executor: Final = _native.PythonExecutor(self._run)

    def load(self, image: NDArray[np.uint8], pixel_format: PixelFormat) -> Load:
        """See `Device.load`."""
        whole = np.ascontiguousarray(to_rgb(image, pixel_format)) if self._needs_image else None
        if self._frames is not None and pixel_format in self._frames.formats:
            frame = self._frames.upload(image, pixel_format)
            return Load(frame, frame.letterbox, whole)
        return Load(*preprocess(image, self._spec.input, pixel_format), whole)

    def outputs(self, load: Load, component: str) -> Mapping[str, Array]:
        """See `Device.outputs`."""
        return load.answers[component]

    def error(self, load: Load, component: str) -> Exception | None:
        """See `Device.error`."""
        return load.errors.get(component)

    def close(self) -> None:
        """See `Device.close`."""
        self.executor.release()
        for each in self._graphs.values():
            each.close()
        if self._frames is not None:
            self._frames.close()

    def _run(self, stage: int, loads: Sequence[Load], first: int) -> bool:
        """One stage; what goes wrong is the frames' affair, and whoever waits for them is told."""
        component = self._stages[stage]
        if not loads:
            self._graphs[1].warm_up(component)
            return True
        try:
            graphs = self._graphs[len(loads)]
            if component == BACKBONE:
                inputs = [self._network_input(load.tensor) for load in loads]
                self._features = graphs.features(inputs[0] if len(loads) == 1 else np.concatenate(inputs))
            elif component in self._poses:
                (load,) = loads
                load.answers[component] = self._run_pose(load, self._poses[component])
            else:
                outputs = graphs.decode(component, self._features_of(first, len(loads)))
                for place, load in enumerate(loads):
                    load.answers[component] = _kept(outputs, place, len(loads))
        except Exception as error:  # noqa: BLE001 - whoever waits for the frames gets it
            for load in loads:
                load.errors[component] = error
            del load, loads  # else the error's traceback would hold what holds the error
            return False
        return True

    def _features_of(self, first: int, frames: int) -> Mapping[str, Array]:
        """Those of so many of the frames that the backbone has run on."""
        return {name: values[first : first + frames] for name, values in self._features.items()}

    def _network_input(self, tensor: NDArray[np.uint8] | DeviceFrame) -> Array:
        if isinstance(tensor, np.ndarray):
            return tensor
        assert self._frames is not None
        return cast("Array", self._frames.network_input(tensor))  # see Engine.run

    def _run_pose(self, load: Load, entry: TaskEntry) -> dict[str, Array]:
        """`heatmaps` (N, K, h, w) of N persons: from the frame's features, or from a crop of each."""
        component = self._spec.components[entry.component]
        persons = self._finder.find(load, entry, load.answers[self._finder.component])
        if not len(persons):
            (heatmaps,) = component.outputs
            return {heatmaps.name: np.zeros((0, *heatmaps.shape[1:]), heatmaps.dtype)}
        if component.persons is not None:
            slots = fill_slots(persons, load.letterbox, component.persons.shape[0])
            outputs = self._graphs[1].decode(entry.component, self._features, slots)
            return {name: values[: len(persons)].copy() for name, values in outputs.items()}
        assert load.image is not None
        crops = [self._run_crop(entry, region, load.image) for region in persons.regions]
        return {name: np.concatenate([crop[name] for crop in crops]) for name in crops[0]}

    def _run_crop(
        self, entry: TaskEntry, region: NDArray[np.float64], image: NDArray[np.uint8]
    ) -> dict[str, Array]:
        height, width = self._spec.extra_inputs[entry.backbone].shape[1:3]
        crop = warp(image, grid_matrix(region, height, width), height, width, self._spec.input.pad_color)
        graphs = self._graphs[1]
        return _kept(graphs.decode(entry.component, graphs.features(crop[None], entry.backbone)))


def _kept(outputs: Mapping[str, Array], place: int = 0, frames: int = 1) -> dict[str, Array]:
    """Copies, which outlive the next run of their graph, of the part that is one frame's of several."""
    return {name: np.split(values, frames)[place].copy() for name, values in outputs.items()}
