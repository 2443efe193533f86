"""Instance masks and panoptic maps in the original image's frame, against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import EngineError
from argus_edge.geometry import Letterbox
from argus_edge.results import Instances, PanopticMap
from argus_edge.runtime.decode.masks import decode_masks
from argus_edge.runtime.decode.panoptic import decode_panoptic
from tests.runtime.references.decode import exact_logits

Floats = NDArray[np.floating[Any]]
NAMES = ("box", "sphere", "cylinder")
THINGS = 2  # "cylinder" is stuff here
SIDE = 320  # of the network input
SIZES = pytest.mark.parametrize(("height", "width"), [(2160, 4096), (48, 64), (321, 517), (517, 321), (1, 1)])


def disc(letterbox: Letterbox, x: float, y: float, radius: float, side: int = SIDE // 4) -> Floats:
    """Logits (side, side) of a disc at (x, y) in [0, 1] of the image; `radius` by its longer side."""
    cell = (np.arange(side) + 0.5) * SIDE / side
    longer = max(letterbox.resized_height, letterbox.resized_width)
    across = (cell - x * letterbox.resized_width)[None] / longer
    down = (cell - y * letterbox.resized_height)[:, None] / longer
    return 100 * (radius - np.hypot(across, down))


def true_disc(height: int, width: int, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    longer = max(height, width)
    across = (np.arange(width) + 0.5 - x * width)[None] / longer
    down = (np.arange(height) + 0.5 - y * height)[:, None] / longer
    return np.asarray(np.hypot(across, down) < radius)


def instances(masks: Any, classes: Any = None, scores: Any = None, boxes: Any = None) -> dict[str, Any]:
    count = len(masks)
    return {
        "boxes": np.tile([[0, 0, 1, 1]], (count, 1))[None].astype(np.float32) if boxes is None else boxes,
        "scores": np.asarray(np.linspace(1, 0.5, count) if scores is None else scores, np.float32)[None],
        "classes": np.asarray(np.zeros(count) if classes is None else classes, np.int32)[None],
        "masks": np.asarray(masks, np.float32)[None],
    }


def queries(masks: Any, classes: Any, scores: Any) -> dict[str, Any]:
    outputs = instances(masks, classes, scores)
    del outputs["boxes"]
    return outputs


def iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((mask & other).sum() / (mask | other).sum())


def reference_merge(
    outputs: dict[str, Any], letterbox: Letterbox, score: float, overlap: float
) -> tuple[NDArray[np.int32], list[tuple[int, int, bool, float, int]]]:
    """The published merge, all masks at once: ids (H, W) and the segments (id, class, thing, score, area)."""
    ids = np.zeros((letterbox.image_height, letterbox.image_width), np.int32)
    rows = zip(outputs["scores"][0], outputs["classes"][0], outputs["masks"][0], strict=True)
    kept = [(float(s), int(c), m) for s, c, m in rows if c < len(NAMES) and s > score]
    if not kept:
        return ids, []
    masks = 1 / (1 + np.exp(-np.stack([exact_logits(m, letterbox) for _, _, m in kept])))
    winner = np.argmax(np.array([s for s, _, _ in kept])[:, None, None] * masks, axis=0)
    segments: list[tuple[int, int, bool, float, int]] = []
    for k, (s, c, _) in enumerate(kept):
        area, pixels = (masks[k] >= 0.5).sum(), (winner == k) & (masks[k] >= 0.5)
        if not pixels.any() or (winner == k).sum() / area < overlap:
            continue
        same = [n for n, segment in enumerate(segments) if segment[1] == c and c >= THINGS]
        if same:
            number, _, thing, best, covered = segments[same[0]]
            segments[same[0]] = (number, c, thing, max(s, best), covered + int(pixels.sum()))
        else:
            number = len(segments) + 1
            segments.append((number, c, c < THINGS, s, int(pixels.sum())))
        ids[pixels] = number
    return ids, segments


def panoptic(outputs: dict[str, Any], letterbox: Letterbox, **thresholds: float) -> PanopticMap:
    return decode_panoptic(outputs, letterbox, NAMES, THINGS, **thresholds)


@SIZES
def test_known_masks_come_back(height: int, width: int) -> None:
    letterbox = Letterbox(height, width, SIDE, SIDE)
    places = [(0.5, 0.5, 0.2), (0.3, 0.6, 0.1), (0.8, 0.2, 0.3)]
    if (height, width) == (1, 1):
        places = [(0.5, 0.5, 0.6)]
    result = decode_masks(instances([disc(letterbox, *place) for place in places]), letterbox, NAMES)
    assert isinstance(result, Instances)
    assert result.masks.shape == (len(places), height, width)
    assert result.masks.dtype == np.bool_
    worst = min(iou(m, true_disc(height, width, *p)) for m, p in zip(result.masks, places, strict=True))
    assert worst > (0.97 if height > 48 else 0.94)
    np.testing.assert_allclose(result.boxes[0], [0, 0, width, height], atol=1e-3)


def test_the_padding_is_cut_off_before_the_image_is_reached() -> None:
    """A mask that fills image or padding alone stops at the border between them."""
    letterbox = Letterbox(160, 320, SIDE, SIDE)  # the lower half of the input is padding
    upper = np.where(np.arange(80) < 40, 5.0, -5.0)[:, None].repeat(80, 1)
    result = decode_masks(instances([upper, -upper]), letterbox, NAMES)
    assert result.masks[0, :158].all()
    assert len(result) == 1 or not result.masks[1, :158].any()


def test_what_is_below_the_threshold_empty_or_not_finite_is_left_out() -> None:
    letterbox = Letterbox(160, 320, SIDE, SIDE)
    full, empty = np.full((80, 80), 3.0), np.full((80, 80), -3.0)
    hole, infinite = full.copy(), full.copy()
    hole[3, 3], infinite[0, 0] = np.nan, np.inf
    masks = [full, hole, infinite, empty, full, full, full, full]
    outputs = instances(masks, [0, 1, 2, 0, 1, 2, 0, 1], [0.9, 0.9, 0.8, 0.8, np.nan, 0.7, 0.6, 0.4])
    outputs["boxes"][0, 5] = [0.2, 0.6, 0.5, 0.9]  # in the padding
    outputs["boxes"][0, 6, 0] = np.nan
    result = decode_masks(outputs, letterbox, NAMES, score_threshold=0.3)
    np.testing.assert_allclose(result.scores, [0.9, 0.4])
    assert result.classes.tolist() == [0, 1]
    assert result.masks.all()
    assert len(decode_masks(outputs, letterbox, NAMES, score_threshold=0.5)) == 1
    none = decode_masks(outputs, letterbox, NAMES, score_threshold=0.95)
    assert (none.masks.shape, none.boxes.shape) == ((0, 160, 320), (0, 4))


def test_masks_go_with_their_boxes_by_descending_score() -> None:
    letterbox = Letterbox(SIDE, SIDE, SIDE, SIDE)
    masks = [np.where(np.arange(80) < 10 * i, 3.0, -3.0)[None].repeat(80, 0) for i in (1, 2, 3)]
    outputs = instances(masks, [0, 1, 2], [0.4, 0.8, 0.6])
    outputs["boxes"][0, :, 2] = 0.125, 0.25, 0.375
    result = decode_masks(outputs, letterbox, NAMES)
    assert result.classes.tolist() == [1, 2, 0]
    np.testing.assert_allclose(result.boxes[:, 2], result.masks[:, 0].sum(axis=1))


def test_results_share_no_memory_with_the_outputs() -> None:
    letterbox = Letterbox(80, 80, 80, 80)  # nothing has to be resized
    outputs = instances([np.full((80, 80), 3.0)])
    result = decode_masks(outputs, letterbox, NAMES)
    merged = panoptic({name: outputs[name] for name in ("scores", "classes", "masks")}, letterbox)
    before = outputs["masks"].copy()
    for given in outputs.values():
        for got in (result.masks, result.boxes, result.scores, result.classes, merged.segment_ids):
            assert not np.shares_memory(given, got)
    np.testing.assert_array_equal(outputs["masks"], before)


@pytest.mark.parametrize("bad", [-1, 4])
def test_a_class_without_a_name_is_refused(bad: int) -> None:
    masks, letterbox = np.ones((2, 80, 80)), Letterbox(9, 9, 32, 32)
    with pytest.raises(EngineError, match=f"classes {min(bad, 0)} to {max(bad, 0)}, but the package names 3"):
        decode_masks(instances(masks, [0, bad]), letterbox, NAMES)
    with pytest.raises(EngineError, match="the package names 3"):
        panoptic(queries(masks, [0, bad], [0.9, 0.9]), letterbox)


@pytest.mark.parametrize("size", [(48, 64), (321, 517), (240, 100)])
@pytest.mark.parametrize("seed", range(4))
def test_the_merge_is_the_published_one(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    letterbox = Letterbox(*size, SIDE, SIDE)
    count = 12
    places = rng.uniform([0, 0, 0.05], [1, 1, 0.4], (count, 3))
    masks = [disc(letterbox, *place) * 0.2 + rng.normal(0, 0.3, (80, 80)) for place in places]
    scores = rng.uniform(0.5, 1, count)
    outputs = queries(masks, rng.integers(0, len(NAMES) + 1, count), scores)
    for score, overlap in ((0.8, 0.8), (0.5, 0.3), (0.6, 0.0)):
        result = panoptic(outputs, letterbox, score_threshold=score, overlap_threshold=overlap)
        ids, segments = reference_merge(outputs, letterbox, score, overlap)
        assert (result.segment_ids != ids).mean() < 1e-4  # float32 against float64 at the borders
        assert [s.id for s in result.segments] == list(range(1, len(segments) + 1))
        for segment, (_, c, thing, best, area) in zip(result.segments, segments, strict=True):
            assert (segment.class_id, segment.class_name, segment.is_thing) == (c, NAMES[c], thing)
            assert segment.score == pytest.approx(best, abs=1e-6)
            assert segment.area == pytest.approx(area, abs=1e-4 * ids.size)
            assert segment.area == np.count_nonzero(result.segment_ids == segment.id)


@SIZES
def test_known_segments_come_back(height: int, width: int) -> None:
    letterbox = Letterbox(height, width, SIDE, SIDE)
    places = [(0.25, 0.5, 0.14), (0.75, 0.5, 0.14)]
    if (height, width) == (1, 1):
        places = [(0.5, 0.5, 0.6)]
    masks = [disc(letterbox, *place) for place in places]
    result = panoptic(queries(masks, [1] * len(places), [0.9] * len(places)), letterbox)
    assert result.segment_ids.shape == (height, width)
    assert result.segment_ids.dtype == np.int32
    assert len(result.segments) == len(places)
    for number, place in enumerate(places, 1):
        found = result.segment_ids == number
        assert iou(found, true_disc(height, width, *place)) > (0.97 if height > 48 else 0.94)


def test_things_stay_apart_and_stuff_of_one_class_is_one_segment() -> None:
    letterbox = Letterbox(320, 320, SIDE, SIDE)
    corners = [disc(letterbox, x, y, 0.2) for x in (0.25, 0.75) for y in (0.25, 0.75)]
    result = panoptic(queries(corners, [2, 1, 2, 1], [0.85, 0.9, 0.95, 0.9]), letterbox)
    assert [(s.id, s.class_id, s.is_thing) for s in result.segments] == [
        (1, 2, False),
        (2, 1, True),
        (3, 1, True),
    ]
    assert result.segments[0].score == pytest.approx(0.95)
    assert result.segments[0].area == pytest.approx(2 * result.segments[1].area, rel=0.01)
    assert result.segment_ids[80, 80] == result.segment_ids[80, 240] == 1
    assert result.segment_ids[160, 160] == 0  # nobody's


def test_a_mask_mostly_behind_others_is_dropped_and_leaves_void() -> None:
    letterbox = Letterbox(320, 320, SIDE, SIDE)
    front, behind = disc(letterbox, 0.5, 0.5, 0.3), disc(letterbox, 0.57, 0.5, 0.3)
    around = -np.maximum(front, behind)
    outputs = queries([behind, front, around], [0, 1, 2], [0.82, 0.99, 0.9])
    result = panoptic(outputs, letterbox)
    assert [s.class_name for s in result.segments] == ["sphere", "cylinder"]
    hidden = true_disc(320, 320, 0.57, 0.5, 0.28) & ~true_disc(320, 320, 0.5, 0.5, 0.32)
    assert hidden.any()
    assert not result.segment_ids[hidden].any()
    everything = panoptic(outputs, letterbox, overlap_threshold=0.05)
    assert [s.class_name for s in everything.segments] == list(NAMES)
    assert (everything.segment_ids[hidden] == 1).all()


def test_a_panoptic_map_without_segments() -> None:
    letterbox = Letterbox(48, 64, SIDE, SIDE)
    full, hole = np.full((80, 80), 3.0), np.full((80, 80), np.nan)
    empty = np.full((80, 80), -3.0)
    outputs = queries([full, full, hole, full, empty], [3, 0, 1, 2, 0], [0.99, 0.8, 0.9, np.nan, 0.9])
    result = panoptic(outputs, letterbox)
    assert result.segments == ()
    assert result.segment_ids.shape == (48, 64)
    assert not result.segment_ids.any()
