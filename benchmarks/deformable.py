"""Asks what our operation for deformable attention gains on OpenVINO over what torch's exporter writes.

The core of deformable attention (bilinear samples of several levels, weighted and added up) is traced at the
sizes of a base model and run by OpenVINO as it is, with GridSample, and with DeformableSampling in its place;
for scale, the GridSamples alone as well, on values that are laid out for them. So are nano's backbone with
adapter and its detection decoder, as a whole. All forms are run in turn, round after round, so that a
drifting machine cancels; `times` is the median over the rounds of GridSample's time by the operation's.
Wanted of the cores: at least 3 times faster, equal to 1e-5 of the greatest value. Prints a table, then one
JSON line.

    python benchmarks/deformable.py --threads 1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.export.components import make_plan
from argus_edge.export.parity import compare
from argus_edge.export.targets import CPU
from argus_edge.export.trace import trace_module
from argus_edge.runtime.engines import Engine, default_threads, engine_status, open_engine, openvino_ops
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.timing import engine_run, interleaved, median_ratio, noise
from argus_edge.spec import ImageSpec
from argus_edge.train.model.checkpoint import SHIPPED, load_checkpoint
from argus_edge.train.model.deformable import Shape, pixel_centres, sample_values

WANTED: Final = 3.0  # times faster
EQUAL: Final = 1e-5
POINTS: Final = 4
SPREAD: Final = 2.0  # standard deviation of the sampling offsets [cells]

GRIDSAMPLE: Final = "GridSample"
OPERATION: Final = "operation"
ALONE: Final = "GridSample alone"

Array = NDArray[Any]
Inputs = dict[str, Array]
Opened = tuple[Engine, Inputs]


@dataclass(frozen=True)
class Case:
    """Queries are the cells of the maps `queries`; each reads near its centre in every map of `levels`."""

    queries: tuple[Shape, ...]  # (h, w) [cells]
    levels: tuple[Shape, ...]
    heads: int
    depth: int  # channels of a head


PYRAMID: Final = ((56, 56), (28, 28), (14, 14))
CASES: Final = {
    "adapter, extractor": Case(PYRAMID, ((28, 28),), 6, 64),
    "adapter, injector": Case(((28, 28),), PYRAMID, 6, 64),
    "decoder, encoder layer": Case(PYRAMID, PYRAMID, 8, 32),
}


class Core(nn.Module):
    """The core of deformable attention."""

    def __init__(self, levels: Sequence[Shape]) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return sample_values(value, self.levels, locations, weights)


class Alone(nn.Module):
    """Its samples alone: maps (M, D, h, w) and grids (M, P, Q, 2), level after level -> (M, D, P, Q) each."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) // 2
        pairs = zip(tensors[:count], tensors[count:], strict=True)
        return tuple(functional.grid_sample(m, g, align_corners=False) for m, g in pairs)


def core_inputs(case: Case) -> dict[str, Tensor]:
    """What the core of `case` reads, for one image."""
    generator = torch.Generator().manual_seed(0)
    centres = pixel_centres(case.queries, torch.empty(0))[:, None, None, None]
    form = (len(centres), case.heads, len(case.levels), POINTS)
    sizes = torch.tensor([[w, h] for h, w in case.levels], dtype=torch.float32)[:, None]
    locations = centres + SPREAD * torch.randn(*form, 2, generator=generator) / sizes
    weights = torch.randn(form, generator=generator).flatten(2).softmax(-1).view(form)
    cells = sum(height * width for height, width in case.levels)
    value = torch.randn(1, cells, case.heads, case.depth, generator=generator)
    return {"value": value, "locations": locations[None], "weights": weights[None]}


