"""Maps as pictures: tinted labels and segments, probabilities that glow, depth and normals as colours."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.results import AnomalyMap, DenseMap, LabelMap, NormalMap, PanopticMap, Result
from argus_edge.runtime.draw.colors import Colors, Pixels
from argus_edge.runtime.draw.strokes import draw_text, line_width, plate_size

Map: TypeAlias = LabelMap | PanopticMap | DenseMap | NormalMap

TINT: Final = 0.42  # opacity of a class's colour
DIM: Final = 0.6  # brightness of the image under a glow
GLOW: Final = 0.7  # opacity of a probability of 1
MARGIN: Final = 0.5  # SimpleNet's hinge: what is normal should be below -MARGIN, what is not above it
BACKGROUND: Final = "background"
PLACING: Final = 160  # longer side of the map on which the places of names are looked for [px]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One map to be painted, and what is written beside it."""

    caption: str
    map: Map
    span: tuple[float, float] = (0, 1)  # the values of a map with a unit that have the ends of the scale

    @property
    def opaque(self) -> bool:
        """Whether it hides the image."""
        return isinstance(self.map, NormalMap) or (isinstance(self.map, DenseMap) and self.map.unit != "")


def layers(task: str, result: Result, span: tuple[float, float] | None = None) -> Iterator[Layer]:
    """What there is to paint of a result: nothing, one map, or one for each category of anomalies.

    `span` takes the place of the map's own where a map has a unit.
    """
    if isinstance(result, AnomalyMap):
        for name, values, score in zip(result.categories, result.maps, result.scores, strict=True):
            level = np.clip((values + MARGIN) / (2 * MARGIN), 0, 1)
            yield Layer(f"{task} {name} {score:.2f}", DenseMap(level, ""))
    elif isinstance(result, DenseMap) and result.unit:
        low, high = span or value_span(result.values)
        yield Layer(f"{task} {low:.1f}-{high:.1f} {result.unit}", result, (low, high))
    elif isinstance(result, Map):
        yield Layer(task, result)


def shrunk(layer: Layer, size: tuple[int, int]) -> Layer:
    """The layer at another size, (width, height) [px]."""
    import cv2

    def resized(values: NDArray[Any], method: int) -> Any:
        return cv2.resize(values, size, interpolation=method)

    result = layer.map
    if isinstance(result, LabelMap):
        return replace(layer, map=replace(result, labels=resized(result.labels, cv2.INTER_NEAREST)))
    if isinstance(result, PanopticMap):
        ids = resized(result.segment_ids, cv2.INTER_NEAREST)
        return replace(layer, map=replace(result, segment_ids=ids))
    if isinstance(result, NormalMap):
        return replace(layer, map=replace(result, normals=resized(result.normals, cv2.INTER_AREA)))
    # The means that INTER_AREA takes would put the thin lines of probabilities out.
    side = 1 if result.unit else 2 * max(1, round(result.values.shape[1] / size[0])) - 1
    thick = cv2.dilate(result.values, np.ones((side, side), np.uint8))
    return replace(layer, map=replace(result, values=resized(thick, cv2.INTER_AREA)))


def paint(canvas: Pixels, layer: Layer, colors: Colors) -> None:
    """Paint a layer of the canvas's size over all of it."""
    match layer.map:
        case LabelMap() as labels:
            _tint_labels(canvas, labels, colors)
        case PanopticMap() as panoptic:
            _tint_segments(canvas, panoptic, colors)
        case NormalMap(normals=normals):
            # As usual: red to the right, green up, blue towards the camera; no direction is grey.
            canvas[:] = np.clip(normals * np.array([127.5, -127.5, -127.5], np.float32) + 127.5, 0, 255)
        case DenseMap(values=values, unit=""):
            _glow(canvas, values)
        case DenseMap(values=values):
            _show_values(canvas, values, layer.span)


