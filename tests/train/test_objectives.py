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
from argus_edge.train.data.augment import make_training_sample
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.scenes import render
from argus_edge.train.data.transforms import Sample, make_sample
from argus_edge.train.model.build import build_decoder
from argus_edge.train.model.roi import PoseOnRegions
from argus_edge.train.objectives import task_loss
from argus_edge.train.targets import crop_batch, moved

WIDTH, SIZE = 192, 128


@pytest.fixture(scope="module")
def scene_samples() -> list[Sample]:
    """Scenes with people among them."""
    return [make_sample(render(seed, SIZE), SIZE, np.random.default_rng(seed), TASKS) for seed in (3, 8, 11)]


def _batch(task: str, samples: list[Sample]) -> Batch:
    if task == "anom":
        samples = [surface_sample(seed, SIZE) for seed in range(3)]
    return collate((task,), samples)


def _features(count: int = 3, height: int = SIZE, width: int = SIZE) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(count, WIDTH, height // s, width // s, requires_grad=True) for s in (4, 8, 16, 32)]


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("task", TASKS)
def test_a_gpu_computes_the_same_loss(task: str, scene_samples: list[Sample]) -> None:
    """With chance drawn on the CPU for both."""
    target = _batch(task, scene_samples).targets[task]
    expected, decoder = _loss(task, target, _features())
    device = torch.device("cuda")
    features = [f.detach().to(device).requires_grad_() for f in _features()]
    chance = torch.Generator().manual_seed(3)
    loss = task_loss(task, decoder.to(device), features, moved(target, device), chance)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


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


def _person(box: tuple[float, float, float, float]) -> Example:
    """A smooth picture of a crop's size with one person in it."""
    rng = np.random.default_rng(0)
    points = rng.uniform(box[:2], box[2:], (17, 2))
    keypoints = np.concatenate([points, np.full((17, 1), 2)], axis=1).astype(np.float32)
    rows, columns = np.mgrid[:256, :192].astype(np.uint8)
    image = np.stack([rows, columns, rows // 2 + columns // 2], axis=-1)
    return Example("somebody", image, (LabelledObject(0, box, 1.0, keypoints=keypoints),))


def test_pose_learns_from_crops() -> None:
    """Augmented crops of people: gradients reach all of the decoder and all features."""
    image, target, names = crop_batch([_person((60, 40, 130, 210))], 3, np.random.default_rng(0))
    assert (image.shape, image.dtype) == ((3, 256, 192, 3), torch.uint8)
    assert target.persons is None
    assert target.heatmaps.shape == (3, 17, 64, 48)
    assert names == ("somebody",) * 3
    features = _features(3, 256, 192)
    loss, decoder = _loss("pose", target, features)
    loss.backward()
    assert float(loss.detach()) > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    assert all(f.grad is not None and bool(f.grad.flatten(1).any(dim=1).all()) for f in features)


def test_a_crop_is_learnt_from_as_the_region_that_it_shows() -> None:
    """Where a person's region is the whole picture, its crop is the picture, and so are the features."""
    # Widened by a quarter, 255 steps between the centres of 256 rows; 191.25 in place of 191 columns.
    example = _person((96 - 76.5, 128 - 102, 96 + 76.5, 128 + 102))
    image, crop, _ = crop_batch([example], 1, None)
    inside = np.s_[1:-1, 1:-1]  # of the rim, where a hair of padding comes in
    np.testing.assert_allclose(image[0].numpy().astype(int)[inside], example.image[inside], atol=1)
    region = collate(("pose",), [make_training_sample(example, (256, 192), None, ("pose",))]).targets["pose"]
    torch.testing.assert_close(crop.heatmaps, region.heatmaps)
    torch.testing.assert_close(crop.weights, region.weights)
    with torch.no_grad():
        features = [f.detach() for f in _features(1, 256, 192)]
        losses, decoders = zip(*(_loss("pose", target, features) for target in (crop, region)), strict=True)
        cut = PoseOnRegions(decoders[0]).cut(features, region.persons)
    assert [c.shape for c in cut] == [f.shape for f in features]
    assert all(float((c - f).abs().mean()) < 0.1 for c, f in zip(cut, features, strict=True))
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0)
