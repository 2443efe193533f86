"""Keypoints: the output kind of pose.

A keypoint lies where its heatmap is greatest, refined below one cell as DARK does it under UDP (Zhang et al.
and Huang et al., both CVPR 2020; mmpose's `post_dark_udp`): the blurred map's logarithm is taken for a
parabola, and one Newton step leads to its peak. At a map's border we go with DARK, which blurs as if there
were nothing beyond, not with mmpose, which mirrors: three cells from it, that is 0.01 cells off, not 0.13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.keypoints import KEYPOINT_NAMES, OKS_SIGMAS, SKELETON
from argus_edge.results import Keypoints
from argus_edge.runtime.persons import Persons, grid_to_image

Refinement = Literal["dark", "quarter"]

BLUR_SIZE: Final = 11  # [cells]
BLUR_SIGMA: Final = 2.0  # [cells]: OpenCV's for a kernel of 11, and that of the targets
SEEN: Final = 0.2  # a keypoint below it does not count in its person's score

DOUBLE: Final = 0.9  # object keypoint similarity

_FLOOR, _CEILING = 1e-3, 50.0  # of a heatmap, before its logarithm
_LONGEST_STEP: Final = 2.0  # [cells]: a step beyond is no refinement, but a map without a peak


def decode_keypoints(
    outputs: Mapping[str, NDArray[Any]],
    persons: Persons,
    names: Sequence[str] = KEYPOINT_NAMES,
    refinement: Refinement = "dark",
) -> Keypoints:
    """A pose decoder's outputs -> keypoints in the original image.

    Args:
        outputs: `heatmaps` (N, K, h, w) float32, one set for each person.
        persons: N persons with the regions that the heatmaps cover.
        names: of the K keypoints.
        refinement: "dark", or "quarter": a quarter of a cell towards the greater neighbour.

    A keypoint's score is its heatmap's maximum, in [0, 1]; a person's is that of the box times the mean of
    the keypoints' scores above 0.2, or 0 without any. Of persons found twice one is left (`distinct`).

    Raises EngineError when the shapes do not fit or a heatmap is not finite.
    """
    heatmaps = np.asarray(outputs["heatmaps"], np.float32)
    if heatmaps.shape[:2] != (len(persons), len(names)):
        raise EngineError(
            f"the pose decoder gave heatmaps of {heatmaps.shape} for {len(persons)} persons and "
            f"{len(names)} keypoints; export the package again"
        )
    if not np.isfinite(heatmaps).all():
        raise EngineError("the pose decoder gave a heatmap that is not finite; export the package again")
    refine = refine_dark if refinement == "dark" else refine_quarter
    cells, peaks = find_peaks(heatmaps)
    points = grid_to_image(refine(heatmaps, cells), persons.regions, *heatmaps.shape[2:])
    scores = np.clip(peaks, 0, 1)
    seen = scores > SEEN
    means = np.sum(scores * seen, axis=1) / np.maximum(np.sum(seen, axis=1), 1)
    person_scores = (persons.scores * means).astype(np.float32)
    known = tuple(names) == KEYPOINT_NAMES
    kept = distinct(points, person_scores, persons.boxes) if known else np.arange(len(persons))
    return Keypoints(
        points[kept].astype(np.float32),
        scores[kept],
        persons.boxes[kept].astype(np.float32),
        person_scores[kept],
        tuple(names),
        SKELETON if known else (),
    )


def distinct(
    points: NDArray[np.floating[Any]], scores: NDArray[np.float32], boxes: NDArray[np.floating[Any]]
) -> NDArray[np.intp]:
    """Which of N persons are not another one's double, in their order: OKS-NMS, as mmpose has it.

    Args:
        points: (N, 17, 2) xy [px] in COCO's order.
        scores: (N,) of the persons; of two doubles the better one stays.
        boxes: (N, 4) xyxy [px]; the mean area of two is the scale of their likeness.

    Two are doubles if their object keypoint similarity is above 0.9.
    """
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 1, None).prod(axis=1)
    spread = 2 * (2 * np.array(OKS_SIGMAS)) ** 2
    kept: list[int] = []
    for person in np.argsort(-scores, kind="stable").tolist():
        squares = np.square(points[kept] - points[person]).sum(axis=2)  # (kept, 17)
        scale = (areas[kept] + areas[person])[:, None] / 2
        if not (np.exp(-squares / (scale * spread)).mean(axis=1) > DOUBLE).any():
            kept.append(person)
    return np.array(sorted(kept), np.intp)


def find_peaks(heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Heatmaps (N, K, h, w) -> the cells (N, K, 2) xy of their maxima, and these (N, K)."""
    count, keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(count, keypoints, height * width)
    index = flat.argmax(axis=2)
    y, x = np.divmod(index, width)
    peaks: NDArray[np.float32] = np.take_along_axis(flat, index[..., None], axis=2)[..., 0]
    return np.stack([x, y], axis=2).astype(np.int64), peaks


