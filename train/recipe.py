"""What a training run is: small frozen settings with defaults in code; a YAML file only overrides them."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from argus_edge.dependencies import require
from argus_edge.errors import InputError, TaskError, first_line
from argus_edge.tasks import get_task
from argus_edge.train.custom import custom_task
from argus_edge.train.data.scenes.splits import get_split


@dataclass(frozen=True)
class Phase:
    """A stretch of the run at one input and batch size; small inputs first cost a fraction."""

    steps: int
    size: int  # [px]
    batch: int  # images of a step, over all processes


BALANCERS: Final = ("fixed", "famo", "gradnorm", "uncertainty")
FREEZES: Final = ("auto", "none", "backbone", "backbone+adapter")
NORMS: Final = ("group", "batch")

# Each loss times its weight is of the order of 1 (the paper's rule).
TASK_WEIGHTS: Final = {
    "det": 0.2, "inst": 0.1, "pan": 0.1, "seg": 1.0, "parse": 1.0, "sal": 1.0, "edge": 1.0,
    "depth": 0.3, "normal": 3.0, "pose": 1000.0, "cls": 1.0, "anom": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One training run: AdamW and a cosine as the paper; nano learns its ViT from nothing, hence the rate."""

    variant: str = "nano"
    tasks: tuple[str, ...] = ("det", "seg", "depth")
    data: Mapping[str, str] = field(default_factory=dict)  # task -> LAYOUT:PATH[@SPLIT]; the rest: scenes
    init: str = ""  # checkpoint folder whose weights to start from
    keep: bool = False  # its decoders that are not trained here go into the result as they are
    norm: str = "group"  # of adapter and projection; "batch" is what the paper compares it with (Fig. 6)
    freeze: str = "auto"  # none, backbone (the ViT), backbone+adapter; auto: the ViT of small and base
    seed: int = 0
    phases: tuple[Phase, ...] = (Phase(2600, 192, 8), Phase(650, 320, 8))
    sizes: Mapping[str, int] = field(default_factory=dict)  # task -> [px] in place of the phases'
    batches: Mapping[str, int] = field(default_factory=dict)  # task -> images in place of the phases'
    accumulate: int = 1  # parts that a batch is computed in, one after another, to take less memory
    encoder_copies: int = 4  # of each object, matched among the detector's proposals
    mask_points: int = 0  # at which inst and pan compare masks; 0: the published number, or a mask's cells
    scenes: int = 6000  # rendered training scenes, drawn without repetition per epoch
    first_scene: int = 0  # number of the first one, so that runs can learn from disjoint scenes
    views: int = 0  # random views that each image is seen in, in turn; 0: a new one every time
    sensor: bool = False  # scenes are seen by random cameras: exposure, blur, noise, a lens
    pose_crops: int = 0  # crops of people that a step adds to the regions, for pose in crop mode; on scenes
    shared_images: bool = (
        True  # True: tasks of one data set share a batch and its backbone pass; False: each its own
    )
    task_weights: Mapping[str, float] = field(default_factory=lambda: dict(TASK_WEIGHTS))
    balancing: str = (
        "fixed"  # "fixed" takes task_weights; "famo", "gradnorm" and "uncertainty" learn their own
    )
    learning_rate: float = 3e-4
    backbone_rate: float = 1.0  # the ViT's learning rate, as a fraction of the others'
    weight_decay: float = 0.05
    warmup: int = 50  # steps
    final_rate: float = 0.01  # of the learning rate, where the cosine ends
    clip_norm: float = 10.0
    ema_decay: float = 0.995
    precision: str = "auto"  # "fp32", "bf16", "fp16" (with loss scaling, GPU only); precision.py has auto
    compile: bool = False  # backbone and adapter through torch.compile
    workers: int = 1  # processes that load and augment
    log_every: int = 10  # steps
    save_every: int = 100  # steps
    validate_every: int = 350  # steps
    validate_scenes: int = 40  # images of each data set, and of scenes

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


KINDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
MAPPINGS: Final = {"task_weights": float, "data": str, "sizes": int, "batches": int}  # by task
# Settings, what they must be, and whether a value is that (NaN never is).
LIMITS: Final[tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...]] = (
    (("variant",), "nano, small or base", lambda v: v in ("nano", "small", "base")),
    (("precision",), "auto, fp32, bf16 or fp16", lambda v: v in ("auto", "fp32", "bf16", "fp16")),
    (("freeze",), f"one of {', '.join(FREEZES)}", lambda v: v in FREEZES),
    (("balancing",), f"one of {', '.join(BALANCERS)}", lambda v: v in BALANCERS),
    (("norm",), f"one of {', '.join(NORMS)}", lambda v: v in NORMS),
    (("seed",), f"from 0 to {2**31 - 1}", lambda v: 0 <= v < 2**31),
    (
        (
            *("encoder_copies", "accumulate", "scenes"),
            *("log_every", "save_every", "validate_every", "validate_scenes"),
        ),
        "at least 1",
        lambda v: v >= 1,
    ),
    (
        ("first_scene", "views", "mask_points", "warmup", "workers", "weight_decay", "backbone_rate"),
        "0 or more",
        lambda v: 0 <= v < math.inf,
    ),
    (("learning_rate", "clip_norm"), "above 0", lambda v: 0 < v < math.inf),
    (("ema_decay",), "from 0 to below 1", lambda v: 0 <= v < 1),
    (("final_rate",), "from 0 to 1", lambda v: 0 <= v <= 1),
)


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
    try:
        own = {task: custom_task(task).weight for task in recipe.tasks if task not in recipe.task_weights}
    except TaskError as error:
        raise InputError(f"{where}: {error}") from error
    recipe = dataclasses.replace(recipe, task_weights={**recipe.task_weights, **own})
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
        raise InputError(f"{path}: neither valid YAML nor JSON ({first_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return recipe_from(values, str(path))


def smallest_size(variant: str, tasks: Sequence[str]) -> int:
    """Side of the network input [px] from which the detector has a place (a cell at stride 8, 16 or 32) for
    each of its queries; 64 without a detector. Raises InputError for an unknown variant, TaskError.
    """
    from argus_edge.train.model.build import DECODERS, variant_named

    detects = any(get_task(task).decoder == "mask_dino" for task in tasks)
    queries = DECODERS[variant_named(variant)].det.queries if detects else 0
    return next(s for s in count(64, 32) if sum((s // stride) ** 2 for stride in (8, 16, 32)) >= queries)


def phases_of(recipe: Recipe, task: str) -> tuple[Phase, ...]:
    """The phases with what the recipe says of one task alone."""
    return tuple(
        Phase(phase.steps, recipe.sizes.get(task, phase.size), recipe.batches.get(task, phase.batch))
        for phase in recipe.phases
    )


def check_sizes(recipe: Recipe, where: str) -> None:
    """Raises InputError when the variant cannot be trained at the input size of a phase, or run at the last
    one's, which becomes that of the model.
    """
    needed = {task: smallest_size(recipe.variant, [task]) for task in recipe.tasks}
    for task, smallest in needed.items():
        size = min(phase.size for phase in (*phases_of(recipe, task), recipe.phases[-1]))
        if size < smallest:
            raise InputError(
                f"{where}: {recipe.variant} with {', '.join(recipe.tasks)} needs phases of "
                f"at least {max(needed.values())} px, got {size}"
            )


def _converted(name: str, value: Any, default: Any, where: str) -> Any:
    try:
        if name == "phases":
            return tuple(p if isinstance(p, Phase) else _phase(p) for p in value)
        if name == "tasks":
            if not isinstance(value, (list, tuple)):
                raise TypeError("expected a list of task names")
            return tuple(_scalar(task, str) for task in value)
        if name in MAPPINGS:
            return {**default, **{str(k): _scalar(v, MAPPINGS[name]) for k, v in value.items()}}
        return _scalar(value, type(default))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: setting {name!r} cannot be {value!r} ({error})") from error


def _phase(values: Mapping[str, Any]) -> Phase:
    return Phase(**{name: _scalar(value, int) for name, value in values.items()})


def _scalar(value: Any, kind: type) -> Any:
    """`value` when it is of that kind; numbers may be written as text, which YAML makes of 1e-3."""
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {KINDS[kind]}")
    return value


def _check(recipe: Recipe, where: str) -> None:
    for names, expected, fits in LIMITS:
        for name in names:
            value = getattr(recipe, name)
            if not fits(value):
                raise InputError(f"{where}: {name} must be {expected}, got {value!r}")
    for phase in (p for task in ("", *recipe.tasks) for p in phases_of(recipe, task)):
        if phase.size < 64 or phase.size % 32 or phase.steps < 0 or phase.batch < 2:
            raise InputError(
                f"{where}: a phase needs steps, a size in multiples of 32 from 64 px, and a "
                f"batch of at least 2 (BatchNorm's least); got {phase}"
            )
        if phase.batch % recipe.accumulate or phase.batch < 2 * recipe.accumulate:
            raise InputError(
                f"{where}: accumulate {recipe.accumulate} needs batches of a multiple of it, with at least "
                f"2 images in a part (BatchNorm's least); got {phase}"
            )
    if not recipe.phases or recipe.steps == 0:
        raise InputError(f"{where}: no training steps; give at least one phase with steps")
    if not recipe.tasks or len(set(recipe.tasks)) < len(recipe.tasks):
        raise InputError(f"{where}: tasks must name at least one task, each once; got {list(recipe.tasks)}")
    for name in ("data", "sizes", "batches"):
        for task in getattr(recipe, name):
            if task not in recipe.tasks:
                raise InputError(
                    f"{where}: {name} names task {task!r}, which is not among the tasks "
                    f"{', '.join(recipe.tasks)}"
                )
    if recipe.first_scene + recipe.scenes > get_split("train").size:
        raise InputError(
            f"{where}: there are {get_split('train').size} scenes to learn from, counted from 0; got "
            f"{recipe.scenes} from first_scene {recipe.first_scene} on"
        )
    if recipe.balancing == "gradnorm" and recipe.freeze == "backbone+adapter":
        raise InputError(
            f"{where}: balancing gradnorm compares the gradients of the feature maps, of which freeze "
            f"backbone+adapter has none; choose fixed, famo or uncertainty"
        )
    if recipe.keep and not recipe.init:
        raise InputError(f"{where}: keep is about the decoders of a checkpoint; name one with init")
    for task in recipe.tasks:
        weight = recipe.task_weights[task]
        if not 0 <= weight < math.inf:
            raise InputError(
                f"{where}: task {task!r} needs a weight of 0 or more in task_weights, got {weight}"
            )
