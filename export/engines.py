"""The graphs of a plan, run on an engine of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.runtime.engines import Array, Engine, default_threads, open_engine
from argus_edge.spec import Precision

__all__ = ["Graphs", "answers_of", "answers_to", "opened", "opened_all"]

Graphs = dict[str, onnx.ModelProto]  # component -> graph

MOST_AT_ONCE: Final = 4  # engines beside one another, each of which holds the weights


@contextmanager
def opened(
    name: str, graph: onnx.ModelProto, precision: Precision, scratch: Path, threads: int | None = None
) -> Iterator[Engine]:
    """One graph on the engine `name`, by way of a file in the folder `scratch`; `threads`: None for all."""
    file = scratch / f"{id(graph)}.onnx"
    onnx.save(graph, file)
    try:
        threads = threads or default_threads()
        with closing(open_engine(name, file, threads=threads, precision=precision)) as engine:
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


def answers_to(
    inputs: Iterable[Mapping[str, Array]],
    name: str,
    graph: onnx.ModelProto,
    precision: Precision,
    scratch: Path,
) -> Iterator[Mapping[str, Array]]:
    """What one graph answers to each of `inputs`, in order; valid until the next is asked for.

    Of ONNX Runtime several engines share out the cores, an input for each: 0.16 s an image, with all cores at
    one 0.31 s (nano's backbone, two cores). OpenVINO binds its threads to cores, several engines to the same.
    """
    count = min(default_threads(), MOST_AT_ONCE) if name == "onnxruntime" else 1
    with ExitStack() as stack:
        engines = [
            stack.enter_context(opened(name, graph, precision, scratch, default_threads() // count))
            for _ in range(count)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(count))
        waiting = iter(inputs)
        while some := list(islice(waiting, count)):
            yield from pool.map(lambda engine, each: engine.run(each), engines, some)


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
