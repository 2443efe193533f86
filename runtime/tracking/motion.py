"""How tracks move: a Kalman filter with white noise as acceleration for each of x, y, width and height.

All tracks are one structured array, and the four numbers of a track share their covariance.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Tracks: TypeAlias = NDArray[Any]  # (T,) of TRACK

# Standard deviations as shares of the side of a square of the box's area:
MEASURED: Final = 0.05  # of a detector's centre, width and height
FIRST_SPEED: Final = 2.0  # of a new object's speed [1/s]
ACCELERATION: Final = 1.0  # root of the density of the noise that drives it [1/s^1.5]

TRACK: Final = np.dtype(
    [
        ("id", np.int64),
        ("class_id", np.int64),
        ("place", np.float64, 4),  # centre x, y, width, height [px]
        ("speed", np.float64, 4),  # of each [px/s]
        ("covariance", np.float64, 3),  # of place, of both, of speed: the same for x, y, w and h
        ("seen", np.float64),  # when last [s]
        ("lost", np.bool_),  # it was looked for since, in vain
        ("confirmed", np.bool_),  # seen more than once
    ]
)


def start(ids: NDArray[np.int64], class_ids: NDArray[np.int64], boxes: Floats, time: float) -> Tracks:
    """Tracks of new objects, at rest, boxes (N, 4) xyxy [px]."""
    tracks = np.zeros(len(ids), TRACK)
    tracks["id"], tracks["class_id"], tracks["place"], tracks["seen"] = ids, class_ids, to_places(boxes), time
    scale = _scale(tracks)
    tracks["covariance"][:, 0] = (MEASURED * scale) ** 2
    tracks["covariance"][:, 2] = (FIRST_SPEED * scale) ** 2
    return tracks


def predict(tracks: Tracks, seconds: float) -> None:
    """Move tracks on in time, in place."""
    place, cross, speed = tracks["covariance"].T
    noise = (ACCELERATION * _scale(tracks)) ** 2 * seconds
    tracks["place"] += tracks["speed"] * seconds
    tracks["place"][:, 2:] = np.maximum(tracks["place"][:, 2:], 1)
    place += seconds * (2 * cross + seconds * speed) + noise * seconds**2 / 3
    cross += seconds * speed + noise * seconds / 2
    speed += noise


def correct(tracks: Tracks, rows: NDArray[np.intp], places: Floats) -> None:
    """Kalman update of some tracks with what was measured, in place."""
    place, cross, speed = tracks["covariance"][rows].T
    total = place + (MEASURED * _scale(tracks)[rows]) ** 2
    surprise = places - tracks["place"][rows]
    tracks["place"][rows] += (place / total)[:, None] * surprise
    tracks["speed"][rows] += (cross / total)[:, None] * surprise
    left = 1 - place / total
    tracks["covariance"][rows] = np.stack([left * place, left * cross, speed - cross**2 / total], axis=1)


def _scale(tracks: Tracks) -> Floats:
    """Side of the square of the box's area [px]."""
    scale: Floats = np.sqrt(tracks["place"][:, 2] * tracks["place"][:, 3])
    return scale


def to_places(boxes: Floats) -> Floats:
    """xyxy -> centre x, y, width, height, of at least 1 px."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, 1)], axis=1)


def to_boxes(places: Floats) -> Floats:
    centre, half = places[:, :2], places[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
