"""Light: Lambert with a highlight, ambient light, hard shadows of every thing, and the colours of the sky.

Shadows are found tile by tile: a tile of 8 x 8 pixels is tested against a caster only if the ball around the
points it sees may lie in the caster's shadow.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.primitives import Array
from argus_edge.train.data.scenes.textures import Vec, noise, vec
from argus_edge.train.data.scenes.trace import Placed, Surface, vector
from argus_edge.train.data.scenes.world import Light, Sky, World

T = TypeVar("T", bound=np.generic)

TILE: Final = 8  # [px]; images are shaded in multiples of it
_LIFT: Final = np.float32(2e-3)  # [m] off the surface, so that it does not shadow itself


def shade(world: World, surface: Surface, placed: list[Placed], camera: Camera) -> Vec:
    """Light that reaches the camera, linear RGB, flat (H * W,). Height and width are multiples of TILE."""
    assert surface.albedo is not None
    assert surface.gloss is not None
    u, v = camera.pixel_rays()
    seen = surface.index >= 0
    t = np.where(seen, surface.depth, np.float32(1))
    points, normals = (u * t, v * t, t), surface.normals
    up = vector(camera.rotation[2])
    above = np.float32(0.75) + np.float32(0.25) * (
        normals[0] * up[0] + normals[1] * up[1] + normals[2] * up[2]
    )
    glow = [np.float32(c) * above for c in world.ambient]
    lifted = vec(p + _LIFT * n for p, n in zip(points, normals, strict=True))
    tiles = _Tiles(lifted, seen, camera)
    shine: Array | None = None
    for light in world.lights:
        towards, lit, bounce = _lambert(light, points, normals, (u, v), surface.gloss, camera)
        facing = lit > 0
        lit[_shadow(tiles, placed, light, towards, facing, camera)] = 0
        for channel, colour in zip(glow, light.colour, strict=True):
            channel += np.float32(colour) * lit
        if bounce is not None:
            shine = bounce * lit if shine is None else shine + bounce * lit
    r, g, b = (a * c for a, c in zip(surface.albedo, glow, strict=True))
    if shine is not None:
        r, g, b = r + shine, g + shine, b + shine
    return _add_air(world, (r, g, b), seen, t, (u, v), camera)


def _lambert(
    light: Light, points: Vec, normals: Vec, slopes: tuple[Array, Array], gloss: Array, camera: Camera
) -> tuple[Vec, Array, Array | None]:
    """Vector to the light (the sun: unit; a lamp: the whole way), light received, highlight per unit."""
    at = np.array(light.at)
    if light.reach is None:
        lx, ly, lz = vector(camera.rotation.T @ at)
        towards = unit = vec(np.asarray(c) for c in (lx, ly, lz))
        lit = np.maximum(normals[0] * lx + normals[1] * ly + normals[2] * lz, 0)
    else:
        x, y, z = vector(camera.rotation.T @ (at - camera.position))
        towards = (x - points[0], y - points[1], z - points[2])
        square = towards[0] * towards[0] + towards[1] * towards[1] + towards[2] * towards[2]
        inverse = np.float32(1) / np.sqrt(square)
        unit = (towards[0] * inverse, towards[1] * inverse, towards[2] * inverse)
        lit = np.maximum(normals[0] * unit[0] + normals[1] * unit[1] + normals[2] * unit[2], 0)
        lit /= np.float32(1) + square * np.float32(1 / light.reach**2)
    if not gloss.any():
        return towards, lit, None
    # Blinn's highlight: the half vector between light and eye against the normal.
    u, v = slopes
    back = np.float32(1) / np.sqrt(u * u + v * v + np.float32(1))
    hx, hy, hz = unit[0] - u * back, unit[1] - v * back, unit[2] - back
    along = normals[0] * hx + normals[1] * hy + normals[2] * hz
    bounce = along * along / np.maximum(hx * hx + hy * hy + hz * hz, np.float32(1e-6))
    for _ in range(5):
        bounce *= bounce
    return towards, lit, bounce * gloss


class _Tiles:
    """Surface points (tiles, TILE^2) in tile order, and a ball around the points of each tile."""

    def __init__(self, points: Vec, seen: NDArray[np.bool_], camera: Camera) -> None:
        self.shape = (camera.height // TILE, TILE, camera.width // TILE, TILE)
        self.points = vec(self.split(p) for p in points)
        self.seen = self.split(seen)
        z = self.points[2]
        near = np.where(self.seen, z, np.inf).min(axis=1)
        far = np.where(self.seen, z, 0).max(axis=1)
        u, v = camera.rays()
        rows, columns = self.shape[0], self.shape[2]
        corners = np.empty((4, 3, rows * columns), np.float32)
        half = np.float32(0.6)  # of a pixel and a little more, as points were lifted off
        for k, (i, j) in enumerate(((0, 0), (0, -1), (-1, 0), (-1, -1))):
            x = u.reshape(columns, TILE)[:, j] + np.sign(j + 0.5) * -half / np.float32(camera.fx)
            y = v.reshape(rows, TILE)[:, i] + np.sign(i + 0.5) * -half / np.float32(camera.fy)
            corners[k, 0], corners[k, 1], corners[k, 2] = np.tile(x, rows), np.repeat(y, columns), 1
        self.any = far > 0
        near[~self.any] = 1
        ends = np.concatenate([corners * near, corners * far])
        self.centre = ends.mean(axis=0)
        self.radius = np.sqrt(((ends - self.centre) ** 2).sum(axis=1).max(axis=0)) + 2 * _LIFT

    def split(self, flat: NDArray[T]) -> NDArray[T]:
        """(H * W,) -> (tiles, TILE^2)."""
        tiled: NDArray[T] = flat.reshape(self.shape).transpose(0, 2, 1, 3).reshape(-1, TILE * TILE)
        return tiled

    def join(self, tiled: NDArray[T]) -> NDArray[T]:
        """(tiles, TILE^2) -> (H * W,)."""
        rows, _, columns, _ = self.shape
        flat: NDArray[T] = tiled.reshape(rows, columns, TILE, TILE).transpose(0, 2, 1, 3).reshape(-1)
        return flat


def _shadow(
    tiles: _Tiles, placed: list[Placed], light: Light, towards: Vec, facing: NDArray[np.bool_], camera: Camera
) -> NDArray[np.bool_]:
    """Where something stands between the surface and the light (H * W,)."""
    casters = [item for item in placed if item.primitive.casts]
    open_to_light = tiles.split(facing) & tiles.seen
    dark = np.zeros(open_to_light.shape, bool)
    if not casters:
        return tiles.join(dark)
    whole = light.reach is None
    limit = np.float32(np.inf if whole else 1)
    rays = towards if whole else vec(tiles.split(c) for c in towards)
    possible = _may_shade(tiles, casters, light, camera) & open_to_light.any(axis=1)
    for item, hit in zip(casters, possible, strict=True):
        chosen = np.flatnonzero(hit)
        if chosen.size:
            points, d = (v if v is towards else vec(c[chosen] for c in v) for v in (tiles.points, rays))
            dark[chosen] |= _blocked(item, points, d, limit)
    return tiles.join(dark & open_to_light)


def _blocked(item: Placed, points: Vec, d: Vec, limit: np.float32) -> NDArray[np.bool_]:
    """Whether the primitive is on the way from each point along d, before d times `limit`."""
    m, origin = item.to_local, item.origin
    x, y, z = (points[k] - origin[k] for k in range(3))
    local_o = vec(m[k, 0] * x + m[k, 1] * y + m[k, 2] * z for k in range(3))
    local_d = vec(m[k, 0] * d[0] + m[k, 1] * d[1] + m[k, 2] * d[2] for k in range(3))
    t = item.primitive.shape.hit(local_o, local_d)
    blocked: NDArray[np.bool_] = (t > 0) & (t < limit)
    return blocked


def _may_shade(tiles: _Tiles, casters: list[Placed], light: Light, camera: Camera) -> NDArray[np.bool_]:
    """Whether the ball around a caster and the shadow ray of a tile's ball may meet (casters, tiles)."""
    centre = np.stack([item.centre for item in casters])[:, :, None]
    reach = np.array([item.radius for item in casters], np.float32)[:, None] + tiles.radius
    at = np.array(light.at)
    if light.reach is None:
        ray = (camera.rotation.T @ at).astype(np.float32)[:, None]
        length = np.full(tiles.radius.shape, np.inf, np.float32)
    else:
        ray = (camera.rotation.T @ (at - camera.position)).astype(np.float32)[:, None] - tiles.centre
        length = np.sqrt((ray * ray).sum(axis=0))
        ray = ray / length
    wx, wy, wz = (centre[:, k] - tiles.centre[k] for k in range(3))
    along = wx * ray[0] + wy * ray[1] + wz * ray[2]
    off = wx * wx + wy * wy + wz * wz - along * along
    near: NDArray[np.bool_] = (off < reach * reach) & (along > -reach) & (along < length + reach) & tiles.any
    return near


