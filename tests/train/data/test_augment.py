"""Augmentation: labels follow the picture, nothing is lost or made up, evaluation sees the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, ImageError, InputError
from argus_edge.geometry import Letterbox
from argus_edge.keypoints import FLIP_PAIRS, KEYPOINT_NAMES
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import ImageSpec
from argus_edge.tasks import TASKS
from argus_edge.train.data.augment import (
    AUGMENTATIONS,
    Augmentation,
    Colours,
    Placement,
    distort,
    draw_placement,
    make_training_sample,
    pose_samples,
)
from argus_edge.train.data.augment.placement import GREY
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.transforms import MIN_INSIDE, Sample
from argus_edge.train.metrics import PanopticTruth, TrueSegment

DENSE: Final = ("seg", "parse", "sal", "edge", "depth", "normal", "pan")
ALL: Final = (*DENSE, "det", "inst", "pose", "cls")
WHOLE: Final = Augmentation(flip=0.0)

many = settings(deadline=None, derandomize=True, database=None)
few = settings(many, max_examples=40)


def disc(height: int, width: int, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside: NDArray[np.bool_] = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return inside


def box_around(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def picture(height: int = 90, width: int = 120, discs: int = 4, seed: int = 0) -> Example:
    """Discs on a gradient; every disc is a person whose left wrist is its left end, the right one its right.

    Depth, normals and labels are functions of the disc alone, so that they can be checked against masks.
    """
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)[None]
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    labels = np.zeros((height, width), np.uint8)
    objects = []
    for number in range(1, discs + 1):
        radius = rng.uniform(0.1, 0.2) * min(height, width)
        x, y = (rng.uniform(radius, side - radius) for side in (width, height))
        mask = disc(height, width, x, y, radius)
        if not mask.any():
            continue
        labels[mask] = number
        image[mask, 2] = 255
        keypoints = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
        for name, side in (("left_wrist", -1), ("right_wrist", 1)):
            keypoints[KEYPOINT_NAMES.index(name)] = x + side * radius * 0.8 - 0.5, y - 0.5, 2
        objects.append(LabelledObject(number, box_around(mask), float(mask.sum()), False, mask, keypoints))
    edges = labels - cv2.erode(labels, np.ones((3, 3), np.uint8)) > 0
    normals = np.zeros((height, width, 3), np.float32)
    normals[labels > 0] = np.array([0.6, 0.0, -0.8])
    ids = labels.astype(np.int32) * 1000 + 7
    return Example(
        "discs",
        image,
        tuple(objects),
        labels=labels,
        parts=labels,
        saliency=(labels > 0).astype(np.uint8),
        edges=edges.astype(np.uint8),
        depth=np.where(labels > 0, labels, 0).astype(np.float32),
        normals=normals,
        panoptic=PanopticTruth(
            ids, [TrueSegment(int(i), int(i) // 1000, i > 7) for i in np.unique(ids).tolist()]
        ),
        image_class=3,
    )


def corners(sample: Sample) -> NDArray[np.float64]:
    height, width = sample.image.shape[:2]
    centre, side = sample.boxes[:, :2].astype(np.float64), sample.boxes[:, 2:].astype(np.float64)
    return np.concatenate([centre - side / 2, centre + side / 2], 1) * [width, height, width, height]


@st.composite
def placements(draw: st.DrawFn, turned: bool = True) -> Placement:
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    size = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    target = draw(st.integers(1, size[0])), draw(st.integers(1, size[1]))
    angle = draw(st.floats(-90, 90)) if turned else 0.0
    return Placement((height, width), (x0, y0, x1, y1), target, size, draw(st.booleans()), angle)


# One transform for everything


@many
@given(placements(), st.integers(0, 2**31))
def test_points_go_there_and_back(placement: Placement, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-10, 70, (7, 2))
    matrix = placement.matrix
    back = np.linalg.solve(matrix[:, :2], (placement.points(points) - matrix[:, 2]).T).T
    np.testing.assert_allclose(back, points, atol=1e-8)


@many
@given(placements(turned=False))
def test_the_window_becomes_the_target(placement: Placement) -> None:
    box = placement.boxes(np.array([placement.window], np.float64))[0]
    np.testing.assert_allclose(box, [0, 0, placement.target[1], placement.target[0]], atol=1e-9)


@many
@given(placements(turned=False))
def test_each_pixel_of_a_map_comes_from_where_the_matrix_says(placement: Placement) -> None:
    """Its values tell its pixels: the centre of each new pixel lies in the pixel it was taken from."""
    height, width = placement.source
    rows, columns = np.mgrid[:height, :width]
    placed = placement.labels(np.stack([columns, rows], axis=-1).astype(np.float32), -1)
    shown = placed[: placement.target[0], : placement.target[1]].reshape(-1, 2)
    assert (shown >= 0).all()
    y, x = np.mgrid[: placement.target[0], : placement.target[1]] + 0.5
    matrix = placement.matrix
    centres = np.linalg.solve(matrix[:, :2], (np.stack([x.ravel(), y.ravel()], 1) - matrix[:, 2]).T).T
    assert (np.abs(centres - (shown + 0.5)) <= 0.5 + 1e-4).all()
    placed[: placement.target[0], : placement.target[1]] = -1
    assert (placed == -1).all()


@many
@given(placements(), st.sampled_from([np.uint8, np.int32, np.float32]))
def test_mirroring_twice_changes_nothing(placement: Placement, dtype: Any) -> None:
    height, width = placement.source
    plain, mirrored = (replace(placement, mirrored=m) for m in (False, True))
    values = np.random.default_rng(0).integers(0, 200, (height, width)).astype(dtype)
    rows, columns = placement.target
    there = mirrored.labels(values, 0)
    again = there.copy()
    again[:rows, :columns] = there[:rows, :columns][:, ::-1]
    np.testing.assert_array_equal(again, plain.labels(values, 0))
    points = np.array([[1.0, 2.0], [3.5, 0.0]])
    twice = mirrored.points(points)
    twice[:, 0] = columns - twice[:, 0]
    np.testing.assert_allclose(twice, plain.points(points), atol=1e-9)


@many
@given(placements(turned=False))
def test_a_box_is_the_one_around_its_mask(placement: Placement) -> None:
    """Up to the half pixel at each end that sampling nearest pixels may cost."""
    height, width = placement.source
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height // 4 + max(1, height // 2), width // 5 : width // 5 + max(1, width // 2)] = True
    box = placement.boxes(np.array([box_around(mask)]))[0]
    placed = placement.masks(mask)
    if placed.any():
        np.testing.assert_allclose(box_around(placed), box, atol=0.5 + 1e-6)
    else:
        assert min(box[2:] - box[:2]) < 1 + 1e-6


@pytest.mark.parametrize("angle", [-30.0, 12.0, 90.0])
def test_a_turned_picture_takes_its_labels_along(angle: float) -> None:
    height, width = 100, 140
    mask = disc(height, width, 85, 40, 9)
    image = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    placement = Placement((height, width), (20, 10, 120, 90), (60, 75), (60, 80), True, angle)
    (centre,) = placement.points(np.array([[85.0, 40.0]]))
    for placed in (placement.masks(mask), placement.image(image)[:60, :75, 0] > 128):
        rows, columns = np.nonzero(placed)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], centre, atol=0.4)
    x0, y0, x1, y1 = placement.boxes(np.array([box_around(mask)]))[0]
    rows, columns = np.nonzero(placement.masks(mask))
    assert x0 - 0.5 <= columns.min() < columns.max() < x1 + 0.5
    assert y0 - 0.5 <= rows.min() < rows.max() < y1 + 0.5


def test_a_quarter_turn_turns_normals_clockwise() -> None:
    """What faced right faces down, as the picture's right side is now below."""
    normals = np.zeros((30, 30, 3), np.float32)
    normals[...] = [0.6, 0.0, -0.8]
    turned = Placement((30, 30), (5, 5, 25, 25), (20, 20), (20, 20), False, 90.0)
    np.testing.assert_allclose(turned.normals(normals)[10, 10], [0, 0.6, -0.8], atol=1e-6)
    right = turned.points(np.array([[25.0, 15.0]]))[0]
    np.testing.assert_allclose(right, [10, 20], atol=1e-9)


