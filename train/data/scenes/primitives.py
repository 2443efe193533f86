"""Shapes a ray can hit, each in its own simple frame, and the primitives that put them into the world.

A shape is met in local coordinates (unit ball, cube [-1, 1]^3, ...). An affine map places it, which keeps the
ray parameter t; hence stretched balls and flattened limbs need no code of their own. Vectors are triples of
arrays (x, y, z), which numpy handles faster than arrays of triples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.rotations import Matrix
from argus_edge.train.data.scenes.textures import Texture, Vec

Array = NDArray[np.float32]
Corner = tuple[float, float, float]

_TINY: Final = np.float32(1e-12)
_INF: Final = np.float32(np.inf)
_CUBE: Final[tuple[Corner, Corner]] = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


class Shape(Protocol):
    """A convex solid or a flat piece, in its local frame."""

    @property
    def extent(self) -> tuple[Corner, Corner] | None:
        """Lower and upper corner of a box around it; None if it has no end."""
        ...

    def reach(self, scale: Matrix, /) -> float:
        """Radius [m] of a ball about the middle of `extent` that holds it all, axes `scale` (3,) [m] long."""
        ...

    def hit(self, o: Vec, d: Vec) -> Array:
        """The smallest t at which o + t d enters it (may be negative); inf or NaN where the ray misses."""
        ...

    def normal(self, p: Vec) -> Vec:
        """Outward direction at points on its surface, of any length."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """The cube [-1, 1]^3, met by the slab method."""

    extent: tuple[Corner, Corner] = _CUBE

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return float(np.linalg.norm(scale))

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        enter, leave = _slab(o[0], d[0])
        for axis in (1, 2):
            near, far = _slab(o[axis], d[axis])
            enter, leave = np.maximum(enter, near), np.minimum(leave, far)
        return np.where(enter <= leave, enter, _INF)

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        x, y, z = (np.abs(c) for c in p)
        on_x = (x >= y) & (x >= z)
        on_y = ~on_x & (y >= z)
        return np.sign(p[0]) * on_x, np.sign(p[1]) * on_y, np.sign(p[2]) * ~(on_x | on_y)


@dataclass(frozen=True, slots=True)
class Ball:
    """The unit ball."""

    extent: tuple[Corner, Corner] = _CUBE

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return float(scale.max())

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        return _first_root(_dot(d, d), _dot(o, d), _dot(o, o) - np.float32(1))

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        return p


@dataclass(frozen=True, slots=True)
class Cylinder:
    """Radius 1 about the z axis, closed at z = -1 and z = 1."""

    extent: tuple[Corner, Corner] = _CUBE

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return float(np.hypot(max(scale[0], scale[1]), scale[2]))

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        a = d[0] * d[0] + d[1] * d[1]
        enter, leave = _roots(a, o[0] * d[0] + o[1] * d[1], o[0] * o[0] + o[1] * o[1] - np.float32(1))
        near, far = _slab(o[2], d[2])
        enter, leave = np.maximum(enter, near), np.minimum(leave, far)
        return np.where(enter <= leave, enter, _INF)

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        cap = np.abs(p[2]) > np.hypot(p[0], p[1])
        return p[0] * ~cap, p[1] * ~cap, np.sign(p[2]) * cap


@dataclass(frozen=True, slots=True)
class Cone:
    """Base of radius 1 at z = -1, apex at z = 1: x^2 + y^2 = ((1 - z) / 2)^2."""

    extent: tuple[Corner, Corner] = _CUBE

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return float(np.hypot(max(scale[0], scale[1]), scale[2]))

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        below = np.float32(1) - o[2]
        quarter = np.float32(0.25)
        a = d[0] * d[0] + d[1] * d[1] - quarter * d[2] * d[2]
        b = o[0] * d[0] + o[1] * d[1] + quarter * below * d[2]
        c = o[0] * o[0] + o[1] * o[1] - quarter * below * below
        first, second = _roots(a, b, c)
        t_base = (np.float32(-1) - o[2]) / d[2]
        x, y = o[0] + t_base * d[0], o[1] + t_base * d[1]
        best: Array = np.where(x * x + y * y <= 1, t_base, _INF)
        for t in (first, second):
            best = np.where((np.abs(o[2] + t * d[2]) <= 1) & (t < best), t, best)
        return best

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        half = np.float32(0.5) * (np.float32(1) - p[2])
        base = -1 - p[2] > np.hypot(p[0], p[1]) - half
        return p[0] * ~base, p[1] * ~base, np.where(base, np.float32(-1), np.float32(0.5) * half)


@dataclass(frozen=True, slots=True)
class RoundCone:
    """The hull of two balls, of radius `start` at the origin and `end` at z = `length` [m]: limbs.

    After I. Quilez, "Intersectors" (rounded cone), rewritten for directions of any length.
    """

    start: float
    end: float
    length: float

    @property
    def extent(self) -> tuple[Corner, Corner]:
        """See Shape."""
        wide = max(self.start, self.end)
        return (-wide, -wide, -self.start), (wide, wide, self.length + self.end)

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return 0.5 * (self.length + self.start + self.end) * float(scale.max())

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        r0, r1, length = np.float32(self.start), np.float32(self.end), np.float32(self.length)
        taper = r0 - r1
        span = length * length - taper * taper
        oz, dz = length * o[2], length * d[2]
        dd, od, oo = _dot(d, d), _dot(o, d), _dot(o, o)
        a = span * dd - dz * dz
        b = span * od - oz * dz + dz * (taper * r0)
        c = span * oo - oz * oz + oz * (2 * taper * r0) - length * length * r0 * r0
        t = _first_root(a, b, c)
        along = oz - r0 * taper + t * dz
        side = (along > 0) & (along < span)
        first = _first_root(dd, od, oo - r0 * r0)
        last = _first_root(dd, od - dz, oo - 2 * oz + (length * length - r1 * r1))
        return np.where(side, t, np.fmin(first, last))

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        # The normal comes from the axis, at the centre of the ball that touches the surface here.
        taper = (self.start - self.end) / self.length
        rise = taper / float(np.sqrt(1 - taper * taper))
        centre = np.clip(p[2] - np.hypot(p[0], p[1]) * np.float32(rise), 0, np.float32(self.length))
        return p[0], p[1], p[2] - centre


@dataclass(frozen=True, slots=True)
class Plane:
    """z = 0 without end, seen from z > 0 only."""

    extent: None = None

    def reach(self, _scale: Matrix) -> float:
        """See Shape."""
        return float("inf")

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        return np.where(d[2] < 0, -o[2] / d[2], _INF)

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        return _up(p)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A piece of the plane z = 0: the square [-1, 1]^2 or the unit disc. Windows, posters, rugs."""

    disc: bool = False
    extent: tuple[Corner, Corner] = ((-1.0, -1.0, 0.0), (1.0, 1.0, 0.0))

    def reach(self, scale: Matrix) -> float:
        """See Shape."""
        return float(np.hypot(scale[0], scale[1]))

    def hit(self, o: Vec, d: Vec) -> Array:
        """See Shape."""
        t = -o[2] / d[2]
        x, y = np.abs(o[0] + t * d[0]), np.abs(o[1] + t * d[1])
        inside = x * x + y * y <= 1 if self.disc else np.maximum(x, y) <= 1
        return np.where(inside & (d[2] < 0), t, _INF)

    def normal(self, p: Vec) -> Vec:
        """See Shape."""
        return _up(p)


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """A shape in the world, with what it looks like and what it is.

    The columns of `axes` (3, 3) are the local unit vectors in the world: X_world = axes @ X_local + position.
    """

    shape: Shape
    axes: Matrix
    position: Matrix  # (3,) world [m]
    texture: Texture
    label: int  # index in SEG_CLASSES
    instance: int = 0  # 0 belongs to no thing
    part: int = 0  # what part of the thing it is, see parts.Part
    casts: bool = True  # throws shadows
    scale: Matrix = field(init=False)  # (3,) length of each local unit [m]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.linalg.norm(self.axes, axis=0))

    def corners(self) -> Matrix | None:
        """Corners (8, 3) of a box around it, in the world [m]; None if it has no end."""
        if self.shape.extent is None:
            return None
        low, high = self.shape.extent
        grid = np.array(
            [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        corners: Matrix = grid @ self.axes.T + self.position
        return corners


def _dot(a: Vec, b: Vec) -> Array:
    product: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def _up(p: Vec) -> Vec:
    zero = np.zeros_like(p[2])
    return zero, zero, zero + np.float32(1)


def _slab(o: Array, d: Array) -> tuple[Array, Array]:
    """Where rays enter and leave -1 <= x <= 1."""
    inverse = np.float32(1) / _nonzero(d)
    middle, half = -o * inverse, np.abs(inverse)
    return middle - half, middle + half


def _roots(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """Both roots of a t^2 + 2 b t + c = 0, that with the minus sign first; NaN where there are none."""
    a = _nonzero(a)
    root = np.sqrt(b * b - a * c)
    inverse = np.float32(1) / a
    return (-b - root) * inverse, (root - b) * inverse


def _nonzero(value: Array) -> Array:
    """A ray along an axis would otherwise lead to 0 / 0."""
    return np.where(value == 0, _TINY, value)


def _first_root(a: Array, b: Array, c: Array) -> Array:
    return -(b + np.sqrt(b * b - a * c)) / a
