"""Articulated people: a skeleton of joints, posed by angles, clothed in round cones and balls.

Body frame: x ahead, y to the left, z up. Lengths are shares of the body height after D. Winter, "Biomechanics
and Motor Control of Human Movement" (table of segment lengths).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.scenes.parts import COVER, Part
from argus_edge.train.data.scenes.poses import Pose
from argus_edge.train.data.scenes.primitives import Ball, Primitive, RoundCone
from argus_edge.train.data.scenes.rotations import Matrix, rotation_x, rotation_y, rotation_z
from argus_edge.train.data.scenes.scene import DET_CLASSES, FIRST_THING
from argus_edge.train.data.scenes.streams import Rng
from argus_edge.train.data.scenes.textures import Texture, linear, random_texture

Vector = NDArray[np.float64]  # (3,)

PERSON: Final = FIRST_THING + DET_CLASSES.index("person")
SKINS: Final = (
    (0.98, 0.82, 0.72),
    (0.90, 0.70, 0.56),
    (0.78, 0.57, 0.42),
    (0.60, 0.41, 0.29),
    (0.44, 0.29, 0.21),
    (0.29, 0.19, 0.14),
)


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Build and clothes of one person."""

    height: float  # [m]
    girth: float  # 1 is slim average
    skin: Texture
    hair: Texture
    shirt: Texture
    trousers: Texture
    shoes: Texture
    hair_style: int  # 0 bald, 1 short, 2 long
    sleeves: int  # 0 none, 1 short, 2 long
    legs: int  # 0 bare below the hips, 1 to the knee, 2 long
    skirt: bool


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A person's body in the world: what can be seen of it, and the keypoints inside."""

    instance: int
    pieces: list[Primitive]
    joints: NDArray[np.float64]  # (17, 3) in the order of KEYPOINT_NAMES, world [m]
    cover: NDArray[np.float64]  # (17, 7) how deep they may lie under each part of the body and be visible [m]


def random_looks(rng: Rng) -> Looks:
    """A person like no other; one in six is a child."""
    child = rng.random() < 0.17
    height = rng.uniform(1.0, 1.45) if child else rng.normal(1.7, 0.1)
    tone = np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.9, 1.05)
    strand = np.array([0.9, 0.65, 0.4]) * rng.uniform(0.05, 1.0) + rng.uniform(0, 0.1)
    return Looks(
        height=float(np.clip(height, 1.0, 1.98)),
        girth=float(np.clip(rng.normal(1.05, 0.14), 0.82, 1.45)),
        skin=_plain(np.minimum(tone, 1.0)),
        hair=_plain(np.minimum(strand, 1.0)),
        shirt=random_texture(rng, 0.5),
        trousers=random_texture(rng, 0.5, None if rng.random() < 0.4 else "solid"),
        shoes=random_texture(rng, 0.3, "solid"),
        hair_style=int(rng.choice(3, p=(0.1, 0.6, 0.3))),
        sleeves=int(rng.choice(3, p=(0.1, 0.4, 0.5))),
        legs=int(rng.choice(3, p=(0.05, 0.2, 0.75))),
        skirt=bool(rng.random() < 0.18),
    )


def seat_height(looks: Looks) -> float:
    """Height of a comfortable seat [m]."""
    return 0.27 * looks.height


def build_person(
    looks: Looks, pose: Pose, place: Vector, heading: float, instance: int, seat: float | None = None
) -> Figure:
    """The body of a person at `place` (3,) [m], turned by `heading` [rad] about z.

    The lowest point of the body rests at place z, or, when sitting, the bottom rests `seat` [m] above it.
    """
    body = _Body(looks, pose, instance)
    low = min(float(_lowest(piece)) for piece in body.pieces)
    lift = -low if seat is None else seat - body.bottom
    turn = rotation_z(heading)
    root = place + np.array([0.0, 0.0, max(lift, -low)])
    pieces = [
        Primitive(p.shape, turn @ p.axes, turn @ p.position + root, p.texture, p.label, p.instance, p.part)
        for p in body.pieces
    ]
    joints = np.stack([body.joints[name] for name in KEYPOINT_NAMES]) @ turn.T + root
    return Figure(instance, pieces, joints, looks.height * COVER)


