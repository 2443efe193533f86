"""Composes a world from a seed: where we are, whence we look, what stands, lies, hangs and walks there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from argus_edge.train.data.scenes.camera import View
from argus_edge.train.data.scenes.people import Vector, random_looks, seat_height
from argus_edge.train.data.scenes.poses import Pose, random_pose, walking
from argus_edge.train.data.scenes.primitives import Ball, Box, Cone, Cylinder, Primitive, Shape
from argus_edge.train.data.scenes.rotations import Matrix, random_rotation, rotation_x, rotation_z
from argus_edge.train.data.scenes.scene import DET_CLASSES, FIRST_THING
from argus_edge.train.data.scenes.streams import Rng, Stream, log_uniform, stream
from argus_edge.train.data.scenes.surroundings import Surroundings, random_surroundings, random_view
from argus_edge.train.data.scenes.textures import random_texture
from argus_edge.train.data.scenes.world import Drift, Person, World

BOX, SPHERE, CYLINDER, CONE, PERSON = range(len(DET_CLASSES))
SHAPES: Final[tuple[Shape, ...]] = (Box(), Ball(), Cylinder(), Cone())
MAX_THINGS: Final = 14
_TRIES: Final = 30  # to find a free place for one thing


@dataclass(frozen=True, slots=True)
class _Circle:
    """Ground that something stands on [m]."""

    x: float
    y: float
    radius: float
    top: float = 0.0  # height of a flat top others may stand on, 0 if there is none
    top_radius: float = 0.0


@dataclass(slots=True)
class _Plan:
    """What has been placed so far."""

    place: Surroundings
    view: View
    scale: float
    taken: list[_Circle] = field(default_factory=list)
    solids: list[Primitive] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    classes: dict[int, int] = field(default_factory=dict)

    def new_instance(self, class_id: int) -> int:
        instance = len(self.classes) + 1
        self.classes[instance] = class_id
        return instance


def compose(seed: int, moving: bool = False) -> World:
    """The world of a seed. With `moving` it is another one, where people walk and the camera drifts."""
    layout, looks, light = (
        stream(seed, name, int(moving)) for name in (Stream.LAYOUT, Stream.LOOKS, Stream.LIGHT)
    )
    place = random_surroundings(layout, looks, light)
    view = random_view(layout, place)
    plan = _Plan(place, view, scale=log_uniform(layout, 0.6, 1.3 if place.indoors else 2.0))
    odds = layout.dirichlet([1.5, 1.5, 1.5, 1.5, 2.0])
    for _ in range(layout.integers(3, MAX_THINGS + 1)):
        class_id = int(layout.choice(len(DET_CLASSES), p=odds))
        if class_id == PERSON:
            _add_person(plan, layout, looks, moving)
        else:
            _add_solid(plan, layout, looks, class_id)
    drift = _random_drift(stream(seed, Stream.MOTION), plan) if moving else Drift()
    return World(
        seed=seed,
        solids=(*place.pieces, *plan.solids),
        people=tuple(plan.people),
        classes=plan.classes,
        lights=place.lights,
        ambient=place.ambient,
        sky=place.sky,
        film=place.film,
        view=view,
        drift=drift,
    )


def _add_solid(plan: _Plan, rng: Rng, looks: Rng, class_id: int) -> None:
    """Puts a box, sphere, cylinder or cone upright, tipped over, on top of another or into the air."""
    half = _random_half_sizes(rng, class_id, plan.scale)
    manner = rng.choice(
        ["upright", "lying", "tilted", "stacked", "floating"], p=(0.52, 0.14, 0.08, 0.16, 0.1)
    )
    below = _find_support(plan, rng, half) if manner == "stacked" else None
    turn = rotation_z(rng.uniform(0, 2 * np.pi))
    if manner == "lying":
        # A cone lies on its side, not on its axis.
        slope = float(np.arctan2(0.5 * (half[0] + half[1]), 2 * half[2])) if class_id == CONE else 0.0
        turn = turn @ rotation_x(np.pi / 2 + slope)
    elif manner in ("tilted", "floating"):
        turn = random_rotation(rng)
    axes = turn * half
    low, high = _reach_below(class_id, axes), _reach_below(class_id, -axes)
    radius = float(np.linalg.norm(half[:2] if manner in ("upright", "stacked") else half))
    headroom = plan.place.height - 0.1 - low - high
    if headroom < 0:
        return
    if below is not None:
        gap = max(0.0, below.top_radius - radius) * 0.7
        x, y, bottom = below.x + rng.uniform(-gap, gap), below.y + rng.uniform(-gap, gap), below.top
    else:
        spot = _find_place(plan, rng, radius)
        if spot is None:
            return
        x, y = spot
        bottom = rng.uniform(0.0, min(2.5, headroom)) if manner == "floating" else 0.0
    texture = random_texture(looks, 2 * float(half.mean()))
    position = np.array([x, y, bottom + low])
    plan.solids.append(
        Primitive(
            SHAPES[class_id], axes, position, texture, FIRST_THING + class_id, plan.new_instance(class_id)
        )
    )
    flat = manner in ("upright", "stacked") and class_id in (BOX, CYLINDER)
    plan.taken.append(
        _Circle(x, y, radius, bottom + low + high if flat else 0.0, float(half[:2].min()) if flat else 0.0)
    )


def _add_person(plan: _Plan, rng: Rng, looks: Rng, moving: bool) -> None:
    """Puts someone on the ground or on a seat; when `moving`, most walk in circles."""
    body = random_looks(looks)
    heading, place = rng.uniform(0, 2 * np.pi), plan.place
    manner = rng.choice(["pose", "walk", "sit"], p=(0.55, 0.28, 0.17))
    if moving and rng.random() < 0.6:
        radius = log_uniform(rng, 0.35, 1.6)
        spot = _find_place(plan, rng, radius + 0.35)
        if spot is not None:
            plan.taken.append(_Circle(*spot, radius + 0.35))
            plan.people.append(
                Person(
                    body,
                    Pose(),
                    plan.new_instance(PERSON),
                    (*spot, 0.0),
                    heading,
                    radius=radius,
                    speed=rng.uniform(0.6, 1.3),
                )
            )
        return
    if body.height + 0.05 > place.height:
        return
    spot = _find_place(plan, rng, 0.38)
    if spot is None:
        return
    plan.taken.append(_Circle(*spot, 0.38))
    at = (*spot, 0.0)
    if manner == "walk":
        pose = walking(rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75))
        plan.people.append(Person(body, pose, plan.new_instance(PERSON), at, heading))
    elif manner == "pose":
        plan.people.append(Person(body, random_pose(rng), plan.new_instance(PERSON), at, heading))
    else:
        seat = seat_height(body) * rng.uniform(0.9, 1.1)
        half = np.array([rng.uniform(0.15, 0.24), rng.uniform(0.18, 0.3), seat / 2])
        behind = np.array([*spot, seat / 2]) - rotation_z(heading)[:, 0] * (half[0] - 0.12)
        plan.solids.append(
            Primitive(
                Box(),
                rotation_z(heading) * half,
                behind,
                random_texture(looks, 0.4),
                FIRST_THING + BOX,
                plan.new_instance(BOX),
            )
        )
        plan.people.append(
            Person(body, random_pose(rng, seated=True), plan.new_instance(PERSON), at, heading, seat=seat)
        )


def _random_half_sizes(rng: Rng, class_id: int, scale: float) -> Vector:
    """Half the size along each local axis (3,) [m]."""
    if class_id == BOX:
        size = log_uniform(rng, 0.16, 0.5)
        return np.clip(size * np.exp(rng.normal(0, 0.4, 3)), 0.06, 0.9) * scale
    if class_id == SPHERE:
        return np.full(3, log_uniform(rng, 0.1, 0.5)) * scale
    radius = log_uniform(rng, 0.1, 0.45)
    tall = radius * log_uniform(rng, 0.4, 3.2 if class_id == CYLINDER else 2.2)
    return np.array([radius, radius, min(tall, 1.0)]) * scale


def _reach_below(class_id: int, axes: Matrix) -> float:
    """How far a solid reaches below its centre [m]."""
    x, y, z = (float(c) for c in axes[2])
    if class_id == BOX:
        return abs(x) + abs(y) + abs(z)
    if class_id == SPHERE:
        return float(np.hypot(np.hypot(x, y), z))
    if class_id == CYLINDER:
        return float(np.hypot(x, y)) + abs(z)
    return max(float(np.hypot(x, y)) + z, -z)  # the base rim or the apex of a cone


def _find_support(plan: _Plan, rng: Rng, half: Vector) -> _Circle | None:
    """Something with a flat top to stand on, wide enough and clear so far; it is used up by that."""
    fit = [
        c
        for c in plan.taken
        if c.top_radius > 0.8 * half[:2].min() and c.top + 2 * half[2] < plan.place.height - 0.1
    ]
    if not fit:
        return None
    chosen = fit[rng.integers(len(fit))]
    plan.taken[plan.taken.index(chosen)] = _Circle(chosen.x, chosen.y, chosen.radius)
    return chosen


def _find_place(plan: _Plan, rng: Rng, radius: float) -> tuple[float, float] | None:
    """A free circle of ground in the field of view, as often near as far and often beside another thing."""
    view, place = plan.view, plan.place
    eye_x, eye_y, eye_z = view.position
    below = view.pitch - 0.45 * view.field_of_view  # angle of the lower edge of a square image
    nearest = eye_z / np.tan(-below) if below < -0.05 else 3.0
    nearest = max(0.8 * nearest, 0.7 + radius)
    farthest = min(2.2 * max(place.half), 25.0)
    for _ in range(_TRIES):
        if plan.taken and rng.random() < 0.3:
            other = plan.taken[rng.integers(len(plan.taken))]
            angle, distance = rng.uniform(0, 2 * np.pi), other.radius + radius + rng.uniform(0, 0.25)
            x, y = other.x + distance * np.cos(angle), other.y + distance * np.sin(angle)
        else:
            distance = log_uniform(rng, nearest, max(farthest, nearest + 0.1))
            angle = view.yaw + rng.uniform(-0.5, 0.5) * view.field_of_view
            x, y = eye_x + distance * np.cos(angle), eye_y + distance * np.sin(angle)
        clear = np.hypot(x - eye_x, y - eye_y) > radius + 0.6
        if (
            clear
            and place.holds(x, y, radius + 0.05)
            and all(np.hypot(x - c.x, y - c.y) > 0.95 * (radius + c.radius) for c in plan.taken)
        ):
            return float(x), float(y)
    return None


def _random_drift(rng: Rng, plan: _Plan) -> Drift:
    """A camera path that stays clear of things and walls."""
    x, y, z = plan.view.position
    room = min([1.2, *(float(np.hypot(x - c.x, y - c.y)) - c.radius - 0.3 for c in plan.taken)])
    while room > 0.05 and not plan.place.holds(x, y, room + 0.1):
        room *= 0.8
    room = max(room, 0.0) / (2 * np.sqrt(2))  # a sine leaves its start by up to twice its swing
    lift = min(0.25, 0.3 * (plan.place.height - z), 0.3 * z)
    swing = (room, room, rng.uniform(0, lift) / 2, rng.uniform(0.05, 0.3), rng.uniform(0.0, 0.08))
    return Drift(swing, tuple(rng.uniform(0.3, 0.9, 5)), tuple(rng.uniform(0, 2 * np.pi, 5)))
