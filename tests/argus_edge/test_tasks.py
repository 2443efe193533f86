from __future__ import annotations

import pytest

from argus_edge.errors import TaskError
from argus_edge.tasks import TASKS, get_task


def test_there_are_twelve() -> None:
    assert list(TASKS) == [
        "det", "inst", "pan", "seg", "parse", "sal", "edge", "depth", "normal", "pose", "cls", "anom",
    ]  # fmt: skip


def test_an_unknown_task_is_refused_with_the_list() -> None:
    with pytest.raises(TaskError, match="unknown task 'dept'; the tasks are: det, inst"):
        get_task("dept")