def alone_inputs(case: Case, core: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values and places as GridSample takes them."""
    parts = core["value"][0].split([height * width for height, width in case.levels])
    maps = [part.permute(1, 2, 0).unflatten(2, shape) for part, shape in zip(parts, case.levels, strict=True)]
    grids = (2 * core["locations"][0] - 1).permute(2, 1, 3, 0, 4).unbind()
    named = [*((f"map{i}", m) for i, m in enumerate(maps)), *((f"grid{i}", g) for i, g in enumerate(grids))]
    return {name: tensor.contiguous() for name, tensor in named}


def traced(module: nn.Module, inputs: Mapping[str, Tensor]) -> onnx.ModelProto:
    with torch.no_grad():
        answer = module(*inputs.values())
    outputs = {f"y{i}": y for i, y in enumerate(answer if isinstance(answer, tuple) else (answer,))}
    layouts = {name: "x" * tensor.ndim for name, tensor in (*inputs.items(), *outputs.items())}
    return trace_module("core", module, dict(inputs), outputs, layouts).model


def opened(graph: onnx.ModelProto, threads: int, with_operation: bool) -> Engine:
    """The graph on OpenVINO, with our operation or as if its library had not been built."""
    hidden = mock.patch.object(openvino_ops, "FOLDER", Path("without"))
    with tempfile.TemporaryDirectory() as folder, contextlib.nullcontext() if with_operation else hidden:
        file = Path(folder) / "model.onnx"
        onnx.save(graph, file)
        return open_engine("openvino", file, threads=threads, precision="fp32")


def both(graph: onnx.ModelProto, inputs: Inputs, threads: int) -> dict[str, Opened]:
    return {
        GRIDSAMPLE: (opened(graph, threads, False), inputs),
        OPERATION: (opened(graph, threads, True), inputs),
    }


def questions(threads: int) -> Iterator[tuple[str, dict[str, Opened]]]:
    """What is compared, by its name: each form opened, with its inputs."""
    for name, case in CASES.items():
        core = core_inputs(case)
        alone = alone_inputs(case, core)
        forms = both(traced(Core(case.levels), core), as_arrays(core), threads)
        yield name, {**forms, ALONE: (opened(traced(Alone(), alone), threads, False), as_arrays(alone))}
    model, info = load_checkpoint(SHIPPED["nano"])
    plan = make_plan(model, info, ["det"], ImageSpec(info.input_size, info.input_size))
    answers: Inputs = {}
    for name, graph in plan.graphs.items():
        image = np.random.default_rng(0).integers(0, 256, graph.inputs[0].shape, np.uint8)
        inputs = {t.name: answers.get(t.name, image) for t in graph.inputs}
        forms = both(CPU.spell(graph.model), inputs, threads)
        engine, _ = forms[GRIDSAMPLE]
        answers = {output: np.array(values) for output, values in engine.run(inputs).items()}
        yield f"nano, {name}", forms


def as_arrays(tensors: Mapping[str, Tensor]) -> Inputs:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def measure(forms: Mapping[str, Opened], rounds: int) -> dict[str, Any]:
    """Times of every form [ms], how much faster the operation is, and how far its answers are off."""
    times = interleaved({form: engine_run(*each) for form, each in forms.items()}, rounds)
    answers = {}
    for form in (GRIDSAMPLE, OPERATION):
        engine, inputs = forms[form]
        answers[form] = {name: np.array(values) for name, values in engine.run(inputs).items()}
    deviations = compare([answers[GRIDSAMPLE]], [answers[OPERATION]]).values()
    return {
        "p50_ms": {form: round(float(np.median(each)), 3) for form, each in times.items()},
        "times": round(median_ratio(times[GRIDSAMPLE], times[OPERATION]), 2),
        "noise": noise(times),
        "error": float(f"{max(d.error for d in deviations):.2g}"),
    }


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=50, help="(default: %(default)s)")
    p.add_argument("--threads", type=int, default=default_threads(), help="(default: every core)")
    p.add_argument("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where the operation is as fast and as exact as wanted at base sizes."""
    options = parser().parse_args(argv)
    status = engine_status("openvino")
    if not status.available or status.note:
        raise SystemExit(f"there is nothing to compare: {status.reason or status.note}")
    title = f"OpenVINO {status.version}, {options.threads} threads, p50 \\[ms]"
    table = Table("what", GRIDSAMPLE, OPERATION, "times", ALONE, "error", title=title)
    rows = {}
    for name, forms in questions(options.threads):
        row = rows[name] = measure(forms, options.rounds)
        for engine, _ in forms.values():
            engine.close()
        p50 = row["p50_ms"]
        alone = f"{p50[ALONE]:.2f}" if ALONE in p50 else ""
        shown = (f"{p50[GRIDSAMPLE]:.2f}", f"{p50[OPERATION]:.2f}", f"{row['times']:.2f}", alone)
        table.add_row(name, *shown, f"{row['error']:.1e}")
    if not options.json:
        noises = [f"{name}: {row['noise']}" for name, row in rows.items() if row["noise"]]
        Console().print(table, *noises, sep="\n")
    settings = {"rounds": options.rounds, "threads": options.threads, "openvino": status.version}
    print(json.dumps({"machine": this_machine().to_json(), **settings, "rows": rows}))
    good = (rows[name]["times"] >= WANTED and rows[name]["error"] <= EQUAL for name in CASES)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
