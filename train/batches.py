"""Batches for every step, computed from (seed, step) alone, so that a resumed run sees the very same data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.data.transforms import Sample, make_sample
from argus_edge.train.losses.detection import BoxTargets
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Phase, Recipe


@dataclass(frozen=True)
class Batch:
    """Images and the labels of the tasks that learn from them."""

    tasks: tuple[str, ...]
    image: Tensor  # (B, S, S, 3) uint8 RGB
    boxes: list[BoxTargets]
    labels: Tensor  # (B, S, S) int64
    depth: Tensor  # (B, S, S) float32 [m]

    def to(self, device: torch.device) -> "Batch":
        boxes = [BoxTargets(b.labels.to(device), b.boxes.to(device)) for b in self.boxes]
        return Batch(self.tasks, self.image.to(device), boxes, self.labels.to(device), self.depth.to(device))


def collate(tasks: tuple[str, ...], samples: list[Sample]) -> Batch:
    return Batch(
        tasks,
        torch.from_numpy(np.stack([s.image for s in samples])),
        [BoxTargets(torch.from_numpy(s.classes), torch.from_numpy(s.boxes)) for s in samples],
        torch.from_numpy(np.stack([s.labels for s in samples])).long(),
        torch.from_numpy(np.stack([s.depth for s in samples])),
    )


class StepBatches(Dataset[list[Batch]]):
    """Item `step` is that step's batches: one shared by all tasks, or one for each task on its own images.

    Of several processes, each gets its share of the images.
    """

    def __init__(self, recipe: Recipe, scenes: SceneDataset, place: Place | None = None) -> None:
        self.recipe, self.scenes, self.place = recipe, scenes, place or Place()
        self.groups = (recipe.tasks,) if recipe.shared_images else tuple((task,) for task in recipe.tasks)

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
            samples.append(make_sample(self.scenes[int(order[place])], phase.size, rng))
        return collate(tasks, samples)


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
    return SceneDataset(get_split("train").first, recipe.scenes, max(p.size for p in recipe.phases), cache)
