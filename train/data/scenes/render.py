"""Renders a scene: compose, find what each pixel sees, light it, expose it, label it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import cache
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.keypoints import find_people
from argus_edge.train.data.scenes.layout import compose
from argus_edge.train.data.scenes.parts import PART_LABELS
from argus_edge.train.data.scenes.people import Figure
from argus_edge.train.data.scenes.scene import SKY, Scene, find_objects
from argus_edge.train.data.scenes.shade import TILE, shade
from argus_edge.train.data.scenes.streams import Stream, stream
from argus_edge.train.data.scenes.textures import Vec
from argus_edge.train.data.scenes.trace import Placed, Surface, place, trace
from argus_edge.train.data.scenes.world import Film, World

T = TypeVar("T", bound=np.generic)

RENDERER_VERSION: Final = 2  # raised whenever a seed gives another picture, or other or more labels
MIN_SIZE: Final = 64
MAX_SIZE: Final = 1280
FRAME_RATE: Final = 25.0  # [1/s] of clips
Size = int | tuple[int, int]


def render(seed: int, size: Size = 320) -> Scene:
    """The scene of a seed; the same call gives the same scene to the last bit.

    Args:
        seed: any number from 0.
        size: edge of a square image or (height, width), 64 to 1280 [px].

    Raises:
        InputError: seed or size is not one of these.
    """
    return draw(compose(check_seed(seed)), check_size(size))


def render_clip(seed: int, frames: int, size: Size = 320) -> Iterator[Scene]:
    """Frames at 25 per second of a world in which the camera moves along a smooth path and people walk.

    Raises:
        InputError: as for render(), or no frame is asked for.
    """
    if frames < 1:
        raise InputError(f"frames is {frames}; a clip needs at least 1")
    world, shape = compose(check_seed(seed), moving=True), check_size(size)
    return (draw(world, shape, frame) for frame in range(frames))


def render_normals(seed: int, size: Size = 320) -> NDArray[np.float32]:
    """Only the normals (H, W, 3) of render(seed, size), at a fraction of its time."""
    world, (height, width) = compose(check_seed(seed)), check_size(size)
    camera = world.view.camera(height, width)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        surface = trace(place(world.primitives(world.figures()), camera), camera, colour=False)
    return np.stack(surface.normals, axis=-1).reshape(height, width, 3)


def draw(world: World, shape: tuple[int, int], frame: int = 0) -> Scene:
    """One frame of a world as an image of `shape` (height, width) [px] with its labels."""
    time = frame / FRAME_RATE
    camera = world.drift.apply(world.view, time).camera(*shape)
    canvas = _whole_tiles(camera)
    figures = world.figures(time)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        placed = place(world.primitives(figures), canvas)
        surface = trace(placed, canvas, colour=True)
        light = shade(world, surface, placed, canvas)
    image = expose(_crop(light, canvas, camera), world.film, camera, stream(world.seed, Stream.SENSOR, frame))
    return _label(world, figures, surface, placed, image, canvas, camera)


def check_seed(seed: int) -> int:
    """The seed, if it is one."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise InputError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")
    return number


def check_size(size: Size) -> tuple[int, int]:
    """(height, width) [px] of a size."""
    try:
        height, width = map(operator.index, size if isinstance(size, tuple) else (size, size))
    except (TypeError, ValueError):
        height = width = 0
    if not (MIN_SIZE <= height <= MAX_SIZE and MIN_SIZE <= width <= MAX_SIZE):
        expected = f"one number or (height, width), each from {MIN_SIZE} to {MAX_SIZE}"
        raise InputError(f"size is {size!r}; expected {expected} [px]")
    return height, width


def expose(
    light: NDArray[np.float32], film: Film, camera: Camera, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Linear light (3, H, W) -> display RGB (H, W, 3), as a camera with automatic exposure would."""
    if film.blur > 0:
        light = _blur(light, np.float32(film.blur))
    gain = np.float32(film.brightness) / max(float(np.minimum(light, np.float32(2)).mean()), 1e-4)
    light = light * (gain * np.array(film.tint, np.float32))[:, None, None]
    if film.vignette > 0:
        u, v = camera.rays()
        light *= np.maximum(1 - np.float32(film.vignette) * (u * u + (v * v)[:, None]), np.float32(0.3))
    levels = _display_curve()[np.minimum(light * np.float32(2048), np.float32(8191)).astype(np.int16)]
    if film.noise > 0:
        levels = levels + rng.standard_normal(levels.shape, np.float32) * np.float32(film.noise)
    pixels = np.clip(levels + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


@cache
def _display_curve() -> NDArray[np.float32]:
    """Display level 0..255 of linear light in steps of 1 / 2048: gamma 2.2 with a soft shoulder above 0.6."""
    linear = np.arange(8192, dtype=np.float32) / np.float32(2048)
    soft = np.where(linear < 0.6, linear, 0.6 + 0.4 * (1 - np.exp(-(linear - 0.6) / 0.4)))
    curve: NDArray[np.float32] = (255 * soft ** (1 / 2.2)).astype(np.float32)
    return curve


def _blur(light: NDArray[np.float32], side: np.float32) -> NDArray[np.float32]:
    """A lens that spreads each point a little: [side, 1 - 2 side, side] along both axes, edges repeated."""
    padded = np.pad(light, ((0, 0), (1, 1), (0, 0)), mode="edge")
    light = side * (padded[:, :-2] + padded[:, 2:]) + (1 - 2 * side) * light
    padded = np.pad(light, ((0, 0), (0, 0), (1, 1)), mode="edge")
    spread: NDArray[np.float32] = side * (padded[:, :, :-2] + padded[:, :, 2:]) + (1 - 2 * side) * light
    return spread


def _whole_tiles(camera: Camera) -> Camera:
    """The same camera with rows and columns added at the end, up to whole tiles."""
    height, width = (-(-n // TILE) * TILE for n in (camera.height, camera.width))
    return Camera(width, height, camera.fx, camera.fy, camera.cx, camera.cy, camera.rotation, camera.position)


def _crop(flat: Vec, canvas: Camera, camera: Camera) -> NDArray[np.float32]:
    """Flat maps of the canvas -> (C, H, W) of the camera."""
    return np.stack([_cut(c, canvas, camera) for c in flat])


def _cut(flat: NDArray[T], canvas: Camera, camera: Camera) -> NDArray[T]:
    return flat.reshape(canvas.height, canvas.width)[: camera.height, : camera.width]


def _label(
    world: World,
    figures: list[Figure],
    surface: Surface,
    placed: list[Placed],
    image: NDArray[np.uint8],
    canvas: Camera,
    camera: Camera,
) -> Scene:
    """All maps of the scene, looked up by the primitive each pixel sees."""
    index = _cut(surface.index, canvas, camera)
    # The last entry of each table, index -1, is for pixels that see nothing.
    labels = np.array([*(item.primitive.label for item in placed), SKY], np.uint8)[index]
    instances = np.array([*(item.primitive.instance for item in placed), 0], np.int32)[index]
    parts = np.array([*(PART_LABELS[item.primitive.part] for item in placed), 0], np.uint8)[index]
    depth = np.where(index >= 0, _cut(surface.depth, canvas, camera), np.float32(0))
    normals = np.stack([_cut(n, canvas, camera) for n in surface.normals], axis=-1)
    objects = find_objects(instances, world.classes)
    return Scene(
        seed=world.seed,
        image=image,
        depth=depth,
        normals=normals,
        instances=instances,
        labels=labels,
        parts=parts,
        objects=objects,
        people=find_people(figures, objects, instances, parts, depth, camera),
        camera=camera,
    )
