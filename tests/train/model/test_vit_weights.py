"""Local weight files: official names find their place; what does not fit is told and never half loaded."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from argus_edge.errors import CheckpointError, InputError
from argus_edge.train.model.backbone import build_backbone, load_weights

Tensors = dict[str, Tensor]


def vit(registers: int = 0, seed: int = 0, **changes: Any) -> VisionTransformer:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"img_size": 56, "patch_size": 14, "embed_dim": 24, "depth": 4, "num_heads": 3}
    options |= {"num_classes": 0, "init_values": 0.5, "dynamic_img_size": True}
    options |= {"reg_tokens": registers, "no_embed_class": registers > 0}
    return VisionTransformer(**(options | changes)).eval()


def rotary_vit(seed: int = 0, **changes: Any) -> Eva:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"img_size": 64, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 0}
    options |= {"use_rot_pos_emb": True, "use_abs_pos_emb": False, "rope_type": "dinov3", "qkv_bias": False}
    options |= {"num_reg_tokens": 4, "use_fc_norm": False, "init_values": 0.5, "dynamic_img_size": True}
    return Eva(**(options | changes)).eval()


def official(model: nn.Module) -> Tensors:
    """The model's tensors as DINOv2 publishes them."""
    tensors = {"mask_token": torch.zeros(1, 24), **model.state_dict()}
    if "reg_token" in tensors:
        place = torch.randn(1, 1, 24)
        tensors["register_tokens"] = tensors.pop("reg_token")
        tensors["cls_token"] = tensors["cls_token"] - place
        tensors["pos_embed"] = torch.cat([place, tensors["pos_embed"]], dim=1)
    return tensors


