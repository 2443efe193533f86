"""The comparison itself: what it must see, and the swaps it must forgive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.export.parity import TIE, Deviation, align_candidates, broken, compare, judge


def candidates(scores: list[float], order: list[int] | None = None) -> dict[str, np.ndarray]:
    count = len(scores)
    boxes = np.linspace(0.1, 0.9, count * 4, dtype=np.float32).reshape(1, count, 4)
    found = {
        "boxes": boxes,
        "scores": np.array([scores], np.float32),
        "classes": np.arange(count, dtype=np.int32)[None] % 3,
    }
    return found if order is None else {name: value[:, order] for name, value in found.items()}


def test_relative_error_and_sqnr_of_a_known_difference() -> None:
    reference = np.array([[3.0, 4.0]], np.float32)
    actual = np.array([[3.0, 4.04]], np.float32)
    deviation = compare([{"depth": reference}], [{"depth": actual}])["depth"]
    assert deviation.error == pytest.approx(0.01, rel=1e-4)
    assert deviation.worst == pytest.approx(0.04, rel=1e-4)
    assert deviation.sqnr_db == pytest.approx(20 * math.log10(5 / 0.04), rel=1e-4)


def test_labels_count_the_share_that_differs() -> None:
    reference = np.zeros((1, 10, 10), np.uint8)
    actual = reference.copy()
    actual[0, :3, 0] = 2
    deviation = compare([{"labels": reference}], [{"labels": actual}])["labels"]
    assert (deviation.error, deviation.sqnr_db) == (0.03, None)


def test_equal_outputs_have_no_error_and_no_noise() -> None:
    values = {"depth": np.ones((1, 4, 4), np.float32)}
    assert compare([values], [values])["depth"].error == 0
    assert compare([values], [values])["depth"].sqnr_db is None


def test_values_that_are_not_finite_are_infinitely_wrong() -> None:
    reference = {"depth": np.ones((1, 2), np.float32)}
    assert compare([reference], [{"depth": np.array([[1, np.nan]], np.float32)}])["depth"].error == math.inf


def test_a_swap_of_equal_scores_is_forgiven() -> None:
    scores = [0.9, 0.5, 0.5, 0.3, 0.1]
    found = compare([candidates(scores)], [candidates(scores, [0, 2, 1, 3, 4])])
    assert all(deviation.error == 0 for deviation in found.values())


def test_a_swap_of_unequal_scores_is_an_error() -> None:
    scores = [0.9, 0.5, 0.4, 0.3, 0.1]
    unsorted = candidates(scores, [0, 2, 1, 3, 4])
    assert compare([candidates(scores)], [unsorted])["scores"].error > 0.1
    found = compare([candidates(scores)], [unsorted | {"scores": np.array([scores], np.float32)}])
    assert found["boxes"].error > 0.1
    assert found["classes"].error > 0


def test_what_is_plainly_wrong_is_no_rounding() -> None:
    assert broken(Deviation(math.inf, None), features=False)
    assert broken(Deviation(1.2, 3.0), features=True)
    assert not broken(Deviation(1.2, 3.0), features=False)
    assert not broken(Deviation(0.05, 25.0), features=True)


def test_a_wrong_box_is_seen() -> None:
    reference, actual = candidates([0.9, 0.5, 0.1]), candidates([0.9, 0.5, 0.1])
    actual["boxes"] = actual["boxes"].copy()
    actual["boxes"][0, 1, 2] += 0.2
    assert compare([reference], [actual])["boxes"].error > 0.1


def test_candidates_that_tie_with_the_last_are_left_out() -> None:
    scores = [0.9, 0.5, 0.1, 0.1 + TIE["fp32"] / 2]
    reference, actual = align_candidates(candidates(scores), candidates(scores), TIE["fp32"])
    assert reference["scores"].shape == actual["scores"].shape == (1, 2)


def masked(scores: list[float], masks: list[float]) -> dict[str, np.ndarray]:
    """Candidates whose masks have one cell each."""
    return {
        "scores": np.array([scores], np.float32),
        "masks": np.array(masks, np.float32).reshape(1, len(masks), 1, 1),
        "boxes": np.zeros((1, len(scores), 4), np.float32),
        "classes": np.zeros((1, len(scores)), np.int32),
    }


def test_a_mask_s_score_may_hang_on_a_cell_next_to_0() -> None:
    count = 20
    right = masked([0.9 - 0.02 * i for i in range(count)], [0.0005] + [5.0] * (count - 1))
    other = {name: values.copy() for name, values in right.items()}
    other["scores"][0, 0] -= 0.01
    assert compare([right], [other])["scores"].error > 0.01  # the masks are the same: no excuse
    other["masks"][0, 0] = 0.0006
    found = compare([right], [other])
    assert found["scores"].error == 0
    assert found["masks"].error == pytest.approx(0.0001 / 5, rel=1e-3)
    # Not in int8, whose masks differ everywhere, and not where it is more than a tenth of them.
    assert compare([right], [other], "int8")["scores"].error > 0.01
    other["masks"][0, 1::5] = 0.0005
    assert compare([right], [other])["scores"].error > 0.01


def test_a_report_has_a_row_for_every_output_and_names_what_is_wrong() -> None:
    reference = {"depth": {"depth": np.array([[3.0, 4.0]], np.float32)}}
    near = {"depth": {"depth": np.array([[3.0, 4.0001]], np.float32)}}
    far = {"depth": {"depth": np.array([[3.0, 4.04]], np.float32)}}
    broken_one = {"depth": {"depth": np.array([[3.0, np.inf]], np.float32)}}
    rows, wrong = judge("fp32", "openvino", [reference], [near])
    assert not wrong
    assert set(rows["depth.depth"]) == {"error", "sqnr_db", "worst"}  # type: ignore[arg-type]
    _, wrong = judge("fp32", "openvino", [reference], [far])
    assert wrong == [
        "depth.depth on openvino: fp32 differs from torch by 1.00e-02 (relative), at most 1e-04 is accepted"
    ]
    assert not judge("int8", "openvino", [reference], [far])[1]
    rows, wrong = judge("int8", "openvino", [reference], [broken_one])
    assert wrong == ["depth.depth on openvino: int8 is plainly wrong (error inf, SQNR None dB)"]
    assert rows["depth.depth"] == {"error": None}


@pytest.mark.parametrize(("output", "accepted"), [("depth", False), ("normals", True)])
def test_unit_vectors_may_be_off_by_more(output: str, accepted: bool) -> None:
    reference = np.ones((1, 3, 2, 2), np.float32)
    given = reference.copy()
    given[0, 0, 0, 0] += 3e-4
    _, wrong = judge("fp32", "openvino", [{"head": {output: reference}}], [{"head": {output: given}}])
    assert (not wrong) is accepted


def test_fp32_may_be_off_as_torch_s_own_is() -> None:
    """Where torch in single precision has an error itself, an engine may have three times that, no more."""
    frame = {"backbone": {"f0": np.array([[3.0, 4.0]], np.float32)}}
    asked = []

    def off_by(error: float) -> dict[str, dict[str, NDArray[np.float32]]]:
        return {"backbone": {"f0": np.array([[3.0, 4.0 * (1 + error)]], np.float32)}}

    def single(index: int) -> dict[str, dict[str, NDArray[np.float32]]]:
        asked.append(index)
        return off_by(1.1e-4)

    assert not judge("fp32", "openvino", [frame] * 2, [off_by(5e-5)] * 2, single)[1]
    assert not asked  # it takes time
    rows, wrong = judge("fp32", "openvino", [frame] * 2, [off_by(5e-5), off_by(3e-4)], single)
    assert not wrong
    assert asked == [1]
    row = rows["backbone.f0"]
    assert isinstance(row, dict)
    assert row["torch_error"] == pytest.approx(1.1e-4, rel=1e-2)
    _, wrong = judge("fp32", "openvino", [frame], [off_by(4e-4)], single)
    assert wrong == [
        "backbone.f0 on openvino: fp32 differs from torch by 4.00e-04 (relative), at most 3e-04 is accepted"
    ]
    asked.clear()
    assert judge("fp32", "openvino", [frame], [off_by(3e-4)])[1]
    assert judge("fp32", "openvino", [frame], [off_by(math.inf)], single)[1]
    assert not judge("int8", "openvino", [frame], [off_by(3e-4)], single)[1]
    assert not asked
