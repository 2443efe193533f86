"""Top-down pose samples: a person's crop, its keypoints, and the heatmaps that a decoder learns.

Geometry and Gaussians follow UDP (Huang et al., CVPR 2020); how a region is laid over a grid is in
`runtime/persons.py`, which the device shares. The augmentation is that of ViTPose (arXiv 2204.12484).

Points are xy [px], integers are pixel centres. Labels in the frame of the boxes, such as the scenes'
keypoints, are to be moved by half a pixel first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import FLIP_PAIRS
from argus_edge.runtime.persons import grid_matrix, warp, widen
from argus_edge.spec import ImageSpec

CROP: Final = ImageSpec(256, 192)
HEATMAP_SIZE: Final = (64, 48)
SIGMA: Final = 2.0  # [cells] of the Gaussians

FLIP_CHANCE: Final = 0.5
HALF_BODY_CHANCE: Final = 0.3
HALF_BODY_OVER: Final = 8  # visible keypoints, for a half to be enough
UPPER_BODY: Final = 11  # the first keypoints, down to the wrists; hips, knees and ankles follow
HALF_BODY_WIDENING: Final = 1.5
SHIFT_CHANCE, SHIFT = 0.3, 0.2  # of the box's sides, each way
SCALE_SPREAD, SCALE_RANGE = 0.5, (0.5, 1.5)
TURN_CHANCE, TURN_SPREAD, TURN_LIMIT = 0.6, 40.0, 80.0  # [deg]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How one person is looked at: a region of the image, turned and mirrored."""

    region: NDArray[np.float64]  # (4,) xyxy [px] of the image, before it is turned
    angle: float = 0.0  # [deg], clockwise as seen in the image
    mirrored: bool = False

    def matrix(self, height: int, width: int) -> NDArray[np.float64]:
        """The affine map (2, 3) from points of the image to points of a grid (height, width) on the view."""
        matrix = grid_matrix(self.region, height, width, self.angle)
        if self.mirrored:
            matrix[0] *= -1
            matrix[0, 2] += width - 1
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class PoseSample:
    """One person's crop with what is to be learnt from it."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    heatmaps: NDArray[np.float32]  # (K, h, w)
    weights: NDArray[np.float32]  # (K,) 1, or 0 where nothing is to be learnt
    view: View
    name: str = ""  # of the image, for messages


def make_pose_sample(
    image: NDArray[np.uint8],
    box: Floats,
    points: Floats,
    visible: NDArray[np.bool_],
    rng: np.random.Generator | None,
) -> PoseSample:
    """The crop of one person, 256 x 192 px, with heatmaps of 64 x 48; augmented unless `rng` is None.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) xyxy [px] of the person, continuous.
        points: (17, 2) xy [px] in COCO's order.
        visible: (17,) whether a keypoint is labelled.
        rng: source of chance.
    """
    view = View(widen(np.asarray(box)[None])[0]) if rng is None else draw_view(box, points, visible, rng)
    crop = warp(image, view.matrix(CROP.height, CROP.width), CROP.height, CROP.width, CROP.pad_color)
    heatmaps, weights = view_heatmaps(view, points, visible)
    return PoseSample(crop, heatmaps, weights, view)


def view_heatmaps(
    view: View, points: Floats, visible: NDArray[np.bool_], sigma: float = SIGMA
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints (17, 2) xy [px] of the image -> heatmaps (17, 64, 48) of a view and weights (17,)."""
    height, width = HEATMAP_SIZE
    cells = map_points(points, view.matrix(height, width))
    if view.mirrored:
        cells, visible = swap_sides(cells), swap_sides(visible)
    return draw_heatmaps(cells, visible, height, width, sigma)


