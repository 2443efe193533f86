"""A composed scene before it is drawn: primitives, people, lights, sky, the eye and the film."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from argus_edge.train.data.scenes.camera import View
from argus_edge.train.data.scenes.people import Figure, Looks, build_person
from argus_edge.train.data.scenes.poses import Pose, walking
from argus_edge.train.data.scenes.primitives import Primitive
from argus_edge.train.data.scenes.textures import Colour


@dataclass(frozen=True, slots=True)
class Light:
    """The sun (`reach` None: `at` is the unit direction towards it) or a lamp (`at` is its place [m])."""

    at: tuple[float, float, float]  # world
    colour: Colour
    reach: float | None = None  # distance at which a lamp gives half its light [m]


@dataclass(frozen=True, slots=True)
class Sky:
    """Colours of the sky and how much of it is cloud, 0..1."""

    zenith: Colour
    horizon: Colour
    clouds: float
    shift: float  # where in the clouds we are


@dataclass(frozen=True, slots=True)
class Film:
    """From light to pixels."""

    brightness: float  # mean of the linear image after exposure
    tint: Colour  # white balance
    blur: float  # weight of each neighbour in the three-pixel lens blur, 0..0.25
    noise: float  # standard deviation [8-bit levels]
    vignette: float  # loss of light at slope 1
    haze: float  # [1/m], outdoors


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Someone who stands still, or walks round a circle when `radius` > 0."""

    looks: Looks
    pose: Pose
    instance: int
    place: tuple[float, float, float]  # feet, or the centre of the circle, world [m]
    heading: float  # [rad], or where on the circle at time 0
    seat: float | None = None  # height of the seat [m]
    radius: float = 0.0  # [m]
    speed: float = 0.0  # [m/s], counter-clockwise

    def at(self, time: float) -> Figure:
        """The body at `time` [s]."""
        place, heading, pose = np.array(self.place), self.heading, self.pose
        if self.radius > 0:
            angle = heading + self.speed * time / self.radius
            place = place + self.radius * np.array([np.cos(angle), np.sin(angle), 0.0])
            heading = angle + 0.5 * np.pi
            pose = walking(2 * np.pi * (self.speed * time / (0.8 * self.looks.height) + self.heading))
        return build_person(self.looks, pose, place, heading, self.instance, self.seat)


@dataclass(frozen=True, slots=True)
class Drift:
    """Smooth camera motion: each of x, y, z [m], yaw and pitch [rad] swings as a sine."""

    swing: tuple[float, ...] = (0.0,) * 5
    rate: tuple[float, ...] = (0.0,) * 5  # [rad/s]
    phase: tuple[float, ...] = (0.0,) * 5  # [rad]

    def apply(self, view: View, time: float) -> View:
        """The view at `time` [s]; at time 0 it is `view` itself."""
        x, y, z, yaw, pitch = (
            s * (np.sin(r * time + p) - np.sin(p))
            for s, r, p in zip(self.swing, self.rate, self.phase, strict=True)
        )
        at = view.position
        return View(
            (at[0] + x, at[1] + y, at[2] + z),
            view.yaw + yaw,
            view.pitch + pitch,
            view.roll,
            view.field_of_view,
        )


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """All there is to see, at any time."""

    seed: int
    solids: tuple[Primitive, ...]
    people: tuple[Person, ...]
    classes: dict[int, int]  # instance -> index in DET_CLASSES
    lights: tuple[Light, ...]
    ambient: Colour
    sky: Sky
    film: Film
    view: View
    drift: Drift = field(default_factory=Drift)

    def figures(self, time: float = 0.0) -> list[Figure]:
        """The bodies of the people at `time` [s]."""
        return [person.at(time) for person in self.people]

    def primitives(self, figures: list[Figure]) -> list[Primitive]:
        """Everything a ray can hit while the people are as in `figures`."""
        return [*self.solids, *(piece for figure in figures for piece in figure.pieces)]