def write_names(canvas: Pixels, layer: Layer, colors: Colors, known: Collection[str]) -> None:
    """Write the class of each labelled region that has room for it, but none that is in `known`."""
    for name, mask in _regions(layer.map):
        if name in known or name == BACKGROUND:
            continue
        x, y, room = _roomiest(mask, canvas.shape[1] / mask.shape[1], canvas.shape[0] / mask.shape[0])
        width, height = plate_size(canvas, name)
        if room >= max(height, width / 2):
            draw_text(canvas, name, round(x - width / 2), round(y + height / 2), colors[name])


def _tint_labels(canvas: Pixels, result: LabelMap, colors: Colors) -> None:
    """Tint every pixel that has a class, other than the background of a part map."""
    table = np.zeros((256, 3), np.uint8)
    tinted = np.zeros(256, np.bool_)
    for label, name in enumerate(result.class_names):
        table[label], tinted[label] = colors[name], name != BACKGROUND
    _tint(canvas, table[result.labels], tinted[result.labels])


def _tint_segments(canvas: Pixels, result: PanopticMap, colors: Colors) -> None:
    """Tint every segment in its class's colour, with a light line between segments."""
    import cv2

    ids = result.segment_ids
    table = np.zeros((max((s.id for s in result.segments), default=0) + 1, 3), np.uint8)
    for segment in result.segments:
        table[segment.id] = colors[segment.class_name]
    _tint(canvas, table[ids], ids > 0)
    border = np.zeros(ids.shape, np.uint8)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    width = max(1, line_width(canvas) // 2)
    canvas[cv2.dilate(border, np.ones((width, width), np.uint8)) > 0] = (255, 255, 255)


def _tint(canvas: Pixels, picture: Pixels, where: NDArray[np.bool_]) -> None:
    import cv2

    np.copyto(canvas, cv2.addWeighted(canvas, 1 - TINT, picture, TINT, 0), where=where[..., None])


def _glow(canvas: Pixels, values: NDArray[np.float32]) -> None:
    """Dim the image, and let a colour shine on it, the brighter the higher the probability."""
    import cv2

    levels = np.clip(values, 0, 1)
    picture = _color_mapped((levels * 255).astype(np.uint8), cv2.COLORMAP_PLASMA)
    opacity = levels * np.float32(GLOW)
    canvas[:] = cv2.blendLinear(cv2.convertScaleAbs(canvas, alpha=DIM), picture, 1 - opacity, opacity)


def _show_values(canvas: Pixels, values: NDArray[np.float32], span: tuple[float, float]) -> None:
    """Colour the greatest values cold and the least warm: what is near comes forward."""
    import cv2

    low, high = span
    levels = np.clip((high - values) / max(high - low, 1e-6) * 255, 0, 255)
    canvas[:] = _color_mapped(levels.astype(np.uint8), cv2.COLORMAP_TURBO)


def _color_mapped(levels: Pixels, table: int) -> Pixels:
    """Levels (H, W) 0-255 -> (H, W, 3) RGB, by one of OpenCV's colour maps."""
    import cv2

    picture = cv2.cvtColor(cv2.applyColorMap(levels, table), cv2.COLOR_BGR2RGB)
    return np.asarray(picture, np.uint8)


def value_span(values: NDArray[np.float32]) -> tuple[float, float]:
    """Between which values nearly all of a map lies."""
    low, high = np.percentile(values[:: max(1, len(values) // 256)], (2, 98))
    return float(low), float(high)


def _regions(result: Map) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The regions that have a name, as small masks."""
    match result:
        case LabelMap(labels=values, class_names=class_names):
            names = dict(enumerate(class_names))
        case PanopticMap(segment_ids=values, segments=segments):
            names = {segment.id: segment.class_name for segment in segments}
        case _:
            return
    step = max(1, max(values.shape) // PLACING)
    small = values[step // 2 :: step, step // 2 :: step]
    for value in np.unique(small).tolist():
        if value in names:
            yield names[value], small == value


def _roomiest(mask: NDArray[np.bool_], scale_x: float, scale_y: float) -> tuple[float, float, float]:
    """The point xy farthest from the mask's border, and how far it is [px of the canvas]."""
    import cv2

    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    y, x = divmod(int(distance.argmax()), padded.shape[1])
    return (x - 0.5) * scale_x, (y - 0.5) * scale_y, float(distance[y, x]) * min(scale_x, scale_y)