def chunked(model: nn.Module) -> Tensors:
    """Blocks in two chunks, as training with fully sharded data names them."""
    names = {k: k.split(".") for k in official(model)}
    names |= {k: ["blocks", str(int(n[1]) // 2), *n[1:]] for k, n in names.items() if n[0] == "blocks"}
    return {".".join(names[k]): v for k, v in official(model).items()}


def of_dinov3(model: Eva) -> Tensors:
    tensors = {"mask_token": torch.zeros(1, 24), "rope_embed.periods": torch.ones(2)}
    for name, tensor in model.state_dict().items():
        name = name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma")
        tensors[name.replace("gamma_2", "ls2.gamma")] = tensor
    for block in range(4):
        tensors[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(72)
        tensors[f"blocks.{block}.attn.qkv.bias_mask"] = torch.full((72,), torch.nan)
    return tensors


def assert_equal(model: nn.Module, other: nn.Module) -> None:
    wanted = other.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name])


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize(
    "named", [official, chunked, nn.Module.state_dict], ids=["official", "chunks", "timm"]
)
def test_names_of_every_origin_find_their_place(
    tmp_path: Path, registers: int, named: Callable[[nn.Module], Tensors]
) -> None:
    published, model = vit(registers), vit(registers, seed=1)
    torch.save(named(published), tmp_path / "vit.pth")
    load_weights(model, tmp_path / "vit.pth")
    assert_equal(model, published)
    save_file(named(published), tmp_path / "vit.safetensors")
    other = vit(registers, seed=2)
    load_weights(other, tmp_path / "vit.safetensors")
    assert_equal(other, published)


def test_the_teacher_of_a_training_checkpoint_is_found(tmp_path: Path) -> None:
    published, model = vit(), vit(seed=1)
    teacher = {f"backbone.{name}": tensor for name, tensor in chunked(published).items()}
    torch.save({"teacher": {**teacher, "dino_head.mlp.0.weight": torch.ones(3)}}, tmp_path / "teacher.pth")
    load_weights(model, tmp_path / "teacher.pth")
    assert_equal(model, published)


def test_names_of_dinov3_find_their_place(tmp_path: Path) -> None:
    published, model = rotary_vit(), rotary_vit(seed=1)
    torch.save(of_dinov3(published), tmp_path / "vit.pth")
    load_weights(model, tmp_path / "vit.pth")
    assert_equal(model, published)


def test_a_bias_of_dinov3_goes_where_there_is_one_and_is_never_lost(tmp_path: Path) -> None:
    tensors = of_dinov3(rotary_vit())
    bias = torch.randn(72)
    tensors["blocks.2.attn.qkv.bias"] = bias
    torch.save(tensors, tmp_path / "vit.pth")
    model = rotary_vit(seed=1, qkv_bias=True)
    load_weights(model, tmp_path / "vit.pth")
    state = model.state_dict()
    assert torch.equal(state["blocks.2.attn.q_bias"], bias[:24])
    assert torch.equal(state["blocks.2.attn.v_bias"], bias[48:])
    with pytest.raises(CheckpointError, match=r"'blocks.2.attn.qkv.bias' is unknown"):
        load_weights(rotary_vit(), tmp_path / "vit.pth")


@pytest.mark.parametrize("registers", [0, 4])
def test_positions_of_another_grid_are_resampled(tmp_path: Path, registers: int) -> None:
    published, model = vit(registers, img_size=84), vit(registers, seed=1)
    torch.save(official(published), tmp_path / "vit.pth")
    load_weights(model, tmp_path / "vit.pth")
    published.set_input_size(img_size=(56, 56))
    assert_equal(model, published)


def test_a_backbone_is_built_from_a_local_file(tmp_path: Path) -> None:
    published = build_backbone("vit_tiny_patch16_224", 224, frozen=False, pretrained=False).vit
    torch.save({**published.state_dict(), "head.weight": torch.ones(1000, 192)}, tmp_path / "vit.pth")
    frozen = build_backbone("vit_tiny_patch16_224", 64, True, False, tmp_path / "vit.pth").vit
    assert_equal(frozen, published)
    trained = build_backbone("vit_tiny_patch16_224", 64, False, False, tmp_path / "vit.pth").vit
    published.set_input_size(img_size=(64, 64))
    assert_equal(trained, published)
    with pytest.raises(InputError, match=r"either fetched or read from .*vit.pth"):
        build_backbone("vit_tiny_patch16_224", 64, True, True, tmp_path / "vit.pth")


def without(tensors: Tensors, name: str) -> Tensors:
    return {key: value for key, value in tensors.items() if key != name}


def changed(tensors: Tensors, name: str, value: Tensor) -> Tensors:
    return {**tensors, name: value}


def official_of(**changes: Any) -> Tensors:
    model = vit(**changes)
    return {**model.state_dict(), "mask_token": torch.zeros(1, model.embed_dim)}


A_VIT = "a ViT 24 wide, 4 blocks deep, of patch 14 px, with 0 registers"
FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: without(official(vit()), "norm.weight"), r"1 tensors .* 'norm.weight' is missing"),
    "unknown": (lambda: changed(official(vit()), "more", torch.ones(2)), r"'more' is unknown"),
    "shape": (
        lambda: changed(official(vit()), "norm.bias", torch.ones(7)),
        r"'norm.bias' is \(7,\) instead of \(24,\)",
    ),
    "not finite": (
        lambda: changed(official(vit()), "norm.bias", torch.full((24,), torch.nan)),
        r"'norm.bias' holds values that are not finite",
    ),
    "wider": (lambda: official_of(embed_dim=48), f"expected {A_VIT}, got a ViT 48 wide"),
    "deeper": (lambda: official_of(depth=8), f"expected {A_VIT}, got a ViT 24 wide, 8 blocks"),
    "patch": (lambda: official_of(patch_size=16, img_size=64), f"expected {A_VIT}, got .* of patch 16 px"),
    "registers": (lambda: official(vit(4)), f"expected {A_VIT}, got .* with 4 registers"),
    "positions": (lambda: changed(official(vit()), "pos_embed", torch.ones(1, 16, 24)), r"'pos_embed' is"),
    "flat": (lambda: changed(official(vit(4)), "pos_embed", torch.ones(17)), r"tensors do not fit"),
    "no vit": (lambda: {"layer1.conv.weight": torch.ones(3)}, "got no ViT under the official names"),
    "empty": (dict, "expected tensors by name, got an empty table"),
    "a tensor": (lambda: torch.ones(3), "expected tensors by name, got a Tensor"),
    "a list": (lambda: [torch.ones(3)], "expected tensors by name, got a list"),
    "more than tensors": (
        lambda: {**official(vit()), "epoch": 3},
        "expected tensors by name, got a int under 'epoch'",
    ),
    "sparse": (
        lambda: changed(official(vit()), "norm.bias", torch.ones(24).to_sparse()),
        "under 'norm.bias'",
    ),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")  # torch's, while it reads one
@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_told_and_leaves_the_model_as_it_was(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    path = tmp_path / "vit.pth"
    torch.save(content(), path)
    model = vit(seed=1)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_weights(model, path)
    assert str(path) in str(raised.value)
    assert_equal(model, vit(seed=1))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0, 7, 2000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, part: int) -> None:
    path = tmp_path / f"vit{suffix}"
    (torch.save if suffix == ".pth" else save_file)(official(vit()), path)
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(CheckpointError, match="not a readable file of plain tensors"):
        load_weights(vit(), path)


class Touch:
    """Unpickled by an unguarded reader, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"cls_token": Touch(made)}, tmp_path / "vit.pth")
    (tmp_path / "vit.pt").write_bytes(pickle.dumps({"cls_token": Touch(made)}))
    for name in ("vit.pth", "vit.pt"):
        with pytest.raises(CheckpointError, match="not a readable file of plain tensors"):
            load_weights(vit(), tmp_path / name)
    assert not made.exists()


def test_a_file_of_no_known_kind_or_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"read from .pth, .pt, .bin and .safetensors, got '.npz'"):
        load_weights(vit(), tmp_path / "vit.npz")
    with pytest.raises(CheckpointError, match="there is no such weight file"):
        load_weights(vit(), tmp_path / "vit.pth")
