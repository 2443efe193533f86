"""Batches for every step, computed from (seed, step) alone, so that a resumed run sees the very same data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from argus_edge.errors import InputError
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES, render_surface
from argus_edge.train.data.transforms import Sample, make_sample
from argus_edge.train.model.argus import decoders_of
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Phase, Recipe
from argus_edge.train.targets import TARGETS, moved


@dataclass(frozen=True)
class Batch:
    """Images and, for each task that learns from them, what its loss compares with."""

    image: Tensor  # (B, H, W, 3) uint8 RGB
    targets: Mapping[str, Any]  # see targets.py
    names: tuple[str, ...] = ()  # of the images, for messages

    def to(self, device: torch.device) -> "Batch":
        targets = {task: moved(value, device) for task, value in self.targets.items()}
        return Batch(self.image.to(device), targets, self.names)


def collate(tasks: Sequence[str], samples: Sequence[Sample]) -> Batch:
    image = torch.from_numpy(np.stack([s.image for s in samples]))
    targets = {task: TARGETS[task](samples) for task in tasks}
    return Batch(image, targets, tuple(s.name for s in samples))


class StepBatches(Dataset[list[Batch]]):
    """Item `step` is that step's batches: one shared by all tasks on scenes, or one for each task on its own
    images; anomaly detection has images of surfaces.

    Of several processes, each gets its share of the images.
    """

    def __init__(self, recipe: Recipe, scenes: SceneDataset, place: Place | None = None) -> None:
        self.recipe, self.scenes, self.place = recipe, scenes, place or Place()
        least = 2 * self.place.count  # BatchNorm's, in every process
        for phase in recipe.phases:
            if phase.batch < least:
                raise InputError(
                    f"{self.place.count} processes need phases of at least {least} images, got {phase}"
                )
        on_scenes = tuple(task for task in decoders_of(recipe.tasks) if task != "anom")
        groups = [on_scenes] if recipe.shared_images else [(task,) for task in on_scenes]
        self.groups = [group for group in groups if group]
        if "anom" in recipe.tasks:
            self.groups.append(("anom",))

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> list[Batch]:
        phase, first = locate(self.recipe.phases, step)
        return [self._batch(group, stream, step, first, phase) for stream, group in enumerate(self.groups)]

    def _batch(self, tasks: tuple[str, ...], stream: int, step: int, first: int, phase: Phase) -> Batch:
        samples = []
        for position in range(first + self.place.rank, first + phase.batch, self.place.count):
            epoch, place = divmod(position, len(self.scenes))
            order = np.random.default_rng((self.recipe.seed, stream, epoch)).permutation(len(self.scenes))
            rng = np.random.default_rng((self.recipe.seed, stream, epoch, place, step))
            if tasks == ("anom",):
                samples.append(surface_sample(int(order[place]), phase.size))
            else:
                samples.append(make_sample(self.scenes[int(order[place])], phase.size, rng, tasks))
        return collate(tasks, samples)


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


def locate(phases: tuple[Phase, ...], step: int) -> tuple[Phase, int]:
    """The phase of a step and the number of images drawn before it."""
    drawn = 0
    for phase in phases:
        if step < phase.steps:
            return phase, drawn + step * phase.batch
        step -= phase.steps
        drawn += phase.steps * phase.batch
    raise IndexError(f"step {step} lies beyond the recipe's phases")


def scene_source(recipe: Recipe, cache: Path | None) -> SceneDataset:
    """The training scenes of a recipe, at its largest size."""
    size = max(phase.size for phase in recipe.phases)
    return SceneDataset(
        get_split("train").first, recipe.scenes, size, cache, normals="normal" in recipe.tasks
    )