def draw_heatmaps(
    cells: Floats, visible: NDArray[np.bool_], height: int, width: int, sigma: float = SIGMA
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A Gaussian of height 1 around each point, cut off at 3 sigma.

    Args:
        cells: (K, 2) xy [cells], to any fraction.
        visible: (K,) whether a keypoint is labelled.
        height: rows of a heatmap.
        width: columns of a heatmap.
        sigma: of the Gaussians [cells].

    Returns heatmaps (K, height, width) and weights (K,): 0, with an empty map, for a point that is not
    labelled or lies outside.
    """
    near = np.floor(np.where(np.isfinite(cells), cells, -1.0) + 0.5)
    inside = visible & ((near >= 0) & (near < [width, height])).all(axis=1)
    heatmaps = np.zeros((len(cells), height, width), np.float32)
    for k in np.flatnonzero(inside):
        bells = [
            np.exp(-((np.arange(side) - x) ** 2) / (2 * sigma**2))
            * (np.abs(np.arange(side) - cell) <= 3 * sigma)
            for side, x, cell in zip((width, height), cells[k], near[k], strict=True)
        ]
        heatmaps[k] = bells[1][:, None] * bells[0]
    return heatmaps, inside.astype(np.float32)


def map_points(points: Floats, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 2) under an affine map (2, 3)."""
    mapped: NDArray[np.float64] = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def unmap_points(points: Floats, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (N, 2) that an affine map (2, 3) takes to `points`."""
    moved = np.asarray(points, np.float64) - matrix[:, 2]
    back: NDArray[np.float64] = np.linalg.solve(matrix[:, :2], moved.T).T
    return back


def swap_sides(values: NDArray[Any]) -> NDArray[Any]:
    """Values (17, ...) of the keypoints with left and right exchanged, as in a mirrored image."""
    order = np.arange(len(values))
    for left, right in FLIP_PAIRS:
        order[[left, right]] = right, left
    return values[order]


def mirror_heatmaps(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heatmaps (17, h, w) of a mirrored crop -> those of the crop itself, for averaging (flip test).

    Under UDP mirrored maps lie exactly on one another: no shift by a cell.
    """
    swapped: NDArray[np.float32] = swap_sides(heatmaps)[:, :, ::-1]
    return swapped


def draw_view(box: Floats, points: Floats, visible: NDArray[np.bool_], rng: np.random.Generator) -> View:
    """A random view of a person: shifted or half the body, scaled, turned, mirrored (ViTPose's chances).

    Arguments as for `make_pose_sample`.
    """
    region = widen(jitter_boxes(np.asarray(box, np.float64)[None], rng, scale=0.0))[0]
    if rng.random() < HALF_BODY_CHANCE and np.count_nonzero(visible) > HALF_BODY_OVER:
        region = _half_body(points, visible, region, rng)
    region = _scaled(region[None], _scales(1, SCALE_SPREAD, rng))[0]
    angle = 0.0
    if rng.random() < TURN_CHANCE:
        angle = float(np.clip(rng.standard_normal() * TURN_SPREAD, -TURN_LIMIT, TURN_LIMIT))
    return View(region, angle, mirrored=bool(rng.random() < FLIP_CHANCE))


def jitter_boxes(
    boxes: NDArray[np.float64], rng: np.random.Generator, scale: float = SCALE_SPREAD
) -> NDArray[np.float64]:
    """True boxes (N, 4) xyxy [px] made as inexact as a detector's: shifted now and then, and scaled.

    For regions of shared features, which are neither turned nor mirrored one by one. `scale` is the spread of
    the factor on both sides, 0 for none.
    """
    sizes = boxes[:, 2:] - boxes[:, :2]
    shifted = rng.random((len(boxes), 1)) < SHIFT_CHANCE
    shifts = rng.uniform(-SHIFT, SHIFT, (len(boxes), 2)) * sizes * shifted
    return _scaled(boxes + np.tile(shifts, 2), _scales(len(boxes), scale, rng))


def _half_body(
    points: Floats, visible: NDArray[np.bool_], whole: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A region around the visible keypoints above or below the waist; `whole` when neither has three."""
    above = np.arange(len(points)) < UPPER_BODY
    halves = [chosen for chosen in (visible & above, visible & ~above) if np.count_nonzero(chosen) > 2]
    if not halves:
        return whole
    chosen = points[halves[int(rng.integers(len(halves)))]]
    centre = chosen.mean(axis=0) + 0.5
    half = np.maximum(np.ptp(chosen, axis=0), 1.0) / 2
    region: NDArray[np.float64] = widen(
        np.concatenate([centre - half, centre + half])[None], HALF_BODY_WIDENING
    )[0]
    return region


def _scales(count: int, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    factors: NDArray[np.float64] = np.clip(rng.standard_normal((count, 1)) * spread + 1, *SCALE_RANGE)
    return factors


def _scaled(boxes: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (N, 4) scaled by factors (N, 1) about their centres."""
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factors
    return np.concatenate([centres - halves, centres + halves], axis=1)
