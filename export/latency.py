"""How long each graph takes on the engines at hand, all precisions in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Final

from argus_edge.export.parity import Array
from argus_edge.runtime.engines import Engine, default_threads, open_engine
from argus_edge.spec import Precision

__all__ = ["graph_times"]

ROUNDS: Final = 15  # after two that nobody counts
WARM_UP: Final = 2

Files = Mapping[Precision, Mapping[str, Path]]  # precision -> component -> graph


def graph_times(
    files: Files, inputs: Mapping[str, Mapping[str, Array]], engines: Sequence[str], rounds: int = ROUNDS
) -> dict[str, dict[Precision, dict[str, float]]]:
    """Engine -> precision -> component -> median time of a run [ms], on all cores.

    inputs: what each component reads. In a round every precision of a component has its turn, so that a
    machine that slows down slows them all.
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
                measured = _in_turn(opened, values, rounds)
            for precision, spent in measured.items():
                times[engine][precision][component] = median(spent)
    return times


def _open(engine: str, file: Path, precision: Precision) -> Engine:
    return open_engine(engine, file, threads=default_threads(), precision=precision)


def _in_turn(
    engines: Mapping[Precision, Engine], values: Mapping[str, Array], rounds: int
) -> dict[Precision, list[float]]:
    spent: dict[Precision, list[float]] = {precision: [] for precision in engines}
    for number in range(WARM_UP + rounds):
        for precision, engine in engines.items():
            start = time.perf_counter()
            engine.run(values)
            if number >= WARM_UP:
                spent[precision].append(1e3 * (time.perf_counter() - start))
    return spent
