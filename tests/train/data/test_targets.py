"""Boundaries, saliency, image class, panoptic maps: each against its rule and the maps it comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES, Scene
from argus_edge.train.data.scenes.scene import CEILING, GROUND, SKY
from argus_edge.train.data.scenes.targets import (
    IMAGE_CLASSES,
    PANOPTIC_CLASSES,
    edge_map,
    edges,
    image_class,
    image_class_of,
    instance_masks,
    panoptic,
    saliency,
    saliency_map,
)
from argus_edge.train.data.sensor import Lens

EMPTY: Final = IMAGE_CLASSES.index("empty")


def test_level_ground_and_ceilings_lie_where_their_normals_say(many_scenes: list[Scene]) -> None:
    """One plane each: points from depth have a single height, save for rugs and lamps some mm before it."""
    looked_at = 0
    for scene in many_scenes:
        up = scene.camera.rotation[2].astype(np.float32)
        points = scene.camera.unproject(scene.depth) @ up + np.float32(scene.camera.position[2])
        for label, sign in ((GROUND, 1), (CEILING, -1)):
            level = (scene.labels == label) & (scene.normals @ (sign * up) > 0.9999)
            np.testing.assert_array_equal(level, scene.labels == label)
            if level.any():
                looked_at += 1
                spread = np.ptp(points[level]) - 2e-5 * scene.depth[level].max()
                assert spread < 0.03, (scene.seed, SEG_CLASSES[label])
    assert looked_at > len(many_scenes)


def test_edges_run_between_all_instances(many_scenes: list[Scene]) -> None:
    for scene in many_scenes:
        found = edges(scene).astype(bool)
        for here, there in (
            ((slice(0, -1), slice(None)), (slice(1, None), slice(None))),
            ((slice(None), slice(0, -1)), (slice(None), slice(1, None))),
        ):
            change = scene.instances[here] != scene.instances[there]
            assert (found[here] | found[there])[change].all()


def test_edges_lie_on_what_is_in_front(many_scenes: list[Scene]) -> None:
    """A marked pixel has a neighbour of another instance, or one that is much farther away or sky."""
    marked = reasons = thick = 0
    for scene in many_scenes:
        found = edges(scene).astype(bool)
        instances, depth = (np.pad(m, 1, mode="edge") for m in (scene.instances, scene.depth))
        far = np.where(depth > 0, depth, np.inf)
        reason = np.zeros(found.shape, bool)
        for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
            window = (slice(rows, rows + 128), slice(columns, columns + 128))
            reason |= (instances[window] != scene.instances) | (far[window] > 1.04 * scene.depth)
        marked, reasons = marked + int(found.sum()), reasons + int((found & reason).sum())
        thick += int((found[1:, 1:] & found[:-1, 1:] & found[1:, :-1] & found[:-1, :-1]).sum())
    assert reasons == marked > 100 * len(many_scenes)
    assert thick < 0.02 * marked  # lines are one pixel thin


def flat(shape: tuple[int, int] = (60, 80)) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    return np.zeros(shape, np.int32), np.full(shape, 4, np.float32)


def test_slanted_planes_and_creases_have_no_edges() -> None:
    instances, _ = flat()
    x = np.arange(80, dtype=np.float32)
    steep = 1 / np.broadcast_to(0.02 + 0.01 * x, (60, 80))
    roof = 1 / np.broadcast_to(1 - 0.012 * np.abs(x - 40), (60, 80))
    for depth in (steep, roof, steep.astype(np.float32), roof.astype(np.float32)):
        assert not edge_map(instances, depth.astype(np.float32)).any()


@pytest.mark.parametrize("scale", [0.55, 0.8, 0.97])
def test_only_the_horizon_is_an_edge_after_a_resize_or_a_lens(scale: float) -> None:
    """Taking nearest pixels makes steps in the inverse depth of a floor, large ones near the horizon."""
    y, x = np.mgrid[:200, :200]
    near = 0.0011 * (y + 0.1 * x - 20)
    depth = np.where(near > 1 / 60, 1 / np.maximum(near, 1e-6), 0).astype(np.float32)
    size = int(scale * 200)
    small = cv2.resize(depth, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    bent = Lens(200, 200, 0.1 * scale).labels(depth)
    for floor in (np.asarray(small, np.float32), bent):
        rim = (floor > 0) & (cv2.erode(floor, np.ones((3, 3), np.uint8), borderValue=1) == 0)
        found = edge_map(np.zeros(floor.shape, np.int32), floor).astype(bool)
        assert found.sum() >= floor.shape[1]
        assert not (found & ~rim).any()


def test_edges_stay_when_a_lens_bends_the_maps(many_scenes: list[Scene]) -> None:
    found = strange = missed = 0
    for scene in many_scenes[:40]:
        lens = Lens(128, 128, 0.08)
        before, after = (
            lens.labels(edges(scene)),
            edge_map(lens.labels(scene.instances), lens.labels(scene.depth)),
        )
        found += int(after.sum())
        strange += int((after > cv2.dilate(before, np.ones((5, 5), np.uint8))).sum())
        missed += int((before > cv2.dilate(after, np.ones((5, 5), np.uint8))).sum())
    assert max(strange, missed) < 0.01 * found


def test_a_step_in_depth_is_an_edge_on_the_near_side() -> None:
    instances, depth = flat()
    depth[:, 30:50] = 3
    found = edge_map(instances, depth)
    assert np.flatnonzero(found.any(axis=0)).tolist() == [30, 49]
    assert found[:, [30, 49]].all()
    depth[:, 30:50] = 3.9  # a step of 2.5 %
    assert not edge_map(instances, depth).any()


def test_thin_things_and_the_horizon_are_edges() -> None:
    instances, depth = flat()
    depth[:, 20] = 2
    depth[:25] = 0  # sky
    found = edge_map(instances, depth)
    assert found[25].all()
    assert found[25:, 20].all()
    assert found.sum() == 80 + 34


def test_touching_things_have_one_line_between_them() -> None:
    instances, depth = flat()
    instances[:, 20:40], instances[:, 40:60] = 1, 2
    depth[:, 40:60] = np.float32(3.99)
    found = edge_map(instances, depth)
    assert np.flatnonzero(found.any(axis=0)).tolist() == [20, 40, 59]


def test_edges_of_a_mirrored_scene_are_mirrored(many_scenes: list[Scene]) -> None:
    for scene in many_scenes[:20]:
        mirrored = edge_map(scene.instances[:, ::-1], scene.depth[:, ::-1])[:, ::-1]
        assert (mirrored != edges(scene)).mean() < 1e-3  # neighbours at the very same depth


def test_what_stands_out_is_one_object_or_nothing(many_scenes: list[Scene]) -> None:
    for scene in many_scenes:
        found, masks = saliency(scene), instance_masks(scene)
        assert found.dtype == np.uint8
        matches = (masks == found.astype(bool)).all(axis=(1, 2))
        assert matches.sum() == (1 if scene.objects else 0)
        assert scene.objects or not found.any()


def picture(*spots: tuple[int, int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Grey, with squares (x, y, side, level)."""
    image, instances = np.full((100, 100, 3), 100, np.uint8), np.zeros((100, 100), np.int32)
    for number, (x, y, side, level) in enumerate(spots, start=1):
        image[y : y + side, x : x + side] = level
        instances[y : y + side, x : x + side] = number
    return image, instances


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((40, 10, 24, 200), (40, 70, 12, 200), id="larger"),
        pytest.param((45, 45, 12, 200), (5, 5, 12, 200), id="nearer the middle"),
        pytest.param((40, 20, 12, 250), (40, 68, 12, 120), id="more contrast"),
    ],
)
def test_size_centrality_and_contrast_make_a_thing_stand_out(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int]
) -> None:
    for spots, salient in (((first, second), 1), ((second, first), 2)):
        image, instances = picture(*spots)
        np.testing.assert_array_equal(saliency_map(image, instances, [1, 2]), instances == salient)


