"""Study files: several training runs that differ in named settings, to be compared on the same images.

    title: GroupNorm or BatchNorm
    base: {tasks: [seg, depth], shared_images: false}     # settings of every run, as in a recipe
    runs:
      group: {norm: group}
      batch: {norm: batch}
    measure: [seg/mIoU, depth/delta1]                     # default: the headline figures of all tasks
    reference: group                                      # the others are told as a share of it, too
    scenes: 200                                           # that all are measured on

Two settings may name an earlier run of the study: `init: {run: NAME}` starts from its checkpoint,
`weights: {run: NAME}` from its ViT alone, which a checkpoint folder may give as well (`weights: PATH`).
`needs_data` tells what data set the command line has to name, if any.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from argus_edge.dependencies import require
from argus_edge.errors import InputError, first_line
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.metrics import TASK_METRICS
from argus_edge.train.recipe import Recipe, check_sizes, load_recipe, recipe_from

SETTINGS: Final = ("title", "base", "runs", "measure", "reference", "scenes", "needs_data")
OTHER_FOLDERS: Final = ("scenes", "measured-scenes")  # in the folder of a study, beside those of its runs
SCENES: Final = 200  # that runs are measured on
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,59}")
PER_TASK: Final = ("data", "sizes", "batches")


@dataclass(frozen=True)
class Run:
    """One training run of a study."""

    name: str
    recipe: Recipe
    settings: Mapping[str, Any]  # of the recipe, that the study names for this run alone
    init_from: str = ""  # earlier run with whose weights it starts
    vit_from: str = ""  # earlier run whose ViT it starts with, the rest from nothing
    vit: str = ""  # the same of a checkpoint folder

    @property
    def earlier(self) -> str:
        """The run that has to be finished before."""
        return self.init_from or self.vit_from


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    title: str
    runs: tuple[Run, ...]  # each after those that it starts from
    measure: tuple[str, ...]  # figures as "task/figure", of the runs that have the task
    reference: tuple[str, ...] = ()  # runs that the others are compared with: the first that has the figure
    scenes: int = SCENES  # that tasks without data are measured on
    needs_data: str = ""  # the data set that has to be named on the command line, for people

    def run(self, name: str) -> Run:
        """Raises InputError for a run that there is not."""
        for run in self.runs:
            if run.name == name:
                return run
        raise InputError(f"{self.title}: no run {name!r}; there are {', '.join(r.name for r in self.runs)}")


def load_study(path: Path) -> Study:
    """The study in a YAML file, or the recipes in a folder as its runs.

    Raises InputError naming the file and the setting at fault.
    """
    if path.is_dir():
        return _folder_of_recipes(path)
    try:
        values = require("yaml", "train").safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable study file ({error})") from error
    except Exception as error:  # PyYAML's own family
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise InputError(f"{path}: not valid YAML ({first_line(error)})") from error
    return study_from(values, str(path))


def study_from(values: Any, where: str) -> Study:
    """The study that a file `where` describes. Raises InputError."""
    values = _mapping(values, where, "a study")
    unknown = [name for name in values if name not in SETTINGS]
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]!r}; known are {', '.join(SETTINGS)}")
    base = _mapping(values.get("base", {}), where, "base")
    runs: list[Run] = []
    for name, settings in _mapping(values.get("runs"), where, "runs").items():
        own = _mapping({} if settings is None else settings, where, f"run {name}")
        runs.append(_run(str(name), base, own, [run.name for run in runs], where))
    if not runs:
        raise InputError(f"{where}: runs must name at least one run with its settings")
    tasks = dict.fromkeys(task for run in runs for task in run.recipe.tasks)
    headline = [f"{task}/{figure}" for task in tasks for figure in TASK_METRICS[task].headline]
    scenes = values.get("scenes", SCENES)
    if type(scenes) is not int or not 0 < scenes <= get_split("val").size:
        raise InputError(f"{where}: scenes must be a whole number from 1, got {scenes!r}")
    study = Study(
        _text(values.get("title", Path(where).stem), where, "title"),
        tuple(runs),
        _names(values.get("measure", headline), where, "measure"),
        _names(values.get("reference", []), where, "reference"),
        scenes,
        _text(values.get("needs_data", ""), where, "needs_data"),
    )
    for figure in study.measure:
        task, slash, name = figure.partition("/")
        if task not in tasks or not slash or not name:
            raise InputError(
                f"{where}: measure names {figure!r}; expected task/figure with a task of {', '.join(tasks)}"
            )
    for name in study.reference:
        study.run(name)
    return study


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with so many times the steps, and all that counts in steps with them."""

    def times(steps: int) -> int:
        return max(1, round(factor * steps)) if steps else 0

    phases = tuple(dataclasses.replace(phase, steps=times(phase.steps)) for phase in recipe.phases)
    counts = ("warmup", "log_every", "save_every", "validate_every")
    changes: dict[str, Any] = {name: times(getattr(recipe, name)) for name in counts}
    return dataclasses.replace(recipe, phases=phases, **changes)


def _run(
    name: str, base: Mapping[str, Any], settings: Mapping[str, Any], before: list[str], where: str
) -> Run:
    if not NAME.fullmatch(name) or name in OTHER_FOLDERS:
        raise InputError(
            f"{where}: a run cannot be called {name!r}: its folder is called so; take letters, digits and "
            f"+ . _ - but not {' or '.join(OTHER_FOLDERS)}"
        )
    where = f"{where}: run {name}"
    values = {**base, **settings}
    init_from = _earlier(values, "init", before, where)
    vit_from = _earlier(values, "weights", before, where)
    vit = _text(values.pop("weights", ""), where, "weights")
    if (vit_from or vit) and (init_from or values.get("init")):
        raise InputError(f"{where}: init brings a ViT, too; leave out weights or init")
    for setting in PER_TASK:  # the base may say more than a run with fewer tasks needs
        given, tasks = values.get(setting), values.get("tasks")
        if setting not in settings and isinstance(given, dict) and isinstance(tasks, list):
            values[setting] = {task: value for task, value in given.items() if task in tasks}
    if init_from:
        values["init"] = init_from  # in place of the folder that the run will have
    recipe = recipe_from(values, where)
    check_sizes(recipe, where)
    return Run(name, recipe, settings, init_from, vit_from, vit)


def _earlier(values: dict[str, Any], setting: str, before: list[str], where: str) -> str:
    """The run that a setting names as {run: NAME}, which is taken out of `values`; "" for none."""
    value = values.get(setting)
    if not isinstance(value, dict):
        return ""
    name = value.get("run")
    if set(value) != {"run"} or name not in before:
        raise InputError(
            f"{where}: {setting} must be {{run: NAME}} of a run above it, which are "
            f"{', '.join(before) or 'none'}; got {value}"
        )
    del values[setting]
    return str(name)


def _folder_of_recipes(path: Path) -> Study:
    files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
    if not files:
        raise InputError(f"{path}: expected recipes (.yaml, .yml, .json) in this folder, got none")
    values = {"title": path.name, "runs": {f.stem: load_recipe(f).to_json() for f in files}}
    return study_from(values, str(path))


def _mapping(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {what} must be a mapping, got {type(value).__name__}")
    return value


def _text(value: Any, where: str, what: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: {what} must be text, got {value!r}")
    return value


def _names(value: Any, where: str, what: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{where}: {what} must be a list of names, got {value!r}")
    return tuple(names)