def refine_dark(
    heatmaps: NDArray[np.float32], cells: NDArray[np.int64], sigma: float = BLUR_SIGMA
) -> NDArray[np.float64]:
    """Maxima (N, K, 2) xy of heatmaps (N, K, h, w) -> the same to fractions of a cell, by one Newton step.

    `sigma` [cells] is the blur's. A step longer than two cells is not taken, nor one from an outermost cell.
    """
    v = blurred_logarithms(heatmaps, cells, sigma)
    slope = np.stack([v[..., 1, 2] - v[..., 1, 0], v[..., 2, 1] - v[..., 0, 1]], axis=-1) / 2
    xx = v[..., 1, 2] - 2 * v[..., 1, 1] + v[..., 1, 0]
    yy = v[..., 2, 1] - 2 * v[..., 1, 1] + v[..., 0, 1]
    # mmpose's form of the mixed derivative, from two corners instead of four.
    xy = (v[..., 2, 2] - v[..., 1, 2] - v[..., 2, 1] + 2 * v[..., 1, 1]) / 2
    xy += (v[..., 0, 0] - v[..., 1, 0] - v[..., 0, 1]) / 2
    epsilon = float(np.finfo(np.float32).eps)
    xx, yy = xx + epsilon, yy + epsilon
    determinant = xx * yy - xy * xy
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.stack(
            [xy * slope[..., 1] - yy * slope[..., 0], xy * slope[..., 0] - xx * slope[..., 1]], axis=-1
        )
        step /= determinant[..., None]
        short = np.abs(step) <= _LONGEST_STEP
    refined = (short & _inside(heatmaps, cells)).all(axis=-1, keepdims=True)
    return cells.astype(np.float64) + np.where(refined, step, 0.0)


def refine_quarter(heatmaps: NDArray[np.float32], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Maxima (N, K, 2) xy of heatmaps (N, K, h, w), moved a quarter of a cell towards greater neighbours."""
    v = _neighbourhoods(heatmaps, cells)
    slope = np.stack([v[..., 1, 2] - v[..., 1, 0], v[..., 2, 1] - v[..., 0, 1]], axis=-1)
    return cells.astype(np.float64) + np.where(_inside(heatmaps, cells), np.sign(slope) / 4, 0.0)


def _inside(heatmaps: NDArray[np.float32], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether cells (N, K, 2) xy have neighbours on both sides, in each direction."""
    inside: NDArray[np.bool_] = (cells > 0) & (cells < np.array(heatmaps.shape[:1:-1]) - 1)
    return inside


def blurred_logarithms(
    heatmaps: NDArray[np.float32], cells: NDArray[np.int64], sigma: float
) -> NDArray[np.float64]:
    """The logarithms of the blurred heatmaps at `cells` and around, (N, K, 3, 3), [row, column].

    Nothing else of them is looked at, so nothing else is blurred.
    """
    import cv2

    reach, side = BLUR_SIZE // 2 + 1, BLUR_SIZE + 2  # of the window that the nine cells are blurred from
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    person, keypoint = np.arange(len(heatmaps))[:, None], np.arange(heatmaps.shape[1])
    windows = sliding_window_view(padded, (side, side), axis=(2, 3))
    around = windows[person, keypoint, cells[..., 1], cells[..., 0]]  # (N, K, side, side)
    kernel = cv2.getGaussianKernel(BLUR_SIZE, sigma, cv2.CV_32F)[:, 0]
    blur = np.stack([np.pad(kernel, (i, 2 - i)) for i in range(3)])  # (3, side), the kernel moved by a cell
    blurred = (blur @ around @ blur.T).astype(np.float64)
    logarithms: NDArray[np.float64] = np.log(np.clip(blurred, _FLOOR, _CEILING))
    return logarithms


def _neighbourhoods(heatmaps: NDArray[Any], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values around `cells`, (N, K, 3, 3), [row, column]; edge cells are repeated beyond the edge."""
    count, keypoints, height, width = heatmaps.shape
    offsets = np.arange(-1, 2)
    rows = np.clip(cells[..., 1, None] + offsets, 0, height - 1)
    columns = np.clip(cells[..., 0, None] + offsets, 0, width - 1)
    person = np.arange(count)[:, None, None, None]
    keypoint = np.arange(keypoints)[None, :, None, None]
    values = heatmaps[person, keypoint, rows[..., :, None], columns[..., None, :]]
    return values.astype(np.float64)  # type: ignore[no-any-return]
