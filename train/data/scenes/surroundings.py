"""Where a scene takes place: a room or open ground, its light and its sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from argus_edge.train.data.scenes.camera import View
from argus_edge.train.data.scenes.people import Vector
from argus_edge.train.data.scenes.primitives import Box, Plane, Primitive, Sheet
from argus_edge.train.data.scenes.rotations import Matrix, rotation_z
from argus_edge.train.data.scenes.scene import CEILING, GROUND, WALL
from argus_edge.train.data.scenes.streams import Rng, log_uniform
from argus_edge.train.data.scenes.textures import Colour, Texture, linear, random_texture
from argus_edge.train.data.scenes.world import Film, Light, Sky

EARTHS: Final = (
    (0.42, 0.52, 0.25),
    (0.72, 0.62, 0.44),
    (0.45, 0.45, 0.47),
    (0.45, 0.34, 0.25),
    (0.66, 0.64, 0.6),
    (0.3, 0.42, 0.24),
)


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Ground to put things on: |x| <= half[0], |y| <= half[1] in the frame turned by `turn` about z."""

    pieces: tuple[Primitive, ...]
    lights: tuple[Light, ...]
    ambient: Colour
    sky: Sky
    film: Film
    half: tuple[float, float]  # [m]
    turn: float  # [rad]
    height: float  # clear height [m]
    indoors: bool

    def holds(self, x: float, y: float, margin: float) -> bool:
        """Whether the circle of radius `margin` [m] about (x, y) lies on this ground."""
        p = rotation_z(-self.turn) @ np.array([x, y, 0.0])
        return bool(abs(p[0]) + margin <= self.half[0] and abs(p[1]) + margin <= self.half[1])


def random_surroundings(layout: Rng, looks: Rng, light: Rng) -> Surroundings:
    """Indoors more often than not."""
    return _room(layout, looks, light) if layout.random() < 0.58 else _open_ground(layout, looks, light)


def random_view(rng: Rng, place: Surroundings) -> View:
    """A camera somewhere on the ground, looking to where there is room."""
    height = min(log_uniform(rng, 0.45, 2.6), place.height - 0.25)
    field_of_view = np.radians(rng.uniform(45, 92))
    best, best_gap = (0.0, 0.0, 0.0), -1.0
    for _ in range(4):
        local = np.array([*rng.uniform(-1, 1, 4)]) * np.array([*place.half] * 2) * 0.92
        gap = float(np.hypot(*(local[2:] - local[:2])))
        if gap > best_gap:
            at, to = (rotation_z(place.turn) @ np.array([*p, 0.0]) for p in (local[:2], local[2:]))
            best, best_gap = (float(at[0]), float(at[1]), float(np.arctan2(*(to - at)[1::-1]))), gap
    pitch = np.clip(rng.normal(-4 - 7 * height, 8), -42, 14)
    return View(
        (best[0], best[1], height), best[2], np.radians(pitch), np.radians(rng.normal(0, 2.5)), field_of_view
    )


def _room(layout: Rng, looks: Rng, light: Rng) -> Surroundings:
    half = np.array([log_uniform(layout, 1.6, 5.5), log_uniform(layout, 1.6, 5.5)])
    height = float(layout.uniform(2.3, 3.2) if layout.random() < 0.7 else layout.uniform(3.2, 5.5))
    turn = float(layout.uniform(0, 2 * np.pi))
    walls = _surface_texture(looks)
    pieces = [_plane(_surface_texture(looks), GROUND, np.zeros(3), np.eye(3))]
    pieces.append(
        _plane(
            _surface_texture(looks, pale=True), CEILING, np.array([0, 0, height]), np.diag([1.0, -1.0, -1.0])
        )
    )
    for side in range(4):
        frame = rotation_z(turn + side * np.pi / 2)
        reach, across = half[side % 2], half[1 - side % 2]
        # Looking along -z of its own frame one sees the wall: x runs along it, y up, z into the room.
        axes = np.stack([frame[:, 1], np.array([0.0, 0.0, 1.0]), -frame[:, 0]], axis=1)
        axes[:, 0] *= np.linalg.det(axes)
        corner = frame[:, 0] * reach
        pieces.append(_plane(walls if looks.random() < 0.75 else _surface_texture(looks), WALL, corner, axes))
        pieces += _wall_pieces(layout, looks, corner, axes, across, height)
    pieces += _rugs(layout, looks, turn, half)
    lights = tuple(_lamp(light, turn, half, height) for _ in range(light.choice([1, 1, 2, 3])))
    pieces += [
        _sheet(
            _bright(3.0),
            CEILING,
            np.array([*lamp.at[:2], height - 0.003]),
            np.diag([0.25, -0.25, -1.0]),
            disc=True,
        )
        for lamp in lights
    ]
    ambient = _light_colour(light, light.uniform(0.12, 0.5))
    sky = Sky((0, 0, 0), (0, 0, 0), 0.0, 0.0)
    return Surroundings(
        tuple(pieces), lights, ambient, sky, _film(light, 0.0), (half[0], half[1]), turn, height, True
    )


