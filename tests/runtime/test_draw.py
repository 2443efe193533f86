"""Drawing changes what it should and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import ImageError
from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Frame,
    Instances,
    Keypoints,
    LabelMap,
    NormalMap,
    PanopticMap,
    Result,
    Segment,
)
from argus_edge.runtime.contact_sheet import contact_sheet
from argus_edge.runtime.draw import PALETTE, draw, draw_apart

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


def _rectangle(height: int, width: int, area: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    left, top, right, bottom = area
    mask = np.zeros((height, width), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _instances(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Instances:
    found = _detections(*boxes)
    masks = np.stack([_rectangle(height, width, box) for box in boxes])
    return Instances(found.boxes, found.scores, found.classes, NAMES, masks)


def test_a_mask_is_tinted_and_outlined_in_its_classs_colour() -> None:
    image = _grey(240, 320)
    found = _instances(240, 320, (60, 100, 200, 220))
    found.masks[0] = _rectangle(240, 320, (80, 120, 180, 200))  # smaller than its box
    drawn = draw(image, _frame(image, inst=found))
    changed = _changed(image, drawn)
    assert changed[120:200, 80:180].all()
    assert not changed[201:219, 61:199].any()
    inside = drawn[160, 130].astype(int)
    for y, x in ((160, 80), (160, 179), (120, 130), (199, 130)):
        assert tuple(drawn[y, x]) == PALETTE[0]
    assert np.all(np.sign(inside - 100) == np.sign(np.array(PALETTE[0]) - 100))
    assert np.abs(inside - PALETTE[0]).max() > 20


def test_boxes_of_instances_are_drawn_once() -> None:
    image = _grey(240, 320)
    instances = _instances(240, 320, (60, 100, 200, 220))
    both = _frame(image, det=_detections((20, 20, 300, 230)), inst=instances)
    np.testing.assert_array_equal(draw(image, both), draw(image, _frame(image, inst=instances)))


def _panoptic(ids: NDArray[np.int32]) -> PanopticMap:
    named = {1: (0, "box"), 2: (0, "box"), 3: (4, "sky")}
    segments = tuple(
        Segment(number, *named[number], number < 3, 0.9, int(np.count_nonzero(ids == number)))
        for number in named
    )
    return PanopticMap(ids, segments)


def test_segments_have_their_classs_colour_and_a_line_between_them() -> None:
    image = _grey(60, 90)
    ids = np.zeros((60, 90), np.int32)
    ids[:40, :30], ids[:40, 30:60], ids[:40, 60:] = 1, 2, 3
    drawn = draw(image, _frame(image, pan=_panoptic(ids)))
    np.testing.assert_array_equal(drawn[5, 5], drawn[5, 40])
    assert tuple(drawn[20, 30]) == (255, 255, 255)
    for index, pixel in ((0, drawn[5, 5]), (4, drawn[5, 85])):
        assert np.all(np.sign(pixel.astype(int) - 100) == np.sign(np.array(PALETTE[index]) - 100))
    assert not _changed(image, drawn)[42:].any()


def test_a_class_has_the_colour_of_its_name_in_every_result() -> None:
    """With labels, boxes and segments of one class, all three are of one colour, whatever its index."""
    image = _grey(200, 300)
    seg = LabelMap(np.full((200, 300), 255, np.uint8), ("sky", "box", "sphere", "person"))
    ids = np.zeros((200, 300), np.int32)
    ids[20:60, 20:60] = 1
    frame = _frame(image, seg=seg, pan=_panoptic(ids), det=_detections((100, 100, 200, 180)))
    (_, _), (_, segments), (_, boxes) = draw_apart(image, frame)
    assert tuple(boxes[179, 150]) == PALETTE[1]
    towards = np.sign(np.array(PALETTE[1]) - 100)
    np.testing.assert_array_equal(np.sign(segments[25, 25].astype(int) - 100), towards)


def test_large_regions_have_their_names_written_on_them() -> None:
    image = _grey(300, 400)
    labels = np.full((300, 400), 0, np.uint8)
    labels[:, 395:] = 1  # too narrow for a name
    drawn = draw(image, _frame(image, seg=LabelMap(labels, NAMES)))
    assert np.all(drawn == PALETTE[0], axis=-1).any()
    assert not np.all(drawn == PALETTE[1], axis=-1).any()


def test_the_background_of_a_part_map_is_left_alone() -> None:
    image = _grey(60, 80)
    labels = np.zeros((60, 80), np.uint8)
    labels[:30] = 1
    drawn = draw(image, _frame(image, parse=LabelMap(labels, ("background", "torso"))))
    changed = _changed(image, drawn)
    assert changed[:30].all()
    assert not changed[30:].any()


@pytest.mark.parametrize("task", ["sal", "edge", "anom"])
def test_a_probability_shines_where_it_is_high(task: str) -> None:
    image = _grey(240, 320)
    values = _rectangle(240, 320, (200, 100, 300, 200)).astype(np.float32)
    result: Result = DenseMap(values, "")
    if task == "anom":
        result = AnomalyMap(values[None] * 2 - 1, np.ones(1, np.float32), ("screw",))
    drawn = draw(image, _frame(image, **{task: result})).astype(int)
    assert np.ptp(drawn[150, 250]) > 60  # a strong colour
    assert np.ptp(drawn[220, 50]) <= 1  # the image's own grey, dimmed
    assert drawn[150, 250].max() > 100 > drawn[220, 50].max() > 40


def test_a_thin_edge_is_seen_in_an_inset() -> None:
    image = _grey(480, 640)
    values = np.zeros((480, 640), np.float32)
    values[:, 320] = 1
    labels = LabelMap(np.full((480, 640), 255, np.uint8), NAMES)
    drawn = draw(image, _frame(image, seg=labels, edge=DenseMap(values, ""))).astype(int)
    inset = drawn[400, 460:620]
    assert np.ptp(inset, axis=-1).max() > 60


def test_normals_are_red_to_the_right_green_up_blue_towards_the_camera() -> None:
    image = _grey(40, 40)
    normals = np.zeros((40, 40, 3), np.float32)
    normals[:, :10] = (1, 0, 0)
    normals[:, 10:20] = (0, -1, 0)
    normals[:, 20:30] = (0, 0, -1)
    ((caption, picture),) = draw_apart(image, _frame(image, normal=NormalMap(normals)))
    assert caption == "normal"
    half = 127
    expected = [(255, half, half), (half, 255, half), (half, half, 255), (half, half, half)]
    assert [tuple(picture[20, column]) for column in (5, 15, 25, 35)] == expected


def _person(*, score: float = 0.9, keypoint: float = 0.9) -> Keypoints:
    """Someone who stands in the middle of 320 x 240 px, arms spread, facing the camera."""
    x = [160, 164, 156, 168, 152, 190, 130, 220, 100, 250, 70, 180, 140, 180, 140, 180, 140]
    y = [40, 36, 36, 40, 40, 70, 70, 70, 70, 70, 70, 130, 130, 170, 170, 215, 215]
    points = np.stack([x, y], axis=-1).astype(np.float32)[None]
    scores = np.full((1, 17), keypoint, np.float32)
    return Keypoints(points, scores, np.zeros((1, 4), np.float32), np.array([score], np.float32))


def test_a_skeleton_joins_the_keypoints_left_and_right_apart() -> None:
    image = _grey(240, 320)
    drawn = draw(image, _frame(image, pose=_person()))
    changed = _changed(image, drawn)
    for x, y in _person().points[0].astype(int):
        assert changed[y, x]
    np.testing.assert_array_equal(drawn[150, 180], drawn[190, 180])  # thigh and shin of one leg
    assert tuple(drawn[150, 180]) != tuple(drawn[150, 140])
    assert not changed[:, 260:].any()
    assert changed.mean() < 0.1


def test_what_is_not_seen_of_a_person_is_not_drawn() -> None:
    image = _grey(240, 320)
    assert not _changed(image, draw(image, _frame(image, pose=_person(score=0.2)))).any()
    assert not _changed(image, draw(image, _frame(image, pose=_person(keypoint=0.1)))).any()
    one_leg = _person()
    one_leg.scores[0, [13, 15]] = 0
    changed = _changed(image, draw(image, _frame(image, pose=one_leg)))
    assert not changed[140:, 170:].any()
    assert changed[140:, :150].any()


def test_tracks_are_numbered_once() -> None:
    image = _grey(240, 320)
    boxes = _detections((100, 60, 200, 200))
    tracked = replace(boxes, track_ids=np.array([4711]))
    plain, numbered = (_changed(image, draw(image, _frame(image, det=det))) for det in (boxes, tracked))
    assert np.count_nonzero(numbered[:60]) > np.count_nonzero(plain[:60])  # a wider label
    np.testing.assert_array_equal(numbered[70:], plain[70:])

    person = replace(_person(), boxes=np.array([[20, 100, 60, 200]], np.float32), track_ids=np.array([4711]))
    alone = _changed(draw(image, _frame(image, pose=_person())), draw(image, _frame(image, pose=person)))
    assert alone[60:100, 20:60].any()
    alone[60:100, 20:90] = False
    assert not alone.any()
    beside, twice = (draw(image, _frame(image, det=tracked, pose=pose)) for pose in (_person(), person))
    np.testing.assert_array_equal(beside, twice)


def test_a_person_far_outside_the_picture_does_no_harm() -> None:
    image = _grey(240, 320)
    away = _person()
    away.points[0, :8] += 1e7
    assert draw(image, _frame(image, pose=away)).shape == image.shape


def test_the_likeliest_classes_are_written_in_the_corner() -> None:
    image = _grey(240, 320)
    cls = Classification(np.array([0.2, 0.5, 0.3], np.float32), NAMES)
    drawn = draw(image, _frame(image, cls=cls))
    changed = _changed(image, drawn)
    assert changed[:5, :20].all()
    assert not changed[120:].any()
    assert not changed[:, 200:].any()
    assert tuple(drawn[1, 1]) == PALETTE[1]


def _everything(height: int, width: int) -> Frame:
    ids = np.ones((height, width), np.int32)
    ids[: height // 2] = 3
    flat = np.full((height, width), 0.5, np.float32)
    labels = LabelMap(np.zeros((height, width), np.uint8), NAMES)
    normals = np.zeros((height, width, 3), np.float32)
    box = (width // 4, height // 4, width // 2, height // 2)
    results: dict[str, Result] = {
        "det": _detections(box),
        "inst": _instances(height, width, box),
        "pan": _panoptic(ids),
        "seg": labels,
        "parse": labels,
        "sal": DenseMap(flat, ""),
        "edge": DenseMap(flat, ""),
        "depth": DenseMap(flat, "m"),
        "normal": NormalMap(normals),
        "pose": _person(),
        "cls": Classification(np.full(3, 1 / 3, np.float32), NAMES),
        "anom": AnomalyMap(np.stack([flat, flat]), np.zeros(2, np.float32), ("screw", "leather")),
    }
    return Frame(height, width, results)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (48, 64), (321, 517), (2160, 4096)])
def test_everything_at_once_fits_images_of_any_size(height: int, width: int) -> None:
    image = _grey(height, width)
    frame = _everything(height, width)
    drawn = draw(image, frame)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(image, 100)


def test_each_result_has_a_picture_of_its_own() -> None:
    image = _grey(120, 160)
    frame = _everything(120, 160)
    captions, pictures = zip(*draw_apart(image, frame), strict=True)
    assert captions == (
        "det", "inst", "pan", "seg", "parse", "sal", "edge", "depth 0.5-0.5 m", "normal", "pose", "cls",
        "anom screw 0.00", "anom leather 0.00",
    )  # fmt: skip
    for picture in pictures:
        assert picture.shape == image.shape
        assert _changed(image, picture).any()
    assert contact_sheet(pictures, captions).shape[0] > 480


def test_the_image_must_be_the_one_of_the_frame() -> None:
    image = _grey(24, 32)
    with pytest.raises(ImageError, match="32 x 24 px, but the results belong to one of 24 x 32"):
        draw(image, Frame(32, 24, {}))
    with pytest.raises(ImageError, match="float64"):
        draw(np.zeros((24, 32, 3)), Frame(24, 32, {}))  # type: ignore[arg-type]
