"""What a training run is: small frozen settings with defaults in code; a YAML file only overrides them."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argus_edge.dependencies import require
from argus_edge.errors import InputError


@dataclass(frozen=True)
class Phase:
    """A stretch of the run at one input and batch size; small inputs first cost a fraction."""

    steps: int
    size: int  # [px]
    batch: int  # images of a step, over all processes


@dataclass(frozen=True)
class Recipe:
    """One training run: AdamW and a cosine as the paper; nano learns its ViT from nothing, hence the rate."""

    variant: str = "nano"
    tasks: tuple[str, ...] = ("det", "seg", "depth")
    seed: int = 0
    phases: tuple[Phase, ...] = (Phase(1200, 128, 8), Phase(650, 192, 8), Phase(350, 320, 8))
    encoder_copies: int = 4  # of each object, matched among the detector's proposals
    scenes: int = 6000  # rendered training scenes, drawn without repetition per epoch
    shared_images: bool = (
        True  # True: tasks of one data set share a batch and its backbone pass; False: each its own
    )
    task_weights: Mapping[str, float] = field(default_factory=lambda: {"det": 0.2, "seg": 1.0, "depth": 0.3})
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    warmup: int = 50  # steps
    final_rate: float = 0.01  # of the learning rate, where the cosine ends
    clip_norm: float = 10.0
    ema_decay: float = 0.995
    precision: str = "bf16"  # "fp32", "bf16" (autocast), "fp16" (autocast with loss scaling, GPU only)
    workers: int = 1
    save_every: int = 100  # steps
    validate_every: int = 350  # steps
    validate_scenes: int = 40

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def recipe_from(values: Mapping[str, Any], where: str) -> Recipe:
    """Defaults overridden by `values`; `where` names their file in errors (InputError)."""
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    defaults = Recipe()
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{where}: unknown setting {name!r}; known are {', '.join(sorted(known))}")
        given[name] = _converted(name, value, getattr(defaults, name), where)
    recipe = dataclasses.replace(defaults, **given)
    _check(recipe, where)
    return recipe


def load_recipe(path: Path) -> Recipe:
    """A YAML or JSON mapping of settings to override. Raises InputError naming the file and the setting."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable recipe file ({error})") from error
    try:
        values = json.loads(text) if path.suffix == ".json" else require("yaml", "train").safe_load(text)
    except Exception as error:  # PyYAML and json raise families of their own
        raise InputError(f"{path}: neither valid YAML nor JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return recipe_from(values, str(path))


def _converted(name: str, value: Any, default: Any, where: str) -> Any:
    try:
        if name == "phases":
            return tuple(p if isinstance(p, Phase) else Phase(**p) for p in value)
        if name == "tasks":
            return tuple(str(task) for task in value)
        if name == "task_weights":
            return {**default, **{str(k): float(v) for k, v in value.items()}}
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise TypeError("expected true or false")
            return value
        return type(default)(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: setting {name!r} cannot be {value!r} ({error})") from error


def _check(recipe: Recipe, where: str) -> None:
    for phase in recipe.phases:
        if phase.size < 64 or phase.size % 32 or phase.steps < 0 or phase.batch < 1:
            raise InputError(
                f"{where}: a phase needs a size in multiples of 32 from 64 px, steps and a batch; got {phase}"
            )
    if not recipe.phases or recipe.steps == 0:
        raise InputError(f"{where}: no training steps; give at least one phase with steps")
    if recipe.precision not in ("fp32", "bf16", "fp16"):
        raise InputError(f"{where}: precision must be fp32, bf16 or fp16, got {recipe.precision!r}")
    if recipe.encoder_copies < 1:
        raise InputError(f"{where}: encoder_copies must be at least 1, got {recipe.encoder_copies}")
    if recipe.scenes < 1:
        raise InputError(f"{where}: scenes must be at least 1, got {recipe.scenes}")
    missing = [task for task in recipe.tasks if task not in recipe.task_weights]
    if not recipe.tasks or missing:
        raise InputError(
            f"{where}: every task needs a weight in task_weights; missing {missing or 'any task'}"
        )
