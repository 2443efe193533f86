"""Opens a package on an engine, the fastest way that there is here."""

from __future__ import annotations

from argus_edge.errors import EngineError
from argus_edge.package import ModelPackage
from argus_edge.runtime.device import Device, PersonFinder, PythonDevice
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.native_device import NativeDevice, compiled_graphs, keep_compiled
from argus_edge.runtime.selection import Selection
from argus_edge.spec import Precision

__all__ = ["open_device"]


def open_device(
    package: ModelPackage,
    selection: Selection,
    engine: str,
    precision: Precision,
    threads: int,
    score_threshold: float,
    cache: bool,
) -> tuple[Device, tuple[str, ...]]:
    """The device that runs the stages of `selection`, and why it is not the native one where it could be.

    OpenVINO is run by the C++ core, where compiled graphs may be kept. They are compiled by way of Python
    when they are new to this user's cache, and checked on a blank frame. Raises EngineError, PackageError.
    """
    finder = PersonFinder(package, selection, score_threshold)
    notes: tuple[str, ...] = ()
    native = engine == "openvino" and cache
    if native:
        try:
            compiled = compiled_graphs(package, selection, precision, threads)
            if compiled is not None:
                return NativeDevice(package, selection, compiled, finder), ()
        except EngineError as error:
            notes = (f"openvino: frames pass through Python: {error}",)
    graphs = Graphs(package, selection.tasks, engine, precision, threads)
    if native and not notes:
        try:
            compiled = keep_compiled(graphs, package, selection, precision, threads)
            if compiled is not None:
                device = NativeDevice(package, selection, compiled, finder)
                graphs.close()
                return device, ()
        except EngineError as error:
            notes = (f"openvino: frames pass through Python: {error}",)
    return PythonDevice(package, selection, graphs, finder), notes
