"""Weights from measured losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from argus_edge.errors import TrainingError
from argus_edge.train.batches import Batch, fixed_batch
from argus_edge.train.data.scenes import SEG_CLASSES
from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.decoders.dpt import DPTDepth
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm
from argus_edge.train.proposed_weights import measure_losses, weights_yaml
from argus_edge.train.recipe import Recipe, recipe_from

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batches() -> list[list[Batch]]:
    return [[fixed_batch(task, seeds, 64) for task in ("seg", "depth")] for seeds in ([0, 1], [2, 3])]


@pytest.fixture
def model() -> Argus:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    decoders = {"seg": UPerNet(24, 16, len(SEG_CLASSES), nn.BatchNorm2d, 8), "depth": DPTDepth(24, 16, 8)}
    return Argus(Backbone(vit, False), Adapter(24, 8, 3, group_norm(4), vit_scale="none"), decoders).train()


def test_each_loss_times_its_weight_is_one(model: Argus, batches: list[list[Batch]]) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = measure_losses(model, Recipe(), batches, CPU)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert list(losses) == ["seg", "depth"]
    assert losses == measure_losses(model, Recipe(), batches, CPU)
    alone = [measure_losses(model, Recipe(), [step], CPU)["depth"] for step in batches]
    assert losses["depth"] == pytest.approx(sum(alone) / 2)  # the mean over the steps
    recipe = recipe_from(yaml.safe_load(weights_yaml(losses, 2)) | {"tasks": ["seg", "depth"]}, "proposal")
    for task, loss in losses.items():
        assert recipe.task_weights[task] * loss == pytest.approx(1, rel=0.05)  # two digits


def test_a_loss_that_weighs_nothing_or_is_none_is_named(model: Argus, batches: list[list[Batch]]) -> None:
    seg = batches[0][0]
    unlabelled = replace(seg, targets={"seg": torch.full_like(seg.targets["seg"], 255)})
    with pytest.raises(TrainingError, match="the loss of task 'seg' is 0"):
        measure_losses(model, Recipe(), [[unlabelled]], CPU)
    with torch.no_grad():
        next(model.decoders["seg"].parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="the loss of task 'seg' is nan on scene 0, scene 1"):
        measure_losses(model, Recipe(), batches, CPU)
