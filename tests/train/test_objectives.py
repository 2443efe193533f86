"""The loss of each of the twelve tasks, nano's decoders: finite, and gradients wherever they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from argus_edge.tasks import TASKS
from argus_edge.train.batches import Batch, collate, surface_sample
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.scenes import render
from argus_edge.train.data.transforms import Sample, make_sample
from argus_edge.train.model.build import build_decoder
from argus_edge.train.objectives import task_loss
from argus_edge.train.targets import moved

WIDTH, SIZE = 192, 128


@pytest.fixture(scope="module")
def scene_samples() -> list[Sample]:
    """Scenes with people among them."""
    return [make_sample(render(seed, SIZE), SIZE, np.random.default_rng(seed), TASKS) for seed in (3, 8, 11)]


def _batch(task: str, samples: list[Sample]) -> Batch:
    if task == "anom":
        samples = [surface_sample(seed, SIZE) for seed in range(3)]
    return collate((task,), samples)


def _features() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(3, WIDTH, SIZE // s, SIZE // s, requires_grad=True) for s in (4, 8, 16, 32)]


def _loss(task: str, target: Any, features: list[Tensor]) -> tuple[Tensor, nn.Module]:
    torch.manual_seed(2)
    decoder = build_decoder("nano", task, SCENE_CLASSES.get(task, ()))
    return task_loss(task, decoder, features, target, torch.Generator().manual_seed(3)), decoder


@pytest.mark.parametrize("task", TASKS)
def test_a_task_learns_with_all_it_has(task: str, scene_samples: list[Sample]) -> None:
    features = _features()
    target = _batch(task, scene_samples).targets[task]
    loss, decoder = _loss(task, target, features)
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert float(loss.detach()) > 0
    loss.backward()
    missing = [
        name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    # A region selected by score alone learns nothing of what it was not asked.
    assert not missing, f"{task}: no gradient, or not a finite one, for {missing}"
    read = [level for level in range(4) if features[level].grad is not None]
    levels: tuple[int, ...] = decoder.levels  # type: ignore[assignment]
    assert read == ([] if task == "anom" else list(levels))  # anomalies train no backbone


def _without_people(target: Any) -> Any:
    return type(target)(target.persons, target.known[:0], target.heatmaps[:0], target.weights[:0])


def _without_masks(target: Any) -> Any:
    return [
        type(t)(t.labels[:0], *(v[:0] for v in vars(t).values() if v is not None and v is not t.labels))
        for t in target
    ]


EMPTY: dict[str, Callable[[Any], Any]] = {
    "det": _without_masks,
    "inst": _without_masks,
    "pan": _without_masks,
    "seg": lambda t: torch.full_like(t, 255),
    "parse": lambda t: torch.full_like(t, 255),
    "sal": lambda t: torch.full_like(t, 255),
    "edge": lambda t: torch.full_like(t, 255),
    "depth": torch.zeros_like,
    "normal": torch.zeros_like,
    "pose": _without_people,
}


@pytest.mark.parametrize("task", EMPTY)
def test_nothing_to_learn_from_does_no_harm(task: str, scene_samples: list[Sample]) -> None:
    """No object, no person, every pixel ignored: a finite loss and finite gradients."""
    features = _features()
    loss, decoder = _loss(task, EMPTY[task](_batch(task, scene_samples).targets[task]), features)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())
    assert all(f.grad is None or f.grad.isfinite().all() for f in features)


def test_targets_move_to_a_device_whole(scene_samples: list[Sample]) -> None:
    meta = torch.device("meta")
    for task in ("inst", "pose", "seg"):
        target = moved(_batch(task, scene_samples).targets[task], meta)
        for part in target if isinstance(target, list) else [target]:
            tensors = (
                [part] if isinstance(part, Tensor) else [v for v in vars(part).values() if v is not None]
            )
            assert {t.device for t in tensors} == {meta}
