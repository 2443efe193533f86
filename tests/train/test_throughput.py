"""benchmarks/training.py: what it compares a step with is that step's own forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from argus_edge.train.batches import StepBatches, scene_source
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.loop import Trainer
from argus_edge.train.model.build import build_model
from argus_edge.train.recipe import recipe_from


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("training")


@pytest.mark.parametrize("shared", [True, False])
def test_the_plain_pass_has_the_gradients_of_a_step(benchmark: ModuleType, shared: bool) -> None:
    values = {"tasks": ["seg", "depth"], "phases": [{"steps": 1, "size": 64, "batch": 2}], "scenes": 2}
    recipe = recipe_from(values | {"precision": "fp32", "shared_images": shared}, "test")
    torch.manual_seed(3)
    model = build_model("nano", recipe.tasks, SCENE_CLASSES)
    trainer = Trainer(model, recipe, torch.device("cpu"))
    batches = StepBatches(recipe, scene_source(recipe, None))[0]
    trainer._backward(batches)
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for parameter in model.parameters():
        parameter.grad = None
    torch.manual_seed(0)  # that of the first step, for dropout
    benchmark.plain_pass(model, recipe, batches, torch.device("cpu"))
    actual = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(actual[name], value, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_the_parts_of_a_step_add_up(benchmark: ModuleType) -> None:
    seconds = {
        "steps": 10.0, "forward and backward alone": 8.1, "waiting for batches": 0.5, "step of the loop": 9.4,
        "forward and backward": 8.3, "clipping and AdamW": 0.9, "averaged weights": 0.3,
        "log and progress": 0.1, "saving": 2.5,
    }  # fmt: skip
    result = benchmark.summary({"images": 80, "seconds": seconds}, 10)
    assert result["step_ms"] == pytest.approx(1025)  # a hundredth of a save in each step
    assert result["share"] == pytest.approx(810 / 1025, abs=1e-3)
    assert result["images_per_second"] == pytest.approx(8 / 1.025, abs=0.01)
    parts = result["parts_ms"]
    assert parts["rest of the loop"] == pytest.approx(940 - 830 - 90)
    assert parts["clipping and AdamW"] == pytest.approx(60)
    assert sum(parts.values()) == pytest.approx(1025)
