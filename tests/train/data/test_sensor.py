"""The camera's faults: what each changes and by how much; a lens moves image, labels and points alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.train.data.scenes import render
from argus_edge.train.data.sensor import Lens, Sensor, capture, random_lens, random_sensor
from argus_edge.train.data.transforms import Sample, bend_scene, make_sample

BENDS = (-0.2, -0.08, -0.01, 0.0, 0.03, 0.08, 0.3)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grey(level: int, size: int = 96) -> NDArray[np.uint8]:
    return np.full((size, size, 3), level, np.uint8)


def test_a_perfect_sensor_changes_nothing() -> None:
    image = render(14, 64).image
    np.testing.assert_array_equal(capture(image, Sensor(), rng()), image)


def test_a_stop_is_twice_the_light() -> None:
    brighter, darker = (capture(grey(100), Sensor(exposure=stops), rng()) for stops in (1.0, -1.0))
    assert (brighter == round(100 * 2 ** (1 / 2.2))).all()
    assert (darker == round(100 * 2 ** (-1 / 2.2))).all()
    assert (capture(grey(230), Sensor(exposure=1.0), rng()) == 255).all()
    assert (capture(grey(100), Sensor(balance=(1.1, 1.0, 0.9)), rng()) == (110, 100, 90)).all()


@pytest.mark.parametrize("sensor", [Sensor(blur=1.5), Sensor(motion=(4.0, 0.0)), Sensor(motion=(-2.0, 3.0))])
def test_blur_spreads_light_and_moves_none(sensor: Sensor) -> None:
    image = grey(0, 41)
    image[20, 20] = 255
    taken = capture(image, sensor, rng())[..., 0].astype(float)
    rows, columns = np.mgrid[:41, :41]
    assert abs(taken.sum() / 255 - 1) < 0.1
    assert taken.max() < 128
    assert abs((taken * rows).sum() / taken.sum() - 20) < 0.1
    assert abs((taken * columns).sum() / taken.sum() - 20) < 0.1


def test_motion_blurs_along_its_way_only() -> None:
    image = grey(0, 41)
    image[20, 20] = 255
    taken = capture(image, Sensor(motion=(6.0, 0.0)), rng())[..., 0]
    assert np.flatnonzero(taken.any(axis=1)).tolist() == [20]
    assert 6 <= taken.any(axis=0).sum() <= 8


@pytest.mark.parametrize(("level", "expected"), [(50, np.sqrt(9 + 10)), (200, np.sqrt(9 + 40))])
def test_noise_is_as_strong_as_told(level: int, expected: float) -> None:
    taken = capture(grey(level, 200), Sensor(read_noise=3.0, shot_noise=0.2), rng()).astype(float)
    assert abs(taken.mean() - level) < 0.1
    assert abs(taken.std() / expected - 1) < 0.03


def test_sensors_are_repeatable_and_different() -> None:
    image = render(14, 64).image
    taken = [capture(image, random_sensor(rng(seed)), rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(taken[0], taken[1])
    assert (taken[0] != taken[2]).any()
    sensors = [random_sensor(rng(seed)) for seed in range(200)]
    assert {s.blur > 0 for s in sensors} == {any(s.motion) for s in sensors} == {True, False}
    assert max(abs(s.exposure) for s in sensors) <= 0.67


def test_a_straight_lens_changes_nothing() -> None:
    scene, lens = render(14, (64, 80)), Lens(64, 80)
    np.testing.assert_array_equal(lens.image(scene.image), scene.image)
    np.testing.assert_array_equal(lens.labels(scene.normals), scene.normals)
    points = rng().uniform(0, 64, (9, 2)).astype(np.float32)
    np.testing.assert_allclose(lens.points(points), points, atol=1e-5)


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (100, 100)])
def test_points_go_where_the_image_goes(bend: float, shape: tuple[int, int]) -> None:
    lens = Lens(*shape, bend)
    for x, y in rng().uniform(20, 70, (6, 2)):
        rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
        dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        seen = lens.image(np.repeat((200 * dot).astype(np.uint8)[..., None], 3, axis=2))[..., 0].astype(float)
        centre = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        np.testing.assert_allclose(lens.points(np.array([x, y], np.float32)), centre, atol=0.25)


@pytest.mark.parametrize("bend", BENDS)
def test_labels_go_where_the_image_goes_and_never_mix(bend: float) -> None:
    scene, lens = render(14, 96), Lens(96, 96, bend)
    instances = lens.labels(scene.instances)
    assert instances.dtype == scene.instances.dtype
    assert set(np.unique(instances)) <= set(np.unique(scene.instances))
    for instance in np.unique(instances):
        mask = (scene.instances == instance).astype(np.uint8)
        moved = lens.image(np.repeat(255 * mask[..., None], 3, axis=2))[..., 0]
        assert ((instances == instance) == (moved > 127)).mean() > 0.985
        assert (instances == instance)[moved == 255].all()
        assert not (instances == instance)[moved == 0].any()


@pytest.mark.parametrize("bend", BENDS)
def test_the_picture_stays_filled_to_its_corners(bend: float) -> None:
    lens = Lens(80, 120, bend)
    rim = np.array([(x, y) for x in (0, 60, 120) for y in (0, 40, 80) if (x, y) != (60, 40)], np.float32)
    seen = lens.points(rim)
    inside = (seen > 1e-3).all(axis=1) & (seen < np.array([120, 80]) - 1e-3).all(axis=1)
    assert not inside.any()  # else there would be something beyond the rim to be seen
    if bend >= 0:
        corners = np.isin(rim[:, 0], (0, 120)) & np.isin(rim[:, 1], (0, 80))
        np.testing.assert_allclose(seen[corners], rim[corners], atol=1e-3)


def test_barrel_bulges_and_pincushion_pinches() -> None:
    point = np.array([[90.0, 50.0]], np.float32)
    straight = np.array([50.0, 50.0])
    barrel, pincushion = (Lens(100, 100, bend).points(point)[0] - straight for bend in (0.2, -0.2))
    inner_barrel, inner_pincushion = (
        Lens(100, 100, bend).points(np.array([[55.0, 50.0]], np.float32))[0] - straight
        for bend in (0.2, -0.2)
    )
    assert barrel[0] / inner_barrel[0] < 8 < pincushion[0] / inner_pincushion[0]


def test_lenses_bend_a_little() -> None:
    lenses = [random_lens(rng(seed), 60, 80) for seed in range(100)]
    assert {lens.bend > 0 for lens in lenses} == {True, False}
    assert max(abs(lens.bend) for lens in lenses) <= 0.08
    assert (lenses[0].height, lenses[0].width) == (60, 80)


# Scenes through a camera

ALL = ("det", "inst", "pan", "seg", "parse", "sal", "edge", "depth", "normal", "pose")
SEEDS = (3, 8, 11)  # scenes with people


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bend", BENDS)
def test_a_bent_scene_is_still_a_scene(seed: int, bend: float) -> None:
    """Boxes are around what is seen, people stay where their bodies are, and a straight lens does nothing."""
    scene = render(seed, 128)
    bent = bend_scene(scene, Lens(128, 128, bend))
    for thing in bent.objects:
        rows, columns = np.nonzero(bent.instances == thing.instance_id)
        assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert thing.visible_pixels == len(rows) >= 16
    kept = [o.instance_id for o in bent.objects]
    assert set(kept) <= {o.instance_id for o in scene.objects}
    assert [p.instance_id for p in bent.people] == [
        p.instance_id for p in scene.people if p.instance_id in kept
    ]
    before = {p.instance_id: p.keypoints for p in scene.people}
    for person in bent.people:
        known = person.keypoints[:, 2] > 0
        assert (before[person.instance_id][known, 2] == person.keypoints[known, 2]).all()
        assert not person.keypoints[~known].any()
        x, y = np.floor(person.keypoints[person.keypoints[:, 2] == 2, :2]).astype(int).T
        body = (bent.instances == person.instance_id).astype(np.uint8)
        assert cv2.dilate(body, np.ones((5, 5), np.uint8))[y, x].all()  # limbs are thin
    if bend == 0:
        np.testing.assert_array_equal(bent.image, scene.image)
        assert bent.objects == scene.objects
        for mine, theirs in zip(bent.people, scene.people, strict=True):
            np.testing.assert_allclose(mine.keypoints, theirs.keypoints, atol=1e-4)


def test_what_leaves_the_picture_is_no_object() -> None:
    """A pinching lens shows less of the picture's sides."""
    left = 0
    for seed in range(12):
        scene = render(seed, 96)
        bent = bend_scene(scene, Lens(96, 96, -0.25))
        left += len(scene.objects) - len(bent.objects)
    assert left > 0


