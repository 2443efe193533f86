"""Asks how much of a training run's time goes into forward and backward passes, on the CPU or a GPU.

Trains nano as argus-train does, with workers that load, losses that are logged, and progress, and after every
step takes the time of a plain forward and backward pass over the very batches of that step, which lie in
memory. So both see the same load of the machine; meanwhile the workers are halted, so that they neither take
time from it nor get ahead. A state is saved once, and counts as often as a run saves it. The share is the
plain time by the time of the steps. Wanted is at least 0.8. Prints a table by part, then one JSON line.

    python benchmarks/training.py --steps 30
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from argus_edge.runtime.machine import this_machine
from argus_edge.train.balancing import make_balancer
from argus_edge.train.batches import Batch
from argus_edge.train.journal import Journal
from argus_edge.train.loader import load_steps
from argus_edge.train.loop import StepReport, Trainer, run
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.objectives import task_loss
from argus_edge.train.precision import autocast, with_precision
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.sources import open_sources
from argus_edge.train.stages import start_model

WANTED = 0.8
WARM_UP = 4  # steps, until all workers run and the memory is there
NEVER = 10**9  # steps


class Clock:
    """Wall time by part [s]; parts that lie in another one count in both."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds[name] += self.now() - start

    def watch(self, owner: object, method: str, name: str) -> None:
        """Count the time of a method of `owner` as part `name`."""
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*arguments: Any) -> Any:
            with self.part(name):
                return inner(*arguments)

        setattr(owner, method, timed)