def _open_ground(layout: Rng, looks: Rng, light: Rng) -> Surroundings:
    half = np.full(2, layout.uniform(6, 16))
    ground = _ground_texture(looks)
    pieces = [_plane(ground, GROUND, np.zeros(3), np.eye(3))]
    pieces += _rugs(layout, looks, 0.0, half)
    for _ in range(layout.choice([0, 0, 1, 2])):
        pieces.append(_free_wall(layout, looks, half))
    elevation, azimuth = np.radians(light.uniform(18, 75)), light.uniform(0, 2 * np.pi)
    towards = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    overcast = light.random() < 0.2
    sun = Light(towards, _light_colour(light, 0.25 if overcast else 1.0))
    ambient = _light_colour(light, light.uniform(0.2, 0.55))
    blue = np.array([0.25, 0.48, 0.85]) * light.uniform(0.7, 1.15) + light.normal(0, 0.06, 3)
    zenith = np.array([0.6, 0.63, 0.68]) if overcast else np.clip(blue, 0.05, 1)
    if light.random() < 0.12:
        zenith = light.uniform(0.05, 0.9, 3)
    horizon = np.clip(zenith + light.uniform(0.1, 0.45) + light.normal(0, 0.06, 3), 0, 1)
    sky = Sky(linear(zenith), linear(horizon), float(light.uniform(0, 1)), float(light.uniform(0, 50)))
    haze = float(light.choice([0.0, log_uniform(light, 0.003, 0.03)]))
    return Surroundings(
        tuple(pieces), (sun,), ambient, sky, _film(light, haze), (half[0], half[1]), 0.0, 9.0, False
    )


def _wall_pieces(
    layout: Rng, looks: Rng, corner: Vector, axes: Matrix, across: float, height: float
) -> list[Primitive]:
    """Windows, doors and posters of one wall, none overlapping: each has its own stretch of the wall."""
    pieces, x = [], -across + layout.uniform(0.1, 1.5)
    while x < across - 0.5:
        wide = min(layout.uniform(0.25, 0.9), 0.5 * (across - x) - 0.05)
        match layout.choice(4, p=(0.35, 0.15, 0.3, 0.2)):
            case 0:  # poster, or painted disc
                tall, texture, disc = (
                    wide * layout.uniform(0.6, 1.4),
                    random_texture(looks, 2 * wide),
                    bool(layout.random() < 0.3),
                )
                y = layout.uniform(1.1, 1.8)
            case 1:  # door
                tall, texture, disc, wide = (
                    min(1.02, height / 2 - 0.1),
                    random_texture(looks, 1.0, "solid"),
                    False,
                    min(wide, 0.5),
                )
                y = tall
            case 2:  # window
                tall, texture, disc = layout.uniform(0.4, 0.75), _bright(looks.uniform(0.8, 2.5)), False
                y = layout.uniform(1.3, 1.7)
            case _:  # bare wall
                x += 2 * wide
                continue
        y = min(y, height - tall - 0.05)
        if y - tall >= -1e-6:
            middle = corner + axes @ np.array([x + wide, y, 0.004])
            pieces.append(
                _sheet(texture, WALL, middle, axes * np.array([wide, wide if disc else tall, 1.0]), disc)
            )
        x += 2 * wide + layout.uniform(0.1, 2.0)
    return pieces


