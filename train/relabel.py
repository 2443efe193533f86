"""Truth and results brought under the same class names, where a data set and a model have their own.

Truth is renamed to the model's names. Where only the shared classes are to be measured, truth of other
classes is not judged and results of other classes are left out. A label map is the exception: whatever it
says at a pixel of a shared class is right or wrong, so its other classes stay, without figures of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Classification, Detections, Instances, PanopticMap, Result
from argus_edge.tasks import OutputKind, get_task
from argus_edge.train.data.example import IGNORE, Example
from argus_edge.train.metrics import AnomalyTruth, PanopticTruth, TrueSegment

NO_CLASS: Final = 254  # stands for ids that the data set's classes do not have
SHOWN: Final = 12  # class names in a message


@dataclass(frozen=True)
class ClassTable:
    """How the classes of a data set and those of a model become one list, for one task."""

    names: tuple[str, ...]  # the classes after relabelling
    data_names: tuple[str, ...]
    of_data: tuple[int | None, ...]  # class of the data set -> index in `names`; None is not judged
    of_model: tuple[int | None, ...]  # class of the model -> index in `names`; None is left out
    counted: tuple[int, ...]  # indices in `names` of the classes that both have
    note: str = ""  # for the protocol: which classes were measured, what was renamed

    @property
    def changes_truth(self) -> bool:
        """Whether there is anything to do to an example."""
        in_place = tuple(range(len(self.of_data)))
        return self.of_data != in_place or self.names[: len(in_place)] != self.data_names

    @property
    def changes_results(self) -> bool:
        """Whether there is anything to do to a result."""
        return self.of_model != tuple(range(len(self.of_model)))


def match_classes(
    task: str,
    model: Sequence[str],
    data: Sequence[str],
    rename: Mapping[str, str] | None = None,
    shared: bool = False,
) -> ClassTable:
    """The table for the class names of a model and of a data set; their order does not matter.

    Args:
        task: whose classes they are.
        model: names, each once.
        data: names, each once.
        rename: data set's name -> model's name; several may become one.
        shared: measure the classes that both have, where otherwise all must be equal.

    Raises InputError when they are not equal, or nothing is shared, or keypoints differ.
    """
    renamed = [(rename or {}).get(name, name) for name in data]
    both = [name for name in model if name in set(renamed)]
    if task == "pose":
        if tuple(model) != tuple(renamed):
            raise InputError(f"task 'pose': keypoints {_differences(model, data)}; they must be equal")
    elif set(model) != set(renamed) and not (shared and both):
        rest = "" if shared else ", or measure what both have with --shared-classes"
        raise InputError(
            f"task '{task}': classes {_differences(model, renamed)}; "
            f"name them alike with --rename DATA=MODEL,...{rest}"
        )
    names = tuple(model) if get_task(task).kind == "label_map" else tuple(both)
    index = {name: i for i, name in enumerate(names)}
    taken = set(both)
    return ClassTable(
        names,
        tuple(data),
        tuple(index[name] if name in taken else None for name in renamed),
        tuple(index.get(name) for name in model),
        tuple(index[name] for name in both),
        _note(task, model, data, renamed, both),
    )


def relabel_example(example: Example, task: str, table: ClassTable) -> Example:
    """The example with the labels of `task` in the classes of `table`, and those of other tasks as they were.

    What is not judged becomes 255 in a map of classes, 0 in a panoptic map, None as image class and
    anomaly; such objects are left out. Stuff of classes that have become one is one segment.
    """
    if not table.changes_truth:
        return example
    if task in ("det", "inst") and example.objects is not None:
        moved = ((thing, table.of_data[thing.class_id]) for thing in example.objects)
        objects = tuple(replace(thing, class_id=new) for thing, new in moved if new is not None)
        return replace(example, objects=objects)
    if task == "seg" and example.labels is not None:
        return replace(example, labels=_lookup(table)[example.labels])
    if task == "parse" and example.parts is not None:
        return replace(example, parts=_lookup(table)[example.parts])
    if task == "pan" and example.panoptic is not None:
        return replace(example, panoptic=_relabel_panoptic(example.panoptic, table))
    if task == "cls" and example.image_class is not None:
        return replace(example, image_class=table.of_data[example.image_class])
    if task == "anom" and example.anomaly is not None:
        new = table.of_data[table.data_names.index(example.anomaly.category)]
        anomaly = None if new is None else AnomalyTruth(table.names[new], example.anomaly.mask)
        return replace(example, anomaly=anomaly)
    if task in example.custom:
        moved_label = _relabel_custom(get_task(task).kind, example.custom[task], table)
        return replace(example, custom={**example.custom, task: moved_label})
    return example


def _relabel_custom(kind: OutputKind, label: Any, table: ClassTable) -> Any:
    """The label of a task from outside, where it has classes."""
    if kind == "label_map":
        return _lookup(table)[label]
    return table.of_data[int(label)] if kind == "scores" else label


def relabel_result(result: Result, table: ClassTable) -> Result:
    """A model's result without what has a class that `table` leaves out, in the classes of `table`."""
    if not table.changes_results:
        return result
    if isinstance(result, Detections):
        kept = np.array([table.of_model[c] is not None for c in result.classes.tolist()], bool)
        classes = np.array([table.of_model[c] for c in result.classes[kept].tolist()], np.int32)
        boxes, scores = result.boxes[kept], result.scores[kept]
        if isinstance(result, Instances):
            return Instances(boxes, scores, classes, table.names, result.masks[kept])
        return Detections(boxes, scores, classes, table.names)
    if isinstance(result, PanopticMap):
        moved = [(segment, table.of_model[segment.class_id]) for segment in result.segments]
        segments = tuple(replace(segment, class_id=new) for segment, new in moved if new is not None)
        kept = np.isin(result.segment_ids, [segment.id for segment in segments])
        return PanopticMap(np.where(kept, result.segment_ids, 0), segments)
    if isinstance(result, Classification):
        order = [i for i, new in enumerate(table.of_model) if new is not None]
        return Classification(result.probabilities[order], table.names)
    return result  # maps of anomalies are found by their category's name