@many
@given(placements(), st.integers(0, 2**31))
def test_no_line_is_lost_by_shrinking(placement: Placement, seed: int) -> None:
    """Every edge pixel whose centre stays inside has an edge at the very place where it comes to lie."""
    rng = np.random.default_rng(seed)
    edges = (rng.random(placement.source) < 0.1).astype(np.uint8)
    edges[rng.random(placement.source) < 0.1] = 255
    placed = placement.edges(edges)
    rows, columns = np.nonzero(edges == 1)
    upright = replace(placement, mirrored=False)
    if placement.mirrored:
        shown = placed[: placement.target[0], : placement.target[1]]
        shown[:] = shown[:, ::-1].copy()
    points = upright.points(np.stack([columns, rows], 1) + 0.5)
    clear = (np.abs(points - points.round()) > 1e-6).all(axis=1)  # of pixels' rims: there rounding decides
    x, y = np.floor(points[clear]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < placement.target[1]) & (y < placement.target[0])
    assert (placed[y[inside], x[inside]] == 1).all()
    assert (placed[placement.target[0] :] == 255).all()
    assert (placed[:, placement.target[1] :] == 255).all()


def test_shrunk_lines_stay_whole_and_thin() -> None:
    edges = np.zeros((200, 200), np.uint8)
    cv2.line(edges, (3, 10), (190, 150), 1)
    placed = Placement.letterbox((200, 200), (40, 40)).edges(edges)
    count, _ = cv2.connectedComponents(placed, connectivity=8)
    assert count == 2  # the ground and one line
    assert placed.sum() < 80


