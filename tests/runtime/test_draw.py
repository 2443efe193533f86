"""Drawing changes what it should and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import ImageError
from argus_edge.results import DenseMap, Detections, Frame, LabelMap, Result
from argus_edge.runtime.draw import PALETTE, draw

NAMES = ("box", "sphere", "person")


def _grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, np.uint8)


def _frame(image: NDArray[np.uint8], **results: Result) -> Frame:
    return Frame(image.shape[0], image.shape[1], results)


def _detections(*boxes: tuple[float, ...], score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.full(count, score, np.float32),
        np.arange(count, dtype=np.int32),
        NAMES,
    )


def _changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = np.any(before != after, axis=-1)
    return changed


def test_nothing_to_draw_leaves_a_copy() -> None:
    image = _grey(240, 320)
    for frame in (_frame(image), _frame(image, det=_detections())):
        drawn = draw(image, frame)
        np.testing.assert_array_equal(drawn, image)
        assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (321, 517), (720, 1280), (2160, 4096)])
def test_a_box_changes_its_outline_and_its_label_only(height: int, width: int) -> None:
    image = _grey(height, width)
    x0, y0, x1, y1 = width // 8, height // 2, width * 7 // 8, height * 9 // 10
    changed = _changed(image, draw(image, _frame(image, det=_detections((x0, y0, x1, y1)))))
    band = max(2, height // 60)
    assert changed[y0, x0:x1].all()
    assert changed[y1 - 1, x0:x1].all()
    assert changed[y0:y1, x0].all()
    assert changed[y0:y1, x1 - 1].all()
    assert not changed[y0 + band : y1 - band, x0 + band : x1 - band].any()  # inside
    assert not changed[y1:].any()
    assert not changed[:, x1:].any()
    assert changed[:y0].any()  # the label
    assert 0.02 <= changed[:y0].any(axis=1).sum() / height <= 0.35


def test_labels_are_readable() -> None:
    """Ink and plate of a label have a contrast of at least 4.5 (WCAG 2, AA), whatever the class colour."""

    def luminance(color: tuple[int, ...]) -> float:
        linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    names = tuple(f"class{index}" for index in range(len(PALETTE)))
    image = _grey(400, 800)
    for index, color in enumerate(PALETTE):
        one = Detections(
            np.array([[50, 200, 400, 350]], np.float32),
            np.ones(1, np.float32),
            np.array([index], np.int32),
            names,
        )
        plate = draw(image, _frame(image, det=one))[:200]
        pixels = plate[_changed(image[:200], plate)]
        ink = max({tuple(p) for p in pixels}, key=lambda p: abs(luminance(p) - luminance(color)))
        light, dark = sorted([luminance(ink), luminance(color)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (index, color, ink)


def test_boxes_below_the_score_are_not_drawn() -> None:
    image = _grey(240, 320)
    frame = _frame(image, det=_detections((10, 100, 200, 200), score=0.3))
    assert not _changed(image, draw(image, frame)).any()
    assert _changed(image, draw(image, frame, min_score=0.2)).any()


def test_boxes_at_and_over_the_border_stay_in_the_picture() -> None:
    image = _grey(48, 64)
    boxes = _detections((0, 0, 64, 48), (63, 47, 64, 48), (0, 0, 0.2, 0.2))
    assert draw(image, _frame(image, det=boxes)).shape == image.shape


def test_a_label_map_tints_the_pixels_that_have_a_class() -> None:
    image = _grey(60, 80)
    labels = np.full((60, 80), 255, np.uint8)
    labels[:30, :40] = 0
    labels[:30, 40:] = 2
    drawn = draw(image, _frame(image, seg=LabelMap(labels, NAMES)))
    changed = _changed(image, drawn)
    assert changed[:30].all()
    assert not changed[30:].any()
    for index, pixel in ((0, drawn[0, 0]), (2, drawn[0, 79])):
        towards = np.sign(np.array(PALETTE[index], int) - 100)
        assert np.all(np.sign(pixel.astype(int) - 100) == towards)


def test_a_dense_map_is_an_inset_at_the_lower_right() -> None:
    image = _grey(240, 320)
    depth = np.linspace(1, 9, 320, dtype=np.float32)[None].repeat(240, axis=0)
    drawn = draw(image, _frame(image, depth=DenseMap(depth, "m")))
    rows, columns = np.nonzero(_changed(image, drawn))
    assert rows.min() >= 120
    assert columns.min() >= 160
    near, far = drawn[200, 230].astype(int), drawn[200, 305].astype(int)
    assert near[0] > near[2]  # near is warm, far is cold
    assert far[2] > far[0]


def test_a_flat_dense_map_can_be_drawn() -> None:
    image = _grey(24, 32)
    draw(image, _frame(image, depth=DenseMap(np.ones((24, 32), np.float32), "m")))


def test_one_class_has_one_colour_as_label_and_as_box() -> None:
    image = _grey(200, 300)
    labels = np.full((200, 300), 255, np.uint8)
    seg = LabelMap(labels, ("sky", "box", "sphere", "person"))
    drawn = draw(image, _frame(image, det=_detections((50, 60, 250, 180)), seg=seg))
    assert tuple(drawn[179, 150]) == PALETTE[1]


def test_the_image_must_be_the_one_of_the_frame() -> None:
    image = _grey(24, 32)
    with pytest.raises(ImageError, match="32 x 24 px, but the results belong to one of 24 x 32"):
        draw(image, Frame(32, 24, {}))
    with pytest.raises(ImageError, match="float64"):
        draw(np.zeros((24, 32, 3)), Frame(24, 32, {}))  # type: ignore[arg-type]
