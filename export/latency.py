"""How long each graph takes on the engines at hand, all precisions in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from argus_edge.export.engines import opened
from argus_edge.runtime.engines import Array
from argus_edge.runtime.engines.openvino_layout import as_given
from argus_edge.runtime.timing import engine_run, interleaved
from argus_edge.spec import Precision

__all__ = ["graph_times"]

ROUNDS: Final = 9
WITHIN: Final = 5.0  # [s] for the rounds of a component; large graphs have fewer of them

Variants = Mapping[Precision, Mapping[str, onnx.ModelProto]]  # precision -> component -> graph
Times = dict[str, dict[Precision, dict[str, float]]]


def graph_times(
    variants: Variants, inputs: Mapping[str, Mapping[str, Array]], engines: Sequence[str], scratch: Path
) -> Times:
    """Engine -> precision -> component -> median time of a run [ms], on all cores.

    inputs: what each component reads.
    """
    times: Times = {}
    for engine in engines:
        times[engine] = {precision: {} for precision in variants}
        for component, values in inputs.items():
            read = as_given(values) if engine == "openvino" else values
            for precision, median in _medians(engine, component, variants, read, scratch).items():
                times[engine][precision][component] = round(median, 3)
    return times


def _medians(
    engine: str, component: str, variants: Variants, values: Mapping[str, Array], scratch: Path
) -> dict[Precision, float]:
    with ExitStack() as stack:
        graphs = {
            precision: stack.enter_context(opened(engine, graphs[component], precision, scratch))
            for precision, graphs in variants.items()
        }
        runs = {str(p): engine_run(graph, values) for p, graph in graphs.items()}
        times = interleaved(runs, ROUNDS, WITHIN)
    return {precision: float(np.median(times[precision])) for precision in variants}
