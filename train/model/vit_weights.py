"""Weight files of a ViT: read without running anything in them, and brought to timm's names.

Official files (DINOv2, arXiv 2304.07193 and 2309.16588; DINOv3, arXiv 2508.10104) differ from timm's names:

    official                           timm
    mask_token, head.*                 dropped: only pretraining and classification use them
    blocks.{chunk}.{i}.*               blocks.{i}.*
    register_tokens, storage_tokens    reg_token
    pos_embed[:, 0], with registers    added to cls_token: a class token is always at the same place
    ls1.gamma, ls2.gamma (DINOv3)      gamma_1, gamma_2
    attn.qkv.bias (DINOv3)             q_bias and v_bias, or dropped where the model has none and all are zero
    rope_embed.*, *.bias_mask          dropped: computed from the model's numbers
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from argus_edge.errors import CheckpointError, InputError

TORCH_SUFFIXES: Final = (".pth", ".pt", ".bin")
WRAPPERS: Final = ("teacher", "model", "state_dict")  # under which training checkpoints keep the tensors
UNUSED: Final = re.compile(r"^(mask_token|head\.|local_cls_norm\.|rope_embed\.)|\.bias_mask$")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or torch file by name, on the CPU.

    Raises InputError for another kind of file, CheckpointError for one that is missing, truncated, or holds
    anything but tensors: a pickle is read with `weights_only`, which runs no code.
    """
    if path.suffix not in (".safetensors", *TORCH_SUFFIXES):
        raise InputError(
            f"{path}: ViT weights are read from {', '.join(TORCH_SUFFIXES)} and .safetensors, "
            f"got {path.suffix or 'no suffix'!r}"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such weight file")
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken pickle makes its reader raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: not a readable file of plain tensors ({reason}); fetch it again from its publisher"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: expected tensors by name, got {_kind(content)}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(f"{path}: expected tensors by name, got {_kind(tensor)} under {name!r}")
    return _without_prefix(content)


def timm_names(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under timm's names, those that a ViT with the tensors `expected` has no use for left out.

    What is under timm's names already stays as it is.
    """
    named: dict[str, Tensor] = {}
    for official, tensor in tensors.items():
        name = re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", official)
        if UNUSED.search(name):
            continue
        name = "reg_token" if name in ("register_tokens", "storage_tokens") else name
        if re.sub(r"ls([12])\.gamma$", r"gamma_\1", name) in expected:
            name = re.sub(r"ls([12])\.gamma$", r"gamma_\1", name)
        if name.endswith("attn.qkv.bias") and name not in expected:
            named |= _split_bias(name, tensor, expected)
        else:
            named[name] = tensor
    if "register_tokens" in tensors and _holds_class_position(named):
        named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
        named["pos_embed"] = named["pos_embed"][:, 1:]
    return named


def check_fit(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless `tensors` are those `expected` by name and shape, all finite."""
    faults = [f"{name!r} is missing" for name in expected if name not in tensors]
    faults += [f"{name!r} is unknown" for name in tensors if name not in expected]
    for name in expected.keys() & tensors.keys():
        came, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
        if came != wanted:
            faults.append(f"{name!r} is {came} instead of {wanted}")
        elif not tensors[name].isfinite().all():
            faults.append(f"{name!r} holds values that are not finite")
    if faults:
        raise CheckpointError(
            f"{path}: expected {_described(expected)}, got {_described(tensors)}; {len(faults)} tensors do "
            f"not fit, first: {faults[0]}; give the file that is published for this model"
        )


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as of the ViT alone; the heads beside it in a training checkpoint are left out."""
    names = {name: name.removeprefix("module.") for name in tensors}
    if any(name.startswith("backbone.") for name in names.values()):
        names = {k: n.removeprefix("backbone.") for k, n in names.items() if n.startswith("backbone.")}
    return {name: tensors[key] for key, name in names.items()}


def _split_bias(name: str, bias: Tensor, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The bias of queries, keys and values as timm has it in an Eva: that of the keys is always zero."""
    query, _, value = bias.chunk(3) if bias.numel() % 3 == 0 and bias.ndim == 1 else (bias, bias, bias)
    stem = name.removesuffix("qkv.bias")
    if f"{stem}q_bias" in expected:
        return {f"{stem}q_bias": query, f"{stem}v_bias": value}
    return {name: bias} if query.any() or value.any() else {}


def _holds_class_position(tensors: Mapping[str, Tensor]) -> bool:
    token, positions = tensors.get("cls_token"), tensors.get("pos_embed")
    if token is None or positions is None or token.ndim != 3 or positions.ndim != 3:
        return False
    return token.shape[::2] == positions.shape[::2]


def _described(tensors: Mapping[str, Tensor]) -> str:
    kernel, registers = tensors.get("patch_embed.proj.weight"), tensors.get("reg_token")
    if kernel is None or kernel.ndim != 4:
        return "no ViT under the official names"
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    count = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
    return (
        f"a ViT {kernel.shape[0]} wide, {len(blocks)} blocks deep, of patch {kernel.shape[-1]} px, "
        f"with {count} registers"
    )


def _kind(value: object) -> str:
    return "an empty table" if value == {} else f"a {type(value).__name__}"
