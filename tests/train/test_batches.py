"""What a step sees: crops keep boxes on their objects, and processes share a batch without overlap."""

from pathlib import Path

import numpy as np
import pytest
import torch

from argus_edge.errors import InputError
from argus_edge.train.batches import StepBatches, scene_groups, scene_source
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


def _views(scenes: SceneDataset, views: int, **changes: object) -> StepBatches:
    phases = [{"steps": 4, "size": 64, "batch": 6}]  # four epochs
    values = {"tasks": ["seg"], "phases": phases, "scenes": 6, "views": views, "sensor": True, "seed": 5}
    return StepBatches(recipe_from(values | changes, "test"), scenes)


def _looks(batches: StepBatches, epoch: int) -> dict[str, bytes]:
    """What the scenes of an epoch look like, with their labels."""
    (batch,) = batches[epoch]
    return {
        name: batch.image[i].numpy().tobytes() + batch.targets["seg"][i].numpy().tobytes()
        for i, name in enumerate(batch.names)
    }


def test_fixed_views_come_in_turn_and_in_other_orders(scenes: SceneDataset) -> None:
    batches = _views(scenes, 2)
    epochs = [_looks(batches, epoch) for epoch in range(4)]
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3]
    assert all(epochs[0][name] != look for name, look in epochs[1].items())
    assert list(epochs[0]) != list(epochs[2])
    assert not {*epochs[0].values()} & {*_looks(_views(scenes, 2, seed=6), 0).values()}
    again = StepBatches(batches.recipe, scenes, Place(1, 2))[3]  # alone, and for one process of two
    assert torch.equal(again[0].image, batches[3][0].image[1::2])


def test_without_fixed_views_chance_is_as_it_was(scenes: SceneDataset) -> None:
    """Runs of earlier versions are resumed: (seed, stream, epoch, place, step) gives the same views."""
    batches = _views(scenes, 0)
    for step in (0, 3):
        (batch,) = batches[step]
        order = np.random.default_rng((5, 0, step)).permutation(6)
        for place in (0, 4):
            rng = np.random.default_rng((5, 0, step, place, step))
            expected = make_sample(scenes[int(order[place])], 64, rng, ("seg",), sensor=True)
            assert np.array_equal(batch.image[place].numpy(), expected.image)


def test_crops_of_fixed_views_come_again() -> None:
    scenes = SceneDataset(9, 6, 128)
    phases = [{"steps": 6, "size": 64, "batch": 4}]
    values = {"tasks": ["pose"], "phases": phases, "pose_crops": 2, "scenes": 6, "views": 1}
    batches = StepBatches(recipe_from(values, "test"), scenes)
    crops = [crop.numpy().tobytes() for step in range(6) for crop in batches[step][1].image]
    assert sorted(crops[:6]) == sorted(crops[6:])
    assert len(set(crops)) == 6
    assert crops[:6] != crops[6:]
    alone = StepBatches(batches.recipe, scenes, Place(1, 2))[4][1]
    assert alone.image[0].numpy().tobytes() == crops[9]


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


def test_runs_can_learn_from_disjoint_scenes(tmp_path: Path) -> None:
    values = {"phases": [{"steps": 2, "size": 64, "batch": 4}], "scenes": 4, "tasks": ["seg", "anom"]}
    seen = []
    for first in (0, 4):
        recipe = recipe_from(values | {"first_scene": first}, "test")
        batches = StepBatches(recipe, scene_source(recipe, tmp_path))
        seen.append({name for step in range(2) for batch in batches[step] for name in batch.names})
    scenes, surfaces = (
        [{name for name in names if name.startswith("scene ") == rendered} for names in seen]
        for rendered in (True, False)
    )
    assert scenes == [{f"scene {n}" for n in range(start, start + 4)} for start in (0, 4)]
    assert [len(names) for names in surfaces] == [4, 4]
    assert not surfaces[0] & surfaces[1]
