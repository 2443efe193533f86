"""Train a model on data sets or rendered scenes; stops and resumes to the same weights.

argus-train --tasks det,seg,depth --out runs/scenes
argus-train --data coco:/data/mine --tasks det --out runs/mine
argus-train --data coco:/data/mine --tasks det --init runs/scenes/checkpoint --freeze backbone+adapter
argus-train --out runs/mine --data coco:/data/mine --tasks det --resume
"""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus_edge.command import run_command
from argus_edge.dependencies import require
from argus_edge.errors import InputError, first_line
from argus_edge.train.custom import add_task_option, load_task_files
from argus_edge.train.recipe import Recipe, check_sizes, load_recipe, recipe_from
from argus_edge.train.report import problem_lines

if TYPE_CHECKING:
    import torch

    from argus_edge.train.batches import Batch
    from argus_edge.train.evaluation_sets import EvaluationSet
    from argus_edge.train.loop import Trainer
    from argus_edge.train.sources import Sources

SCALE_IMAGES = 64  # on which the constant scales of a new adapter are measured
RECIPE_OPTIONS = (
    "variant", "tasks", "init", "keep", "freeze", "seed", "precision", "workers", "scenes", "views",
    "learning_rate",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="argus-train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run = p.add_argument_group("the run").add_argument
    run("--out", type=Path, default=Path("runs/nano"), help="its folder (default: %(default)s)")
    run("--resume", action="store_true", help="continue the run in OUT")
    run("--recipe", type=Path, help="YAML or JSON file that overrides the default recipe")
    run("--phases", help="steps:size:batch for each phase, such as 4000:160:16,1000:320:8")
    run("--learning-rate", type=float)
    run("--seed", type=int)
    run("--precision", help="auto, fp32, bf16 or fp16 (default: bf16 where the machine is made for it)")
    run("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    run(
        "--propose-weights",
        type=int,
        metavar="N",
        help="train nothing: measure the losses of N steps, print the task_weights that bring each to 1",
    )
    data = p.add_argument_group("what to learn, and from what").add_argument
    data("--tasks", type=lambda s: s.split(","), help="comma-separated, such as det,seg,depth")
    add_task_option(data)
    data(
        "--data",
        action="append",
        metavar="LAYOUT:PATH[@SPLIT]",
        help="data set for those of the tasks that it tells about, such as coco:/data/coco; repeatable. The "
        "others learn from rendered scenes",
    )
    data("--scenes", type=int, help="training scenes to render")
    data("--cache", type=Path, help="folder that keeps rendered scenes (default: OUT/scenes)")
    data("--views", type=int, help="random views that each image is seen in; 0 for new ones (default: 0)")
    data("--workers", type=int, help="processes that load and augment")
    start = p.add_argument_group("the model").add_argument
    start("--variant", help="nano, small or base")
    start("--init", help="checkpoint folder whose weights to start from, as far as it has the tasks")
    start(
        "--keep",
        action="store_true",
        default=None,
        help="its other decoders go into the result as they are",
    )
    start("--freeze", help="none, backbone, backbone+adapter (default: backbone for small and base)")
    start(
        "--features",
        type=Path,
        metavar="DIR",
        help="folder that keeps feature maps, so that a frozen backbone and adapter see each image once; any "
        "number of runs can share it",
    )
    start("--pretrained", action="store_true", help="start from the published ViT weights (through timm)")
    start("--weights", type=Path, help="file of published ViT weights (.pth, .safetensors)")
    return p


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    load_task_files(arguments.task_file)
    values: dict[str, Any] = {}
    if arguments.recipe is not None:
        values = load_recipe(arguments.recipe).to_json()
    values |= {name: v for name in RECIPE_OPTIONS if (v := getattr(arguments, name)) is not None}
    if arguments.phases is not None:
        try:
            triples = [tuple(int(n) for n in phase.split(":")) for phase in arguments.phases.split(",")]
            values["phases"] = [{"steps": s, "size": px, "batch": b} for s, px, b in triples]
        except ValueError as error:
            raise InputError(
                f"--phases {arguments.phases!r}: expected steps:size:batch[,...] in whole numbers"
            ) from error
    recipe = recipe_from(values, "command line")
    if arguments.data is not None:
        require("torch", "train")
        from argus_edge.train.sources import assign_data

        data = {**recipe.data, **assign_data(arguments.data, recipe.tasks)}
        recipe = dataclasses.replace(recipe, data=data)
    return recipe


def train(arguments: argparse.Namespace) -> int:
    recipe = recipe_of(arguments)
    check_sizes(recipe, "command line")
    import torch

    from argus_edge.train.features import check_features
    from argus_edge.train.journal import Journal
    from argus_edge.train.loader import load_steps
    from argus_edge.train.loop import Trainer, measure_scales, run, stop_signal
    from argus_edge.train.precision import with_precision
    from argus_edge.train.processes import join_processes
    from argus_edge.train.sources import open_sources
    from argus_edge.train.stages import start_model
    from argus_edge.train.state import saved_steps

    if arguments.features is not None:
        check_features(recipe)
    device = _device(arguments.device)
    recipe = with_precision(recipe, device)
    out: Path = arguments.out
    if not arguments.resume and saved_steps(out):
        raise InputError(f"{out} holds a run already; add --resume to continue it, or choose another --out")
    place = join_processes(device)
    sources = open_sources(recipe, arguments.cache or out / "scenes")
    torch.manual_seed(recipe.seed)
    published = (False, None) if arguments.resume else (arguments.pretrained, arguments.weights)
    start = start_model(recipe, sources.classes, sources.things, *published)
    model = start.model.to(device)
    if model.adapter.vit_scale == "const" and not recipe.init and not arguments.resume:
        measure_scales(model, sources.pictures(SCALE_IMAGES))
    trainer = Trainer(model, recipe, device, place, arguments.features)
    if arguments.resume:
        trainer.restore(out)
    steps = load_steps(sources.steps(recipe, place), range(trainer.step, recipe.steps), recipe.workers)
    if arguments.propose_weights is not None:
        return _propose_weights(trainer, steps, arguments.propose_weights)
    with stop_signal() as stop:
        if not place.leads:
            run(trainer, steps, out, lambda _: _tell_features(trainer), lambda _: None, stop)
            return 0
        notes = () if arguments.resume else start.notes
        if trainer.features is not None and (others := trainer.features.others()):
            notes = (*notes, others)
        info = start.describe(recipe, shlex.join(["argus-train", *arguments.argv]))
        with Journal(out, trainer, info, _validation(recipe, sources, out, notes)) as journal:
            finished = run(trainer, steps, out, journal.on_step, journal.on_validate, stop)
    for images in sources.sets.values():
        for line in problem_lines(images.title, images.problems):
            _note(line)
    if trainer.features is not None:
        _note(trainer.features.summary())
    if finished:
        print(out / "checkpoint")
    else:
        _note(f"stopped after step {trainer.step}; --resume continues there")
    return 0


def _tell_features(trainer: "Trainer") -> None:
    """What the kept features of a process have to say that shows no progress."""
    for note in trainer.features.notes() if trainer.features is not None else ():
        _note(note)


def _propose_weights(trainer: "Trainer", steps: "Iterable[list[Batch]]", count: int) -> int:
    from argus_edge.train.proposed_weights import measure_losses, weights_yaml

    if count < 1:
        raise InputError(f"--propose-weights {count}: expected at least one step")
    losses = measure_losses(trainer.model, trainer.recipe, islice(steps, count), trainer.device)
    if trainer.place.leads:
        print(weights_yaml(losses, min(count, trainer.recipe.steps - trainer.step)), end="")
    return 0


def _validation(recipe: Recipe, sources: "Sources", out: Path, notes: Sequence[str]) -> "list[EvaluationSet]":
    """What the run is measured on: a part of each data set, and scenes for the tasks that learn from them;
    what is not is told after the other notes.
    """
    from argus_edge.train.journal import scene_sets
    from argus_edge.train.sources import validation_sets

    sets, missing = validation_sets(recipe, sources)
    for note in (*notes, *missing):
        _note(note)
    on_scenes = [task for task in recipe.tasks if task not in recipe.data]
    return [*sets, *scene_sets(recipe, on_scenes, out / "val-scenes")]


def _device(name: str) -> "torch.device":
    import torch

    chosen = device_name(name, torch.cuda.is_available(), os.environ)
    try:
        device = torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({first_line(error)})") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def device_name(name: str, cuda: bool, environment: Mapping[str, str]) -> str:
    """The device for what --device says; each of the processes on a machine gets a GPU of its own."""
    if name == "auto":
        name = "cuda" if cuda else "cpu"
    if name == "cuda" and "LOCAL_RANK" in environment:
        return f"cuda:{environment['LOCAL_RANK']}"
    return name


def _note(text: str) -> None:
    print(f"argus-train: {text}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(given)
    arguments.argv = given
    run_command(lambda: train(arguments), "argus-train")


if __name__ == "__main__":
    main()
