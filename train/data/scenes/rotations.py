"""Rotation matrices (3, 3): columns are the turned axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.streams import Rng

Matrix = NDArray[np.float64]


def rotation_x(angle: float) -> Matrix:
    """Rotation (3, 3) about x [rad]."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def rotation_y(angle: float) -> Matrix:
    """Rotation (3, 3) about y [rad]; takes z towards x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def rotation_z(angle: float) -> Matrix:
    """Rotation (3, 3) about z [rad]."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def random_rotation(rng: Rng) -> Matrix:
    """A rotation (3, 3), uniform over all of them (from a random unit quaternion)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