class _Body:
    """Forward kinematics from the hips, which are the origin."""

    def __init__(self, looks: Looks, pose: Pose, instance: int) -> None:
        self.looks, self.pose, self.instance = looks, pose, instance
        self.pieces: list[Primitive] = []
        self.joints: dict[str, Vector] = {}  # by the names of KEYPOINT_NAMES
        self.unit = looks.height
        self.bottom = -0.065 * self.unit * looks.girth
        chest = self._trunk()
        for side in (0, 1):
            self._leg(side)
            self._arm(side, chest)
        if looks.skirt:
            self._skirt()

    def _trunk(self) -> Matrix:
        """Adds hips, torso, neck, head and hair; returns the frame of the chest (3, 3)."""
        h, girth, looks, pose = self.unit, self.looks.girth, self.looks, self.pose
        spine = rotation_y(pose.lean)
        chest = spine @ rotation_z(pose.twist)
        ahead = np.array([1.0, 0.0, 0.0])
        waist, top = spine @ np.array([0, 0, 0.05 * h]), spine @ np.array([0, 0, 0.245 * h])
        hips = looks.trousers
        self._limb(
            Part.HIPS,
            np.array([0, 0, -0.01 * h]),
            waist,
            0.088 * h * girth,
            0.078 * h * girth,
            hips,
            ahead,
            0.72,
        )
        self._limb(
            Part.TORSO, waist, top, 0.077 * h * girth, 0.1 * h * girth**0.7, looks.shirt, chest @ ahead, 0.66
        )
        neck, head = spine @ np.array([0, 0, 0.3 * h]), chest @ rotation_z(pose.look) @ rotation_y(pose.nod)
        self._limb(
            Part.NECK,
            neck,
            neck + spine @ np.array([0, 0, 0.06 * h]),
            0.033 * h * girth,
            0.03 * h,
            looks.skin,
        )
        size = h * (0.8 + 0.2 * 1.7 / h)  # children have larger heads
        middle = neck + spine @ np.array([0, 0, 0.06 * h]) + head @ np.array([0.012, 0, 0.052]) * size
        self._ball(Part.HEAD, middle, head, np.array([0.052, 0.044, 0.066]) * size, looks.skin)
        self._ball(
            Part.HEAD,
            middle + head @ np.array([0.052, 0, -0.008]) * size,
            head,
            np.array([0.012, 0.008, 0.012]) * size,
            looks.skin,
        )
        self._face(middle, head * size)
        if looks.hair_style:
            tilt = head @ rotation_y(-0.35)
            self._ball(
                Part.HAIR,
                middle + head @ np.array([-0.012, 0, 0.014]) * size,
                tilt,
                np.array([0.05, 0.049, 0.059]) * size,
                looks.hair,
            )
        if looks.hair_style == 2:
            back = middle + head @ np.array([-0.034, 0, -0.03]) * size
            self._ball(Part.HAIR, back, head, np.array([0.028, 0.046, 0.08]) * size, looks.hair)
        return chest

    def _face(self, middle: Vector, frame: Matrix) -> None:
        """Marks nose, eyes and ears; the columns of `frame` are the axes of the head at its size [m]."""
        self.joints["nose"] = middle + frame @ np.array([0.058, 0, -0.008])
        for side in (0, 1):
            outward = 1.0 - 2.0 * side
            self._mark("eye", side, middle + frame @ np.array([0.046, outward * 0.019, 0.008]))
            self._mark("ear", side, middle + frame @ np.array([-0.004, outward * 0.041, -0.004]))

    def _mark(self, joint: str, side: int, at: Vector) -> None:
        self.joints[f"{('left', 'right')[side]}_{joint}"] = at

    def _leg(self, side: int) -> None:
        h, girth, looks, pose = self.unit, self.looks.girth, self.looks, self.pose
        outward = 1.0 - 2.0 * side
        frame = rotation_y(-pose.hip[side]) @ rotation_x(outward * pose.hip_spread[side])
        hip = np.array([0.0, outward * 0.052 * h * girth**0.5, -0.02 * h])
        knee = hip + frame @ np.array([0, 0, -0.235 * h])
        shin = frame @ rotation_y(pose.knee[side])
        ankle = knee + shin @ np.array([0, 0, -0.232 * h])
        for joint, at in (("hip", hip), ("knee", knee), ("ankle", ankle)):
            self._mark(joint, side, at)
        cover = [looks.skin if looks.legs < needed else looks.trousers for needed in (1, 2)]
        self._limb(Part.THIGH, hip, knee, 0.053 * h * girth, 0.034 * h * girth**0.7, cover[0])
        self._limb(Part.SHIN, knee, ankle, 0.034 * h * girth**0.7, 0.022 * h, cover[1])
        sole = shin @ rotation_y(0.5 * (pose.hip[side] - pose.knee[side]) if pose.knee[side] < 1 else 0.0)
        heel = ankle + sole @ np.array([-0.012, 0, -0.018]) * h
        toe = heel + sole @ np.array([0.1, outward * 0.015, -0.004]) * h
        self._limb(Part.FOOT, heel, toe, 0.025 * h, 0.019 * h, looks.shoes)

    def _arm(self, side: int, chest: Matrix) -> None:
        h, girth, looks, pose = self.unit, self.looks.girth, self.looks, self.pose
        outward = 1.0 - 2.0 * side
        shoulder = rotation_y(pose.lean) @ np.array([0, 0, 0.272 * h])
        shoulder = shoulder + chest @ np.array([0.0, outward * (0.085 + 0.025 * girth) * h, 0.0])
        frame = chest @ rotation_y(-pose.shoulder[side]) @ rotation_x(outward * pose.arm_spread[side])
        elbow = shoulder + frame @ np.array([0, 0, -0.172 * h])
        forearm = frame @ rotation_z(-outward * 0.5) @ rotation_y(-pose.elbow[side])
        wrist = elbow + forearm @ np.array([0, 0, -0.15 * h])
        for joint, at in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
            self._mark(joint, side, at)
        cover = [looks.skin if looks.sleeves < needed else looks.shirt for needed in (1, 2)]
        self._limb(Part.UPPER_ARM, shoulder, elbow, 0.034 * h * girth**0.7, 0.024 * h, cover[0])
        self._limb(Part.FOREARM, elbow, wrist, 0.025 * h, 0.017 * h, cover[1])
        hand = wrist + forearm @ np.array([0, 0, -0.045 * h])
        self._ball(Part.HAND, hand, forearm, np.array([0.024, 0.014, 0.043]) * h, looks.skin)

    def _skirt(self) -> None:
        h, girth = self.unit, self.looks.girth
        swing = 0.5 * (self.pose.hip[0] + self.pose.hip[1])
        hem = rotation_y(-swing) @ np.array([0, 0, -0.17 * h])
        wide = (0.1 + 0.07 * abs(np.sin(0.5 * (self.pose.hip[0] - self.pose.hip[1])))) * h * girth
        self._limb(Part.SKIRT, np.array([0, 0, 0.02 * h]), hem, 0.085 * h * girth, wide, self.looks.trousers)

    def _limb(self, part: Part, a: Vector, b: Vector, start: float, end: float, texture: Texture,
              ahead: Vector | None = None, flat: float = 1.0) -> None:  # fmt: skip
        """A round cone from a to b, `flat` times as thick as wide in the direction `ahead`."""
        length = float(np.linalg.norm(b - a))
        z = (b - a) / length
        hint = np.array([1.0, 0.0, 0.0]) if ahead is None else ahead
        if abs(hint @ z) > 0.9:
            hint = np.array([0.0, 0.0, 1.0])
        x = hint - (hint @ z) * z
        x /= np.linalg.norm(x)
        axes = np.stack([x * flat, np.cross(z, x), z], axis=1)
        shape = RoundCone(start, end, length)
        self.pieces.append(Primitive(shape, axes, a, texture, PERSON, self.instance, part))

    def _ball(self, part: Part, centre: Vector, frame: Matrix, radii: Vector, texture: Texture) -> None:
        self.pieces.append(Primitive(Ball(), frame * radii, centre, texture, PERSON, self.instance, part))


def _lowest(piece: Primitive) -> float:
    """Height of the lowest point of a body piece [m]."""
    if isinstance(piece.shape, RoundCone):
        end = piece.position + piece.axes[:, 2] * piece.shape.length
        return float(min(piece.position[2] - piece.shape.start, end[2] - piece.shape.end))
    return float(piece.position[2] - np.linalg.norm(piece.axes[2]))


def _plain(srgb: Vector) -> Texture:
    colour = linear((float(srgb[0]), float(srgb[1]), float(srgb[2])))
    return Texture("solid", colour, colour)
