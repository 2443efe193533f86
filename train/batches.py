"""Batches for every step, computed from (seed, step) alone, so that a resumed run sees the very same data.

Those of rendered scenes; `loader.py` has those of other data sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from argus_edge.errors import InputError
from argus_edge.train.data.augment import pose_samples
from argus_edge.train.data.heatmaps import PoseSample
from argus_edge.train.data.rendered import scene_example
from argus_edge.train.data.scene_labels import maps_needed
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES, render_surface
from argus_edge.train.data.transforms import Sample, make_sample
from argus_edge.train.model.argus import decoders_of
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Phase, Recipe, phases_of
from argus_edge.train.targets import crop_batch, crop_targets, moved, targets_of

CROPS: Final = 1 << 16  # the stream of crops, beyond those of the groups
VIEWS: Final = 1 << 17  # where the chance of fixed views starts, beyond the epochs


@dataclass(frozen=True)
class Batch:
    """Images and, for each task that learns from them, what its loss compares with."""

    image: Tensor  # (B, H, W, 3) uint8 RGB
    targets: Mapping[str, Any]  # see targets.py
    names: tuple[str, ...] = ()  # of the images, for messages
    share: float = 1.0  # of the step's batch: less than 1 where that comes in parts, whose gradients add up

    def to(self, device: torch.device) -> "Batch":
        targets = {task: moved(value, device) for task, value in self.targets.items()}
        return Batch(self.image.to(device), targets, self.names, self.share)


def collate(tasks: Sequence[str], samples: Sequence[Sample], share: float = 1.0) -> Batch:
    image = torch.from_numpy(np.stack([s.image for s in samples]))
    targets = {task: targets_of(task, samples) for task in tasks}
    return Batch(image, targets, tuple(s.name for s in samples), share)


class StepBatches(Dataset[list[Batch]]):
    """Item `step` is that step's batches: one shared by all tasks on scenes, or one for each task on its own
    images; anomaly detection has images of surfaces. Tasks for which the recipe names data are not served.

    Of several processes, each gets its share of the images. Where the recipe accumulates, a batch comes in
    parts. `scenes` may be None where no task needs them.
    """

    def __init__(self, recipe: Recipe, scenes: SceneDataset | None, place: Place | None = None) -> None:
        self.recipe, self.scenes, self.place = recipe, scenes, place or Place()
        self.groups = scene_groups(recipe)
        self.phases = [phases_of(recipe, group[0]) for group in self.groups]
        for phases in self.phases:
            check_shares(phases, self.place, recipe.accumulate)
        if 0 < recipe.pose_crops < self.place.count:
            raise InputError(
                f"{self.place.count} processes need pose_crops of as many or more, got {recipe.pose_crops}"
            )

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> list[Batch]:
        batches = [
            self._batch(group, stream, step, positions, size)
            for stream, (group, phases) in enumerate(zip(self.groups, self.phases, strict=True))
            for positions, size in positions_of(step, phases, self.place, self.recipe.accumulate)
        ]
        if self.recipe.pose_crops and any("pose" in group for group in self.groups):
            batches.append(self._crops(step))
        return batches

    def _crops(self, step: int) -> Batch:
        """People of scenes drawn anew for each step, one by one."""
        assert self.scenes is not None
        if self.recipe.views:
            crops = [self._fixed_crop(position) for position in self._crop_positions(step)]
            image, target = crop_targets(crops)
            return Batch(image, {"pose": target}, tuple(crop.name for crop in crops))
        scenes, rank = self.scenes, self.place.rank
        rng = np.random.default_rng((self.recipe.seed, CROPS, step, rank))
        order = rng.permutation(len(scenes)).tolist()
        examples = (scene_example(scenes[index], ("pose",)) for index in order)
        image, target, names = crop_batch(examples, self.recipe.pose_crops // self.place.count, rng)
        return Batch(image, {"pose": target}, names)

    def _crop_positions(self, step: int) -> range:
        """Which crops a process draws for a step, counted from the run's start."""
        total = self.recipe.pose_crops // self.place.count * self.place.count
        return range(step * total + self.place.rank, (step + 1) * total, self.place.count)

    def _fixed_crop(self, position: int) -> PoseSample:
        """One person of the scene at `position`, or where it shows nobody, of the next one that does."""
        assert self.scenes is not None
        scenes = self.scenes
        epoch, index = self._drawn(CROPS, position)
        rng = view_chance((self.recipe.seed, CROPS), index, epoch, self.recipe.views)
        order = chain(range(index, len(scenes)), range(index))
        (crop,) = pose_samples((scene_example(scenes[i], ("pose",)) for i in order), 1, rng)
        return crop

    def _drawn(self, stream: int, position: int) -> tuple[int, int]:
        """The epoch of a position, and which scene it has."""
        assert self.scenes is not None
        epoch, place = divmod(position, len(self.scenes))
        order = np.random.default_rng((self.recipe.seed, stream, epoch)).permutation(len(self.scenes))
        return epoch, int(order[place])

    def _batch(self, tasks: tuple[str, ...], stream: int, step: int, positions: range, size: int) -> Batch:
        assert self.scenes is not None
        samples = []
        for position in positions:
            epoch, index = self._drawn(stream, position)
            if tasks == ("anom",):
                samples.append(surface_sample(self.recipe.first_scene + index, size))
                continue
            seeds = (self.recipe.seed, stream)
            rng = np.random.default_rng((*seeds, epoch, position % len(self.scenes), step))
            if self.recipe.views:
                rng = view_chance(seeds, index, epoch, self.recipe.views)
            samples.append(make_sample(self.scenes[index], size, rng, tasks, sensor=self.recipe.sensor))
        return collate(tasks, samples, 1 / self.recipe.accumulate)


