"""Asks what GroupNorm costs on this machine's engines, and which spelling costs least.

The spatial prior of a variant (six convolutions with norm and ReLU, four projections) is exported with its
norms in every spelling that `export/groupnorm.py` writes, and with the norms removed. On each engine all
forms are run in turn, round after round, so that a drifting machine cancels; the cost is the median over the
rounds of a form's time by that of the form without norms. Wanted for the best form: at most 1.06 on OpenVINO,
1.20 on ONNX Runtime. Prints a table, then one JSON line.

    python benchmarks/groupnorm.py --variant nano --size 320
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import onnx
import torch
from onnx import helper
from rich.console import Console
from rich.table import Table

from argus_edge.export.groupnorm import NormForm, find_group_norms, spell_group_norms
from argus_edge.export.rewrite import Replacement, copied, replace_nodes
from argus_edge.export.trace import trace_module
from argus_edge.runtime.engines import available_engines, default_threads, open_engine
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.timing import engine_run, interleaved, median_ratio, noise
from argus_edge.train.model.build import build_model, variant_named

BARE: Final = "no norm"
WANTED: Final = {"openvino": 1.06, "onnxruntime": 1.20}


def graphs_of(variant: str, size: int) -> dict[str, onnx.ModelProto]:
    """The spatial prior in every form, by its name."""
    torch.manual_seed(0)
    model = build_model(variant_named(variant), ("cls",), {"cls": ("one", "two")})
    image = torch.randn(1, 3, size, size)
    prior = model.adapter.prior.eval()
    with torch.no_grad():
        outputs = {f"c{level}": values for level, values in enumerate(prior(image))}
    graph = trace_module("prior", prior, {"image": image}, outputs, {}).model
    forms = {BARE: copied(graph)}
    norms = find_group_norms(forms[BARE])
    bare = [Replacement(n.nodes, [helper.make_node("Identity", [n.x], [n.y])]) for n in norms]
    replace_nodes(forms[BARE].graph, bare)
    for form in get_args(NormForm):
        forms[form] = copied(graph)
        spell_group_norms(forms[form], form)
    return forms


def costs(times: Mapping[str, Any]) -> dict[str, float]:
    """Form -> median over the rounds of its time by that without norms."""
    return {form: median_ratio(each, times[BARE]) for form, each in times.items()}


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--variant", default="nano", help="nano, small or base (default: %(default)s)")
    p.add_argument("--size", type=int, default=320, help="side of the input [px] (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=100, help="(default: %(default)s)")
    p.add_argument("--threads", type=int, default=default_threads(), help="(default: every core)")
    p.add_argument("--precision", choices=("fp32", "fp16"), default="fp32",
                   help="fp16: engines may compute in 16-bit floats (default: %(default)s)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where the best form is as cheap as wanted on every engine."""
    options = parser().parse_args(argv)
    forms = graphs_of(options.variant, options.size)
    image = np.random.default_rng(0).normal(size=(1, 3, options.size, options.size)).astype(np.float32)
    table = Table(
        "engine", "form", r"p50 \[ms]", "cost", "error", title=f"spatial prior of {options.variant}"
    )
    found: dict[str, Any] = {}
    noises: list[str] = []
    for status in available_engines():
        if not status.available:
            continue
        with tempfile.TemporaryDirectory() as folder:
            engines = {}
            for form, graph in forms.items():
                file = Path(folder) / f"{form}.onnx"
                onnx.save(graph, file)
                engines[form] = open_engine(
                    status.name, file, threads=options.threads, precision=options.precision
                )
            runs = {form: engine_run(engine, {"image": image}) for form, engine in engines.items()}
            times = interleaved(runs, options.rounds)
            answers = {form: np.array(engine.run({"image": image})["c3"]) for form, engine in engines.items()}
            for engine in engines.values():
                engine.close()
        if (noisy := noise(times)) is not None:
            noises.append(f"{status.name}: {noisy}")
        cost = costs(times)
        rows = {}
        for form, each in times.items():
            off = float(np.abs(answers[form] - answers["native"]).max() / np.abs(answers["native"]).max())
            rows[form] = {"p50_ms": round(float(np.median(each)), 3), "cost": round(cost[form], 3)}
            if form != BARE:
                rows[form]["error"] = float(f"{off:.2g}")
            shown = "" if form == BARE else f"{off:.1e}"
            table.add_row(status.name, form, f"{np.median(each):.2f}", f"{cost[form]:.3f}", shown)
        found[status.name] = rows
        table.add_section()
    if not options.json:
        Console().print(table, *noises, sep="\n")
    settings = {
        name: getattr(options, name) for name in ("variant", "size", "rounds", "threads", "precision")
    }
    print(json.dumps({"machine": this_machine().to_json(), **settings, "noise": noises, "engines": found}))
    best = {
        name: min(row["cost"] for form, row in rows.items() if form != BARE) for name, rows in found.items()
    }
    return 0 if all(cost <= WANTED[name] for name, cost in best.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
