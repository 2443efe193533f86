"""Each shape against a description of its inside that shares nothing with the intersection code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.train.data.scenes.primitives import Ball, Box, Cone, Cylinder, Plane, RoundCone, Shape, Sheet
from argus_edge.train.data.scenes.textures import vec

Points = NDArray[np.float64]  # (..., 3)
LIMB = RoundCone(0.6, 0.25, 1.4)


def in_round_cone(p: Points) -> NDArray[np.bool_]:
    """Inside any of the balls between the two ends."""
    inside = np.zeros(p.shape[:-1], bool)
    for share in np.linspace(0, 1, 400):
        centre, radius = np.array([0, 0, 1.4 * share]), 0.6 + (0.25 - 0.6) * share
        inside |= ((p - centre) ** 2).sum(axis=-1) < radius**2
    return inside


SOLIDS: dict[str, tuple[Shape, Callable[[Points], NDArray[np.bool_]]]] = {
    "box": (Box(), lambda p: np.abs(p).max(axis=-1) < 1),
    "ball": (Ball(), lambda p: (p**2).sum(axis=-1) < 1),
    "cylinder": (Cylinder(), lambda p: (np.hypot(p[..., 0], p[..., 1]) < 1) & (np.abs(p[..., 2]) < 1)),
    "cone": (
        Cone(),
        lambda p: (np.hypot(p[..., 0], p[..., 1]) < (1 - p[..., 2]) / 2) & (np.abs(p[..., 2]) < 1),
    ),
    "round cone": (LIMB, in_round_cone),
}
STEP = 0.01  # of the march along each ray


def random_rays(count: int) -> tuple[Points, Points]:
    """Rays from a sphere of radius 4 towards points near the origin; directions of different lengths."""
    rng = np.random.default_rng(3)
    start = rng.normal(size=(count, 3))
    start *= 4 / np.linalg.norm(start, axis=1, keepdims=True)
    towards = rng.uniform(-1.1, 1.1, (count, 3)) - start
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    return start, towards / length * rng.uniform(0.5, 2.0, (count, 1))


@pytest.mark.parametrize("name", SOLIDS)
def test_hit_is_where_the_ray_first_gets_inside(name: str) -> None:
    shape, inside = SOLIDS[name]
    start, direction = random_rays(300)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = shape.hit(vec(start.T.astype(np.float32)), vec(direction.T.astype(np.float32)))
    steps = np.arange(0, 8, STEP)[:, None, None] / np.linalg.norm(direction, axis=1)[:, None]
    within = inside(start + steps * direction)
    marched = np.where(
        within.any(axis=0), np.take_along_axis(steps[..., 0], within.argmax(axis=0)[None], 0)[0], np.inf
    )
    distance = np.linalg.norm(direction, axis=1)
    hit = np.isfinite(t)
    assert 60 < hit.sum() < 290
    # A march may step over a corner, never find what the ray misses.
    assert (hit | ~np.isfinite(marched)).all()
    both = hit & np.isfinite(marched)
    assert both.sum() > 0.95 * hit.sum()
    gap = (marched[both] - t[both]) * distance[both]
    assert gap.min() > -1e-2
    assert np.median(gap) < STEP


@pytest.mark.parametrize("name", SOLIDS)
def test_normals_point_out_of_the_solid(name: str) -> None:
    shape, inside = SOLIDS[name]
    start, direction = random_rays(400)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = shape.hit(vec(start.T.astype(np.float32)), vec(direction.T.astype(np.float32)))
    seen = np.isfinite(t)
    points = (start + t[:, None] * direction)[seen]
    normals = np.stack(shape.normal(vec(points.T.astype(np.float32))), axis=-1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert ((normals * direction[seen]).sum(axis=1) < 1e-3).all()
    assert inside(points - 0.01 * normals).mean() > 0.98  # all but edges
    assert not inside(points + 0.01 * normals).any()


@pytest.mark.parametrize("name", SOLIDS)
def test_extent_and_reach_hold_the_solid(name: str) -> None:
    shape, inside = SOLIDS[name]
    assert shape.extent is not None
    low, high = np.array(shape.extent)
    points = np.random.default_rng(0).uniform(low - 0.5, high + 0.5, (20_000, 3))
    held = points[inside(points)]
    assert (held >= low).all()
    assert (held <= high).all()
    assert np.linalg.norm(held - (low + high) / 2, axis=1).max() <= shape.reach(np.ones(3))


def test_plane_and_sheet_are_seen_from_above_only() -> None:
    above = vec(np.array([[0.2, 2.0], [0.3, 0.0], [1.0, 1.0]], np.float32))
    below = vec(np.array([[0.2, 2.0], [0.3, 0.0], [-1.0, -1.0]], np.float32))
    down, up = (vec(np.array([[0, 0], [0, 0], [z, z]], np.float32)) for z in (-0.5, 0.5))
    assert Plane().hit(above, down).tolist() == [2.0, 2.0]
    assert Plane().hit(below, up).tolist() == [np.inf, np.inf]
    assert Sheet().hit(above, down).tolist() == [2.0, np.inf]
    assert Sheet(disc=True).hit(above, down).tolist() == [2.0, np.inf]
    assert Sheet().hit(below, up).tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("name", ["box", "ball", "cylinder", "cone", "round cone"])
def test_rays_along_an_axis_hit(name: str) -> None:
    shape, _ = SOLIDS[name]
    for axis in range(3):
        start, direction = np.full((3, 1), 0.0, np.float32), np.zeros((3, 1), np.float32)
        start[2], start[axis], direction[axis] = 0.2, -3, 1
        start[(axis + 1) % 3] += 0.05
        with np.errstate(invalid="ignore", divide="ignore"):
            t = shape.hit(vec(start), vec(direction))
        assert 1 < float(t[0]) < 3.5
