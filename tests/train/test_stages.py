"""Stages: what a run takes from a checkpoint, and that frozen parts come out as they went in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from argus_edge.errors import CheckpointError, InputError
from argus_edge.train.batches import Batch, collate
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.scenes import render
from argus_edge.train.data.transforms import make_sample
from argus_edge.train.loop import Trainer
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from argus_edge.train.model.decoders.mask_dino import MaskDINO
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.stages import freeze_parts, start_model

CLASSES = {**SCENE_CLASSES, "cls": ("full", "empty")}
OTHERS = {**CLASSES, "seg": ("here", "there", "nowhere")}


@pytest.fixture(scope="module")
def stage1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano of two decoders, its statistics of BatchNorm not those of a new one."""
    torch.manual_seed(0)
    tasks = ("seg", "cls")
    model = build_model("nano", tasks, CLASSES)
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("stage1") / "checkpoint"
    save_checkpoint(path, model, CheckpointInfo("nano", tasks, {t: CLASSES[t] for t in tasks}, 64))
    return path


def recipe(init: Path | None, *tasks: str, **changes: Any) -> Recipe:
    phases = [{"steps": 2, "size": 64, "batch": 2}]
    settings = {"init": str(init or ""), "tasks": list(tasks), "phases": phases, "precision": "fp32"}
    return recipe_from(settings | {"warmup": 0} | changes, "test")


def same(first: nn.Module, second: nn.Module) -> set[str]:
    """The tensors that are equal to the last bit."""
    others = second.state_dict()
    return {
        k for k, v in first.state_dict().items() if v.shape == others[k].shape and torch.equal(v, others[k])
    }


def batches(tasks: tuple[str, ...]) -> Iterator[list[Batch]]:
    for step in range(2):
        rng = np.random.default_rng(step)
        yield [collate(tasks, [make_sample(render(seed, 64), 64, rng, tasks) for seed in (3, 4)])]


def test_what_the_checkpoint_has_is_loaded(stage1: Path) -> None:
    before, _ = load_checkpoint(stage1)
    start = start_model(recipe(stage1, "seg", "depth"), SCENE_CLASSES, 0)
    assert (start.tasks, set(start.model.decoders)) == (("seg", "depth"), {"seg", "depth"})
    for part in ("backbone", "adapter"):
        one, other = getattr(start.model, part), getattr(before, part)
        assert same(one, other) == set(one.state_dict())
    loaded = same(start.model.decoders["seg"], before.decoders["seg"])
    assert {n for n in before.decoders["seg"].state_dict() if not n.startswith("auxiliary.")} <= loaded
    assert [note.split(": decoders that ")[1] for note in start.notes] == [
        "start from nothing: depth",
        "are left out of the result, as --keep is not given: cls",
    ]


def test_of_other_classes_all_but_their_layers_is_loaded(stage1: Path) -> None:
    before, _ = load_checkpoint(stage1)
    start = start_model(recipe(stage1, "seg"), OTHERS, 0)
    decoder = start.model.decoders["seg"]
    fresh = set(decoder.state_dict()) - same(decoder, before.decoders["seg"])
    assert {n for n in fresh if not n.startswith("auxiliary.")} == {"classify.weight", "classify.bias"}
    assert any("have other classes, whose layers start from nothing: seg" in note for note in start.notes)
    # As many classes of other names are other classes.
    renamed = {**CLASSES, "seg": tuple(reversed(CLASSES["seg"]))}
    decoder = start_model(recipe(stage1, "seg"), renamed, 0).model.decoders["seg"]
    assert "classify.weight" not in same(decoder, before.decoders["seg"])


