"""The stages of training: which weights a run starts from, and which it leaves as they are.

Stage 1 trains backbone, adapter and the decoders of some tasks; stage 2 adds decoders to the frozen rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from argus_edge.errors import InputError
from argus_edge.train.custom import origin_of
from argus_edge.train.model.argus import Argus, decoder_of, decoders_of
from argus_edge.train.model.build import (
    BACKBONES,
    DECODERS,
    Variant,
    build_decoder,
    build_model,
    norm_named,
    variant_named,
)
from argus_edge.train.model.checkpoint import CheckpointInfo, load_parts, read_info, require_tasks
from argus_edge.train.recipe import Recipe

DETECTORS: Final = (("inst", "det"), ("det", "inst"))  # what a detector becomes, and what it was


@dataclass(frozen=True)
class Start:
    """A model before its first step, and what it is: the tasks that are trained first, then those kept."""

    model: Argus
    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]  # of each task that has classes
    things: int  # of the classes of pan the first so many are countable
    notes: tuple[str, ...] = ()  # what of a checkpoint is not used, for people

    def describe(self, recipe: Recipe, command: str) -> CheckpointInfo:
        """The description of the checkpoints of a run, which `command` makes again."""
        return CheckpointInfo(
            recipe.variant,
            self.tasks,
            self.classes,
            recipe.phases[-1].size,
            command,
            recipe.to_json(),
            things=self.things,
            norm=recipe.norm,
            custom={task: origin for task in self.tasks if (origin := origin_of(task)) is not None},
        )


def start_model(
    recipe: Recipe,
    classes: Mapping[str, tuple[str, ...]],
    things: int,
    pretrained: bool = False,
    weights: Path | None = None,
) -> Start:
    """The model that the recipe trains, on the CPU.

    From `recipe.init` come backbone, adapter, and the decoders of its tasks: whole where the classes are the
    same, without the layers that tell them apart where they are others. What is not there starts from
    nothing, what is not asked for is left out, or kept as it is with `recipe.keep`.

    Args:
        recipe: tasks, variant and checkpoint.
        classes: of the recipe's tasks.
        things: of the classes of pan.
        pretrained: whether a ViT that comes from no checkpoint is fetched through timm.
        weights: file with such a ViT.

    Raises InputError where recipe and checkpoint do not go together, CheckpointError as loading does.
    """
    variant, norm = variant_named(recipe.variant), norm_named(recipe.norm)
    if not recipe.init:
        if recipe.freeze == "backbone+adapter":
            raise InputError(
                "freeze backbone+adapter: they would stay as untrained as they are; name a checkpoint to "
                "start from with --init"
            )
        model = build_model(variant, recipe.tasks, classes, pretrained, weights, norm)
        return Start(model, recipe.tasks, classes, things)
    if pretrained or weights is not None:
        raise InputError("--init: the ViT comes from the checkpoint; leave out --pretrained and --weights")
    path = Path(recipe.init)
    info = read_info(path)
    if info.variant != recipe.variant:
        raise InputError(f"--init {path}: holds {info.variant}; this run trains {recipe.variant}")
    if info.norm != recipe.norm:
        raise InputError(
            f"--init {path}: its adapter has norm {info.norm!r}, this run trains norm {recipe.norm!r}; set "
            f"norm: {info.norm} in the recipe or take another checkpoint"
        )
    kept = _kept(recipe, info)
    require_tasks(path, info, kept)
    tasks = (*recipe.tasks, *kept)
    classes = {**classes, **{task: info.classes[task] for task in kept if task in info.classes}}
    model = build_model(variant, tasks, classes, norm=norm)
    fresh = _fresh_tensors(model, variant, classes, info)
    sources = {name: _source(name, variant, info) for name in fresh}
    load_parts(path, model, fresh, sources)
    if "pan" in kept:
        things = info.things
    return Start(model, tasks, classes, things, _notes(path, model, info, sources, classes))


def freeze_parts(model: Argus, recipe: Recipe) -> tuple[str, ...]:
    """Put what the recipe trains into training mode and freeze the rest; the decoders that are trained.

    What is frozen gets no gradient and stays in evaluation mode: no dropout, and statistics of BatchNorm as
    they are.
    """
    frozen = "backbone" if BACKBONES[variant_named(recipe.variant)].frozen else "none"
    frozen = recipe.freeze if recipe.freeze != "auto" else frozen
    if recipe.freeze != "auto":  # a backbone knows itself what its variant has
        model.backbone.frozen = frozen != "none"
        model.backbone.vit.requires_grad_(not model.backbone.frozen)
    model.train()
    if frozen == "backbone+adapter":
        model.adapter.requires_grad_(False).eval()
    trained = tuple(name for name in model.decoders if name in decoders_of(recipe.tasks))
    for name, decoder in model.decoders.items():
        if name not in trained:
            decoder.requires_grad_(False).eval()
    return trained


def _kept(recipe: Recipe, info: CheckpointInfo) -> tuple[str, ...]:
    """The checkpoint's tasks that are not trained, where they stay in the model."""
    kept = tuple(task for task in info.tasks if task not in recipe.tasks) if recipe.keep else ()
    apart = {*decoders_of(recipe.tasks), *decoders_of(kept)}
    if apart != {*decoders_of((*recipe.tasks, *kept))}:
        raise InputError(
            "--keep: det and inst of one model share a decoder, so they are trained or kept together: "
            "name both in --tasks or leave out --keep"
        )
    return kept


