"""Percentiles, machine facts and contact sheets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.runtime.contact_sheet import FrameSampler, contact_sheet
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.report import WARM_UP, LatencyTable


def test_percentiles_leave_out_the_warm_up() -> None:
    table = LatencyTable()
    for index in range(WARM_UP + 101):
        table.add({"backbone": 1000.0 if index < WARM_UP else index - WARM_UP, "det": 2.0})
    assert (table.warm_up, table.measured) == (WARM_UP, 101)
    backbone = table.stages()["backbone"]
    assert (backbone.p50, backbone.p90, backbone.p99, backbone.mean) == (50, 90, 99, 50)
    assert table.to_json()["det"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "mean": 2.0}


def test_few_frames_keep_at_least_four_fifths() -> None:
    table = LatencyTable()
    assert table.stages() == {}
    table.add({"total": 3.0})
    assert (table.warm_up, table.measured) == (0, 1)
    for _ in range(9):
        table.add({"total": 1.0})
    assert (table.warm_up, table.measured) == (2, 8)


def test_a_stage_that_not_every_frame_has_is_taken_where_it_is() -> None:
    table = LatencyTable()
    for index in range(4):
        table.add({"total": 1.0, "seg": 5.0} if index % 2 else {"total": 1.0})
    assert table.stages()["seg"].mean == 5.0


def test_the_page_names_what_where_and_how_long() -> None:
    table = LatencyTable()
    table.add({"backbone": 1.234, "total": 2.0})
    page = table.to_markdown(this_machine(), {"package": "nano, int8"})
    assert "- package: nano, int8" in page
    assert this_machine().cpu in page
    assert "| backbone | 1.23 | 1.23 | 1.23 | 1.23 |" in page


def test_machine_facts_can_be_written_as_json() -> None:
    facts = json.loads(json.dumps(this_machine().to_json()))
    assert facts["cores"] >= 1
    assert facts["cpu"]


@pytest.mark.parametrize("count", [1, 5, 12, 13, 24, 100, 1000])
@pytest.mark.parametrize("known", [True, False])
def test_sampled_frames_are_evenly_spaced(count: int, known: bool) -> None:
    sampler = FrameSampler(count if known else None)
    assert sampler.frames == []
    for index in range(count):
        sampler.add(str(index), np.zeros((4, 4, 3), np.uint8))
    kept = [int(caption) for caption, _ in sampler.frames]
    assert min(count, 6) <= len(kept) <= 12
    assert len(set(np.diff(kept))) <= 1
    assert kept[0] == 0
    assert count - kept[-1] <= count / len(kept) * 2


def test_a_contact_sheet_holds_frames_of_different_shapes() -> None:
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    shapes = ((48, 64), (300, 100), (720, 1280))
    images = [np.full((*shape, 3), color, np.uint8) for shape, color in zip(shapes, colors, strict=True)]
    sheet = contact_sheet(images, ["a", "b", "c"])
    shares = [np.mean(np.all(sheet == color, axis=-1)) for color in colors]
    assert all(share > 0.02 for share in shares)
    with pytest.raises(InputError, match="at least one"):
        contact_sheet([], [])