def test_a_detector_gets_masks_and_answers_the_same_boxes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = build_model("nano", ("det",), SCENE_CLASSES)
    save_checkpoint(tmp_path, model, CheckpointInfo("nano", ("det",), {"det": SCENE_CLASSES["det"]}, 96))
    before, _ = load_checkpoint(tmp_path)
    start = start_model(recipe(tmp_path, "det", "inst"), SCENE_CLASSES, 0)
    assert [note.split(": decoders that ")[1] for note in start.notes] == [
        "start from the boxes of det, with masks from nothing: inst"
    ]
    features = before.features(torch.rand(1, 3, 96, 96))
    det, inst = before.decoders["det"].eval(), start.model.decoders["inst"].eval()
    assert isinstance(det, MaskDINO)
    assert isinstance(inst, MaskDINO)
    with torch.no_grad():
        old = det.infer([features[level] for level in det.levels])
        new = inst.infer_boxes([features[level] for level in inst.box_levels])
    for name, value in old.items():
        torch.testing.assert_close(new[name], value)


def test_a_detector_leaves_its_masks_and_answers_the_same_boxes(tmp_path: Path) -> None:
    """But for its classes, where these are others."""
    torch.manual_seed(1)
    model = build_model("nano", ("det", "inst"), SCENE_CLASSES)
    classes = {task: SCENE_CLASSES[task] for task in ("det", "inst")}
    save_checkpoint(tmp_path, model, CheckpointInfo("nano", ("det", "inst"), classes, 96))
    before, _ = load_checkpoint(tmp_path)
    start = start_model(recipe(tmp_path, "det"), SCENE_CLASSES, 0)
    assert [note.split(": decoders that ")[1] for note in start.notes] == [
        "start from inst without its masks: det"
    ]
    features = before.features(torch.rand(1, 3, 96, 96))
    inst, det = before.decoders["inst"].eval(), start.model.decoders["det"].eval()
    assert isinstance(det, MaskDINO)
    assert isinstance(inst, MaskDINO)
    assert not any("mask" in name for name in det.state_dict())
    with torch.no_grad():
        old = inst.infer_boxes([features[level] for level in inst.box_levels])
        new = det.infer([features[level] for level in det.levels])
    for name, value in old.items():
        torch.testing.assert_close(new[name], value)
    other = start_model(recipe(tmp_path, "det"), {"det": ("cell", "platelet")}, 0)
    assert [note.split(": decoders that ")[1] for note in other.notes] == [
        "start from inst without its masks: det",
        "have other classes, whose layers start from nothing: det",
    ]
    kept = same(other.model.decoders["det"], det)
    assert {n for n in set(det.state_dict()) - kept if "classify" not in n and "label" not in n} == set()


@pytest.mark.parametrize("freeze", ["none", "backbone", "backbone+adapter"])
def test_frozen_parts_and_kept_decoders_come_out_bit_for_bit(
    stage1: Path, tmp_path: Path, freeze: str
) -> None:
    settings = recipe(stage1, "depth", keep=True, freeze=freeze)
    start = start_model(settings, SCENE_CLASSES, 0)
    assert start.tasks == ("depth", "seg", "cls")
    assert start.classes == {"seg": CLASSES["seg"], "cls": CLASSES["cls"]} | {
        k: v for k, v in SCENE_CLASSES.items() if k not in ("seg", "cls")
    }
    trainer = Trainer(start.model, settings, torch.device("cpu"))
    for step in batches(("depth",)):
        trainer.advance(step)
    save_checkpoint(tmp_path / "out", trainer.average, CheckpointInfo("nano", start.tasks, start.classes, 64))
    for name in ("seg", "cls"):
        file = f"{name}.safetensors"
        assert (tmp_path / "out" / file).read_bytes() == (stage1 / file).read_bytes()
    before, _ = load_checkpoint(stage1)
    after, _ = load_checkpoint(tmp_path / "out")
    vit, adapter = (len(same(getattr(after, p), getattr(before, p))) for p in ("backbone", "adapter"))
    assert (vit == len(before.backbone.state_dict())) == (freeze != "none")
    assert (adapter == len(before.adapter.state_dict())) == (freeze == "backbone+adapter")
    backbone = [(folder / "backbone.safetensors").read_bytes() for folder in (stage1, tmp_path / "out")]
    assert (backbone[0] == backbone[1]) == (freeze == "backbone+adapter")