@pytest.mark.parametrize(
    ("window", "target"), [((0, 0, 5, 5), (4, 4)), ((2, 2, 2, 3), (1, 1)), ((0, 0, 4, 4), (9, 2))]
)
def test_an_impossible_placement_says_what_is_wrong(window: Any, target: Any) -> None:
    with pytest.raises(InputError, match=r"must lie in a picture of \(4, 4\)"):
        Placement((4, 4), window, target, (8, 8))


# Whole samples


@few
@given(st.integers(0, 2**31), st.sampled_from(sorted(AUGMENTATIONS)))
def test_all_labels_of_a_sample_agree(seed: int, task: str) -> None:
    """Whatever happens to the picture, its maps, masks, boxes and people tell of the same places."""
    example, size = picture(seed=seed % 50), (64, 80)
    chosen = replace(AUGMENTATIONS[task], turn=10.0 if seed % 3 == 0 else 0.0, colours=None)
    sample = make_training_sample(example, size, np.random.default_rng(seed), ALL, chosen)
    maps, known = sample.maps, sample.maps["seg"] != 255
    assert sample.image.shape == (*size, 3)
    assert all(maps[name].shape[:2] == size for name in DENSE)
    shown = np.where(known, maps["seg"], 0)
    twin = draw_placement(chosen, (90, 120), size, np.random.default_rng(seed), example.labels)
    np.testing.assert_array_equal(maps["depth"], shown.astype(np.float32) / np.float32(twin.zoom))
    np.testing.assert_array_equal(maps["parse"], maps["seg"])
    np.testing.assert_array_equal(maps["sal"][known], shown[known] > 0)
    np.testing.assert_array_equal(maps["pan"][known], shown[known].astype(int) * 1000 + 7)
    assert not maps["pan"][~known].any()
    rims = {255} if chosen.turn == 0 else {1, 255}  # the picture's rim runs through pixels when it is turned
    assert set(np.unique(maps["edge"][~known]).tolist()) <= rims
    assert np.linalg.norm(maps["normal"], axis=2) == pytest.approx((shown > 0).astype(float), abs=1e-5)
    assert sample.masks is not None
    for box, class_id, mask in zip(corners(sample), sample.classes, sample.masks, strict=True):
        np.testing.assert_allclose(box, box_around(mask), atol=1e-3)
        assert mask[shown == class_id].all()
    assert set(sample.segments.values()) >= set(np.unique(shown))
    assert sample.image_class == 3
    visible = sample.people[sample.people[..., 2] > 0]
    assert ((visible[:, :2] >= 0) & (visible[:, :2] <= [size[1], size[0]])).all()
    assert not sample.people[sample.people[..., 2] == 0].any()
    assert len(sample.people) == len(sample.regions) <= len(sample.boxes)


