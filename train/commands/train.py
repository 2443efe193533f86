"""argus-train: train a model on rendered scenes; stops and resumes to the same weights."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus_edge.command import run_command
from argus_edge.errors import InputError, first_line
from argus_edge.train.recipe import Recipe, check_sizes, load_recipe, recipe_from

if TYPE_CHECKING:
    from argus_edge.train.model.argus import Argus

SCALE_IMAGES = 64  # on which the constant scales of a new adapter are measured
RECIPE_OPTIONS = ("variant", "tasks", "seed", "precision", "workers", "scenes", "learning_rate")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="argus-train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/nano"), help="folder of the run (default: %(default)s)"
    )
    p.add_argument("--recipe", type=Path, help="YAML or JSON file that overrides the default recipe")
    p.add_argument("--variant", help="nano, small or base")
    p.add_argument("--tasks", type=lambda s: s.split(","), help="comma-separated, such as det,seg,depth")
    p.add_argument("--phases", help="steps:size:batch for each phase, such as 4000:160:16,1000:320:8")
    p.add_argument("--learning-rate", type=float)
    p.add_argument("--scenes", type=int, help="training scenes to render")
    p.add_argument("--seed", type=int)
    p.add_argument("--precision", help="fp32, bf16 or fp16")
    p.add_argument("--workers", type=int, help="processes that load and augment")
    p.add_argument("--cache", type=Path, help="folder that keeps rendered scenes (default: OUT/scenes)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    p.add_argument(
        "--pretrained", action="store_true", help="start from the published ViT weights (through timm)"
    )
    p.add_argument("--weights", type=Path, help="file of published ViT weights (.pth, .safetensors)")
    p.add_argument("--init", type=Path, help="checkpoint folder whose weights to start from")
    p.add_argument("--resume", action="store_true", help="continue the run in OUT")
    return p


def recipe_of(arguments: argparse.Namespace) -> Recipe:
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
    return recipe_from(values, "command line")


def train(arguments: argparse.Namespace) -> int:
    recipe = recipe_of(arguments)
    check_sizes(recipe, "command line")
    if "pose" in recipe.tasks and not {"det", "inst"} & set(recipe.tasks):
        raise InputError(
            "task 'pose' is measured on the people that a detector finds: add det or inst to --tasks"
        )
    import torch
    from torch.utils.data import DataLoader

    from argus_edge.train.batches import StepBatches, scene_source
    from argus_edge.train.journal import Journal
    from argus_edge.train.loop import Trainer, measure_scales, run, stop_signal
    from argus_edge.train.processes import join_processes
    from argus_edge.train.state import saved_steps

    device = _device(arguments.device)
    out: Path = arguments.out
    if not arguments.resume and saved_steps(out):
        raise InputError(f"{out} holds a run already; add --resume to continue it, or choose another --out")
    torch.manual_seed(recipe.seed)
    place = join_processes(device)
    scenes = scene_source(recipe, arguments.cache or out / "scenes")
    model = _initial_model(arguments, recipe).to(device)
    if model.adapter.vit_scale == "const" and arguments.init is None and not arguments.resume:
        measure_scales(model, (scenes[i].image for i in range(min(SCALE_IMAGES, len(scenes)))))
    trainer = Trainer(model, recipe, device, place)
    if arguments.resume:
        trainer.restore(out)
    loader = DataLoader(
        StepBatches(recipe, scenes, place),
        batch_size=None,
        sampler=range(trainer.step, recipe.steps),
        num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None,
    )
    with stop_signal() as stop:
        if not place.leads:
            run(trainer, loader, out, lambda _: None, lambda _: None, stop)
            return 0
        with Journal(out, trainer, shlex.join(["argus-train", *arguments.argv])) as journal:
            finished = run(trainer, loader, out, journal.on_step, journal.on_validate, stop)
    if finished:
        print(out / "checkpoint")
    else:
        print(f"stopped after step {trainer.step}; --resume continues there", file=sys.stderr)
    return 0


def _initial_model(arguments: argparse.Namespace, recipe: Recipe) -> "Argus":
    from argus_edge.train.data.classes import SCENE_CLASSES
    from argus_edge.train.model.build import build_model, variant_named
    from argus_edge.train.model.checkpoint import load_checkpoint

    if arguments.init is None:
        variant = variant_named(recipe.variant)
        return build_model(variant, recipe.tasks, SCENE_CLASSES, arguments.pretrained, arguments.weights)
    model, info = load_checkpoint(arguments.init)
    if (info.variant, info.tasks) != (recipe.variant, recipe.tasks):
        raise InputError(
            f"--init {arguments.init}: holds {info.variant} for {','.join(info.tasks)}; "
            f"this run trains {recipe.variant} for {','.join(recipe.tasks)}"
        )
    return model


def _device(name: str) -> Any:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({first_line(error)})") from error


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(given)
    arguments.argv = given
    run_command(lambda: train(arguments), "argus-train")


if __name__ == "__main__":
    main()
