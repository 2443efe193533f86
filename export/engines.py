"""The graphs of a plan, run on an engine of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import onnx

from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.runtime.engines import Array, Engine, default_threads, open_engine
from argus_edge.spec import Precision

__all__ = ["Graphs", "answers_of", "opened", "opened_all"]

Graphs = dict[str, onnx.ModelProto]  # component -> graph


@contextmanager
def opened(name: str, graph: onnx.ModelProto, precision: Precision, scratch: Path) -> Iterator[Engine]:
    """One graph on the engine `name`, by way of a file in the folder `scratch`."""
    file = scratch / f"{id(graph)}.onnx"
    onnx.save(graph, file)
    try:
        with closing(open_engine(name, file, threads=default_threads(), precision=precision)) as engine:
            yield engine
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def opened_all(
    name: str, graphs: Mapping[str, onnx.ModelProto], precision: Precision, scratch: Path
) -> Iterator[dict[str, Engine]]:
    """Component -> its graph, opened as by `opened`."""
    with ExitStack() as stack:
        yield {
            component: stack.enter_context(opened(name, graph, precision, scratch))
            for component, graph in graphs.items()
        }


def answers_of(
    plan: Plan,
    graphs: Mapping[str, onnx.ModelProto],
    precision: Precision,
    name: str,
    frames: Sequence[Array],
    extra: Sequence[Extra] | None,
    scratch: Path,
) -> tuple[list[Answers], list[Extra]]:
    """What the graphs answer to each frame on the engine `name`, and what pose read.

    Decoders read their own engine's backbone; pose reads `extra`, or, where that is None, what the detector
    among them has found.
    """
    answers, used = [], []
    given: Sequence[Extra | None] = extra if extra is not None else [None] * len(frames)
    with opened_all(name, graphs, precision, scratch) as engines:

        def run(component: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            return engines[component].run(inputs)

        for frame, known in zip(frames, given, strict=True):
            answer, read = plan.answer(run, np.ascontiguousarray(frame), known)
            answers.append(answer)
            used.append(read)
    return answers, used