@few
@given(st.integers(0, 2**31))
def test_boxes_without_masks_are_those_with_masks(seed: int) -> None:
    """A rectangle is told by its box as by its mask, through any crop."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((80, 100), np.bool_)
    x, y = int(rng.integers(0, 60)), int(rng.integers(0, 50))
    mask[y : y + int(rng.integers(4, 30)), x : x + int(rng.integers(4, 40))] = True
    told = LabelledObject(0, box_around(mask), float(mask.sum()), mask=mask)
    bare = replace(told, mask=None)
    chosen = Augmentation("fill", (0.8, 2.0))
    by_mask, by_box = (
        make_training_sample(
            Example("x", np.zeros((80, 100, 3), np.uint8), (o,)), (64, 64), np.random.default_rng(seed),
            ("det",), chosen,
        )
        for o in (told, bare)
    )  # fmt: skip
    if len(by_mask.boxes) == len(by_box.boxes) == 1:
        np.testing.assert_allclose(corners(by_mask), corners(by_box), atol=0.5 + 1e-3)
    else:  # only where it is at the limit
        ((x0, y0, x1, y1),) = (
            corners(by_mask if len(by_mask.boxes) else by_box)
            if (len(by_mask.boxes) + len(by_box.boxes))
            else [(0, 0, 0, 0)]
        )
        scale = 64 / 80 * 2.0
        assert (x1 - x0) * (y1 - y0) < (MIN_INSIDE + 0.2) * mask.sum() * scale**2


@pytest.mark.parametrize("masked", [True, False])
def test_what_is_mostly_outside_is_dropped(masked: bool) -> None:
    mask = np.zeros((50, 100), np.bool_)
    mask[10:20, 40:50] = True
    thing = LabelledObject(2, box_around(mask), 100.0, mask=mask if masked else None)
    example = Example("x", np.zeros((50, 100, 3), np.uint8), (thing,))
    chosen = Augmentation("fill", flip=0.0)
    shares = set()
    for seed in range(60):
        placement = draw_placement(chosen, (50, 100), (50, 50), np.random.default_rng(seed))
        sample = make_training_sample(example, (50, 50), np.random.default_rng(seed), ("det",), chosen)
        x0 = placement.window[0]
        share = max(0, min(50, x0 + 50) - max(40, x0)) / 10
        assert len(sample.boxes) == (share >= MIN_INSIDE)
        shares.add(share)
    assert min(shares) < MIN_INSIDE < max(shares)


def test_a_mirrored_person_has_its_sides_swapped() -> None:
    example = picture(seed=4)
    plain, mirrored = (
        make_training_sample(
            example, (90, 120), np.random.default_rng(0), ("pose",), Augmentation(flip=chance)
        ).people
        for chance in (0.0, 1.0)
    )
    names = {name: i for i, name in enumerate(KEYPOINT_NAMES)}
    assert len(plain) == len(example.objects or ()) > 2
    for left, right in FLIP_PAIRS:
        np.testing.assert_array_equal(plain[:, left, 2], mirrored[:, right, 2])
    wrist = plain[:, names["left_wrist"]]
    np.testing.assert_allclose(mirrored[:, names["right_wrist"], 0], 120 - wrist[:, 0], atol=1e-4)
    np.testing.assert_allclose(mirrored[:, names["right_wrist"], 1], wrist[:, 1], atol=1e-4)
    # Integers are pixel centres in the labels, so half a pixel more in the frame of boxes.
    labelled = [o.keypoints for o in example.objects or ()]
    np.testing.assert_allclose(plain[:, names["left_wrist"], 0], np.array(labelled)[:, 9, 0] + 0.5)


def test_mirroring_negates_the_normals_x() -> None:
    example = picture()
    maps = [
        make_training_sample(
            example, (90, 120), np.random.default_rng(0), ("normal",), Augmentation(flip=chance)
        ).maps["normal"]
        for chance in (0.0, 1.0)
    ]
    np.testing.assert_array_equal(maps[1][:, ::-1] * np.array([-1, 1, 1], np.float32), maps[0])
    assert (maps[1][..., 0] < 0).any()


@pytest.mark.parametrize("shape", [(80, 80), (480, 640), (30, 50), (25, 192)])
@pytest.mark.parametrize("settings", [WHOLE, AUGMENTATIONS["anom"], None])
def test_letterboxed_pictures_have_their_depth_as_labelled(
    shape: tuple[int, int], settings: Augmentation | None
) -> None:
    """Whatever their own size is: it is unknown to the network."""
    example = replace(picture(*shape), depth=np.full(shape, 3, np.float32))
    rng = None if settings is None else np.random.default_rng(0)
    depth = make_training_sample(example, (64, 96), rng, ("depth",), settings).maps["depth"]
    box = Letterbox(*shape, 64, 96)
    assert (depth[: box.resized_height, : box.resized_width] == 3).all()
    assert (depth[depth != 3] == 0).all()
    assert (depth == 3).sum() == box.resized_height * box.resized_width


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(480, 640), (30, 50)])
def test_what_is_zoomed_into_is_told_to_be_nearer(seed: int, shape: tuple[int, int]) -> None:
    """A thing's width in the picture times its distance is that of the letterboxed picture, as for a camera
    that goes nearer; at 1.5 times, it is 1.5 times nearer.
    """
    height, width = shape
    thing = LabelledObject(0, (0.47 * width, 0.47 * height, 0.53 * width, 0.53 * height), 1.0)
    example = Example("x", np.zeros((*shape, 3), np.uint8), (thing,), depth=np.full(shape, 3, np.float32))
    chosen, size = replace(AUGMENTATIONS["depth"], turn=0.0), (144, 192)
    rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
    zoomed = make_training_sample(example, size, rng, ("depth", "det"), chosen)
    still = make_training_sample(example, size, None, ("depth", "det"), chosen)
    (told,) = np.unique(zoomed.maps["depth"][zoomed.maps["depth"] > 0])
    assert 3 / 1.51 <= told <= 3
    assert told == pytest.approx(3 / draw_placement(chosen, shape, size, twin).zoom)
    if len(zoomed.boxes):
        assert zoomed.boxes[0, 2] * told == pytest.approx(still.boxes[0, 2] * 3, rel=0.02)
    most = make_training_sample(example, size, rng, ("depth",), replace(chosen, scales=(1.5, 1.5))).maps[
        "depth"
    ]
    assert most.max() == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("task", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (33, 200), (25, 192), (1, 1)])
def test_without_chance_every_task_sees_what_the_runtime_shows(task: str, shape: tuple[int, int]) -> None:
    example, size = replace(picture(*shape), image_class=2), (64, 96)
    tensor, letterbox = preprocess(example.image, ImageSpec(*size))
    chances = [None] if task != "anom" else [None, np.random.default_rng(0)]  # anom leaves nothing to chance
    for rng in chances:
        sample = make_training_sample(example, size, rng, (task,), AUGMENTATIONS[task])
        np.testing.assert_array_equal(sample.image, tensor[0])
    placement = Placement.letterbox(shape, size)
    assert placement.target == (letterbox.resized_height, letterbox.resized_width)
    assert placement.zoom == 1


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (33, 200), (1, 1)])
def test_without_chance_the_picture_lies_as_the_runtime_has_it(shape: tuple[int, int]) -> None:
    example, size = picture(*shape), (64, 96)
    sample = make_training_sample(example, size, None, ALL)
    tensor, letterbox = preprocess(example.image, ImageSpec(*size))
    np.testing.assert_array_equal(sample.image, tensor[0])
    objects = example.objects or ()
    boxes = letterbox.boxes_to_input(np.array([o.box for o in objects]).reshape(-1, 4)) * [96, 64, 96, 64]
    bare = replace(example, objects=tuple(replace(o, mask=None) for o in objects))
    np.testing.assert_allclose(corners(make_training_sample(bare, size, None, ("det",))), boxes, atol=1e-3)
    if objects:
        points = np.array([o.keypoints for o in objects])[:, 9, :2]
        expected = letterbox.points_to_input(points) + 0.5
        np.testing.assert_allclose(sample.people[:, 9, :2], expected, atol=1e-3)
    regions = [o.box for o in objects]
    assert len(sample.regions) == len(regions)
    again = make_training_sample(example, size, None, ALL)
    np.testing.assert_array_equal(again.image, sample.image)


@pytest.mark.parametrize("task", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (37, 11)])
def test_any_picture_becomes_a_sample(task: str, shape: tuple[int, int]) -> None:
    example = replace(picture(*shape), objects=())
    for seed in range(5):
        rng = np.random.default_rng(seed)
        sample = make_training_sample(example, (32, 48), rng, ALL, AUGMENTATIONS[task])
        assert sample.image.shape == (32, 48, 3)
        assert sample.boxes.shape == sample.regions.shape == (0, 4)
        assert sample.people.shape == (0, 17, 3)
        assert sample.masks is not None
        assert sample.masks.shape == (0, 32, 48)


def test_crowds_and_people_without_keypoints_teach_nothing() -> None:
    example = picture(discs=3)
    first, second, third = example.objects or ()
    nobody = replace(second, keypoints=np.zeros((17, 3), np.float32))
    example = replace(example, objects=(replace(first, crowd=True), nobody, replace(third, mask=None)))
    size = (90, 120)
    assert len(make_training_sample(example, size, None, ("det",)).boxes) == 2
    sample = make_training_sample(example, size, None, ("inst", "pose"))
    assert sample.classes.tolist() == [second.class_id]
    assert len(sample.people) == len(sample.regions) == 0
    assert [s.name for s in pose_samples([example], 1, None)] == ["discs"]
    images = {s.image.tobytes() for s in pose_samples([example], 3, None)}
    assert len(images) == 1  # the only one, three times


def test_a_task_without_labels_and_a_strange_image_are_errors() -> None:
    example = picture()
    with pytest.raises(DatasetError, match="discs: no labels for task 'depth'"):
        make_training_sample(replace(example, depth=None), (32, 32), None, ("seg", "depth"))
    with pytest.raises(ImageError):
        make_training_sample(replace(example, image=example.image[..., :2]), (32, 32), None, ("seg",))


# Settings


def test_every_task_has_its_augmentation() -> None:
    assert set(AUGMENTATIONS) == {task.name for task in TASKS.values()}


def test_large_scale_jitter_shows_from_a_tenth_to_twice() -> None:
    """The input's size is fixed; the rest of it is grey, and no label says anything there."""
    example, scales = picture(), []
    for seed in range(200):
        rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
        placement = draw_placement(AUGMENTATIONS["det"], (90, 120), (96, 96), twin)
        sample = make_training_sample(example, (96, 96), rng, ("det", "seg"))
        scales.append(placement.scale / 0.8)
        rows, columns = placement.target
        assert (sample.image[rows:] == GREY).all()
        assert (sample.image[:, columns:] == GREY).all()
        assert (sample.maps["seg"][rows:] == 255).all()
        assert (sample.maps["seg"][:rows, :columns] < 255).all()
    assert 0.08 < min(scales) < 0.25
    assert 1.8 < max(scales) < 2.1
    assert 0.9 < np.mean(scales) < 1.2


