"""The task table: a metric for every task, and what a reduced precision keeps."""

from __future__ import annotations

import pytest

from argus_edge.tasks import TASKS
from argus_edge.train.metrics import PROTOCOLS, TASK_METRICS, is_of_class, is_of_size
from argus_edge.train.metrics.coco import FIGURES


def test_every_task_has_a_metric_that_the_task_table_names() -> None:
    assert set(TASK_METRICS) == set(TASKS)
    for name, row in TASK_METRICS.items():
        assert row.primary.replace("_", " ") in TASKS[name].metric
        assert row.make(["thing"]).protocol


def test_protocols_are_of_their_task_and_differ() -> None:
    for task, rows in PROTOCOLS.items():
        assert TASK_METRICS[task] in rows.values()
        lines = {row.make(["thing"]).protocol for row in rows.values()}
        assert len(lines) == len(rows)
    assert [name for name, row in PROTOCOLS["depth"].items() if "Eigen" in row.make([]).protocol] == ["nyu"]


def test_kept_is_turned_over_for_errors() -> None:
    shares = TASK_METRICS["depth"].kept({"delta1": 0.8, "RMSE": 0.49}, {"delta1": 0.72, "RMSE": 0.5})
    assert shares == {"delta1": pytest.approx(0.9), "RMSE": pytest.approx(0.98)}
    assert TASK_METRICS["normal"].kept({"mean_angle": 9.0}, {"mean_angle": 10.0}) == {"mean_angle": 0.9}


def test_kept_leaves_out_what_cannot_be_divided() -> None:
    assert TASK_METRICS["det"].kept({"AP": 0.0}, {"AP": 0.3}) == {}
    assert TASK_METRICS["det"].kept({}, {"AP": 0.3}) == {}
    assert TASK_METRICS["depth"].kept({"RMSE": 1.0}, {"RMSE": 0.0}) == {}


def test_figures_of_a_class_or_size_are_told_from_others() -> None:
    assert [name for name in FIGURES if is_of_size(name)] == [
        f"{figure}_{size}" for figure in ("AP", "AR") for size in ("small", "medium", "large")
    ]
    assert not any(map(is_of_class, FIGURES))
    for name in ("IoU/person", "AP/sign_small", "pixel_AUROC/leather", "AP/a/b"):
        assert is_of_class(name)
        assert not is_of_size(name)
    for row in TASK_METRICS.values():
        assert not any(is_of_class(name) or is_of_size(name) for name in row.headline)
