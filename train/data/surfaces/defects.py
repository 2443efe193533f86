"""Damage: scratches, stains, cracks, holes and dents, each with the pixels it covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.streams import Rng, log_uniform
from argus_edge.train.data.scenes.textures import noise
from argus_edge.train.data.surfaces.materials import Array, Sheet

Mask = NDArray[np.bool_]


def damage(sheet: Sheet, defect: str, rng: Rng) -> Mask:
    """Gives the sheet one defect of DEFECTS, from hardly visible to plain; returns its pixels (H, W)."""
    cover = _DEFECTS[defect](sheet, rng, log_uniform(rng, 0.25, 1.0))
    mask: Mask = cover > 0.5
    return mask


def _scratch(sheet: Sheet, rng: Rng, strength: float) -> Array:
    """One to three long, slightly bent grooves side by side, of another shade than the surface."""
    start, heading = rng.uniform(0.2, 0.8, 2), rng.uniform(0, 2 * np.pi)
    length, bend, gap = log_uniform(rng, 0.15, 0.6), rng.normal(0, 0.4), rng.uniform(0.012, 0.03)
    lines = []
    for k in range(rng.integers(1, 4)):
        turn = heading + bend * np.linspace(-0.5, 0.5, 25)
        steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (length * rng.uniform(0.7, 1.0) / 25)
        aside = k * gap * np.array([-np.sin(heading), np.cos(heading)])
        lines.append(start + aside + np.cumsum(steps, axis=0) - steps.sum(axis=0) / 2)
    cover = _strokes(sheet, lines, rng.uniform(0.002, 0.0045))
    _paint(sheet, cover, _contrast_shade(sheet, cover, rng, 0.35 + 0.4 * strength), 0.4 + 0.5 * strength)
    sheet.height -= np.float32(0.004 * strength) * cover
    return cover


def _stain(sheet: Sheet, rng: Rng, strength: float) -> Array:
    """A blot with a ragged outline and a stronger rim; the pattern shows through, the relief stays."""
    depth = _blob(sheet, rng, log_uniform(rng, 0.035, 0.13), ragged=1.8)
    cover = _soft(depth > 0)
    rim = np.clip(np.float32(1) - np.abs(depth - np.float32(0.007)) / np.float32(0.007), 0, 1)
    shade = _contrast_shade(sheet, cover, rng, 0.3 + 0.2 * strength, tint=0.12)
    weight = cover * (np.float32(0.7) + np.float32(0.3) * rim)
    _paint(sheet, weight, shade, 0.25 + 0.5 * strength)
    return cover


def _crack(sheet: Sheet, rng: Rng, strength: float) -> Array:
    """A jagged dark line with branches."""
    trunk = _walk(rng, rng.uniform(0.25, 0.75, 2), rng.uniform(0, 2 * np.pi), log_uniform(rng, 0.2, 0.6))
    lines = [trunk - (trunk.mean(axis=0) - trunk[0]) * 0.5]
    for _ in range(rng.integers(0, 4)):
        fork = int(rng.integers(1, len(trunk) - 1))
        along = lines[0][fork + 1] - lines[0][fork - 1]
        heading = float(np.arctan2(along[1], along[0])) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        lines.append(_walk(rng, lines[0][fork], heading, rng.uniform(0.04, 0.15)))
    cover = _strokes(sheet, lines, 0.0015 + 0.0025 * strength)
    _paint(sheet, cover, _local_colour(sheet, cover) * np.float32(0.12), 0.45 + 0.5 * strength)
    sheet.height -= np.float32(0.008 * strength) * cover
    return cover


def _hole(sheet: Sheet, rng: Rng, strength: float) -> Array:
    """A dark pit with a steep wall."""
    depth = _blob(sheet, rng, log_uniform(rng, 0.012, 0.05), ragged=0.5)
    cover = _soft(depth > 0)
    _paint(sheet, cover, _local_colour(sheet, cover) * np.float32(0.06), 0.55 + 0.4 * strength)
    sheet.height -= np.float32(0.02) * cover
    sheet.gloss *= np.float32(1) - cover
    return cover


def _dent(sheet: Sheet, rng: Rng, strength: float) -> Array:
    """A smooth hollow or bump: only the light tells."""
    radius, angle, flat = log_uniform(rng, 0.045, 0.13), rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    x, y = (c - np.float32(at) for c, at in zip((sheet.x, sheet.y), _inside(sheet, rng), strict=True))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (cos * x + sin * y) / np.float32(radius), (cos * y - sin * x) / np.float32(radius * flat)
    bowl = np.maximum(np.float32(1) - u * u - v * v, 0)
    lift = radius * (0.2 + 0.4 * strength) * (1 if rng.random() < 0.3 else -1)
    sheet.height += np.float32(lift) * bowl * bowl
    cover: Array = (bowl > 0).astype(np.float32)
    return cover


_DEFECTS: Final[dict[str, Callable[[Sheet, Rng, float], Array]]] = {
    "scratch": _scratch,
    "stain": _stain,
    "crack": _crack,
    "hole": _hole,
    "dent": _dent,
}
DEFECTS: Final = tuple(_DEFECTS)


def _inside(sheet: Sheet, rng: Rng) -> tuple[float, float]:
    """A place (x, y) not too near the edges."""
    height, width = sheet.x.shape
    return float(rng.uniform(0.15, 0.85) * width / sheet.side), float(
        rng.uniform(0.15, 0.85) * height / sheet.side
    )


def _blob(sheet: Sheet, rng: Rng, radius: float, ragged: float) -> Array:
    """How deep each pixel lies inside a round shape with an uneven outline (H, W), negative outside."""
    x, y = (c - np.float32(at) for c, at in zip((sheet.x, sheet.y), _inside(sheet, rng), strict=True))
    scale = np.float32(0.8 / radius)
    bumps = noise((x * scale, y * scale, np.full_like(x, rng.uniform(0, 64))))
    uneven = np.float32(radius * ragged) * (bumps - np.float32(0.5))
    depth: Array = np.float32(radius) - np.hypot(x, y) + uneven
    return depth


def _soft(shape: Mask) -> Array:
    """A shape (H, W) as cover 0..1 with a soft edge, above one half on the shape and below it elsewhere."""
    whole = shape.astype(np.float32)
    blurred = np.asarray(cv2.GaussianBlur(whole, (3, 3), 0.9), np.float32)
    cover: Array = np.float32(0.5) * (whole + blurred)
    return cover


def _walk(rng: Rng, start: NDArray[np.float64], heading: float, length: float) -> NDArray[np.float64]:
    """A path (N, 2) that keeps its general direction but never goes straight."""
    count = max(4, int(length / 0.02))
    turns = heading + np.cumsum(rng.normal(0, 0.15, count)) + rng.normal(0, 0.45, count)
    steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / count)
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _strokes(sheet: Sheet, lines: list[NDArray[np.float64]], half: float) -> Array:
    """Share of each pixel (H, W) covered by lines of half width `half`, at least 0.6 px."""
    canvas = np.ones(sheet.x.shape, np.uint8)
    for line in lines:
        points = np.round(line * sheet.side - 0.5).astype(np.int32)
        cv2.polylines(canvas, [points], False, 0)
    away = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    reach = np.float32(max(half * sheet.side, 0.6))
    return np.asarray(np.clip(reach + np.float32(0.5) - away, 0, 1), np.float32)


def _paint(sheet: Sheet, cover: Array, colour: Array, strength: float) -> None:
    """Mixes a colour (3,) into the covered pixels."""
    sheet.albedo += (np.float32(strength) * cover)[..., None] * (colour - sheet.albedo)


def _local_colour(sheet: Sheet, cover: Array) -> Array:
    """Mean linear colour (3,) under a cover."""
    mean: Array = (sheet.albedo * cover[..., None]).sum(axis=(0, 1)) / np.maximum(cover.sum(), np.float32(1))
    return mean


def _contrast_shade(sheet: Sheet, cover: Array, rng: Rng, contrast: float, tint: float = 0.02) -> Array:
    """A linear colour (3,) lighter or darker than the surface by `contrast` of display levels 0..1."""
    level = np.sqrt(_local_colour(sheet, cover))
    brighter = rng.random() < 0.5 if 0.35 < level.mean() < 0.65 else level.mean() <= 0.35
    shade = level + (contrast if brighter else -contrast) + rng.uniform(-tint, tint, 3)
    return np.square(np.clip(shade, 0.02, 0.98)).astype(np.float32)
