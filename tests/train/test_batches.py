"""What a step sees: crops keep boxes on their objects, and processes share a batch without overlap."""

from pathlib import Path

import numpy as np
import pytest
import torch

from argus_edge.errors import InputError
from argus_edge.train.batches import StepBatches, scene_groups
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.transforms import make_sample
from argus_edge.train.processes import Place
from argus_edge.train.recipe import recipe_from


def _batches(scenes: SceneDataset, place: Place | None = None) -> StepBatches:
    recipe = recipe_from({"phases": [{"steps": 2, "size": 64, "batch": 4}], "scenes": 6}, "test")
    return StepBatches(recipe, scenes, place)


@pytest.fixture(scope="module")
def scenes() -> SceneDataset:
    return SceneDataset(0, 6, 96)


def test_the_processes_see_the_images_of_one(scenes: SceneDataset) -> None:
    whole = _batches(scenes)[1][0].image
    shares = [_batches(scenes, Place(rank, 2))[1][0].image for rank in range(2)]
    assert torch.equal(whole, torch.stack(shares, dim=1).flatten(0, 1))


def test_tasks_share_a_batch_where_their_sizes_are_equal() -> None:
    tasks = ("anom", "det", "seg", "depth", "cls")

    def groups(**changes: object) -> list[tuple[str, ...]]:
        return scene_groups(recipe_from({"tasks": tasks} | changes, "test"))

    assert groups() == [("det", "seg", "depth", "cls"), ("anom",)]
    assert groups(shared_images=False) == [("det",), ("seg",), ("depth",), ("cls",), ("anom",)]
    assert groups(data={"seg": "maps:/x", "anom": "mvtec:/x"}) == [("det", "depth", "cls")]
    assert groups(sizes={"seg": 512, "cls": 512}) == [("det", "depth"), ("seg", "cls"), ("anom",)]


def test_a_batch_in_parts_has_the_same_images(scenes: SceneDataset) -> None:
    (whole,) = _batches(scenes)[1]
    settings = {"phases": [{"steps": 2, "size": 64, "batch": 4}], "scenes": 6, "accumulate": 2}
    parts = StepBatches(recipe_from(settings, "test"), scenes)[1]
    assert [part.share for part in parts] == [0.5, 0.5]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
    with pytest.raises(InputError, match="2 processes that accumulate 2 parts need phases of at least 8"):
        StepBatches(recipe_from(settings, "test"), scenes, Place(0, 2))


def test_a_step_is_the_same_every_time(scenes: SceneDataset) -> None:
    first, again = (_batches(scenes)[0][0] for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.targets["depth"], again.targets["depth"])


def test_without_augmentation_the_labels_are_those_of_the_scene() -> None:
    scene = render(3, 96)
    sample = make_sample(scene, 96, None)
    assert np.array_equal(sample.image, scene.image)
    assert np.array_equal(sample.maps["depth"], scene.depth)
    corners = np.concatenate(
        [sample.boxes[:, :2] - sample.boxes[:, 2:] / 2, sample.boxes[:, :2] + sample.boxes[:, 2:] / 2], 1
    )
    assert np.allclose(corners * 96, [o.box for o in scene.objects], atol=1e-3)


def test_a_smaller_picture_is_farther_away() -> None:
    scene = render(3, 96)
    halved = make_sample(scene, 48, None)
    near = scene.depth[1::2, 1::2]
    depth = halved.maps["depth"]
    known = (depth > 0) & (near > 0)
    assert np.median(depth[known] / near[known]) == pytest.approx(2, rel=0.05)


def test_boxes_stay_on_their_objects_through_crops_and_flips() -> None:
    """The share of thing pixels inside some box stays high: at random places it would be low."""
    shares = []
    for seed in range(8):
        sample = make_sample(render(seed, 128), 64, np.random.default_rng(seed))
        things = sample.maps["seg"] >= 4
        covered = np.zeros_like(things)
        for cx, cy, w, h in sample.boxes * 64:
            covered[round(cy - h / 2) : round(cy + h / 2), round(cx - w / 2) : round(cx + w / 2)] = True
        if things.sum() > 100:
            shares.append(float(covered[things].mean()))
        assert np.all((sample.boxes >= 0) & (sample.boxes <= 1))
    assert np.mean(shares) > 0.85


def test_crops_of_people_come_beside_the_scenes(tmp_path: Path) -> None:
    recipe = recipe_from(
        {
            "tasks": ["pose"],
            "phases": [{"steps": 3, "size": 64, "batch": 2}],
            "pose_crops": 3,
            "scenes": 6,
        },
        "test",
    )
    scenes = SceneDataset(9, 6, 128, tmp_path)
    batches = StepBatches(recipe, scenes)
    regions, crops = batches[1]
    assert regions.image.shape == (2, 64, 64, 3)
    assert crops.image.shape == (3, 256, 192, 3)
    assert crops.targets["pose"].persons is None
    assert crops.targets["pose"].heatmaps.shape == (3, 17, 64, 48)
    assert torch.equal(crops.image, batches[1][1].image)
    assert not torch.equal(crops.image, batches[2][1].image)


def test_random_cameras_change_pictures_and_keep_sizes(tmp_path: Path) -> None:
    values = {"tasks": ["seg"], "phases": [{"steps": 2, "size": 64, "batch": 4}], "scenes": 4}
    scenes = SceneDataset(0, 4, 96, tmp_path)
    plain, seen = (
        StepBatches(recipe_from(values | {"sensor": sensor}, "test"), scenes)[0][0]
        for sensor in (False, True)
    )
    assert plain.image.shape == seen.image.shape
    assert not torch.equal(plain.image, seen.image)
    assert plain.targets["seg"].shape == seen.targets["seg"].shape