def scene_groups(recipe: Recipe) -> list[tuple[str, ...]]:
    """The tasks on scenes: those that share a batch together, which takes equal sizes; surfaces last."""
    groups: dict[object, list[str]] = {}
    for task in decoders_of(recipe.tasks):
        if task != "anom" and task not in recipe.data:
            groups.setdefault(phases_of(recipe, task) if recipe.shared_images else task, []).append(task)
    surfaces = [("anom",)] if "anom" in recipe.tasks and "anom" not in recipe.data else []
    return [*(tuple(group) for group in groups.values()), *surfaces]


def positions_of(step: int, phases: Sequence[Phase], place: Place, parts: int = 1) -> list[tuple[range, int]]:
    """Which images a process draws for a step, counted from the run's start, and their size [px]; for each
    part of the step's batch.
    """
    phase, first = locate(phases, step)
    least = phase.batch // parts
    return [
        (range(start + place.rank, start + least, place.count), phase.size)
        for start in range(first, first + phase.batch, least)
    ]


def check_shares(phases: Sequence[Phase], place: Place, parts: int = 1) -> None:
    """Raise InputError if a process would get less than two images, BatchNorm's least, of a part."""
    least = 2 * place.count * parts
    for phase in phases:
        if phase.batch < least:
            several = f" that accumulate {parts} parts" if parts > 1 else ""
            raise InputError(
                f"{place.count} processes{several} need phases of at least {least} images, got {phase}"
            )


def view_chance(seeds: Sequence[int], index: int, epoch: int, views: int) -> np.random.Generator:
    """Chance for the look at image `index` of a stream: one of `views`, in turn from epoch to epoch."""
    return np.random.default_rng((*seeds, VIEWS, index, epoch % views))


def surface_sample(seed: int, size: int) -> Sample:
    """A flawless surface; its category is the image's class."""
    category = seed % len(SURFACE_CATEGORIES)
    image = render_surface(seed, SURFACE_CATEGORIES[category], False, size).image
    nothing, nowhere = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    nobody = np.zeros((0, 17, 3), np.float32)
    name = f"{SURFACE_CATEGORIES[category]} {seed}"
    return Sample(image, nowhere, nothing, nothing, nobody, nowhere, {}, image_class=category, name=name)


def fixed_batch(task: str, seeds: Sequence[int], size: int) -> Batch:
    """The same images every time, as they are: the scenes (or surfaces) of `seeds`, `size` [px]."""
    if task == "anom":
        return collate((task,), [surface_sample(seed, size) for seed in seeds])
    return collate((task,), [make_sample(render(seed, size), size, None, (task,)) for seed in seeds])


def locate(phases: Sequence[Phase], step: int) -> tuple[Phase, int]:
    """The phase of a step and the number of images drawn before it."""
    drawn = 0
    for phase in phases:
        if step < phase.steps:
            return phase, drawn + step * phase.batch
        step -= phase.steps
        drawn += phase.steps * phase.batch
    raise IndexError(f"step {step} lies beyond the recipe's phases")


def scene_source(recipe: Recipe, cache: Path | None) -> SceneDataset | None:
    """The training scenes of a recipe, at the largest size; None if all its tasks have data of their own."""
    groups = scene_groups(recipe)
    if not groups:
        return None
    size = max(phase.size for group in groups for phase in phases_of(recipe, group[0]))
    return SceneDataset(
        get_split("train").seed(recipe.first_scene),
        recipe.scenes,
        size,
        cache,
        normals="normal" in maps_needed(recipe.tasks),
    )