def taken(seed: int, chance: int, native: int = 128, sensor: bool = True) -> Sample:
    return make_sample(render(seed, native), 96, rng(chance), ALL, sensor=sensor)


@pytest.mark.parametrize("native", [96, 128])
def test_samples_by_a_camera_agree_with_their_labels(native: int) -> None:
    """Boxes are those around what is seen, to the pixel where nothing was cropped and resized."""
    bent = 0
    for chance in range(6):
        sample = taken(SEEDS[chance % 3], chance, native)
        assert len(sample.people) == len(sample.regions)
        for box, instance in zip(sample.boxes, sample.instance_ids, strict=True):
            rows, columns = np.nonzero(sample.maps["inst"] == instance)
            low, high = (box[:2] - box[2:] / 2) * 96, (box[:2] + box[2:] / 2) * 96
            if native == 96:
                np.testing.assert_allclose(low, [columns.min(), rows.min()], atol=1e-3)
                np.testing.assert_allclose(high, [columns.max() + 1, rows.max() + 1], atol=1e-3)
            elif len(rows):
                assert (low <= np.array([columns.min(), rows.min()]) + 1).all()
                assert (high >= np.array([columns.max(), rows.max()])).all()
        lengths = np.linalg.norm(sample.maps["normal"], axis=2)
        assert ((np.abs(lengths - 1) < 1e-3) | (lengths == 0)).all()
        bent += int(rng(chance).random() < 0.5)
    assert 0 < bent < 6  # both kinds were seen


def test_a_sample_by_a_camera_can_be_repeated() -> None:
    np.testing.assert_array_equal(taken(3, 1).image, taken(3, 1).image)
    images = {taken(3, chance).image.tobytes() for chance in range(5)}
    assert len(images) == 5


def test_without_chance_there_is_no_camera() -> None:
    scene = render(3, 96)
    plain, told = (make_sample(scene, 64, None, ALL, sensor=sensor) for sensor in (False, True))
    np.testing.assert_array_equal(plain.image, told.image)
    assert (taken(3, 0).image != taken(3, 0, sensor=False).image).mean() > 0.5
