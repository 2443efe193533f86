"""Recipes: defaults, what a file overrides, and errors that name the file and the setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from argus_edge.errors import InputError
from argus_edge.train.batches import locate
from argus_edge.train.model.deformable import DeformableAttention
from argus_edge.train.optimiser import parameter_groups, rate_factor
from argus_edge.train.recipe import (
    Phase,
    Recipe,
    check_sizes,
    load_recipe,
    phases_of,
    recipe_from,
    smallest_size,
)


def test_a_yaml_file_overrides_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 7\ntasks: [det, depth]\nlearning_rate: 1e-3\nshared_images: false\n"
        "task_weights: {det: 0.2}\nphases:\n"
        "  - {steps: 10, size: 64, batch: 2}\n  - {steps: 5, size: 96, batch: 4}\n"
    )
    default, recipe = Recipe(), load_recipe(path)
    assert (recipe.seed, recipe.tasks, recipe.learning_rate) == (7, ("det", "depth"), 1e-3)
    assert recipe.shared_images is False
    assert recipe.task_weights == {**default.task_weights, "det": 0.2}
    assert recipe.phases == (Phase(10, 64, 2), Phase(5, 96, 4))
    assert recipe.steps == 15
    for name in ("variant", "weight_decay", "precision", "scenes", "clip_norm"):
        assert getattr(recipe, name) == getattr(default, name)


def test_json_is_read_as_well_and_a_recipe_survives_it(tmp_path: Path) -> None:
    recipe = recipe_from({"seed": 3, "phases": [{"steps": 2, "size": 64, "batch": 2}]}, "here")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert load_recipe(path) == recipe
    path = path.rename(tmp_path / "mine.yml")  # JSON is YAML too
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 1}, "unknown setting 'sede'; known are "),
        ({"seed": "x"}, "setting 'seed' cannot be 'x'"),
        ({"learning_rate": [1]}, "setting 'learning_rate'"),
        ({"shared_images": "yes"}, "setting 'shared_images' cannot be 'yes' (expected true or false)"),
        ({"phases": [{"steps": 1, "size": 64}]}, "setting 'phases'"),
        ({"phases": [{"steps": 1, "size": 64, "batch": 2, "more": 1}]}, "setting 'phases'"),
        ({"phases": 5}, "setting 'phases'"),
        ({"phases": []}, "no training steps"),
        ({"phases": [{"steps": 0, "size": 64, "batch": 2}]}, "no training steps"),
        ({"phases": [{"steps": 1, "size": 100, "batch": 2}]}, "multiples of 32"),
        ({"phases": [{"steps": 1, "size": 32, "batch": 2}]}, "from 64 px"),
        ({"phases": [{"steps": 1, "size": 64, "batch": 1}]}, "a batch of at least 2"),
        ({"phases": [{"steps": 1.5, "size": 64, "batch": 2}]}, "expected a whole number"),
        ({"phases": [{"steps": 1, "size": "64", "batch": 2}]}, "expected a whole number"),
        ({"variant": "huge"}, "variant must be nano, small or base, got 'huge'"),
        ({"variant": 5}, "setting 'variant' cannot be 5 (expected text)"),
        ({"precision": "fp8"}, "precision must be auto, fp32, bf16 or fp16, got 'fp8'"),
        ({"seed": -1}, "seed must be from 0 to 2147483647, got -1"),
        ({"seed": 2**31}, "seed must be from 0"),
        ({"seed": True}, "setting 'seed' cannot be True (expected a whole number)"),
        ({"workers": 3.7}, "setting 'workers' cannot be 3.7 (expected a whole number)"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": -1e-3}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"learning_rate": True}, "expected a number"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"ema_decay": 1}, "ema_decay must be from 0 to below 1, got 1.0"),
        ({"scenes": 0}, "scenes must be at least 1, got 0"),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"validate_every": 0}, "validate_every must be at least 1"),
        ({"validate_scenes": 0}, "validate_scenes must be at least 1"),
        ({"tasks": []}, "tasks must name at least one task"),
        ({"tasks": ["det", "det"]}, "each once; got ['det', 'det']"),
        ({"tasks": "det"}, "setting 'tasks' cannot be 'det' (expected a list of task names)"),
        ({"tasks": ["flow"]}, "'flow'"),
        ({"task_weights": 3}, "setting 'task_weights'"),
        ({"data": {"det": 3}}, "setting 'data' cannot be {'det': 3} (expected text)"),
        ({"data": {"pose": "coco:/x"}}, "data names task 'pose', which is not among the tasks det, seg"),
        ({"sizes": {"det": 100}}, "multiples of 32"),
        ({"sizes": {"det": 96.5}}, "setting 'sizes'"),
        ({"batches": {"seg": 1}}, "a batch of at least 2"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"accumulate": 3}, "accumulate 3 needs batches of a multiple of it"),
        ({"accumulate": 8}, "with at least 2 images in a part"),
        (
            {"freeze": "adapter"},
            "freeze must be one of auto, none, backbone, backbone+adapter, got 'adapter'",
        ),
        ({"keep": True}, "keep is about the decoders of a checkpoint"),
        ({"norm": "layer"}, "norm must be one of group, batch, got 'layer'"),
        ({"first_scene": -1}, "first_scene must be 0 or more, got -1"),
        ({"first_scene": 9_999_999, "scenes": 2}, "scenes to learn from, counted from 0; got 2 from"),
        ({"backbone_rate": -1}, "backbone_rate must be 0 or more"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"task_weights": {"det": -1}}, "task 'det' needs a weight of 0 or more in task_weights, got -1.0"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "a: [1"), ("a.json", "{"), ("a.yaml", "just text"), ("a.yaml", "[1, 2]"), ("a.json", "null")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=f"{name}: "):
        load_recipe(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=f"{path}: not a readable recipe file"):
            load_recipe(path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable recipe file"):
        load_recipe(tmp_path / "bytes.yaml")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"seed: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(InputError, match=r"evil\.yaml"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()


def test_a_detector_needs_as_many_places_as_queries() -> None:
    assert smallest_size("nano", ["det", "seg"]) == 96
    assert smallest_size("base", ["det"]) == 128
    assert smallest_size("nano", ["seg", "depth"]) == 64
    recipe = recipe_from({"phases": [{"steps": 1, "size": 64, "batch": 2}]}, "here")
    with pytest.raises(InputError, match=r"here: nano with det, seg, depth needs .* 96 px, got 64"):
        check_sizes(recipe, "here")
    check_sizes(Recipe(), "here")
    phases = [{"steps": 1, "size": 96, "batch": 2}]
    check_sizes(recipe_from({"phases": phases, "sizes": {"seg": 64}}, "here"), "here")
    with pytest.raises(InputError, match="96 px, got 64"):
        check_sizes(recipe_from({"phases": phases, "sizes": {"det": 64}}, "here"), "here")


def test_a_task_may_have_its_own_size_and_batch() -> None:
    recipe = recipe_from({"sizes": {"seg": 512}, "batches": {"det": 4}}, "here")
    assert [(p.size, p.batch) for p in phases_of(recipe, "seg")] == [(512, 8), (512, 8)]
    assert [(p.size, p.batch) for p in phases_of(recipe, "det")] == [(192, 4), (320, 4)]
    assert phases_of(recipe, "depth") == recipe.phases


def test_phases_follow_each_other_and_keep_count_of_the_images() -> None:
    phases = (Phase(2, 64, 4), Phase(0, 96, 9), Phase(3, 128, 2))
    placed = [locate(phases, step) for step in range(5)]
    assert [phase.size for phase, _ in placed] == [64, 64, 128, 128, 128]
    assert [drawn for _, drawn in placed] == [0, 4, 8, 10, 12]
    with pytest.raises(IndexError):
        locate(phases, 5)


def test_the_rate_warms_up_linearly_and_falls_as_a_cosine() -> None:
    values = {"warmup": 10, "final_rate": 0.1, "phases": [{"steps": 110, "size": 64, "batch": 2}]}
    recipe = recipe_from(values, "here")
    assert [rate_factor(step, recipe) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate_factor(10, recipe) == pytest.approx(1)
    assert rate_factor(60, recipe) == pytest.approx(0.1 + 0.9 / 2)
    assert rate_factor(110, recipe) == pytest.approx(0.1)


def test_norms_biases_and_embeddings_do_not_decay() -> None:
    module = nn.ModuleDict(
        {"linear": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "label_embedding": nn.Embedding(5, 4)}
    )
    module["frozen"] = nn.Linear(2, 2).requires_grad_(False)
    decayed, rest = parameter_groups(module, 0.05)
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    shapes = [[tuple(p.shape) for p in group["params"]] for group in (decayed, rest)]
    assert shapes == [[(4, 3)], [(4,), (4,), (4,), (5, 4)]]
    assert [group["share"] for group in (decayed, rest)] == [1, 1]
    assert all(isinstance(p, torch.Tensor) for p in module.parameters())


def test_the_vit_may_learn_at_a_rate_of_its_own() -> None:
    module = nn.ModuleDict({"backbone": nn.Linear(3, 4), "adapter": nn.Linear(4, 5)})
    groups = parameter_groups(module, 0.05, 0.1)
    found = {(tuple(p.shape), g["share"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found == {((4, 3), 0.1, 0.05), ((4,), 0.1, 0.0), ((5, 4), 1.0, 0.05), ((5,), 1.0, 0.0)}


def test_offset_biases_do_not_decay() -> None:
    attention = DeformableAttention(12, 2, 3)
    decayed, rest = parameter_groups(attention, 0.05)
    assert any(p is attention.offsets.bias for p in rest["params"])
    assert any(p is attention.offsets.weight for p in decayed["params"])
