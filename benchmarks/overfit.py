"""Asks whether every decoder of nano learns eight scenes by heart within 400 steps, from nothing.

Each task alone: nano with that one decoder, all eight images in every step, no augmentation. Wanted are a
training loss below 10 % of its first value and a metric on the same images above 0.9 (depth: RMSE below
0.15 m; normals: mean angle below 8 degrees). Prints a table, then one JSON line.

    python benchmarks/overfit.py --tasks seg,depth
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from argus_edge.results import Detections
from argus_edge.train.batches import fixed_batch
from argus_edge.train.data.classes import SCENE_CLASSES, THINGS
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.data.rendered import examples_for, surface_example
from argus_edge.train.data.scenes import DET_CLASSES
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES
from argus_edge.train.loop import Trainer
from argus_edge.train.metrics import TASK_METRICS
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo
from argus_edge.train.predict import TorchPredictor
from argus_edge.train.recipe import recipe_from

IMAGES = 8
FIRST_SEED = 0
CHECK_EVERY = 50  # steps
LOSS_SHARE = 0.1  # of the first loss

# task -> (figure, bound, whether it must lie above)
WANTED: dict[str, tuple[str, float, bool]] = {
    "det": ("AP", 0.9, True),
    "inst": ("AP", 0.9, True),
    "pan": ("PQ", 0.9, True),
    "seg": ("mIoU", 0.9, True),
    "parse": ("mIoU", 0.9, True),
    "sal": ("maxF", 0.9, True),
    "edge": ("odsF", 0.9, True),
    "depth": ("RMSE", 0.15, False),
    "normal": ("mean_angle", 8.0, False),
    "pose": ("AP", 0.9, True),
    "cls": ("top-1", 0.9, True),
    "anom": ("image_AUROC", 0.9, True),
}


@dataclass(frozen=True)
class Outcome:
    task: str
    steps: int  # taken until both were reached, or all
    loss_share: float  # of the first step's loss, mean of the last ten steps
    figure: str
    value: float
    wanted: float
    reached: bool
    seconds: float


def overfit(task: str, size: int, steps: int, rate: float, seed: int, progress: Progress) -> Outcome:
    """One decoder on its eight images: until both bounds are reached, or `steps` are done."""
    torch.manual_seed(seed)
    recipe = recipe_from(
        {
            "tasks": [task],
            "phases": [{"steps": steps, "size": size, "batch": IMAGES}],
            "learning_rate": rate,
            "warmup": 20,
            "ema_decay": 0.9,
            "precision": "fp32",
            "weight_decay": 0.0,
            "encoder_copies": 1,
        },
        "overfit",
    )
    names = SCENE_CLASSES.get(task, ())
    info = CheckpointInfo("nano", (task,), {task: names}, size, things=THINGS if task == "pan" else 0)
    trainer = Trainer(build_model("nano", (task,), {task: names}), recipe, torch.device("cpu"))
    batch = fixed_batch(task, FIRST_SEED, IMAGES, size)
    figure, bound, above = WANTED[task]
    bar = progress.add_task(task, total=steps)
    start = time.perf_counter()
    losses: list[float] = []
    share, value, reached = 1.0, float("nan"), False
    while len(losses) < steps and not reached:
        losses.append(sum(trainer.advance([batch]).losses.values()))
        progress.advance(bar)
        share = sum(losses[-10:]) / len(losses[-10:]) / losses[0]
        if len(losses) % CHECK_EVERY == 0 or len(losses) == steps:
            value = measure(trainer, info, size).get(figure, float("nan"))
            reached = share < LOSS_SHARE and (value > bound if above else value < bound)
            progress.update(bar, description=f"{task}: loss {share:.1%}, {figure} {value:.3f}")
    return Outcome(task, len(losses), share, figure, value, bound, reached, time.perf_counter() - start)


def measure(trainer: Trainer, info: CheckpointInfo, size: int) -> dict[str, float]:
    """The task's figures on the images it learns from; surfaces: on these and on their damaged twins."""
    (task,) = info.tasks
    predict = TorchPredictor(trainer.average, info)
    metric = TASK_METRICS[task].make(info.classes[task])
    for example in twins(size) if task == "anom" else examples_for((task,), FIRST_SEED, IMAGES, size)[0]:
        frame = predict(example.image, true_people(example) if task == "pose" else None)
        metric.update(getattr(frame, task), truth_of(task, example))
    return metric.result()


def twins(size: int) -> Iterator[Example]:
    """Each surface that was learnt from, and the same piece with a defect."""
    for seed in range(FIRST_SEED, FIRST_SEED + IMAGES):
        for defective in (False, True):
            yield surface_example(seed, SURFACE_CATEGORIES[seed % len(SURFACE_CATEGORIES)], defective, size)


def true_people(example: Example) -> Detections:
    """The objects of a scene as a perfect detector would find them."""
    objects = example.objects or ()
    boxes = np.array([o.box for o in objects], np.float32).reshape(-1, 4)
    classes = np.array([o.class_id for o in objects], np.int32)
    return Detections(boxes, np.ones(len(classes), np.float32), classes, DET_CLASSES)


def show(outcomes: list[Outcome]) -> Table:
    table = Table("task", "steps", "loss", "figure", "value", "wanted", "reached", "seconds")
    for o in outcomes:
        side = ">" if WANTED[o.task][2] else "<"
        table.add_row(
            o.task, str(o.steps), f"{o.loss_share:.1%}", o.figure, f"{o.value:.3f}", f"{side} {o.wanted:g}",
            "yes" if o.reached else "no", f"{o.seconds:.0f}",
        )  # fmt: skip
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=",".join(WANTED), help="comma-separated (default: all)")
    parser.add_argument("--size", type=int, default=128, help="side of the images [px] (default: 128)")
    parser.add_argument("--steps", type=int, default=400, help="at most (default: 400)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 1e-3)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    unknown = [task for task in tasks if task not in WANTED]
    if unknown:
        parser.error(f"unknown tasks {', '.join(unknown)}; known are {', '.join(WANTED)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        outcomes = [
            overfit(task, options.size, options.steps, options.rate, options.seed, progress) for task in tasks
        ]
    Console().print(show(outcomes))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))
    return 0 if all(outcome.reached for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