def test_a_long_picture_is_not_enlarged_without_end() -> None:
    placement = draw_placement(replace(AUGMENTATIONS["seg"], scales=(1, 1)), (10, 500), (64, 64),
                               np.random.default_rng(0))  # fmt: skip
    assert placement.scale == pytest.approx(256 / 500, rel=0.1)


def test_crops_do_not_show_one_class_alone() -> None:
    """Three crops of twenty show less than three quarters of the wall: ten tries find one mostly."""
    labels = np.zeros((100, 400), np.uint8)
    labels[:, 330:370] = 1
    labels[:, 390:] = 255
    chosen = Augmentation("fill", cat_max_ratio=0.75)
    shares: dict[float, list[bool]] = {0.75: [], 1.0: []}
    for limit, found in shares.items():
        for seed in range(200):
            placement = draw_placement(
                replace(chosen, cat_max_ratio=limit),
                (100, 400),
                (100, 100),
                np.random.default_rng(seed),
                labels,
            )
            placed = placement.labels(labels, 255)
            pixels = np.bincount(placed[placed < 255])
            found.append(pixels.max() < 0.75 * pixels.sum())
    assert np.mean(shares[0.75]) > 3 * np.mean(shares[1.0]) > 0
    assert np.mean(shares[0.75]) > 0.7  # 1 - 0.85 ** 10 = 0.8


