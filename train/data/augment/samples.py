"""From a labelled image of any data set to what a training step takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.runtime.preprocess import check_image
from argus_edge.tasks import OutputKind, get_task
from argus_edge.train.data.augment.colours import distort
from argus_edge.train.data.augment.draw import draw_placement
from argus_edge.train.data.augment.placement import Placement, Size
from argus_edge.train.data.augment.settings import AUGMENTATIONS, Augmentation
from argus_edge.train.data.example import IGNORE, Example, LabelledObject
from argus_edge.train.data.heatmaps import PoseSample, make_pose_sample
from argus_edge.train.data.sensor import capture, random_sensor
from argus_edge.train.data.transforms import (
    MIN_INSIDE,
    Sample,
    centred,
    hide_outside,
    regions_of,
    swap_sides_of,
)

LEAST_SIDE: Final = 1.0  # [px] of the input, of a box: what is smaller cannot be seen
OBJECT_TASKS: Final = ("det", "inst", "pose")

# Where the example keeps what each task learns from; what those from outside learn from is in `custom`.
_LABELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(OBJECT_TASKS, "objects"),
    "seg": "labels",
    "parse": "parts",
    "sal": "saliency",
    "edge": "edges",
    "depth": "depth",
    "normal": "normals",
    "pan": "panoptic",
    "cls": "image_class",
    "anom": "image_class",
}
# How the label of a task from outside is laid into the sample.
_PLACED: Final[Mapping[OutputKind, Callable[[Placement, Any], NDArray[Any]]]] = {
    "label_map": lambda placement, label: placement.labels(label, IGNORE),
    "dense_map": lambda placement, label: placement.labels(label, np.nan),
    "normal_map": lambda placement, label: placement.normals(label),
    "scores": lambda _, label: np.asarray(label),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """An object as far as it is in the sample."""

    labelled: LabelledObject
    box: NDArray[np.float64]  # (4,) xyxy [px] of the sample
    mask: NDArray[np.bool_] | None  # (H, W) of the sample


def untold(example: Example, tasks: Collection[str]) -> list[str]:
    """Those of `tasks` about which the example says nothing to learn from."""
    return [task for task in tasks if _label(example, task) is None]


def _label(example: Example, task: str) -> Any:
    return getattr(example, _LABELS[task]) if task in _LABELS else example.custom.get(task)


def make_training_sample(
    example: Example,
    size: Size,
    rng: np.random.Generator | None,
    tasks: Collection[str],
    settings: Augmentation | None = None,
) -> Sample:
    """An example as a training sample of `size`, with the labels that `tasks` learn from.

    Crowds teach nothing, and neither do objects of which less than `MIN_INSIDE` of the area stays; for inst,
    those without a mask; for pose, people without a labelled keypoint in the picture.

    Args:
        example: image and labels.
        size: (H, W) [px] of the sample.
        rng: source of chance. None for none of it: the picture lies in the sample as the runtime places it.
        tasks: of `argus_edge.tasks`; for anom the image's class is the index of its category.
        settings: what may happen to the picture; by default those in `AUGMENTATIONS` of the first task.

    Raises DatasetError when the example says nothing about one of the tasks, ImageError when its image is
    none.
    """
    for task in untold(example, tasks):
        raise DatasetError(
            f"{example.name}: no labels for task {task!r}; ask only for tasks its data set tells about"
        )
    if settings is None:
        settings = AUGMENTATIONS[next(iter(tasks))] if tasks and rng is not None else Augmentation()
    placement = _place(example, size, rng, settings, tasks)
    image = placement.image(check_image(example.image))
    if rng is not None:
        shown = image[: placement.target[0], : placement.target[1]]
        shown[:] = _photographed(np.ascontiguousarray(shown), settings, rng)

    seen = _seen(example.objects or (), placement, tasks) if {*OBJECT_TASKS} & {*tasks} else []
    corners = np.array([s.box for s in seen], np.float64).reshape(-1, 4)
    people, is_person = _people(seen, placement) if "pose" in tasks else _nobody(len(seen))
    height, width = size
    return Sample(
        image,
        centred(corners / np.array([width, height, width, height])).astype(np.float32),
        np.array([s.labelled.class_id for s in seen], np.int64),
        np.arange(1, len(seen) + 1),
        people,
        regions_of(corners[is_person], rng if "pose" in tasks else None),
        _maps(example, placement, tasks),
        {s.id: s.class_id for s in example.panoptic.segments if not s.crowd}
        if "pan" in tasks and example.panoptic is not None
        else {},
        image_class=example.image_class or 0,
        masks=np.array([s.mask for s in seen], np.bool_).reshape(-1, *size) if "inst" in tasks else None,
        name=example.name,
    )


def pose_samples(
    examples: Iterable[Example], count: int, rng: np.random.Generator | None
) -> list[PoseSample]:
    """`count` people one by one, as top-down pose takes them.

    Crowds, and people without a labelled keypoint, are left out.

    Args:
        examples: read until they show `count` people; among those that were read, people are drawn at random.
            Where there are fewer in all, everybody comes again, in turns.
        count: of crops, at least 1.
        rng: source of chance; None for none of it: people in their order, and as they are.

    Raises DatasetError when there is nobody to be cropped, ImageError when a person's image is none.
    """
    people: list[tuple[Example, LabelledObject]] = []
    for example in examples:
        people += [(example, labelled) for labelled in example.objects or () if _has_pose(labelled)]
        if len(people) >= count:
            break
    if not people:
        raise DatasetError("no image shows a person with a labelled keypoint; crops of people need some")
    rounds = range(-(-count // len(people)))
    orders = [np.arange(len(people)) if rng is None else rng.permutation(len(people)) for _ in rounds]
    drawn = [people[int(index)] for index in np.concatenate(orders)[:count]]
    return [_crop(example, person, rng) for example, person in drawn]


def _has_pose(labelled: LabelledObject) -> bool:
    return labelled.keypoints is not None and not labelled.crowd and bool(labelled.keypoints[:, 2].any())


def _crop(example: Example, person: LabelledObject, rng: np.random.Generator | None) -> PoseSample:
    assert person.keypoints is not None
    points, visible = person.keypoints[:, :2], person.keypoints[:, 2] > 0
    box = np.array(person.box, np.float64)
    crop = make_pose_sample(check_image(example.image), box, points, visible, rng)
    return replace(crop, name=example.name)


def _place(
    example: Example,
    size: Size,
    rng: np.random.Generator | None,
    settings: Augmentation,
    tasks: Collection[str],
) -> Placement:
    height, width = example.image.shape[:2]
    if rng is None:
        return Placement.letterbox((height, width), size)
    custom = (example.custom[task] for task in tasks if task not in _LABELS)
    label_maps = (label for label in custom if isinstance(label, np.ndarray) and label.dtype == np.uint8)
    classes = next((m for m in (example.labels, example.parts, *label_maps) if m is not None), None)
    return draw_placement(settings, (height, width), size, rng, classes)


def _photographed(
    image: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The image as another camera has it, in another light."""
    if settings.colours is not None:
        image = distort(image, settings.colours, rng)
    if settings.sensor and rng.random() < settings.sensor:
        image = capture(image, random_sensor(rng), rng)
    return image


