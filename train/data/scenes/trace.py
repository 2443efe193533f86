"""Finds what each pixel sees: primary rays against all primitives, each within its bounds on the screen.

From here on everything is in the camera frame. Primary rays are (u, v, 1) per unit of t: t is the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.primitives import Array, Primitive
from argus_edge.train.data.scenes.rotations import Matrix
from argus_edge.train.data.scenes.textures import Vec

NEAR: Final = 0.05  # [m]
FAR: Final = 60.0  # [m] ground beyond is not drawn
NOTHING: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A primitive as the camera sees it."""

    primitive: Primitive
    to_local: NDArray[np.float32]  # (3, 3) camera frame to local
    centre: NDArray[np.float32]  # (3,) of a ball around it, camera frame [m]
    radius: float  # of that ball [m]; inf if it has no end
    origin: NDArray[np.float32]  # (3,) local origin, camera frame [m]


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What the pixels see, flat (H * W,)."""

    depth: Array  # [m], inf where nothing
    index: NDArray[np.int16]  # of the primitive, NOTHING where none
    normals: Vec  # unit, towards the camera
    albedo: Vec | None  # linear RGB
    gloss: Array | None


def place(primitives: list[Primitive], camera: Camera) -> list[Placed]:
    """Moves the primitives into the camera frame."""
    axes = camera.rotation.T @ np.stack([p.axes for p in primitives])
    to_local = np.linalg.inv(axes).astype(np.float32)
    origins = (np.stack([p.position for p in primitives]) - camera.position) @ camera.rotation
    placed = []
    for i, primitive in enumerate(primitives):
        middle = np.zeros(3) if primitive.shape.extent is None else np.mean(primitive.shape.extent, axis=0)
        centre, radius = origins[i] + axes[i] @ middle, 1.0001 * primitive.shape.reach(primitive.scale)
        placed.append(
            Placed(primitive, to_local[i], centre.astype(np.float32), radius, origins[i].astype(np.float32))
        )
    return placed


def trace(placed: list[Placed], camera: Camera, colour: bool) -> Surface:
    """Depth, primitive and normal of each pixel, and its albedo and gloss if `colour`."""
    u, v = camera.rays()
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    index = np.full(depth.shape, NOTHING, np.int16)
    for i, item in enumerate(placed):
        window = _window(item, camera)
        if window is None:
            continue
        rows, columns = window
        t = _hit_primary(item, u[columns], v[rows, None])
        closer = (t < depth[window]) & (t > NEAR)
        np.copyto(depth[window], t, where=closer)
        index[window][closer] = i
    beyond = depth > FAR
    depth[beyond] = np.inf
    index[beyond] = NOTHING
    return _describe(placed, camera, depth.ravel(), index.ravel(), colour)


def _hit_primary(item: Placed, u: Array, v: Array) -> Array:
    """Depth at which the rays (u, v, 1) enter a primitive."""
    m = item.to_local
    d = (
        m[0, 0] * u + (m[0, 1] * v + m[0, 2]),
        m[1, 0] * u + (m[1, 1] * v + m[1, 2]),
        m[2, 0] * u + (m[2, 1] * v + m[2, 2]),
    )
    o = -(m @ item.origin)
    if item.radius == np.inf:
        return item.primitive.shape.hit((o[0], o[1], o[2]), d)
    # Start beside it: from afar the roots of its quadratic would lose their digits in float32.
    start = item.centre[2]
    near = (o[0] + start * d[0], o[1] + start * d[1], o[2] + start * d[2])
    t: Array = item.primitive.shape.hit(near, d) + start
    return t


def _window(item: Placed, camera: Camera) -> tuple[slice, slice] | None:
    """Rows and columns that may see it, None if none can."""
    everything = slice(0, camera.height), slice(0, camera.width)
    corners = item.primitive.corners()
    if corners is None:
        return everything if _faces(item, camera) else None
    screen = camera.project(corners)
    if (screen[:, 2] <= NEAR).all():
        return None
    if (screen[:, 2] <= NEAR).any():
        return everything
    low, high = np.floor(screen[:, :2].min(axis=0)), np.ceil(screen[:, :2].max(axis=0))
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), camera.width), min(int(high[1]), camera.height)
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def _faces(item: Placed, camera: Camera) -> bool:
    """Whether any ray runs against a plane: its direction is linear over the image, so the corners tell."""
    u, v = camera.rays()
    m = item.to_local[2]
    return bool(min(m[0] * x + m[1] * y + m[2] for x in (u[0], u[-1]) for y in (v[0], v[-1])) < 0)


def _describe(
    placed: list[Placed], camera: Camera, depth: Array, index: NDArray[np.int16], colour: bool
) -> Surface:
    """Normals and colours, worked out once per visible pixel, primitive by primitive."""
    u, v = camera.pixel_rays()
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index + 1, minlength=len(placed) + 1))
    t, x, y = depth.take(order), u.take(order), v.take(order)
    out = np.zeros((7 if colour else 3, depth.size), np.float32)
    for i, item in enumerate(placed):
        span = slice(int(ends[i]), int(ends[i + 1]))
        if span.start < span.stop:
            out[:, span] = _describe_one(item, x[span], y[span], t[span], 1.0 / camera.fx, colour)
    result = np.empty_like(out)
    for row, source in zip(result, out, strict=True):
        row[order] = source
    if not colour:
        return Surface(depth, index, (result[0], result[1], result[2]), None, None)
    return Surface(
        depth, index, (result[0], result[1], result[2]), (result[3], result[4], result[5]), result[6]
    )


def _describe_one(item: Placed, u: Array, v: Array, t: Array, pixel: float, colour: bool) -> list[Array]:
    """Normal (x, y, z), and RGB and gloss, of pixels that see one primitive."""
    m, origin = item.to_local, item.origin
    cx, cy, cz = u * t - origin[0], v * t - origin[1], t - origin[2]
    p = (
        m[0, 0] * cx + m[0, 1] * cy + m[0, 2] * cz,
        m[1, 0] * cx + m[1, 1] * cy + m[1, 2] * cz,
        m[2, 0] * cx + m[2, 1] * cy + m[2, 2] * cz,
    )
    n = item.primitive.shape.normal(p)
    nx, ny, nz = (m[0, k] * n[0] + m[1, k] * n[1] + m[2, k] * n[2] for k in range(3))
    inverse = np.float32(1) / np.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    if not colour:
        return [nx, ny, nz]
    slope = -(nx * u + ny * v + nz)
    footprint = t * np.float32(pixel) / np.maximum(slope, np.float32(0.08))
    sx, sy, sz = (np.float32(s) for s in item.primitive.scale)
    texture = item.primitive.texture
    return [
        nx,
        ny,
        nz,
        *texture.colour((p[0] * sx, p[1] * sy, p[2] * sz), footprint),
        np.full_like(t, texture.gloss),
    ]


def vector(values: Matrix | tuple[float, float, float]) -> tuple[np.float32, np.float32, np.float32]:
    """Three float32 numbers: float64 ones would turn whole images into float64."""
    return np.float32(values[0]), np.float32(values[1]), np.float32(values[2])
