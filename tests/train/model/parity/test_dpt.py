"""DPT's fusion stage and its head against transformers' DPT, weights mapped both ways."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from transformers import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTDepthEstimationHead, DPTFeatureFusionStage

from argus_edge.train.model.decoders.dpt import DPTDepth

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}  # largest absolute difference
CHANNELS, HIDDEN = 16, 32  # transformers' head has no other hidden width

HEAD = {"reduce": "head.head.0", "refine": "head.head.2", "regress": "head.head.4"}
FUSION = {"skip": "residual_layer1", "refine": "residual_layer2", "project": "projection"}


def their_name(name: str) -> str:
    """Our parameter's name in their fusion stage and head."""
    if match := re.fullmatch(r"trunk\.fusions\.(\d)\.(\w+)\.(.+)", name):
        inside = match[3].replace("conv", "convolution")
        return f"fusion.layers.{3 - int(match[1])}.{FUSION[match[2]]}.{inside}"
    part, parameter = name.split(".")
    return f"{HEAD[part]}.{parameter}"


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)


def decoders(to_ours: bool, dtype: torch.dtype) -> tuple[DPTDepth, nn.ModuleDict]:
    """Ours and theirs with the same random weights, copied from theirs `to_ours` or the other way.

    Our reassembling convolutions pass the maps on as they are: theirs are not part of the fusion stage.
    """
    torch.manual_seed(0)
    config = DPTConfig(fusion_hidden_size=CHANNELS)
    parts = {"fusion": DPTFeatureFusionStage(config), "head": DPTDepthEstimationHead(config)}
    theirs = nn.ModuleDict(parts).to(dtype)
    ours = DPTDepth(CHANNELS, CHANNELS, HIDDEN).to(dtype)
    for convolution in ours.trunk.reassemble:
        assert isinstance(convolution, nn.Conv2d)
        nn.init.dirac_(convolution.weight)
    names = {name: their_name(name) for name in ours.state_dict() if "reassemble" not in name}
    unused = {name for name in theirs.state_dict() if name.startswith("fusion.layers.0.residual_layer1.")}
    assert len(unused) == 4
    if to_ours:
        randomise(theirs)
        values = {name: theirs.state_dict()[other] for name, other in names.items()}
        ours.load_state_dict(ours.state_dict() | values)
        assert set(names.values()) == set(theirs.state_dict()) - unused
    else:
        randomise(ours.trunk.fusions)
        randomise(nn.ModuleList([ours.reduce, ours.refine, ours.regress]))
        values = {other: ours.state_dict()[name] for name, other in names.items()}
        theirs.load_state_dict(theirs.state_dict() | values)
    return ours, theirs


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("to_ours", [True, False], ids=["to ours", "to theirs"])
@pytest.mark.parametrize("size", [(64, 96), (160, 224)], ids=str)
def test_maps_are_those_of_transformers(to_ours: bool, dtype: torch.dtype, size: tuple[int, int]) -> None:
    ours, theirs = decoders(to_ours, dtype)
    features = [torch.randn(2, CHANNELS, size[0] // s, size[1] // s, dtype=dtype) for s in (4, 8, 16, 32)]
    with torch.inference_mode():
        expected: Tensor = theirs["fusion"](features)[-1]
        answer = ours.trunk(features)
        head = theirs["head"].head  # its last ReLU is a softplus in ours
        assert isinstance(head, nn.Sequential)
        maps, expected_maps = ours.maps(features), head[:-1](expected)
    assert expected.std() > 0.1
    torch.testing.assert_close(answer, expected, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(maps, expected_maps, rtol=0, atol=TOLERANCE[dtype])