def test_saliency_without_things_and_of_one_that_fills_the_picture() -> None:
    image, instances = picture((0, 0, 100, 90))
    assert not saliency_map(image, instances, []).any()
    assert saliency_map(image, instances, [1, 5]).all()


def test_the_image_class_covers_most(many_scenes: list[Scene]) -> None:
    seen = set()
    for scene in many_scenes:
        label = image_class(scene)
        seen.add(label)
        cover = [int((scene.labels == SEG_CLASSES.index(name)).sum()) for name in DET_CLASSES]
        if label == EMPTY:
            assert max(cover) < 0.02 * scene.labels.size
        else:
            assert cover[label] == max(cover) >= 0.02 * scene.labels.size
    assert seen == set(range(len(IMAGE_CLASSES)))


def test_image_class_of_maps_without_things() -> None:
    assert image_class_of(np.full((40, 40), SKY, np.uint8)) == EMPTY
    assert image_class_of(np.full((40, 40), 255, np.uint8)) == EMPTY
    labels = np.full((40, 40), 255, np.uint8)
    labels[:10] = SEG_CLASSES.index("cone")
    assert IMAGE_CLASSES[image_class_of(labels)] == "cone"


def test_panoptic_segments_cover_the_scene_once(many_scenes: list[Scene]) -> None:
    for scene in many_scenes:
        ids, segments = panoptic(scene)
        assert ids.dtype == np.int32
        assert len({s.id for s in segments}) == len(segments)
        assert set(np.unique(ids).tolist()) - {0} == {s.id for s in segments}
        for segment in segments:
            mask, name = ids == segment.id, PANOPTIC_CLASSES[segment.class_id]
            assert (scene.labels[mask] == SEG_CLASSES.index(name)).all()
            assert segment.is_thing == (segment.class_id < len(DET_CLASSES)) == (name in DET_CLASSES)
        things = [ids == s.id for s in segments if s.is_thing]
        np.testing.assert_array_equal(np.array(things).reshape(-1, 128, 128), instance_masks(scene))
        small = (scene.instances > 0) & ~instance_masks(scene).any(axis=0)
        np.testing.assert_array_equal(ids == 0, small)


def test_instance_masks_are_those_of_the_objects(many_scenes: list[Scene]) -> None:
    for scene in many_scenes:
        masks = instance_masks(scene)
        assert masks.shape == (len(scene.objects), 128, 128)
        assert masks.sum(axis=(1, 2)).tolist() == [o.visible_pixels for o in scene.objects]
    bare = replace(many_scenes[0], objects=())
    assert instance_masks(bare).shape == (0, 128, 128)
    assert [s for s in panoptic(bare)[1] if s.is_thing] == []
    assert not saliency(bare).any()
