"""How people hold themselves: joint angles, drawn at random or taken from a walk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from argus_edge.train.data.scenes.streams import Rng


@dataclass(frozen=True, slots=True)
class Pose:
    """Joint angles [rad]; pairs are (left, right). Flexion swings a limb ahead, spread swings it outwards."""

    hip: tuple[float, float] = (0.0, 0.0)
    hip_spread: tuple[float, float] = (0.06, 0.06)
    knee: tuple[float, float] = (0.0, 0.0)
    shoulder: tuple[float, float] = (0.0, 0.0)
    arm_spread: tuple[float, float] = (0.14, 0.14)
    elbow: tuple[float, float] = (0.15, 0.15)
    lean: float = 0.0  # of the torso, ahead
    twist: float = 0.0  # of the shoulders, to the left
    nod: float = 0.0
    look: float = 0.0  # of the head, to the left


def walking(phase: float, stride: float = 0.5) -> Pose:
    """A moment of a walk; `phase` [rad] runs over 2 pi in two steps, the hips swing by `stride` [rad]."""
    swing = stride * float(np.sin(phase))
    bend = 1.1 * stride
    lifted = float(np.cos(phase))
    left, right = bend * max(0.0, lifted) ** 2 + 0.08, bend * max(0.0, -lifted) ** 2 + 0.08
    elbow = 0.3 + 0.5 * stride
    return Pose(
        hip=(swing + 0.1, -swing + 0.1),
        hip_spread=(0.02, 0.02),
        knee=(left + 0.1, right + 0.1),
        shoulder=(-0.9 * swing, 0.9 * swing),
        elbow=(elbow, elbow),
        lean=0.05 + 0.08 * stride,
        twist=-0.25 * swing,
    )


def random_pose(rng: Rng, seated: bool = False) -> Pose:
    """Someone standing, gesturing, bending, crouching or sitting."""

    def pair(low: float, high: float) -> tuple[float, float]:
        return rng.uniform(low, high), rng.uniform(low, high)

    base = Pose(nod=rng.normal(0, 0.15), look=rng.normal(0, 0.35), twist=rng.normal(0, 0.15))
    if seated:
        return replace(
            base,
            hip=pair(1.35, 1.6),
            hip_spread=pair(0.02, 0.3),
            knee=pair(1.2, 1.65),
            shoulder=pair(0.1, 0.9),
            elbow=pair(0.3, 1.4),
            lean=rng.uniform(-0.15, 0.3),
        )
    upright = replace(base, hip=pair(-0.1, 0.12), hip_spread=pair(0.02, 0.2), knee=pair(0.02, 0.1))
    match rng.choice(7, p=(0.26, 0.2, 0.16, 0.14, 0.08, 0.08, 0.08)):
        case 0:  # at ease
            arms = pair(-0.25, 0.3), pair(0.08, 0.3), pair(0.05, 0.6)
        case 1:  # arms raised
            arms = pair(1.9, 3.0), pair(0.1, 0.6), pair(0.0, 0.9)
        case 2:  # arms out to the sides
            arms = pair(-0.2, 0.3), pair(0.7, 1.7), pair(0.0, 1.2)
        case 3:  # one arm points or waves
            arms = (rng.uniform(1.2, 2.8), rng.uniform(-0.2, 0.2)), base.arm_spread, pair(0.0, 0.7)
        case 4:  # hands on the hips or folded
            arms = pair(-0.1, 0.5), pair(0.4, 0.7), pair(1.3, 1.9)
        case 5:  # bends down
            legs = replace(base, hip=pair(0.2, 0.4), knee=pair(0.3, 0.6), lean=rng.uniform(0.6, 1.2))
            return replace(legs, shoulder=pair(0.6, 1.6), elbow=pair(0.0, 0.5))
        case _:  # crouches or sits on the floor
            legs = replace(base, hip=pair(1.6, 2.1), knee=pair(1.7, 2.3), hip_spread=pair(0.1, 0.4))
            return replace(legs, lean=rng.uniform(0.2, 0.5), shoulder=pair(0.4, 1.2), elbow=pair(0.3, 1.2))
    return replace(upright, shoulder=arms[0], arm_spread=arms[1], elbow=arms[2])