def _fresh_tensors(
    model: Argus, variant: Variant, classes: Mapping[str, tuple[str, ...]], info: CheckpointInfo
) -> dict[str, frozenset[str]]:
    """Decoder that the checkpoint has, too -> its tensors that depend on the classes, if those are others."""
    fresh: dict[str, frozenset[str]] = {}
    for name, decoder in model.decoders.items():
        source = _source(name, variant, info)
        if source not in decoders_of(info.tasks):
            continue
        names = classes.get(name, ())
        fresh[name] = frozenset()
        if source != name:
            with torch.random.fork_rng(devices=[]):
                known = build_decoder(variant, source, names).state_dict()
            fresh[name] = frozenset(decoder.state_dict().keys() ^ known.keys())
        if tuple(info.classes.get(source, ())) != tuple(names):
            with torch.random.fork_rng(devices=[]):
                other = build_decoder(variant, name, (*names, "one more")).state_dict()
            fresh[name] |= {k for k, v in decoder.state_dict().items() if other[k].shape != v.shape}
    return fresh


def _source(name: str, variant: Variant, info: CheckpointInfo) -> str:
    """The checkpoint's decoder that becomes decoder `name`: a detector may get masks, or leave its own."""
    there = decoders_of(info.tasks)
    other = dict(DETECTORS).get(name, name)
    alike = DECODERS[variant].initial_boxes == "regressed"
    return other if alike and name not in there and other in there else name


def _notes(
    path: Path,
    model: Argus,
    info: CheckpointInfo,
    sources: Mapping[str, str],
    classes: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    new = [name for name in model.decoders if name not in sources]
    grown, shrunk = ([n for n, of in sources.items() if (n, of) == pair] for pair in DETECTORS)
    renamed = [
        name
        for name, of in sources.items()
        if tuple(info.classes.get(of, ())) != tuple(classes.get(name, ()))
    ]
    left = [task for task in info.tasks if decoder_of(task, info.tasks) not in sources.values()]
    told = (
        ("start from nothing", new),
        ("start from the boxes of det, with masks from nothing", grown),
        ("start from inst without its masks", shrunk),
        ("have other classes, whose layers start from nothing", renamed),
        ("are left out of the result, as --keep is not given", left),
    )
    return tuple(f"--init {path}: decoders that {what}: {', '.join(names)}" for what, names in told if names)
