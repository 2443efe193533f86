"""Asks whether every decoder of nano learns eight scenes by heart within 400 steps, from nothing.

Each task alone: nano with that one decoder, all eight images in every step, no augmentation. Wanted are a
training loss below 10 % of its first value and a metric on the same images above 0.9 (depth: RMSE below
0.15 m; normals: mean angle below 8 degrees). Sizes and learning rates are those of `GOALS`, unless told
otherwise. Depth learns eight rooms, for 0.15 m is a bound for rooms and open ground reaches 60 m away; body
parts are learnt from eight scenes with people at close range. Prints a table, then one JSON line.

    python benchmarks/overfit.py --tasks seg,depth
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from argus_edge.results import Detections
from argus_edge.train.batches import fixed_batch
from argus_edge.train.data.classes import SCENE_CLASSES, THINGS
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.data.rendered import scene_example, surface_example
from argus_edge.train.data.scenes import DET_CLASSES, PART_CLASSES, render
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


@dataclass(frozen=True)
class Goal:
    """What one task must reach, and how it is trained."""

    figure: str
    bound: float = 0.9
    above: bool = True  # the figure, or below
    size: int = 128  # side of the images [px]
    rate: float = 1e-3  # learning rate


GOALS: dict[str, Goal] = {
    "det": Goal("AP"),
    "inst": Goal("AP", size=192, rate=2e-3),
    "pan": Goal("PQ"),
    "seg": Goal("mIoU", rate=3e-3),
    "parse": Goal("mIoU", size=160, rate=5e-3),
    "sal": Goal("maxF"),
    "edge": Goal("odsF", size=192, rate=3e-3),
    "depth": Goal("RMSE", 0.15, above=False, size=192, rate=3e-3),
    "normal": Goal("mean_angle", 8.0, above=False),
    "pose": Goal("AP"),
    "cls": Goal("top-1"),
    "anom": Goal("image_AUROC"),
}


@dataclass(frozen=True)
class Outcome:
    task: str
    size: int  # [px]
    rate: float
    steps: int  # taken until both were reached, or all
    loss_share: float  # of the first step's loss, mean of the last ten steps
    figure: str
    value: float
    wanted: float
    reached: bool
    seconds: float


def overfit(task: str, goal: Goal, steps: int, seed: int, progress: Progress) -> Outcome:
    """One decoder on its eight images: until both bounds are reached, or `steps` are done."""
    size = goal.size
    torch.manual_seed(seed)
    recipe = recipe_from(
        {
            "tasks": [task],
            "phases": [{"steps": steps, "size": size, "batch": IMAGES}],
            "learning_rate": goal.rate,
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
    seeds = list(islice(filter(SUITS.get(task, anything), count(FIRST_SEED)), IMAGES))
    batch = fixed_batch(task, seeds, size)
    bar = progress.add_task(task, total=steps)
    start = time.perf_counter()
    losses: list[float] = []
    share, value, reached = 1.0, float("nan"), False
    while len(losses) < steps and not reached:
        losses.append(sum(trainer.advance([batch]).losses.values()))
        progress.advance(bar)
        share = sum(losses[-10:]) / len(losses[-10:]) / losses[0]
        if len(losses) % CHECK_EVERY == 0 or len(losses) == steps:
            value = measure(trainer, info, size, seeds).get(goal.figure, float("nan"))
            reached = share < LOSS_SHARE and (value > goal.bound if goal.above else value < goal.bound)
            progress.update(bar, description=f"{task}: loss {share:.1%}, {goal.figure} {value:.3f}")
    seconds = time.perf_counter() - start
    return Outcome(
        task, size, goal.rate, len(losses), share, goal.figure, value, goal.bound, reached, seconds
    )


def measure(trainer: Trainer, info: CheckpointInfo, size: int, seeds: Sequence[int]) -> dict[str, float]:
    """The task's figures on the images it learns from; surfaces: on these and on their damaged twins."""
    (task,) = info.tasks
    predict = TorchPredictor(trainer.average, info)
    metric = TASK_METRICS[task].make(info.classes[task])
    for example in twins(seeds, size) if task == "anom" else scenes(task, seeds, size):
        frame = predict(example.image, true_people(example) if task == "pose" else None)
        metric.update(getattr(frame, task), truth_of(task, example))
    return metric.result()


def room(seed: int) -> bool:
    """Whether a scene has no sky."""
    return bool((render(seed, 64).depth > 0).all())


def shows_people(seed: int) -> bool:
    """Whether people are so near that heads, the rarest part, cover more than a trace of a scene."""
    return bool((render(seed, 64).parts == PART_CLASSES.index("head")).mean() > 0.015)


def anything(_: int) -> bool:
    return True


SUITS = {"depth": room, "parse": shows_people}
"""What the scenes of a task must be."""


def scenes(task: str, seeds: Sequence[int], size: int) -> Iterator[Example]:
    return (scene_example(render(seed, size), (task,)) for seed in seeds)


def twins(seeds: Sequence[int], size: int) -> Iterator[Example]:
    """Each surface that was learnt from, and the same piece with a defect."""
    for seed in seeds:
        for defective in (False, True):
            yield surface_example(seed, SURFACE_CATEGORIES[seed % len(SURFACE_CATEGORIES)], defective, size)


def true_people(example: Example) -> Detections:
    """The objects of a scene as a perfect detector would find them."""
    objects = example.objects or ()
    boxes = np.array([o.box for o in objects], np.float32).reshape(-1, 4)
    classes = np.array([o.class_id for o in objects], np.int32)
    return Detections(boxes, np.ones(len(classes), np.float32), classes, DET_CLASSES)


def show(outcomes: list[Outcome]) -> Table:
    columns = (
        "task",
        "size [px]",
        "rate",
        "steps",
        "loss",
        "figure",
        "value",
        "wanted",
        "reached",
        "seconds",
    )
    table = Table(*columns)
    for o in outcomes:
        wanted = f"{'>' if GOALS[o.task].above else '<'} {o.wanted:g}"
        table.add_row(
            o.task, str(o.size), f"{o.rate:g}", str(o.steps), f"{o.loss_share:.1%}", o.figure,
            f"{o.value:.3f}", wanted, "yes" if o.reached else "no", f"{o.seconds:.0f}",
        )  # fmt: skip
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=",".join(GOALS), help="comma-separated (default: all)")
    parser.add_argument("--size", type=int, help="side of the images [px] (default: the task's)")
    parser.add_argument("--steps", type=int, default=400, help="at most (default: 400)")
    parser.add_argument("--rate", type=float, help="learning rate (default: the task's)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    unknown = [task for task in tasks if task not in GOALS]
    if unknown:
        parser.error(f"unknown tasks {', '.join(unknown)}; known are {', '.join(GOALS)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        outcomes = []
        for task in tasks:
            goal = GOALS[task]
            goal = replace(goal, size=options.size or goal.size, rate=options.rate or goal.rate)
            outcomes.append(overfit(task, goal, options.steps, options.seed, progress))
    Console().print(show(outcomes))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))
    return 0 if all(outcome.reached for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
