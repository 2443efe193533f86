"""From augmented samples to what each task's loss compares with: one function per task."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from argus_edge.errors import TaskError
from argus_edge.runtime.persons import widen
from argus_edge.tasks import OutputKind
from argus_edge.train.custom import custom_task, users_code
from argus_edge.train.data.augment import pose_samples
from argus_edge.train.data.example import Example
from argus_edge.train.data.heatmaps import HEATMAP_SIZE, PoseSample, View, view_heatmaps
from argus_edge.train.data.transforms import Sample
from argus_edge.train.losses.detection import BoxTargets
from argus_edge.train.losses.masks import MaskTargets


@dataclass(frozen=True)
class PoseTargets:
    """People of a batch: where they are, and what their heatmaps should be."""

    # (B, P, 4) xyxy in [0, 1], P that of the fullest image; the rest holds whole images. None: each image is
    # the crop of one person, P = 1
    persons: Tensor | None
    known: Tensor  # (N,) which of the B * P places hold one of the N people
    heatmaps: Tensor  # (N, 17, 64, 48)
    weights: Tensor  # (N, 17) 0 where a keypoint is unknown or outside its region


def _boxes(samples: Sequence[Sample]) -> list[BoxTargets]:
    return [BoxTargets(torch.from_numpy(s.classes), torch.from_numpy(s.boxes)) for s in samples]


def _instances(samples: Sequence[Sample]) -> list[BoxTargets]:
    return [
        BoxTargets(
            torch.from_numpy(s.classes),
            torch.from_numpy(s.boxes),
            torch.from_numpy(_masks(s)),
        )
        for s in samples
    ]


def _masks(sample: Sample) -> NDArray[np.bool_]:
    if sample.masks is not None:
        return sample.masks
    masks: NDArray[np.bool_] = sample.maps["inst"][None] == sample.instance_ids[:, None, None]
    return masks


def _segments(samples: Sequence[Sample]) -> list[MaskTargets]:
    targets = []
    for sample in samples:
        ids = [i for i in np.unique(sample.maps["pan"]).tolist() if i in sample.segments]
        masks = sample.maps["pan"][None] == np.array(ids, np.int32)[:, None, None]
        labels = np.array([sample.segments[i] for i in ids], np.int64)
        targets.append(MaskTargets(torch.from_numpy(labels), torch.from_numpy(masks)))
    return targets


def _pose(samples: Sequence[Sample]) -> PoseTargets:
    """All regions of an image see it alike: shared features can be neither turned nor mirrored one by one."""
    places = max([1, *(len(s.regions) for s in samples)])
    persons = np.tile(np.array([0, 0, 1, 1], np.float32), (len(samples), places, 1))
    known, heatmaps, weights = [], [], []
    for image, sample in enumerate(samples):
        sides = sample.image.shape[1::-1]
        persons[image, : len(sample.regions)] = sample.regions / np.array([*sides, *sides])
        known += [image * places + i for i in range(len(sample.regions))]
        for box, keypoints in zip(sample.regions, sample.people, strict=True):
            # Samples count pixels from their corners, heatmaps from their centres.
            view = View(widen(box[None])[0])
            maps, weight = view_heatmaps(view, keypoints[:, :2] - 0.5, keypoints[:, 2] > 0)
            heatmaps.append(maps)
            weights.append(weight)
    return PoseTargets(
        torch.from_numpy(persons),
        torch.tensor(known, dtype=torch.int64),
        torch.from_numpy(np.array(heatmaps, np.float32).reshape(-1, 17, *HEATMAP_SIZE)),
        torch.from_numpy(np.array(weights, np.float32).reshape(-1, 17)),
    )


def crop_targets(samples: Sequence[PoseSample]) -> tuple[Tensor, PoseTargets]:
    """Crops of people -> images (N, 256, 192, 3) uint8 RGB and what pose learns from them."""
    targets = PoseTargets(
        None,
        torch.arange(len(samples)),
        torch.from_numpy(np.stack([s.heatmaps for s in samples])),
        torch.from_numpy(np.stack([s.weights for s in samples])),
    )
    return torch.from_numpy(np.stack([s.image for s in samples])), targets


def crop_batch(
    examples: Iterable[Example], count: int, rng: np.random.Generator | None
) -> tuple[Tensor, PoseTargets, tuple[str, ...]]:
    """What a batch of `count` crops holds: images, targets of pose, names of the pictures.

    Arguments and errors as for `pose_samples`.
    """
    samples = pose_samples(examples, count, rng)
    return *crop_targets(samples), tuple(s.name for s in samples)


def _map(task: str, dtype: torch.dtype) -> Callable[[Sequence[Sample]], Tensor]:
    return lambda samples: torch.from_numpy(np.stack([s.maps[task] for s in samples])).to(dtype)


def _normals(task: str) -> Callable[[Sequence[Sample]], Tensor]:
    """Maps (H, W, 3) -> (B, 3, H, W)."""
    return lambda samples: _map(task, torch.float32)(samples).permute(0, 3, 1, 2).contiguous()


# Class maps stay bytes until they are where the loss is: eight times less to move.
_TARGETS: Final[Mapping[str, Callable[[Sequence[Sample]], Any]]] = {
    "det": _boxes,
    "inst": _instances,
    "pan": _segments,
    "seg": _map("seg", torch.uint8),
    "parse": _map("parse", torch.uint8),
    "sal": _map("sal", torch.uint8),
    "edge": _map("edge", torch.uint8),
    "depth": _map("depth", torch.float32),
    "normal": _normals("normal"),
    "pose": _pose,
    "cls": lambda samples: torch.tensor([s.image_class for s in samples]),
    "anom": lambda samples: torch.tensor([s.image_class for s in samples]),  # the category
}
# What a task from outside compares with, unless it says otherwise.
_OF_KIND: Final[Mapping[OutputKind, Callable[[str], Callable[[Sequence[Sample]], Tensor]]]] = {
    "label_map": lambda task: _map(task, torch.int64),  # (B, H, W), 255 = ignore
    "dense_map": lambda task: _map(task, torch.float32),  # (B, H, W), NaN = unknown
    "normal_map": _normals,  # (B, 3, H, W), 0 = unknown
    "scores": lambda task: _map(task, torch.int64),  # (B,)
}


def targets_of(task: str, samples: Sequence[Sample]) -> Any:
    """What the loss of a task compares with, for a batch of samples."""
    if task in _TARGETS:
        return _TARGETS[task](samples)
    custom = custom_task(task)
    if custom.targets is not None:
        with users_code(task, "targets"):
            return custom.targets(samples)
    for sample in samples:
        _check_label(task, custom.row.kind, sample)
    return _OF_KIND[custom.row.kind](task)(samples)


def _check_label(task: str, kind: OutputKind, sample: Sample) -> None:
    """Raise TaskError unless the label of a task from outside is as large as the picture."""
    side = sample.image.shape[:2]
    expected = {"scores": (), "normal_map": (*side, 3)}.get(kind, side)
    shape = sample.maps[task].shape
    if shape != expected:
        raise TaskError(f"task {task!r}: its label of {sample.name} is {shape}; expected {expected}")


def moved(value: Any, device: torch.device) -> Any:
    """The same targets on `device`, whatever holds them."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [moved(item, device) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value