def _add_air(
    world: World, light: Vec, seen: NDArray[np.bool_], t: Array, slopes: tuple[Array, Array], camera: Camera
) -> Vec:
    """Haze over what is seen, sky where nothing is."""
    if world.film.haze > 0:
        clear = np.exp(t * np.float32(-world.film.haze))
        for channel, colour in zip(light, world.sky.horizon, strict=True):
            channel += (np.float32(colour) - channel) * (np.float32(1) - clear)
    blank = np.flatnonzero(~seen)
    if blank.size:
        sky = _sky(world.sky, slopes[0][blank], slopes[1][blank], camera)
        for channel, values in zip(light, sky, strict=True):
            channel[blank] = values
    return light


def _sky(sky: Sky, u: Array, v: Array, camera: Camera) -> Vec:
    """Colour of the sky in the directions (u, v, 1)."""
    turn = camera.rotation.astype(np.float32)
    x, y, z = (turn[k, 0] * u + turn[k, 1] * v + turn[k, 2] for k in range(3))
    rise = np.maximum(z / np.sqrt(x * x + y * y + z * z), 0)
    mix = np.sqrt(rise)
    flat = np.float32(0.35) / (rise + np.float32(0.12))
    shift = np.float32(sky.shift)
    cover = noise((x * flat + shift, y * flat, shift + np.float32(0) * x))
    cloud = np.clip(np.float32(5) * (cover + np.float32(0.35 * sky.clouds - 0.62)), 0, 1) * np.float32(0.85)
    r, g, b = (
        (blend := np.float32(low) + np.float32(high - low) * mix) + (np.float32(0.95) - blend) * cloud
        for low, high in zip(sky.horizon, sky.zenith, strict=True)
    )
    return r, g, b
