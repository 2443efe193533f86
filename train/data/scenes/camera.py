"""A pinhole camera without distortion.

Camera frame: x right, y down, z forward. World frame: z up, ground at z = 0. Pixel (column i, row j) is seen
through its centre, at (i + 0.5, j + 0.5) px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Intrinsics [px] and pose: X_world = rotation @ X_camera + position."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    rotation: NDArray[np.float64]  # (3, 3) camera to world
    position: NDArray[np.float64]  # (3,) [m]

    def rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ray slopes x/z of each column (W,) and y/z of each row (H,)."""
        u = (np.arange(self.width) + 0.5 - self.cx) / self.fx
        v = (np.arange(self.height) + 0.5 - self.cy) / self.fy
        return u.astype(np.float32), v.astype(np.float32)

    def pixel_rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ray slopes x/z and y/z of each pixel, row by row (H * W,)."""
        u, v = self.rays()
        return np.tile(u, self.height), np.repeat(v, self.width)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (..., 3) [m] -> (..., 3): x [px], y [px], depth [m]. Of use where depth > 0."""
        local = (points - self.position) @ self.rotation
        z = local[..., 2]
        return np.stack(
            [local[..., 0] / z * self.fx + self.cx, local[..., 1] / z * self.fy + self.cy, z], axis=-1
        )

    def unproject(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth (H, W) [m] -> points (H, W, 3) in the camera frame [m]."""
        u, v = self.rays()
        return np.stack([u[None, :] * depth, v[:, None] * depth, depth], axis=-1)


@dataclass(frozen=True, slots=True)
class View:
    """Where a camera stands and looks, whatever the size of its image."""

    position: tuple[float, float, float]  # world [m]
    yaw: float  # [rad] about z, 0 looks along x
    pitch: float  # [rad] up is positive
    roll: float  # [rad] clockwise is positive
    field_of_view: float  # [rad] across the longer side

    def camera(self, height: int, width: int) -> Camera:
        """The camera with this view and an image of height x width [px]."""
        focal = 0.5 * max(height, width) / float(np.tan(0.5 * self.field_of_view))
        cos_yaw, sin_yaw = np.cos(self.yaw), np.sin(self.yaw)
        cos_pitch, sin_pitch = np.cos(self.pitch), np.sin(self.pitch)
        forward = np.array([cos_yaw * cos_pitch, sin_yaw * cos_pitch, sin_pitch])
        level = np.array([sin_yaw, -cos_yaw, 0.0])
        down = np.cross(forward, level)
        right = np.cos(self.roll) * level + np.sin(self.roll) * down
        rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
        return Camera(width, height, focal, focal, width / 2, height / 2, rotation, np.array(self.position))
