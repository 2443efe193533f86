"""Keypoints of the people in a picture: where each joint is seen, or what hides it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.people import Figure
from argus_edge.train.data.scenes.scene import SceneObject, ScenePerson


def find_people(
    figures: list[Figure],
    objects: tuple[SceneObject, ...],
    instances: NDArray[np.int32],
    parts: NDArray[np.uint8],
    depth: NDArray[np.float32],
    camera: Camera,
) -> tuple[ScenePerson, ...]:
    """The people among the objects, with their keypoints.

    A keypoint is hidden if its pixel sees another thing or another part of the body nearer than the keypoint,
    or the part that holds it nearer by more than its depth under the skin, or if the nine pixels around it
    see nothing of the person, because the limb is too thin and far away.

    Args:
        figures: the bodies, in the world.
        objects: what can be seen.
        instances: (H, W) instance ids.
        parts: (H, W) index in PART_CLASSES.
        depth: (H, W) [m], 0 where there is no surface.
        camera: the eye.
    """
    bodies = {figure.instance: figure for figure in figures}
    return tuple(
        ScenePerson(thing.instance_id, _keypoints(bodies[thing.instance_id], instances, parts, depth, camera))
        for thing in objects
        if thing.instance_id in bodies
    )


def _keypoints(
    figure: Figure,
    instances: NDArray[np.int32],
    parts: NDArray[np.uint8],
    depth: NDArray[np.float32],
    camera: Camera,
) -> NDArray[np.float32]:
    """x, y [px] and visibility of a body's keypoints (17, 3)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x, y, z = camera.project(figure.joints).T.astype(np.float32)
    found = np.zeros((len(figure.joints), 3), np.float32)
    inside = np.flatnonzero((z > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height))
    x, y, z = x[inside], y[inside], z[inside]
    rows, columns = y.astype(np.intp), x.astype(np.intp)
    seen, own = depth[rows, columns], instances[rows, columns] == figure.instance
    hidden = (seen > 0) & (seen < z - np.where(own, figure.cover[inside, parts[rows, columns]], 0.0))
    hidden |= ~(_around(instances, rows, columns) == figure.instance).any(axis=0)
    found[inside] = np.stack([x, y, np.where(hidden, 1, 2)], axis=1)
    return found


def _around(
    instances: NDArray[np.int32], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.int32]:
    """What the nine pixels around each of N pixels hold (9, N), edges repeated."""
    step_y, step_x = (offset.reshape(9, 1) for offset in np.mgrid[-1:2, -1:2])
    near_y = np.clip(rows + step_y, 0, instances.shape[0] - 1)
    near_x = np.clip(columns + step_x, 0, instances.shape[1] - 1)
    return np.asarray(instances[near_y, near_x], np.int32)