def _lookup(table: ClassTable) -> NDArray[np.uint8]:
    """(256,) from the data set's ids to those of the table."""
    ids = np.full(256, NO_CLASS, np.uint8)
    ids[: len(table.of_data)] = [IGNORE if new is None else new for new in table.of_data]
    ids[IGNORE] = IGNORE
    return ids


def _relabel_panoptic(truth: PanopticTruth, table: ClassTable) -> PanopticTruth:
    ids = np.array(truth.segment_ids)
    stuff: dict[int, int] = {}  # class -> id of its segment
    segments = []
    for segment in truth.segments:
        new = table.of_data[segment.class_id]
        if new is None:
            ids[truth.segment_ids == segment.id] = 0
        elif not segment.is_thing and stuff.setdefault(new, segment.id) != segment.id:
            ids[truth.segment_ids == segment.id] = stuff[new]
        else:
            segments.append(TrueSegment(segment.id, new, segment.is_thing, segment.crowd))
    return PanopticTruth(ids, segments)


def _note(
    task: str, model: Sequence[str], data: Sequence[str], renamed: Sequence[str], both: Sequence[str]
) -> str:
    """How many classes are left; the metric of maps says that itself."""
    others = len(set(renamed) - set(both))
    parts = []
    if len(both) < len(model) or others:
        ignored = f" ({others} more in the data ignored)" if others else ""
        count = "classes" if get_task(task).kind == "label_map" else f"{len(both)} of {len(model)} classes"
        parts.append(f"{count}{ignored}: {listed(both)}")
    changed: dict[str, list[str]] = {}
    for old, new in zip(data, renamed, strict=True):
        if old != new and new in both:
            changed.setdefault(new, []).append(old)
    if changed:
        pairs = [f"{' and '.join(old)} as {new}" for new, old in changed.items()]
        parts.append(f"truth's {listed(pairs)}")
    return "; ".join(parts)


def _differences(model: Sequence[str], data: Sequence[str]) -> str:
    only_model, only_data = ([n for n in a if n not in b] for a, b in ((model, data), (data, model)))
    if not only_model and not only_data:
        return "are in another order"
    return (
        f"differ: only the model has {listed(only_model) or 'none'}, "
        f"only the data has {listed(dict.fromkeys(only_data)) or 'none'}"
    )


def listed(names: Iterable[str]) -> str:
    """Names with commas between them; of many the first ones."""
    chosen = list(names)
    more = f" and {len(chosen) - SHOWN} more" if len(chosen) > SHOWN else ""
    return ", ".join(chosen[:SHOWN]) + more