def test_parts_of_pictures_for_classification() -> None:
    chosen = AUGMENTATIONS["cls"]
    for seed in range(200):
        placement = draw_placement(chosen, (300, 400), (64, 64), np.random.default_rng(seed))
        x0, y0, x1, y1 = placement.window
        assert placement.target == (64, 64)
        assert 0.078 < (x1 - x0) * (y1 - y0) / 120_000 <= 1
        assert 0.73 < (x1 - x0) / (y1 - y0) < 1.36
    wide = draw_placement(replace(chosen, scales=(0.9, 1)), (10, 1000), (64, 64), np.random.default_rng(0))
    assert wide.window == (493, 0, 506, 10)


# Colours


def test_colours_stray_but_stay_in_place() -> None:
    image = np.full((20, 20, 3), (200, 100, 60), np.uint8)
    image[5:10] = (10, 200, 240)
    seen = [distort(image, Colours(chance=1.0), np.random.default_rng(seed)) for seed in range(60)]
    for changed in seen:
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert len(np.unique(changed.reshape(-1, 3), axis=0)) <= 2
        assert (changed[0] == changed[-1]).all()
    assert len({changed.tobytes() for changed in seen}) > 50
    np.testing.assert_array_equal(distort(image, Colours(chance=0.0), np.random.default_rng(0)), image)