def plain_pass(model: Argus, recipe: Recipe, batches: Sequence[Batch], device: torch.device) -> None:
    """Forward and backward over the batches of a step, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    weights = make_balancer("fixed", recipe.task_weights, recipe.tasks)
    matching = recipe.encoder_copies, recipe.mask_points
    for batch in batches:
        placed = batch.to(device)
        with autocast(recipe.precision, device):
            features = model.features(normalise(placed.image))
            losses = [
                weights.weight(task, 1.0)
                * task_loss(task, model.decoders[task], features, target, generator, *matching)
                for task, target in placed.targets.items()
            ]
        torch.stack(losses).sum().backward()


@contextmanager
def workers_halted() -> Iterator[None]:
    """The processes that load stand still meanwhile."""
    workers = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def measure(recipe: Recipe, out: Path, cache: Path, device: torch.device, steps: int) -> dict[str, Any]:
    """Seconds by part, of `steps` steps after the warm-up."""
    sources = open_sources(recipe, cache)
    torch.manual_seed(recipe.seed)
    start = start_model(recipe, sources.classes, sources.things)
    trainer, clock = Trainer(start.model, recipe, device), Clock(device)
    for method, name in PARTS.items():
        clock.watch(trainer, method, name)
    images = 0

    def loaded() -> Iterator[list[Batch]]:
        """The batches, and after each step that is done with them the plain pass."""
        nonlocal images
        batches = load_steps(sources.steps(recipe, Place()), range(recipe.steps), recipe.workers)
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                clock.seconds.clear()
                images = 0
            begin = clock.now()
            with clock.part("waiting for batches"):
                some = next(batches)
            yield some
            clock.seconds["steps"] += clock.now() - begin
            images += sum(len(batch.image) for batch in some)
            with workers_halted():
                buffers = {name: value.clone() for name, value in trainer.model.named_buffers()}
                trainer.optimiser.zero_grad(set_to_none=True)
                with clock.part("forward and backward alone"):
                    plain_pass(trainer.model, recipe, some, device)
                trainer.model.load_state_dict(buffers, strict=False)

    with Journal(out, trainer, start.describe(recipe, ""), ()) as journal:

        def on_step(report: StepReport) -> None:
            with clock.part("log and progress"):
                journal.on_step(report)

        run(trainer, loaded(), out, on_step, lambda _: None)
    with clock.part("saving"):
        trainer.save(out)
    return {"images": images, "seconds": dict(clock.seconds)}


PARTS = {
    "_backward": "forward and backward",
    "_descend": "clipping and AdamW",
    "_update_average": "averaged weights",
    "advance": "step of the loop",
}
"""Methods of the trainer that are timed; all are part of `advance`, and the average of `_descend`."""


def summary(found: dict[str, Any], steps: int) -> dict[str, Any]:
    """Milliseconds of a step by part, images per second and the share."""
    ms = {name: 1e3 * seconds / steps for name, seconds in found["seconds"].items()}
    ms["clipping and AdamW"] -= ms["averaged weights"]
    inside = ("forward and backward", "clipping and AdamW", "averaged weights")
    ms["rest of the loop"] = ms.pop("step of the loop") - sum(ms[name] for name in inside)
    ms["saving"] *= steps / Recipe().save_every
    total, alone = ms.pop("steps") + ms["saving"], ms.pop("forward and backward alone")
    return {
        "step_ms": round(total, 1),
        "forward_backward_alone_ms": round(alone, 1),
        "share": round(alone / total, 3),
        "images_per_second": round(1e3 * found["images"] / steps / total, 2),
        "parts_ms": {name: round(value, 2) for name, value in ms.items()},
    }


def show(result: dict[str, Any], title: str) -> Table:
    """The parts of a step, and what they are compared with."""
    table = Table("part", "ms", "of the step", title=title)
    total = result["step_ms"]
    for name, value in sorted(result["parts_ms"].items(), key=lambda item: -item[1]):
        table.add_row(name, f"{value:.1f}", f"{value / total:.1%}")
    table.add_section()
    table.add_row("step", f"{total:.1f}", "100.0%")
    table.add_row("forward and backward alone", f"{result['forward_backward_alone_ms']:.1f}", "")
    enough = "as wanted" if result["share"] >= WANTED else f"wanted: {WANTED}"
    table.add_row("share", f"{result['share']:.3f}", enough)
    table.add_row("images/s", f"{result['images_per_second']:.2f}", "")
    return table


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--tasks", default="det,seg,depth", help="comma-separated (default: %(default)s)")
    add("--size", type=int, default=192, help="side of the input [px] (default: %(default)s)")
    add("--batch", type=int, default=8, help="images (default: %(default)s)")
    add("--own-images", action="store_true", help="each task has a batch of its own")
    add("--precision", default=Recipe().precision, help="(default: %(default)s)")
    add("--norm", default="group", help="of the adapter: group or batch (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes that load (default: %(default)s)")
    add("--steps", type=int, default=40, help="that are timed (default: %(default)s)")
    add("--scenes", type=int, default=600, help="to learn from (default: %(default)s)")
    add("--cache", type=Path, help="folder of rendered scenes (default: a temporary one, filled beforehand)")
    add("--device", default="cpu", help="(default: %(default)s)")
    add("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = parser().parse_args(argv)
    steps, device = options.steps, torch.device(options.device)
    recipe = recipe_from(
        {
            "tasks": options.tasks.split(","),
            "phases": [{"steps": WARM_UP + steps + 1, "size": options.size, "batch": options.batch}],
            "shared_images": not options.own_images,
            "precision": options.precision,
            "norm": options.norm,
            "workers": options.workers,
            "scenes": options.scenes,
            "save_every": NEVER,
            "validate_every": NEVER,
        },
        "command line",
    )
    recipe = with_precision(recipe, device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = options.cache or folder / "scenes"
        scenes = open_sources(recipe, cache).scenes
        if scenes is not None:
            scenes.prerender(max(1, recipe.workers))
        result = summary(measure(recipe, folder / "run", cache, device, steps), steps)
    machine = this_machine()
    result = {
        "machine": machine.to_json(),
        "options": {k: str(v) for k, v in vars(options).items()},
        **result,
    }
    if not options.json:
        title = f"nano {options.tasks}, {options.size} px, {options.batch} images, {machine.cores} cores"
        Console().print(show(result, title))
    print(json.dumps(result))
    return 0 if result["share"] >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
