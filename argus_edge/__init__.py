"""Several kinds of vision from one backbone, on one device.

    import argus_edge
    with argus_edge.Runtime("nano.argus") as runtime:
        frame = runtime(image)  # (H, W, 3) uint8 RGB
        frame.det.boxes, frame.seg.labels, frame.depth.values

This package is the contract that runtime, training and export share: errors, the task table, result types,
and the model package on disk. It needs numpy only; `Runtime` is imported when it is first asked for.
"""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# In a checkout the subpackages live elsewhere: installed, or staged by the build.
__path__ = extend_path(__path__, __name__)

from argus_edge.errors import (
    ArgusError,
    CheckpointError,
    DatasetError,
    DependencyError,
    EngineError,
    EngineMissingError,
    ExportError,
    FrameDroppedError,
    ImageError,
    InputError,
    PackageError,
    ParityError,
    SourceError,
    TaskError,
    TrainingError,
)
from argus_edge.geometry import Letterbox
from argus_edge.package import ModelPackage
from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Frame,
    Instances,
    Keypoints,
    LabelMap,
    NormalMap,
    PanopticMap,
    Segment,
)
from argus_edge.tasks import TASKS, TaskSpec

if TYPE_CHECKING:
    from argus_edge.runtime.session import Runtime

__all__ = [
    "TASKS",
    "AnomalyMap",
    "ArgusError",
    "CheckpointError",
    "Classification",
    "DatasetError",
    "DenseMap",
    "DependencyError",
    "Detections",
    "EngineError",
    "EngineMissingError",
    "ExportError",
    "Frame",
    "FrameDroppedError",
    "ImageError",
    "InputError",
    "Instances",
    "Keypoints",
    "LabelMap",
    "Letterbox",
    "ModelPackage",
    "NormalMap",
    "PackageError",
    "PanopticMap",
    "ParityError",
    "Runtime",
    "Segment",
    "SourceError",
    "TaskError",
    "TaskSpec",
    "TrainingError",
    "__version__",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Runtime":
        from argus_edge.runtime.session import Runtime

        return Runtime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
