"""UPerNet and its FCN against the heads of transformers' UperNet, weights mapped both ways."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import UperNetConfig
from transformers.models.upernet import modeling_upernet

from argus_edge.train.model.decoders.upernet import UPerNet

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}  # largest absolute difference
WIDTH, CHANNELS, AUXILIARY, CLASSES = 24, 16, 12, 5

PARTS = {
    r"pooling\.branches\.(\d)\.": r"decode.psp_modules.\1.1.",
    r"pooling\.merge\.": "decode.bottleneck.",
    r"laterals\.(\d)\.": r"decode.lateral_convs.\1.",
    r"smooth\.(\d)\.": r"decode.fpn_convs.\1.",
    r"fuse\.": "decode.fpn_bottleneck.",
    r"classify\.": "decode.classifier.",
    r"auxiliary\.0\.": "auxiliary.convs.0.",
    r"auxiliary\.2\.": "auxiliary.classifier.",
}


def their_name(name: str) -> str:
    """Our tensor's name in their two heads."""
    for ours, theirs in PARTS.items():
        if re.match(ours, name):
            inside = re.sub(f"^{ours}", theirs, name)
            return re.sub(r"\.1\.(\w+)$", r".batch_norm.\1", re.sub(r"\.0\.(\w+)$", r".conv.\1", inside))
    raise KeyError(name)


def randomise(module: nn.Module) -> None:
    """Every tensor away from its initial value, the statistics of BatchNorm among them."""
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.normal_(1.0 if value.ndim == 1 and name.endswith("weight") else 0.0, 0.2)


def heads(to_ours: bool, dtype: torch.dtype) -> tuple[UPerNet, nn.ModuleDict]:
    """Ours and theirs with the same random weights, copied from theirs `to_ours` or the other way."""
    torch.manual_seed(0)
    config = UperNetConfig(hidden_size=CHANNELS, auxiliary_channels=AUXILIARY)
    config.num_labels = CLASSES
    modules: Any = modeling_upernet  # its classes are not annotated
    parts = {"decode": modules.UperNetHead, "auxiliary": modules.UperNetFCNHead}
    theirs = nn.ModuleDict({name: part(config, [WIDTH] * 4) for name, part in parts.items()}).to(dtype).eval()
    ours = UPerNet(WIDTH, CHANNELS, CLASSES, nn.BatchNorm2d, AUXILIARY).to(dtype).eval()
    names = {name: their_name(name) for name in ours.state_dict()}
    if to_ours:
        randomise(theirs)
        ours.load_state_dict({name: theirs.state_dict()[other] for name, other in names.items()})
        assert set(names.values()) == set(theirs.state_dict())
    else:
        randomise(ours)
        theirs.load_state_dict({other: ours.state_dict()[name] for name, other in names.items()})
    return ours, theirs


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("to_ours", [True, False], ids=["to ours", "to theirs"])
@pytest.mark.parametrize("size", [(64, 96), (160, 224)], ids=str)
def test_logits_are_those_of_transformers(to_ours: bool, dtype: torch.dtype, size: tuple[int, int]) -> None:
    ours, theirs = heads(to_ours, dtype)
    features = [torch.randn(2, WIDTH, size[0] // s, size[1] // s, dtype=dtype) for s in (4, 8, 16, 32)]
    assert isinstance(ours.auxiliary, nn.Module)
    with torch.inference_mode():
        answers: list[tuple[Tensor, Tensor]] = [
            (ours(features)["logits"], theirs["decode"](features)),
            (ours.auxiliary(features[2]), theirs["auxiliary"](features)),
        ]
    for answer, expected in answers:
        assert expected.std() > 0.1
        torch.testing.assert_close(answer, expected, rtol=0, atol=TOLERANCE[dtype])
