"""From a decoder's tensors to results in the original image: one file per output kind, shared by its tasks.

Results never share memory with the tensors they come from, which an engine overwrites on its next run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from argus_edge.errors import InputError, PackageError
from argus_edge.geometry import Letterbox
from argus_edge.results import Result
from argus_edge.runtime.decode.anomaly import decode_anomaly
from argus_edge.runtime.decode.boxes import decode_boxes
from argus_edge.runtime.decode.dense_map import decode_dense_map
from argus_edge.runtime.decode.keypoints import decode_keypoints
from argus_edge.runtime.decode.label_map import decode_label_map
from argus_edge.runtime.decode.masks import decode_masks
from argus_edge.runtime.decode.normal_map import decode_normal_map
from argus_edge.runtime.decode.panoptic import decode_panoptic
from argus_edge.runtime.decode.scores import decode_scores
from argus_edge.runtime.persons import Persons
from argus_edge.spec import ImageSpec, TaskEntry, TensorSpec
from argus_edge.tasks import OutputKind

__all__ = [
    "check_outputs",
    "decode",
    "decode_anomaly",
    "decode_boxes",
    "decode_dense_map",
    "decode_keypoints",
    "decode_label_map",
    "decode_masks",
    "decode_normal_map",
    "decode_panoptic",
    "decode_scores",
    "outputs_misfit",
]

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
Tensors: TypeAlias = Mapping[str, tuple[str, tuple[int | str, ...]]]

_BOXES: Final[Tensors] = {
    "boxes": ("float32", (1, "K", 4)),
    "scores": ("float32", (1, "K")),
    "classes": ("int32", (1, "K")),
}
_MASKS: Final[Tensors] = {**_BOXES, "masks": ("float32", (1, "K", "H/4", "W/4"))}
_TENSORS: Final[Mapping[OutputKind, tuple[Tensors, ...]]] = {
    "boxes": (_BOXES, _MASKS),  # an instance segmenter answers detection as well
    "masks": (_MASKS,),
    "panoptic": (
        {
            "scores": ("float32", (1, "Q")),
            "classes": ("int32", (1, "Q")),
            "masks": ("float32", (1, "Q", "H/4", "W/4")),
        },
    ),
    "label_map": ({"labels": ("uint8", (1, "H", "W"))},),
    "dense_map": ({"*": ("float32", (1, "H", "W"))},),
    "normal_map": ({"normals": ("float32", (1, 3, "H", "W"))},),
    "keypoints": ({"heatmaps": ("float32", ("P", "C", "h", "w"))},),
    "scores": ({"probabilities": ("float32", (1, "C"))},),
    "anomaly": ({"maps": ("float32", (1, "C", "H/8", "W/8"))},),
}
"""What each output kind is read from, one form or the other: tensor name -> dtype and shape. "H" and "W" are
the network input's sides, "C" is the number of the task's classes, other letters are any number, the same one
throughout. The name "*" stands for a single tensor of any name."""


def decode(
    task: str,
    outputs: Outputs,
    letterbox: Letterbox,
    entry: TaskEntry,
    score_threshold: float = 0.0,
    persons: Persons | None = None,
) -> Result:
    """Turn the outputs of one task's decoder graph into its result in the original image.

    Args:
        task: name of the task.
        outputs: what the graph gave, by name.
        letterbox: how the image was placed in the network input.
        entry: the task's names: classes, keypoints or categories, things first where some are things; and
            its row, where it is none of the twelve.
        score_threshold: boxes and instances below it are left out; other results do not know it.
        persons: whose heatmaps the outputs of `pose` are; other tasks do not need it.

    Raises TaskError for an unknown task, InputError for a pose without persons, EngineError for
    outputs that cannot be true.
    """
    row = entry.row(task)
    match row.kind:
        case "boxes":
            return decode_boxes(outputs, letterbox, entry.classes, score_threshold)
        case "masks":
            return decode_masks(outputs, letterbox, entry.classes, score_threshold)
        case "panoptic":
            return decode_panoptic(outputs, letterbox, entry.classes, entry.things)
        case "label_map":
            return decode_label_map(outputs, letterbox, entry.classes)
        case "dense_map":
            return decode_dense_map(outputs, letterbox, row.unit)
        case "normal_map":
            return decode_normal_map(outputs, letterbox)
        case "keypoints":
            if persons is None:
                raise InputError(f"task {task!r} needs the persons whose heatmaps are to be read")
            return decode_keypoints(outputs, persons, entry.classes)
        case "scores":
            return decode_scores(outputs, entry.classes)
        case "anomaly":
            return decode_anomaly(outputs, letterbox, entry.classes)


def check_outputs(task: str, entry: TaskEntry, outputs: Sequence[TensorSpec], image: ImageSpec) -> None:
    """Check once, at opening, that a decoder declares the outputs from which its task's result is made.

    Raises PackageError with the tensors expected and declared, TaskError for an unknown task.
    """
    declared = {spec.name: (spec.dtype, spec.shape) for spec in outputs}
    wrong = outputs_misfit(entry.row(task).kind, declared, image, len(entry.classes))
    if wrong:
        raise PackageError(
            f"component {entry.component!r} cannot give task {task!r}: {wrong}; export the package again"
        )


def outputs_misfit(kind: OutputKind, declared: Tensors, image: ImageSpec, classes: int) -> str:
    """Why a result of `kind` cannot be made of the tensors `declared`: what was expected and what came.

    Empty where it can.
    """
    forms = _TENSORS[kind]
    sizes = {"H": image.height, "W": image.width, "C": classes}
    if any(_matches(form, declared, sizes) for form in forms):
        return ""
    return (
        f"expected outputs {' or '.join(map(_list, forms))} with H, W, C = "
        f"{', '.join(map(str, sizes.values()))}, got {_list(declared)}"
    )


def _matches(form: Tensors, declared: Tensors, sizes: Mapping[str, int]) -> bool:
    """Whether a graph declares just the tensors of `form`."""
    if set(form) == {"*"} and len(declared) == 1:
        form = {next(iter(declared)): form["*"]}
    parts = {f"{side}/{n}": sizes[side] // n for side in "HW" for n in (4, 8)}
    bound: dict[str, int | str] = {**sizes, **parts}
    return declared.keys() == form.keys() and all(
        dtype == declared[name][0] and _fits(shape, declared[name][1], bound)
        for name, (dtype, shape) in form.items()
    )


def _fits(pattern: Sequence[int | str], shape: Sequence[int | str], sizes: dict[str, int | str]) -> bool:
    """Whether a shape follows a pattern; letters met for the first time are bound in `sizes`."""
    return len(pattern) == len(shape) and all(
        side == (sizes.setdefault(letter, side) if isinstance(letter, str) else letter)
        for letter, side in zip(pattern, shape, strict=True)
    )


def _list(tensors: Mapping[str, tuple[str, Sequence[int | str]]]) -> str:
    return ", ".join(
        f"{name} {dtype} ({', '.join(map(str, shape))})" for name, (dtype, shape) in tensors.items()
    )