def test_what_is_frozen_is_in_evaluation_mode() -> None:
    model = build_model("nano", ("seg", "depth"), SCENE_CLASSES)
    assert freeze_parts(model, recipe(None, "depth", freeze="backbone+adapter")) == ("depth",)
    assert _training(model) == {"decoders.depth"}
    assert freeze_parts(build_model("nano", ("seg",), SCENE_CLASSES), recipe(None, "seg")) == ("seg",)
    free = build_model("nano", ("seg", "depth"), SCENE_CLASSES)
    freeze_parts(free, recipe(None, "seg", "depth", freeze="none"))
    assert _training(free) == {"backbone", "adapter", "decoders.seg", "decoders.depth"}


def _training(model: Argus) -> set[str]:
    parts: dict[str, nn.Module] = {"backbone": model.backbone.vit, "adapter": model.adapter}
    parts |= {f"decoders.{name}": decoder for name, decoder in model.decoders.items()}
    for part in parts.values():
        assert len({m.training for m in part.modules()}) == 1
        assert {p.requires_grad for p in part.parameters()} == {part.training}
    return {name for name, part in parts.items() if part.training}


def test_the_norm_of_the_adapter_is_the_recipe_s_and_stays_with_the_checkpoint(
    stage1: Path, tmp_path: Path
) -> None:
    settings = recipe(None, "seg", norm="batch")
    start = start_model(settings, SCENE_CLASSES, 0)
    kinds = [{type(m) for m in part.modules()} for part in (start.model.adapter, start.model.backbone)]
    assert nn.BatchNorm2d in kinds[0]
    assert not {nn.GroupNorm, nn.BatchNorm2d} & (kinds[1] | kinds[0] - {nn.BatchNorm2d})
    trainer = Trainer(start.model, settings, torch.device("cpu"))
    for step in batches(("seg",)):
        trainer.advance(step)
    path = tmp_path / "out"
    save_checkpoint(path, trainer.average, start.describe(settings, ""))
    model, info = load_checkpoint(path)
    assert info.norm == "batch"
    image = normalise(torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8))
    with torch.no_grad():
        for expected, actual in zip(trainer.average.features(image), model.features(image), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.02 * float(expected.abs().max()))
    statistics = {n: v for n, v in model.adapter.named_buffers() if n.endswith("running_mean")}
    assert all(value.abs().sum() > 0 for value in statistics.values())
    start_model(recipe(path, "seg", norm="batch"), SCENE_CLASSES, 0)
    for checkpoint, other in ((path, "group"), (stage1, "batch")):
        with pytest.raises(InputError, match=f"this run trains norm '{other}'; set norm: "):
            start_model(recipe(checkpoint, "seg", norm=other), SCENE_CLASSES, 0)
    file = path / "model.json"
    for norm in ("layer", 3):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"norm": norm}))
        with pytest.raises(CheckpointError, match=r"model\.json: .*norm"):
            load_checkpoint(path)


def test_what_does_not_go_together_is_named(stage1: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nano; this run trains small"):
        start_model(recipe(stage1, "seg", variant="small"), SCENE_CLASSES, 0)
    with pytest.raises(InputError, match="leave out --pretrained and --weights"):
        start_model(recipe(stage1, "seg"), SCENE_CLASSES, 0, pretrained=True)
    with pytest.raises(InputError, match="would stay as untrained as they are"):
        start_model(recipe(None, "seg", freeze="backbone+adapter"), SCENE_CLASSES, 0)
    with pytest.raises(InputError, match="keep is about the decoders of a checkpoint"):
        recipe(None, "seg", keep=True)
    info = CheckpointInfo("nano", ("inst",), {"inst": SCENE_CLASSES["inst"]}, 96)
    save_checkpoint(tmp_path, build_model("nano", ("inst",), SCENE_CLASSES), info)
    with pytest.raises(InputError, match="det and inst of one model share a decoder"):
        start_model(recipe(tmp_path, "det", keep=True), SCENE_CLASSES, 0)
