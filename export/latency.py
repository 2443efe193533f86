"""How long each graph takes on the engines at hand, all precisions in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from argus_edge.export.parity import Array
from argus_edge.runtime.engines import Engine, default_threads, open_engine
from argus_edge.spec import Precision

__all__ = ["graph_times", "in_turn"]

ROUNDS: Final = 15  # after two that nobody counts
WARM_UP: Final = 2

Key = TypeVar("Key")
Files = Mapping[Precision, Mapping[str, Path]]  # precision -> component -> graph


def graph_times(
    files: Files, inputs: Mapping[str, Mapping[str, Array]], engines: Sequence[str], rounds: int = ROUNDS
) -> dict[str, dict[Precision, dict[str, float]]]:
    """Engine -> precision -> component -> median time of a run [ms], on all cores.

    inputs: what each component reads. The precisions of a component have turns (`in_turn`).
    """
    times: dict[str, dict[Precision, dict[str, float]]] = {}
    for engine in engines:
        times[engine] = {precision: {} for precision in files}
        for component, values in inputs.items():
            with ExitStack() as stack:
                opened = {
                    precision: stack.enter_context(closing(_open(engine, of[component], precision)))
                    for precision, of in files.items()
                }
                calls = {precision: partial(engine.run, values) for precision, engine in opened.items()}
                measured = in_turn(calls, rounds)
            for precision, spent in measured.items():
                times[engine][precision][component] = median(spent)
    return times


def _open(engine: str, file: Path, precision: Precision) -> Engine:
    return open_engine(engine, file, threads=default_threads(), precision=precision)


def in_turn(
    calls: Mapping[Key, Callable[[], object]], rounds: int, warm_up: int = WARM_UP
) -> dict[Key, list[float]]:
    """Key of a call -> its time in each round [ms], after `warm_up` rounds that nobody counts.

    In a round every call has its turn, so that a machine that slows down slows them all.
    """
    spent: dict[Key, list[float]] = {key: [] for key in calls}
    for number in range(warm_up + rounds):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= warm_up:
                spent[key].append(1e3 * (time.perf_counter() - start))
    return spent