def _rugs(layout: Rng, looks: Rng, turn: float, half: Vector) -> list[Primitive]:
    """Rugs, patches, painted discs: still ground, whatever their shape."""
    pieces = []
    for step in range(layout.choice([0, 0, 1, 1, 2])):
        size = layout.uniform(0.15, 0.6, 2) * min(half.min(), 5.0)
        disc = bool(layout.random() < 0.4)
        at = rotation_z(turn) @ np.array([*(layout.uniform(-1, 1, 2) * (half - size)), 0.003 * (step + 1)])
        axes = rotation_z(turn + layout.choice([0.0, layout.uniform(0, 3)])) * np.array(
            [size[0], size[0] if disc else size[1], 1.0]
        )
        pieces.append(_sheet(random_texture(looks, float(size[0])), GROUND, at, axes, disc))
    return pieces


def _free_wall(layout: Rng, looks: Rng, half: Vector) -> Primitive:
    """A long wall at the edge of the open ground."""
    long, tall = layout.uniform(6, 16), layout.uniform(1.3, 4.5)
    angle = layout.uniform(0, 2 * np.pi)
    far = half[0] * 1.45 + 1.0
    at = np.array([np.cos(angle) * far, np.sin(angle) * far, tall / 2])
    axes = rotation_z(angle + layout.normal(0, 0.15)) * np.array([0.12, long / 2, tall / 2])
    return Primitive(Box(), axes, at, random_texture(looks, 2.0), WALL)


def _plane(texture: Texture, label: int, at: Vector, axes: Matrix) -> Primitive:
    return Primitive(Plane(), axes, at, texture, label, casts=False)


def _sheet(texture: Texture, label: int, at: Vector, axes: Matrix, disc: bool) -> Primitive:
    return Primitive(Sheet(disc), axes, at, texture, label, casts=False)


def _surface_texture(rng: Rng, pale: bool = False) -> Texture:
    """For floors and walls: plain and pale more often than on things."""
    if rng.random() < 0.45 or pale:
        base = rng.uniform(0.45, 0.97) + rng.normal(0, 0.06, 3)
        first = linear(np.clip(base, 0.05, 1))
        second = linear(np.clip(base - rng.uniform(0.03, 0.2), 0.02, 1))
        texture = random_texture(rng, 1.5)
        return Texture(
            texture.pattern, first, second, texture.cell, texture.turn, texture.shift, texture.share
        )
    return random_texture(rng, 1.5)


def _ground_texture(rng: Rng) -> Texture:
    """Grass, sand, asphalt or tiles in earthy colours as often as anything else."""
    texture = random_texture(
        rng, 3.0, rng.choice(["noise", "noise", "solid", "checker", "stripes", "bricks", "marble", "spots"])
    )
    if rng.random() < 0.5:
        return texture
    base = np.array(EARTHS[rng.integers(len(EARTHS))]) * rng.uniform(0.6, 1.3) + rng.normal(0, 0.04, 3)
    first, second = (linear(np.clip(base * shade, 0.03, 0.97)) for shade in (1.0, rng.uniform(0.55, 0.95)))
    return Texture(texture.pattern, first, second, texture.cell, texture.turn, texture.shift, texture.share)


def _bright(strength: float) -> Texture:
    """Something that looks lit from behind."""
    return Texture(
        "gradient",
        (0.9 * strength, 0.97 * strength, strength),
        (0.55 * strength, 0.7 * strength, strength),
        3.0,
    )


def _lamp(rng: Rng, turn: float, half: Vector, height: float) -> Light:
    at = rotation_z(turn) @ np.array([*(rng.uniform(-0.85, 0.85, 2) * half), height - 0.06])
    return Light(
        (float(at[0]), float(at[1]), float(at[2])),
        _light_colour(rng, rng.uniform(0.6, 1.3)),
        float(rng.uniform(2.0, 6.0)),
    )


def _light_colour(rng: Rng, strength: float) -> Colour:
    """Between candle and cloudy sky."""
    warmth = rng.normal(0.05, 0.12)
    return strength * (1 + warmth), strength, strength * (1 - warmth)


def _film(rng: Rng, haze: float) -> Film:
    tint = rng.normal(1, 0.04, 3)
    return Film(
        brightness=log_uniform(rng, 0.12, 0.42),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        blur=float(rng.choice([0.0, rng.uniform(0, 0.22)])),
        noise=float(rng.choice([0.0, log_uniform(rng, 0.5, 6.0)])),
        vignette=float(rng.choice([0.0, rng.uniform(0, 0.35)])),
        haze=haze,
    )
