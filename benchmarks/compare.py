"""Trains the runs of a study one after another, measures all of them on the same images, and compares them.

A study is a YAML file (see benchmarks/studies/ and train/study.py) or a folder of recipes. Each run is an
argus-train of its own in OUT/NAME, each measurement an argus-eval of its checkpoint. What is finished is not
done again, what was interrupted is resumed: SIGTERM and Ctrl-C save the run that is at work and end with 0.
Writes OUT/results.md, OUT/results.json and OUT/curves.svg.

    python benchmarks/compare.py benchmarks/studies/group-or-batch.yaml --out runs/group-or-batch
    python benchmarks/compare.py benchmarks/studies/bccd.yaml --data coco:/data/bccd --out runs/bccd
    python benchmarks/compare.py my-recipes --out runs/mine --only first --steps-scale 0.1
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from safetensors.torch import load_file

from argus_edge.command import run_command
from argus_edge.errors import InputError, TrainingError
from argus_edge.runtime.charts import Points, picture_of_curves
from argus_edge.runtime.machine import this_machine
from argus_edge.train.commands import evaluate
from argus_edge.train.loop import stop_signal
from argus_edge.train.metrics import TASK_METRICS
from argus_edge.train.model.checkpoint import read_info, write_atomically, write_tensors
from argus_edge.train.recipe import Recipe
from argus_edge.train.sources import assign_data, data_and_split
from argus_edge.train.state import saved_steps
from argus_edge.train.study import Run, Study, load_study, scaled

MOST_POINTS = 60  # of a loss in the picture; a point is the mean of its neighbours
VIT = "0.vit."  # what the ViT's tensors are called in a checkpoint's backbone.safetensors


@dataclass(frozen=True)
class Outcome:
    """What came out of one run."""

    run: Run
    figures: Mapping[str, float]  # "task/figure" -> value
    measured_on: tuple[str, ...]
    minutes: float  # of training, validation included
    log: Sequence[Mapping[str, Any]]  # rows of log.jsonl


def placed(run: Run, out: Path, options: argparse.Namespace) -> Run:
    """The run as it is trained here: with its data, its start and its number of steps."""
    recipe = scaled(run.recipe, options.steps_scale)
    changes: dict[str, Any] = {}
    if options.workers is not None:
        changes["workers"] = options.workers
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.data:
        changes["data"] = {**recipe.data, **assign_data(options.data, recipe.tasks)}
    if run.init_from:
        changes["init"] = str((out / run.init_from / "checkpoint").absolute())
    return dataclasses.replace(run, recipe=dataclasses.replace(recipe, **changes))


def chosen(study: Study, names: Sequence[str] | None) -> list[Run]:
    """The runs to do: those of the names, after those that they start from."""
    wanted = {name: study.run(name) for name in names or [run.name for run in study.runs]}
    for run in reversed(study.runs):
        if run.name in wanted and run.earlier:
            wanted[run.earlier] = study.run(run.earlier)
    return [run for run in study.runs if run.name in wanted]


def check_same(run: Run, folder: Path) -> None:
    """Raise InputError where the folder has a run of other settings."""
    file = folder / "recipe.json"
    if not file.is_file():
        return
    there, wanted = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(run.recipe.to_json()))
    defaults = Recipe().to_json()  # of settings that are newer than the run
    changed = [name for name, value in wanted.items() if there.get(name, defaults[name]) != value]
    if changed:
        raise InputError(
            f"{folder} holds a run with other settings for {', '.join(changed)}; give the same options as "
            f"then, choose another --out, or remove the folder"
        )


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the checkpoint is that of the last step."""
    checkpoint = folder / "checkpoint"
    return checkpoint.is_dir() and read_info(checkpoint).metrics.get("step") == run.recipe.steps