def _maps(example: Example, placement: Placement, tasks: Collection[str]) -> dict[str, NDArray[Any]]:
    maps: dict[str, NDArray[Any]] = {}
    for task, labels in (("seg", example.labels), ("parse", example.parts), ("sal", example.saliency)):
        if task in tasks and labels is not None:
            maps[task] = placement.labels(labels, IGNORE)
    if "edge" in tasks and example.edges is not None:
        maps["edge"] = placement.edges(example.edges)
    if "depth" in tasks and example.depth is not None:
        maps["depth"] = placement.labels(example.depth, 0) / np.float32(placement.zoom)
    if "normal" in tasks and example.normals is not None:
        maps["normal"] = placement.normals(example.normals)
    if "pan" in tasks and example.panoptic is not None:
        maps["pan"] = placement.labels(example.panoptic.segment_ids.astype(np.int32), 0)
    return maps | {
        task: _PLACED[get_task(task).kind](placement, example.custom[task])
        for task in tasks
        if task not in _LABELS
    }


def _seen(objects: Collection[LabelledObject], placement: Placement, tasks: Collection[str]) -> list[_Seen]:
    """The objects that count in the sample, boxes around their masks where these are known."""
    seen = []
    boxes = np.array([o.box for o in objects], np.float64).reshape(-1, 4)
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * placement.scale**2
    for labelled, box, area in zip(objects, placement.boxes(boxes), whole, strict=True):
        if labelled.crowd or (labelled.mask is None and "inst" in tasks):
            continue
        mask, inside = None, float((box[2:] - box[:2]).prod())
        if labelled.mask is not None and inside > 0:
            mask = placement.masks(labelled.mask)
            box, inside = _around(mask)
            area = np.count_nonzero(labelled.mask) * placement.scale**2
        if (box[2:] - box[:2]).min() >= LEAST_SIDE and inside >= MIN_INSIDE * area:
            seen.append(_Seen(labelled, box, mask))
    return seen


def _around(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """The box (4,) xyxy [px] around a mask, and the mask's area [px]; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros(4), 0.0
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    return box, float(np.count_nonzero(mask))


def _people(seen: list[_Seen], placement: Placement) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Keypoints (P, 17, 3) of the people, in the sample's frame, and which of the objects they are."""
    labelled = [s.labelled.keypoints for s in seen]
    is_person = np.array([k is not None for k in labelled], np.bool_)
    people = np.array([k for k in labelled if k is not None], np.float32).reshape(-1, len(KEYPOINT_NAMES), 3)
    points = people[..., :2].reshape(-1, 2) + 0.5  # labels count from pixel centres, samples from corners
    people[..., :2] = placement.points(points).reshape(people[..., :2].shape)
    people = hide_outside(people, *placement.target)
    if placement.mirrored:
        people = swap_sides_of(people)
    people[people[..., 2] == 0] = 0
    known = people[..., 2].any(axis=1)
    is_person[np.flatnonzero(is_person)[~known]] = False
    return people[known], is_person


def _nobody(objects: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.zeros((0, len(KEYPOINT_NAMES), 3), np.float32), np.zeros(objects, np.bool_)
