"""Measures what kept features save: how fast a decoder is trained on a frozen nano with and without them.

The shipped nano starts a stage 2 with one decoder. The same steps run three times: without kept features,
with an empty folder that they fill, and with the full one. Only the steps are timed, on batches that lie
ready; the files of the full folder come from the system's memory where that holds them. Prints a table, or
one JSON object.

    python benchmarks/features.py --task sal --size 320
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from argus_edge.runtime.machine import this_machine
from argus_edge.train.batches import Batch, StepBatches, scene_source
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.loop import Trainer
from argus_edge.train.model.checkpoint import SHIPPED
from argus_edge.train.precision import with_precision
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.stages import start_model

THINGS = 0  # no task here has countable classes that matter


@dataclass(frozen=True)
class Speed:
    """What one run did."""

    features: str
    images_per_second: float
    cpu_ms_per_image: float  # of this process; another load on the machine hardly changes it
    megabytes_per_image: float  # stored
    losses: tuple[float, ...]  # of the timed steps


def measure(
    title: str, recipe: Recipe, steps: Sequence[list[Batch]], device: torch.device, folder: Path | None
) -> Speed:
    """Time all steps but the first, on a model as it comes from the checkpoint."""
    torch.manual_seed(recipe.seed)
    start = start_model(recipe, SCENE_CLASSES, THINGS)
    trainer = Trainer(start.model, recipe, device, features=folder)
    trainer.advance(steps[0])
    wall, cpu = time.perf_counter(), time.process_time()
    losses = [trainer.advance(batches).losses[recipe.tasks[0]] for batches in steps[1:]]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    images = sum(len(batch.image) for batches in steps[1:] for batch in batches)
    everything = images + sum(len(batch.image) for batch in steps[0])
    stored = trainer.features.stored / everything / 1e6 if trainer.features is not None else 0.0
    return Speed(
        title, round(images / wall, 1), round(cpu * 1e3 / images, 1), round(stored, 2), tuple(losses)
    )


def show(speeds: Sequence[Speed], recipe: Recipe) -> Table:
    """The figures of all runs."""
    (phase,) = recipe.phases
    table = Table(title=f"nano with {recipe.tasks[0]}, {phase.size} px, {phase.batch} images a step")
    for column in ("features", "images/s", "times", "CPU ms/image", "times", "stored MB/image", "loss"):
        table.add_column(column, justify="left" if column == "features" else "right")
    first = speeds[0]
    for s in speeds:
        table.add_row(
            s.features,
            f"{s.images_per_second:.1f}",
            f"{s.images_per_second / first.images_per_second:.2f}",
            f"{s.cpu_ms_per_image:.1f}",
            f"{first.cpu_ms_per_image / s.cpu_ms_per_image:.2f}",
            f"{s.megabytes_per_image:.2f}",
            f"{s.losses[-1]:.6f}",
        )
    return table


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", default="sal", help="whose decoder is trained (default: %(default)s)")
    p.add_argument("--size", type=int, default=320, help="of the input [px] (default: %(default)s)")
    p.add_argument("--batch", type=int, default=8, help="images of a step (default: %(default)s)")
    p.add_argument("--steps", type=int, default=6, help="that are timed (default: %(default)s)")
    p.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: %(default)s)")
    p.add_argument("--device", default="cpu", help="(default: %(default)s)")
    p.add_argument("--folder", type=Path, help="to keep features below (default: a temporary one)")
    p.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return p


def run(options: argparse.Namespace, folder: Path) -> tuple[Recipe, list[Speed]]:
    """All figures; `folder` is for features."""
    phase = {"steps": options.steps + 1, "size": options.size, "batch": options.batch}
    values = {
        "tasks": [options.task], "init": str(SHIPPED["nano"]), "freeze": "backbone+adapter", "views": 1,
        "phases": [phase], "scenes": phase["steps"] * options.batch, "precision": options.precision,
    }  # fmt: skip
    device = torch.device(options.device)
    recipe = with_precision(recipe_from(values, "benchmark"), device)
    batches = StepBatches(recipe, scene_source(recipe, None))
    steps = [batches[step] for step in range(recipe.steps)]
    rows = (("none", None), ("being filled", folder), ("all there", folder))
    return recipe, [measure(title, recipe, steps, device, where) for title, where in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        recipe, speeds = run(options, Path(temporary))
    if options.json:
        facts = {"machine": this_machine().to_json(), "threads": torch.get_num_threads()}
        settings = {name: getattr(options, name) for name in ("task", "size", "batch", "steps")}
        settings["precision"] = recipe.precision
        print(json.dumps({**facts, **settings, "speeds": [asdict(s) for s in speeds]}))
    else:
        Console().print(show(speeds, recipe))
    return 0


if __name__ == "__main__":
    sys.exit(main())