def train(run: Run, out: Path, device: str) -> bool:
    """Start or resume the run, in a process of its own; whether it came to its end.

    Raises TrainingError when argus-train does not end well, which has said why.
    """
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.json", json.dumps(run.recipe.to_json(), indent=2).encode())
    (folder / "figures.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "argus_edge.train.commands.train"]
    command += ["--recipe", str(folder / "recipe.json"), "--out", str(folder)]
    command += ["--cache", str(out / "scenes"), "--device", device]
    if saved_steps(folder):
        command.append("--resume")
    elif run.vit_from or run.vit:
        checkpoint = out / run.vit_from / "checkpoint" if run.vit_from else Path(run.vit)
        command += ["--weights", str(vit_weights(checkpoint, folder))]
    with stop_signal() as stop, subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None and not stop():
            time.sleep(0.1)
        stopped = stop()
        if process.poll() is None:
            process.terminate()
        process.wait()
    if process.returncode and not stopped:
        raise TrainingError(
            f"run {run.name}: argus-train ended with {process.returncode}, see above; the same command goes "
            f"on where it stopped"
        )
    return not stopped and is_finished(run, folder)


def vit_weights(checkpoint: Path, folder: Path) -> Path:
    """A weight file of the ViT in a checkpoint, for --weights. Raises CheckpointError where there is none."""
    read_info(checkpoint)
    tensors = load_file(checkpoint / "backbone.safetensors")
    path = folder / "vit.safetensors"
    write_tensors(path, {k.removeprefix(VIT): v.float() for k, v in tensors.items() if k.startswith(VIT)})
    return path


def measure(run: Run, out: Path, study: Study, scenes: int) -> Outcome:
    """The figures that the study asks for, from the folder of the run or by argus-eval."""
    folder = out / run.name
    tasks = [t for t in run.recipe.tasks if any(f.startswith(f"{t}/") for f in study.measure)]
    commands = [
        [str(folder / "checkpoint"), "--json", "--tasks", ",".join(some), *options]
        + (["--true-boxes"] if "pose" in some else [])
        for some, options in _sources(run.recipe, tasks, out, scenes)
    ]
    file = folder / "figures.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if found.get("commands") != commands:
        found = {"commands": commands, "results": [_evaluated(command) for command in commands]}
        write_atomically(file, json.dumps(found, indent=2).encode())
    figures = {
        f"{task}/{name}": value
        for result in found["results"]
        for task, each in result["precisions"]["fp32"]["metrics"].items()
        for name, value in each.items()
    }
    on = dict.fromkeys(each["title"] for result in found["results"] for each in result["data"])
    lines = (folder / "log.jsonl").read_text(encoding="ascii").splitlines()
    log = [json.loads(line) for line in lines]
    minutes = max((row["seconds"] for row in log if "seconds" in row), default=0.0) / 60
    return Outcome(run, figures, tuple(on), minutes, log)


def _sources(
    recipe: Recipe, tasks: Sequence[str], out: Path, scenes: int
) -> list[tuple[list[str], list[str]]]:
    """Tasks that are measured together, and the options of argus-eval that say on what."""
    with_data = [task for task in tasks if task in recipe.data]
    on_scenes = [task for task in tasks if task not in recipe.data]
    texts = dict.fromkeys(data_and_split(recipe.data[task])[0] for task in with_data)
    named = (with_data, [part for text in texts for part in ("--data", text)])
    rendered = (on_scenes, ["--scenes", str(scenes), "--cache", str(out / "measured-scenes")])
    return [(some, options) for some, options in (named, rendered) if some]


def _evaluated(command: Sequence[str]) -> dict[str, Any]:
    """What argus-eval prints."""
    with redirect_stdout(io.StringIO()) as printed:
        evaluate.run(command)
    return dict(json.loads(printed.getvalue()))


def share(outcome: Outcome, figure: str, reference: Sequence[Outcome]) -> float | None:
    """Of the figure of the first reference that has it, more is better; None without one, and for itself."""
    other = next((o for o in reference if figure in o.figures), None)
    if other is None or other.run.name == outcome.run.name or figure not in outcome.figures:
        return None
    task, _, name = figure.partition("/")
    above, below = outcome.figures[figure], other.figures[figure]
    if name in TASK_METRICS[task].errors:
        above, below = below, above
    return above / below if below > 0 else None


def results(study: Study, outcomes: Sequence[Outcome], scale: float) -> dict[str, Any]:
    """Everything, for results.json."""
    reference = [o for name in study.reference for o in outcomes if o.run.name == name]
    return {
        "title": study.title,
        "machine": this_machine().to_json(),
        "steps_scale": scale,
        "reference": list(study.reference),
        "measured_on": list(dict.fromkeys(title for o in outcomes for title in o.measured_on)),
        "runs": {
            o.run.name: {
                "settings": o.run.settings,
                "steps": o.run.recipe.steps,
                "seed": o.run.recipe.seed,
                "minutes": round(o.minutes, 1),
                "figures": {f: o.figures[f] for f in study.measure if f in o.figures},
                "share_of_reference": {
                    f: kept for f in study.measure if (kept := share(o, f, reference)) is not None
                },
                "all_figures": o.figures,
            }
            for o in outcomes
        },
    }


def markdown(study: Study, found: Mapping[str, Any]) -> str:
    """The same as tables for people."""
    columns = ["run", *(figure.replace("/", " ") for figure in study.measure), "steps", "training [min]"]
    lines = [f"# {study.title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, run in found["runs"].items():
        cells = [_cell(run["figures"].get(f), run["share_of_reference"].get(f)) for f in study.measure]
        cells = [name, *cells, str(run["steps"]), f"{run['minutes']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"Measured on {title}." for title in found["measured_on"])]
    if study.reference:
        lines.append(
            f"In brackets: of what {', '.join(study.reference)} reached; errors are turned over: more is "
            f"better."
        )
    machine = found["machine"]
    lines += ["", f"{machine['cpu']}, {machine['cores']} cores.", "", "| run | settings |", "|---|---|"]
    for name, run in found["runs"].items():
        said = "; ".join(f"{k}: {json.dumps(v)}" for k, v in run["settings"].items())
        lines.append(f"| {name} | {said.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, kept: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + ("" if kept is None else f" ({100 * kept:.1f} %)")


def curves(study: Study, outcomes: Sequence[Outcome]) -> str:
    """The validations of all runs while they learnt, and their losses."""
    tasks = dict.fromkeys(figure.partition("/")[0] for figure in study.measure)
    names = {f"{f.replace('/', ' ')} of a validation": f for f in study.measure}
    names |= {f"loss of {task}": f"loss/{task}" for task in tasks}
    panels = {title: {o.run.name: _points(o.log, name) for o in outcomes} for title, name in names.items()}
    return picture_of_curves(panels, max((o.run.recipe.steps for o in outcomes), default=1))


def _points(log: Sequence[Mapping[str, Any]], name: str) -> Points:
    points = [(row["step"], row[name]) for row in log if name in row]
    width = -(-len(points) // MOST_POINTS) or 1
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("study", type=Path, help="YAML file of a study, or folder of recipes")
    add("--out", type=Path, required=True, help="folder for all runs")
    add("--only", action="append", metavar="NAME", help="only this run and what it starts from; repeatable")
    add("--data", action="append", metavar="LAYOUT:PATH", help="data set for the tasks it tells about")
    add("--steps-scale", type=_factor, default=1.0, metavar="F", help="so many times the steps (%(default)s)")
    add("--scenes", type=int, help="that runs are measured on (the study's number)")
    add("--seed", type=int, help="in place of that of the recipes")
    add("--workers", type=int, help="processes that load, in place of those of the recipes")
    add("--device", default="auto", help="to train on, as argus-train has it (%(default)s)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    return p


def _factor(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 100, got {text}")
    return value


def compare(options: argparse.Namespace) -> int:
    """All of it. Raises ArgusError for what the user can put right."""
    study, out = load_study(options.study), options.out
    if study.needs_data and not options.data:
        raise InputError(f"{options.study} learns from a data set: {study.needs_data}")
    if options.scenes is not None and options.scenes < 1:
        raise InputError(f"--scenes {options.scenes}: expected at least one")
    runs = [placed(run, out, options) for run in chosen(study, options.only)]
    for run in runs:
        check_same(run, out / run.name)
    console = Console(stderr=True, highlight=False)
    outcomes: list[Outcome] = []
    for number, run in enumerate(runs, 1):
        if not is_finished(run, out / run.name):
            console.rule(f"{number} of {len(runs)}: {run.name}, {run.recipe.steps} steps", style="dim")
            if not train(run, out, options.device):
                console.print(f"stopped in run {run.name}; the same command goes on from there")
                break
        outcomes.append(measure(run, out, study, options.scenes or study.scenes))
    if not outcomes:
        return 0
    found = results(study, outcomes, options.steps_scale)
    text = markdown(study, found)
    write_atomically(out / "results.json", (json.dumps(found, indent=2) + "\n").encode())
    write_atomically(out / "results.md", text.encode())
    write_atomically(out / "curves.svg", curves(study, outcomes).encode())
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(Markdown(text))
    return 0


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = parser().parse_args(argv)
    run_command(lambda: compare(options), "compare")


if __name__ == "__main__":
    main()
