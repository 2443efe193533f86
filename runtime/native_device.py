"""A package on an engine without the interpreter: the C++ core calls it, wired without copies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.package import ModelPackage
from argus_edge.runtime import _native
from argus_edge.runtime.device import Load, PersonFinder
from argus_edge.runtime.engines import Array, default_threads
from argus_edge.runtime.engines.native import Built, NativeCache
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.persons import fill_slots
from argus_edge.runtime.preprocess import PixelFormat, preprocess
from argus_edge.runtime.selection import POSE, Selection
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, PERSONS_TENSOR, Precision, TaskEntry

__all__ = ["NativeDevice", "built_graphs", "keep_built"]


BuiltGraphs: TypeAlias = dict[int, dict[str, Built]]
"""Frames that run at once -> component -> its built form."""


def built_graphs(
    packages: Mapping[int, ModelPackage], selection: Selection, precision: Precision, cache: NativeCache
) -> BuiltGraphs | None:
    """The built forms in this user's cache, for each number of frames; None where one is missing.

    Raises EngineMissingError where the core cannot run them anyhow, and says why.
    """
    if any(packages[1].spec.tasks[task].backbone != BACKBONE for task in selection.tasks):
        raise EngineMissingError("pose from crops is run from Python")
    found: BuiltGraphs = {}
    for frames, package in packages.items():
        found[frames] = {}
        for stage in selection.stages:
            built = cache.find(package.model_file(stage.name, precision))
            if built is None:
                return None
            found[frames][stage.name] = built
    return found


def keep_built(
    graphs: Mapping[int, Graphs],
    packages: Mapping[int, ModelPackage],
    selection: Selection,
    precision: Precision,
    cache: NativeCache,
) -> BuiltGraphs | None:
    """Write the built form of graphs that are open to the cache, and find it there. Raises EngineError."""
    for frames, package in packages.items():
        for stage in selection.stages:
            exported = partial(graphs[frames].exported, stage.name)
            cache.keep(package.model_file(stage.name, precision), exported)
    return built_graphs(packages, selection, precision, cache)


def _load(library: Path, built: Iterable[Built]) -> list[_native.Graph]:
    """Load graphs, as many at once as there are cores: each keeps a single one busy. Raises EngineError."""

    def load(graph: Built) -> _native.Graph:
        try:
            return _native.Graph(str(library), str(graph.file), list(graph.settings.items()))
        except RuntimeError as error:
            raise EngineError(f"{graph.file}: it cannot be loaded: {error}") from error

    with ThreadPoolExecutor(default_threads()) as pool:
        return list(pool.map(load, built))


class NativeDevice:
    """Runs the stages in the C++ core, which never waits for the interpreter; only pose asks it for persons.

    Raises EngineError when a graph does not load or does not have the tensors that the package declares.
    """

    def __init__(
        self,
        package: ModelPackage,
        selection: Selection,
        library: Path,
        built: BuiltGraphs,
        finder: PersonFinder,
    ) -> None:
        self._package, self._finder = package, finder
        spec = package.spec
        self._stages = [stage.name for stage in selection.stages]
        self._tags = itertools.count()
        self._loads: WeakValueDictionary[int, Load] = WeakValueDictionary()
        image_bytes = int(np.prod(spec.input.tensor.shape))
        self.executor: Final = _native.GraphExecutor(image_bytes, max(built))
        wanted = [(name, frames) for name in self._stages for frames in sorted(built)]
        graphs = _load(library, (built[frames][name] for name, frames in wanted))
        for (name, frames), graph in zip(wanted, graphs, strict=True):
            self._wire(name, frames, graph, built[frames][name].file)
        for task in selection.tasks:
            entry = spec.tasks[task]
            if entry.row(task).kind == POSE:
                self._prepare_pose(entry)

    def _wire(self, name: str, frames: int, graph: _native.Graph, file: Path) -> None:
        """Add the graph of the next stage, or one of it for more frames. Raises EngineError."""
        components = self._package.spec.components
        component, features = components[name], {tensor.name for tensor in components[BACKBONE].outputs}
        inputs = [tensor.name for tensor in component.inputs]
        try:
            if frames > 1:
                self.executor.add_batch(self._stages.index(name), frames, graph)
                return
            self.executor.add(
                graph,
                image=IMAGE_TENSOR if component.is_backbone else "",
                features=[tensor for tensor in inputs if tensor in features],
                others=[tensor for tensor in inputs if tensor == PERSONS_TENSOR],
                outputs=[tensor.name for tensor in component.outputs],
                answers=name != BACKBONE,
            )
        except RuntimeError as error:
            raise EngineError(f"{file}: it is not what the package says: {error}") from error

    def load(self, image: NDArray[np.uint8], pixel_format: PixelFormat) -> Load:
        """See `Device.load`."""
        tensor, letterbox = preprocess(image, self._package.spec.input, pixel_format)
        tag = next(self._tags)
        load = Load(tensor, letterbox, None, self.executor.work(tensor, tag))
        self._loads[tag] = load
        return load

    def outputs(self, load: Load, component: str) -> Mapping[str, Array]:
        """See `Device.outputs`."""
        return self._read(load.work, component, None if load.persons is None else len(load.persons))

    def error(self, load: Load, component: str) -> Exception | None:
        """See `Device.error`."""
        told = load.work.error(self._stages.index(component))
        return EngineError(f"{component}: it failed to run: {told}") if told else None

    def close(self) -> None:
        """See `Device.close`. The graphs are freed with the executor, when nobody holds it any more."""
        for stage in range(len(self._stages)):
            self.executor.set_prepare(stage, None)

    def _read(self, work: _native.Work, component: str, persons: int | None) -> dict[str, Array]:
        """Views of what a decoder answered; of the slots of pose, those that are taken."""
        declared = self._package.spec.components[component]
        stage = self._stages.index(component)
        found: dict[str, Array] = {}
        for index, tensor in enumerate(declared.outputs):
            values = work.output(stage, index).view(tensor.dtype).reshape(tensor.shape)
            found[tensor.name] = values if declared.persons is None else values[:persons]
        return found

    def _prepare_pose(self, entry: TaskEntry) -> None:
        stage = self._stages.index(entry.component)
        slots = self.executor.input(stage, PERSONS_TENSOR).view(np.float32).reshape(-1, 4)

        def prepare(_stage: int, work: _native.Work) -> None:
            load = self._loads.get(work.tag)
            if load is not None:  # else nobody waits for the frame any more
                persons = self._finder.find(load, entry, self._read(work, self._finder.component, None))
                slots[:] = fill_slots(persons, load.letterbox, len(slots))

        self.executor.set_prepare(stage, prepare)
