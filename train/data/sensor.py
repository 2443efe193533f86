"""What a camera does to a picture: exposure, blur and noise move nothing, the bend of a lens does.

image = capture(image, random_sensor(rng), rng)                     # labels stay as they are
lens = random_lens(rng, *image.shape[:2])
image, labels, points = lens.image(image), lens.labels(labels), lens.points(points)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

_GAMMA: Final = 2.2  # of display levels
_NEWTON_STEPS: Final = 6  # from 10 % off to below a millionth


@dataclass(frozen=True, slots=True)
class Sensor:
    """Settings and faults of a camera; the default changes nothing."""

    exposure: float = 0.0  # [stops], 1 is twice the light
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gain of red, green, blue, in display levels
    blur: float = 0.0  # standard deviation of the lens blur [px]
    motion: tuple[float, float] = (0.0, 0.0)  # how far (x, y) the picture moved during the exposure [px]
    read_noise: float = 0.0  # standard deviation [display levels]
    shot_noise: float = 0.0  # share of the level that is its variance [display levels]


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Everyday faults: up to 2/3 of a stop off, and every other picture blurred, shaken or noisy."""
    angle, shake = rng.uniform(0, 2 * np.pi), rng.uniform(0, 4) if rng.random() < 0.2 else 0.0
    red, green, blue = rng.uniform(0.93, 1.07, 3).tolist()
    noisy = rng.random() < 0.5
    return Sensor(
        exposure=float(rng.uniform(-0.67, 0.67)),
        balance=(red, green, blue),
        blur=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.3 else 0.0,
        motion=(float(shake * np.cos(angle)), float(shake * np.sin(angle))),
        read_noise=float(rng.uniform(0.5, 5)) if noisy else 0.0,
        shot_noise=float(rng.uniform(0, 0.3)) if noisy else 0.0,
    )


def capture(image: NDArray[np.uint8], sensor: Sensor, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (H, W, 3) RGB as the sensor takes it. `rng` draws the noise."""
    levels = image.astype(np.float32)
    if sensor.blur > 0:
        levels = np.asarray(cv2.GaussianBlur(levels, (0, 0), sensor.blur), np.float32)
    if any(sensor.motion):
        levels = np.asarray(cv2.filter2D(levels, -1, _shake(*sensor.motion)), np.float32)
    levels *= np.array(sensor.balance, np.float32) * np.float32(2 ** (sensor.exposure / _GAMMA))
    np.minimum(levels, np.float32(255), out=levels)
    if sensor.read_noise > 0 or sensor.shot_noise > 0:
        deviation = np.sqrt(np.float32(sensor.read_noise**2) + np.float32(sensor.shot_noise) * levels)
        levels += rng.standard_normal(levels.shape, np.float32) * deviation
    taken: NDArray[np.uint8] = np.clip(levels + np.float32(0.5), 0, 255).astype(np.uint8)
    return taken


def _shake(x: float, y: float) -> NDArray[np.float32]:
    """Weights of a straight movement by (x, y) [px] about its middle."""
    reach = int(np.ceil(max(abs(x), abs(y)) / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 16):
        at_x, at_y = reach + share * x, reach + share * y
        column, row = int(at_x), int(at_y)
        right, down = at_x - column, at_y - row
        kernel[row : row + 2, column : column + 2] += np.outer((1 - down, down), (1 - right, right))
    kernel /= kernel.sum()
    return kernel


@dataclass(frozen=True, slots=True)
class Lens:
    """Radial distortion of pictures of height x width [px]; each of them stays filled to its corners.

    What is seen at d from the middle came from d (1 + bend |d|^2), where |d| = 1 in the corners, times a
    scale that keeps it inside the picture: the first term of the model of D. C. Brown, "Decentering
    distortion of lenses" (1966). A `bend` above 0 bulges the picture (barrel), below 0 pinches it.
    """

    height: int
    width: int
    bend: float = 0.0  # from -0.3, where it would fold, to 1

    @property
    def scale(self) -> float:
        """Share of the picture that stays in view along its diagonal."""
        return 1 / (1 + max(self.bend, 0.0))

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture (H, W, 3) through the lens, bilinear."""
        x, y = self._sources()
        return np.asarray(
            cv2.remap(image, x - np.float32(0.5), y - np.float32(0.5), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE), np.uint8,
        )  # fmt: skip

    def labels(self, values: NDArray[T]) -> NDArray[T]:
        """A map (H, W, ...) of labels, depth or normals through the lens: each pixel takes one value."""
        x, y = self._sources()
        rows = np.clip(y.astype(np.intp), 0, self.height - 1)
        taken: NDArray[T] = values[rows, np.clip(x.astype(np.intp), 0, self.width - 1)]
        return taken

    def points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where points (..., 2) xy [px] of the picture are seen through the lens; pixel centres at i + 0.5.

        Points that the lens leaves out come to lie outside the picture.
        """
        middle, corner = self._frame()
        source = (points - middle) / corner
        radius = np.linalg.norm(source, axis=-1, keepdims=True) / self.scale
        seen = radius.copy()
        for _ in range(_NEWTON_STEPS):
            seen -= (seen * (1 + self.bend * seen * seen) - radius) / (1 + 3 * self.bend * seen * seen)
        ratio = np.divide(seen, radius, out=np.ones_like(radius), where=radius > 0) / self.scale
        return np.asarray(source * ratio * corner + middle, np.float32)

    def _frame(self) -> tuple[NDArray[np.float64], float]:
        """Middle (2,) xy and distance of the corners from it [px]."""
        return np.array([self.width / 2, self.height / 2]), float(np.hypot(self.width, self.height)) / 2

    def _sources(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where each pixel comes from: x and y (H, W) [px]."""
        (middle_x, middle_y), corner = self._frame()
        x = ((np.arange(self.width) + 0.5 - middle_x) / corner)[None, :]
        y = ((np.arange(self.height) + 0.5 - middle_y) / corner)[:, None]
        stretch = self.scale * (1 + self.bend * (x * x + y * y)) * corner
        return (x * stretch + middle_x).astype(np.float32), (y * stretch + middle_y).astype(np.float32)


def random_lens(rng: np.random.Generator, height: int, width: int) -> Lens:
    """A lens that bends a little: corners move by up to 8 % against the middle."""
    return Lens(height, width, float(rng.uniform(-0.08, 0.08)))
