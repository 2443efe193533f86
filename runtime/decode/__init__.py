"""From a decoder's tensors to results in the original image: one file per output kind, shared by its tasks.

Results never share memory with the tensors they come from, which an engine overwrites on its next run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from argus_edge.errors import PackageError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import Result
from argus_edge.runtime.decode.boxes import decode_boxes
from argus_edge.runtime.decode.dense_map import decode_dense_map
from argus_edge.runtime.decode.label_map import decode_label_map
from argus_edge.spec import ImageSpec, TaskEntry, TensorSpec
from argus_edge.tasks import OutputKind, require_built

__all__ = ["check_outputs", "decode", "decode_boxes", "decode_dense_map", "decode_label_map"]

Outputs: TypeAlias = Mapping[str, NDArray[Any]]


Tensors: TypeAlias = Mapping[str, tuple[str, tuple[int | str, ...]]]

_TENSORS: Final[Mapping[OutputKind, Tensors]] = {
    "boxes": {
        "boxes": ("float32", (1, "K", 4)),
        "scores": ("float32", (1, "K")),
        "classes": ("int32", (1, "K")),
    },
    "label_map": {"labels": ("uint8", (1, "H", "W"))},
    "dense_map": {"*": ("float32", (1, "H", "W"))},
}
"""What each output kind is read from: tensor name -> dtype and shape. "H" and "W" are the network input's
sides, "K" is any number, the same one throughout, and the name "*" stands for a single tensor of any name."""


def decode(
    task: str,
    outputs: Outputs,
    letterbox: Letterbox,
    class_names: Sequence[str] = (),
    score_threshold: float = 0.0,
) -> Result:
    """Turn the outputs of one task's decoder graph into its result in the original image.

    `score_threshold` matters to boxes only. Raises TaskError for a task that is not built.
    """
    row = require_built(task)
    match row.kind:
        case "boxes":
            return decode_boxes(outputs, letterbox, class_names, score_threshold)
        case "label_map":
            return decode_label_map(outputs, letterbox, class_names)
        case "dense_map":
            return decode_dense_map(outputs, letterbox, row.unit)
    raise TaskError(f"task {task!r}: results of kind {row.kind!r} cannot be read in this version")


def check_outputs(task: str, entry: TaskEntry, outputs: Sequence[TensorSpec], image: ImageSpec) -> None:
    """Check once, at opening, that a decoder declares the outputs from which its task's result is made.

    Raises PackageError with the tensors expected and declared, TaskError for a task that is not built.
    """
    expected = _TENSORS.get(require_built(task).kind, {})
    declared = {spec.name: (spec.dtype, spec.shape) for spec in outputs}
    if set(expected) == {"*"} and len(declared) == 1:
        expected = {next(iter(declared)): expected["*"]}
    sizes: dict[str, int] = {"H": image.height, "W": image.width}
    matches = declared.keys() == expected.keys() and all(
        dtype == declared[name][0] and _fits(shape, declared[name][1], sizes)
        for name, (dtype, shape) in expected.items()
    )
    if not matches:
        raise PackageError(
            f"component {entry.component!r} cannot give task {task!r}: expected outputs {_list(expected)} "
            f"with H, W = {image.height}, {image.width}, got {_list(declared)}; export the package again"
        )


def _fits(pattern: Sequence[int | str], shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Whether a shape follows a pattern; letters met for the first time are bound in `sizes`."""
    return len(pattern) == len(shape) and all(
        side == (sizes.setdefault(letter, side) if isinstance(letter, str) else letter)
        for letter, side in zip(pattern, shape, strict=True)
    )


def _list(tensors: Mapping[str, tuple[str, Sequence[int | str]]]) -> str:
    return ", ".join(
        f"{name} {dtype} ({', '.join(map(str, shape))})" for name, (dtype, shape) in tensors.items()
    )
