"""Depth, normals, boundaries and keypoints of 200 scenes against each other, by way of the camera."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES, Scene
from argus_edge.train.data.scenes.layout import compose
from argus_edge.train.data.scenes.scene import CEILING, FIRST_THING, GROUND
from argus_edge.train.data.scenes.targets import edges

VISIBLE, HIDDEN = 2, 1
FLAT: Final = (GROUND, SEG_CLASSES.index("wall"), CEILING, SEG_CLASSES.index("box"))
ROUND: Final = (SEG_CLASSES.index("sphere"), SEG_CLASSES.index("cylinder"), SEG_CLASSES.index("cone"))


def normals_of_depth(scene: Scene) -> NDArray[np.float64]:
    """Normals (H, W, 3) across each pixel's neighbours in depth; those of the rim are of no use."""
    points = scene.camera.unproject(scene.depth).astype(np.float64)
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(normal / np.maximum(length, 1e-12), np.float64)


def away_from_boundaries(scene: Scene) -> NDArray[np.bool_]:
    """Where no boundary, no sky and no rim of the picture is within three pixels (H, W)."""
    open_field = ((edges(scene) == 0) & (scene.depth > 0)).astype(np.uint8)
    reach = np.ones((7, 7), np.uint8)
    return np.asarray(cv2.erode(open_field, reach, borderType=cv2.BORDER_CONSTANT, borderValue=0), bool)


@pytest.mark.parametrize(
    ("labels", "usual", "nearly_all"), [(FLAT, 0.5, 0.98), (ROUND, 2.0, 0.95)], ids=["flat", "round"]
)
def test_normals_are_those_of_the_depth(
    many_scenes: list[Scene], labels: tuple[int, ...], usual: float, nearly_all: float
) -> None:
    """Within 5 degrees but for creases, and for rugs and posters some mm before what they hang on."""
    angles = []
    for scene in many_scenes:
        kept = away_from_boundaries(scene) & np.isin(scene.labels, labels)
        cosine = (normals_of_depth(scene)[kept] * scene.normals[kept]).sum(axis=-1)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    found = np.concatenate(angles)
    assert found.size > 50_000
    assert np.median(found) < usual
    assert (found < 5).mean() > nearly_all


def test_surfaces_go_on_as_their_normals_say_unless_a_boundary_is_there(many_scenes: list[Scene]) -> None:
    """The plane through a pixel meets the ray of the next one near its depth, or the two have a boundary."""
    within = leaps = marked = 0
    for scene in many_scenes:
        u, v = scene.camera.rays()
        rays = np.stack([*np.meshgrid(u, v), np.ones(scene.depth.shape, np.float32)], axis=-1)
        along = (scene.normals * rays).sum(axis=-1)  # the cosine, by the length of the ray
        boundary = edges(scene).astype(bool)
        for here, there in (((slice(None), slice(0, -1)), (slice(None), slice(1, None))),
                            ((slice(0, -1), slice(None)), (slice(1, None), slice(None)))):  # fmt: skip
            onward = (scene.normals[here] * rays[there]).sum(axis=-1)
            back = (scene.normals[there] * rays[here]).sum(axis=-1)
            # Seen from both sides, as one of the two may be seen edge-on; not where both are.
            seen = (scene.depth[here] > 0) & (scene.depth[there] > 0)
            seen &= np.minimum(along[here], along[there]) < -0.2
            seen &= np.minimum(onward, back) < -0.2
            with np.errstate(divide="ignore", invalid="ignore"):
                forth = scene.depth[here] * along[here] / onward / scene.depth[there]
                again = scene.depth[there] * along[there] / back / scene.depth[here]
            off = np.minimum(np.abs(np.log(np.abs(forth[seen]))), np.abs(np.log(np.abs(again[seen]))))
            on = (boundary[here] | boundary[there])[seen]
            within += int((off[~on] < 0.1).sum())
            leaps += int((off[~on] >= 0.1).sum())
            marked += int((off[on] >= 0.1).sum())
    assert leaps < 0.02 * marked
    assert leaps < 1e-4 * within


def test_a_visible_keypoint_touches_its_person_where_the_body_is(many_scenes: list[Scene]) -> None:
    """Its pixel or one beside it is of the person, and what is seen there is flesh around the joint."""
    gaps = []
    for scene in many_scenes:
        bodies = {figure.instance: figure for figure in compose(scene.seed).figures()}
        points = scene.camera.unproject(scene.depth)
        for person in scene.people:
            camera = scene.camera
            joints = (bodies[person.instance_id].joints - camera.position) @ camera.rotation
            for (x, y, visibility), joint in zip(person.keypoints.tolist(), joints, strict=True):
                if visibility != VISIBLE:
                    continue
                row, column = int(y), int(x)
                window = tuple(slice(max(at - 1, 0), at + 2) for at in (row, column))
                own = scene.instances[window] == person.instance_id
                assert own.any(), (scene.seed, person.instance_id)
                gap = np.linalg.norm(points[window][own] - joint, axis=-1).min()
                gaps.append(gap - 2 * joint[2] / camera.fx)  # a pixel beside it, seen through its centre
    assert len(gaps) > 5 * len(many_scenes)
    assert np.percentile(gaps, 99) < 0.15  # [m]
    assert max(gaps) < 0.5  # a thin limb, seen only beside its pixel


def test_a_hidden_keypoint_of_another_thing_s_pixel_lies_behind_that_thing(many_scenes: list[Scene]) -> None:
    """Where the pixel shows another person or thing, that is the nearer one, and a boundary parts the two."""
    looked_at = 0
    for scene in many_scenes:
        bodies = {figure.instance: figure for figure in compose(scene.seed).figures()}
        for person in scene.people:
            distance = scene.camera.project(bodies[person.instance_id].joints)[:, 2]
            for (x, y, visibility), z in zip(person.keypoints.tolist(), distance, strict=True):
                seen = scene.instances[int(y), int(x)]
                if visibility == HIDDEN and seen not in (0, person.instance_id):
                    looked_at += 1
                    assert scene.depth[int(y), int(x)] < z, (scene.seed, person.instance_id)
    assert looked_at > len(many_scenes) // 2


def test_every_object_is_outlined(many_scenes: list[Scene]) -> None:
    """Walking out of an object, one crosses a boundary: its outermost pixels are marked or next to a mark."""
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    for scene in many_scenes:
        near = cv2.dilate(edges(scene), cross).astype(bool)
        for thing in scene.objects:
            mask = (scene.instances == thing.instance_id).astype(np.uint8)
            rim = (mask > cv2.erode(mask, cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)).astype(bool)
            assert near[rim].all(), (scene.seed, thing)
            assert DET_CLASSES[thing.class_id] == SEG_CLASSES[scene.labels[rim][0]]
            assert (scene.labels[rim] >= FIRST_THING).all()