@pytest.mark.parametrize("seed", range(6))
def test_each_colour_changes_what_it_is_named_after(seed: int) -> None:
    image = np.random.default_rng(1).integers(60, 180, (30, 30, 3), np.uint8)
    still: dict[str, Any] = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0}
    before = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int)

    def after(**change: Any) -> NDArray[np.uint8]:
        return distort(image, Colours(**{**still, **change}, chance=1.0), np.random.default_rng(seed))

    grey = after(saturation=(0.0, 0.0))
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    lighter = after(brightness=20.0).astype(int) - image
    assert np.ptp(lighter) <= 5  # one step everywhere, up to the rounding of 8-bit hues
    turned = cv2.cvtColor(after(hue=36.0), cv2.COLOR_RGB2HSV).astype(int)
    assert np.abs(turned[..., 2] - before[..., 2]).max() <= 1
    doubled = after(contrast=(1.4, 1.4)).astype(float)
    assert doubled.mean() == pytest.approx(1.4 * image.mean(), rel=0.02)


def test_padding_keeps_its_grey() -> None:
    chosen = replace(WHOLE, colours=Colours(brightness=100, chance=1.0))
    for seed in range(8):
        sample = make_training_sample(picture(), (96, 96), np.random.default_rng(seed), ("seg",), chosen)
        assert (sample.image[72:] == GREY).all()


def test_another_camera_changes_the_picture_alone() -> None:
    """Noise and blur are of the picture, not of its padding; other photographs stay as they are."""
    example, size = picture(), (96, 96)
    plain = make_training_sample(example, size, np.random.default_rng(3), ALL, WHOLE)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        taken = make_training_sample(example, size, rng, ALL, replace(WHOLE, sensor=1.0))
        assert (taken.image[:72] != plain.image[:72]).mean() > 0.3
        assert (taken.image[72:] == GREY).all()
        for name, labels in plain.maps.items():
            np.testing.assert_array_equal(taken.maps[name], labels)
        np.testing.assert_array_equal(taken.boxes, plain.boxes)
        np.testing.assert_array_equal(taken.people, plain.people)
    changed = [
        (
            make_training_sample(
                example, size, np.random.default_rng(seed), ("det",), replace(WHOLE, sensor=0.5)
            ).image
            != plain.image
        ).any()
        for seed in range(40)
    ]
    assert 10 < sum(changed) < 30
    assert all(chosen.sensor == 0 for chosen in AUGMENTATIONS.values())


# People one by one


def test_people_are_cropped_one_by_one() -> None:
    example = picture(discs=3)
    samples = pose_samples([example], 3, None)
    people = [o for o in example.objects or () if o.keypoints is not None]
    assert len(samples) == len(people) == 3
    for sample, person in zip(samples, people, strict=True):
        assert sample.image.shape == (256, 192, 3)
        assert np.flatnonzero(sample.weights).tolist() == [9, 10]
        x0, _, x1, _ = person.box
        assert sample.view.region[0] < x0 < x1 < sample.view.region[2]
        left, right = (np.unravel_index(sample.heatmaps[k].argmax(), (64, 48))[1] for k in (9, 10))
        assert left < right
    varied = [pose_samples([example], 1, np.random.default_rng(s))[0].image.tobytes() for s in range(4)]
    assert len(set(varied)) == 4


def test_crops_are_of_people_in_turns() -> None:
    """No more pictures are read than it takes; nobody comes again before everybody came."""
    pictures = [replace(picture(discs=2, seed=seed), name=str(seed)) for seed in range(3)]
    nobody = replace(picture(), objects=None)
    unread = iter([nobody, *pictures])
    names = [s.name for s in pose_samples(unread, 3, np.random.default_rng(0))]
    assert len(names) == 3
    assert set(names) <= {"0", "1"}
    assert next(unread).name == "2"
    again = [s.name for s in pose_samples(pictures, 15, np.random.default_rng(1))]
    assert sorted(again[:12]) == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert len(again) == 15
    first, second = ([s.name for s in pose_samples(pictures, 9, np.random.default_rng(7))] for _ in range(2))
    assert first == second
    with pytest.raises(DatasetError, match="no image shows a person with a labelled keypoint"):
        pose_samples([nobody], 4, None)
