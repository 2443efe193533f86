"""Checkpoints: what comes back, and that damaged or hostile ones end in one error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from argus_edge.errors import CheckpointError
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import (
    CheckpointInfo,
    load_checkpoint,
    read_info,
    save_checkpoint,
    write_atomically,
)

CLASSES = {"det": ("box", "person"), "seg": ("sky", "ground", "wall")}


@pytest.fixture(scope="module")
def original() -> Argus:
    torch.manual_seed(0)
    return build_model("nano", ["det", "seg"], CLASSES).eval()


@pytest.fixture(scope="module")
def saved(original: Argus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "nano"
    info = CheckpointInfo(
        "nano", ("det", "seg"), CLASSES, 128, "argus-train", {"seed": 3}, {"det": {"AP": 0.5}}
    )
    save_checkpoint(path, original, info)
    return path


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(path: Path, **changes: Any) -> None:
    file = path / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_checkpoint_comes_back_within_half_precision(original: Argus, saved: Path) -> None:
    model, info = load_checkpoint(saved)
    assert info == CheckpointInfo(
        "nano", ("det", "seg"), CLASSES, 128, "argus-train", {"seed": 3}, {"det": {"AP": 0.5}}
    )
    assert not model.training
    wanted = original.state_dict()
    assert set(model.state_dict()) == set(wanted)
    different = set()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == wanted[name].dtype
        expected = wanted[name].half().float() if tensor.is_floating_point() else wanted[name]
        if not torch.equal(tensor, expected):
            different.add(name)
    # What only training needs is left out, and starts anew.
    assert all(
        name.startswith(("decoders.seg.auxiliary.", "decoders.det.label_embedding.")) for name in different
    )
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        before, after = (m.features(normalise(image)) for m in (original, model))
    for b, a in zip(before, after, strict=True):
        assert (a - b).abs().max() < 0.02 * b.abs().max()


def test_saving_again_changes_not_a_bit(saved: Path, tmp_path: Path) -> None:
    model, info = load_checkpoint(saved)
    save_checkpoint(tmp_path / "again", model, info)
    names = {"model.json", "backbone.safetensors", "det.safetensors", "seg.safetensors"}
    assert {f.name for f in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_the_files_are_as_readable_as_any_other(saved: Path, tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    assert {f.stat().st_mode for f in saved.iterdir()} == {usual.stat().st_mode}


def test_values_beyond_half_precision_survive(original: Argus, saved: Path, tmp_path: Path) -> None:
    model, info = load_checkpoint(saved)
    with torch.no_grad():
        model.adapter.level_embedding[0, 0] = 1e6
    save_checkpoint(tmp_path / "large", model, info)
    assert load_checkpoint(tmp_path / "large")[0].adapter.level_embedding[0, 0] == 1e6


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["backbone", "det", "seg"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "header", "folder"])
def test_a_damaged_weight_file_is_named(damaged: Path, name: str, damage: str) -> None:
    file = damaged / f"{name}.safetensors"
    data = file.read_bytes()
    file.unlink()
    match damage:
        case "empty":
            file.touch()
        case "truncated":
            file.write_bytes(data[: len(data) // 2])
        case "header":
            file.write_bytes(b"\xff" * 8 + data[8:])
        case "folder":
            file.mkdir()
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors: not readable as safetensors"):
        load_checkpoint(damaged)


@pytest.mark.parametrize("change", ["shape", "unknown", "absent"])
def test_weights_of_another_model_are_named(damaged: Path, change: str) -> None:
    file = damaged / "det.safetensors"
    tensors = load_file(file)
    bias = tensors.pop("classify.bias")
    if change == "shape":
        tensors["classify.bias"] = bias[:1].clone()
    elif change == "unknown":
        tensors |= {"classify.bias": bias, "classify.bias2": bias.clone()}
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"det\.safetensors: 1 tensors .* first 'classify\.bias2?'"):
        load_checkpoint(damaged)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(damaged: Path, value: float) -> None:
    file = damaged / "seg.safetensors"
    tensors = load_file(file)
    tensors["classify.bias"][1] = value
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"seg\.safetensors: holds values that are not finite"):
        load_checkpoint(damaged)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format_version": 1}'],
    ids=["empty", "torn", "list", "null", "nothing", "not-text", "deep", "bare"],
)
def test_a_description_that_is_none(damaged: Path, text: bytes) -> None:
    (damaged / "model.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"model\.json: not a valid description"):
        read_info(damaged)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2, this version reads 1"),
        ({"format_version": None}, "format version None"),
        ({"variant": "huge"}, "variant 'huge' is unknown"),
        ({"variant": ["nano"]}, "variant"),
        ({"tasks": ["det", "../seg"]}, "unknown task '../seg'"),
        ({"tasks": ["det", "pose"]}, "task 'pose' needs the names of its classes"),
        ({"tasks": "det"}, "expected a list of names"),
        ({"tasks": ["det", 5]}, "expected a list of names"),
        ({"tasks": ["det", "det"]}, "twice"),
        ({"classes": {"det": ["box", "person"]}}, "task 'seg' needs the names of its classes"),
        ({"classes": {"det": "ab", "seg": ["a", "b", "c"]}}, "expected a list of names"),
        ({"classes": ["box"]}, "not a valid description"),
        ({"input_size": 100}, "multiple of 32 from 64 px, got 100"),
        ({"input_size": 0}, "multiple of 32 from 64 px, got 0"),
        ({"input_size": "128"}, "multiple of 32 from 64 px, got '128'"),
        ({"input_size": 128.0}, "multiple of 32 from 64 px, got 128.0"),
        ({"metrics": 5}, "metrics"),
        ({"command": ["rm"]}, "command"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_hostile_description_is_named(damaged: Path, changes: dict[str, Any], message: str) -> None:
    edit(damaged, **changes)
    with pytest.raises(CheckpointError, match=r"model\.json: ") as caught:
        load_checkpoint(damaged)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_description_of_other_classes_does_not_fit_the_weights(damaged: Path) -> None:
    edit(damaged, classes={"det": ["box", "person", "cone"], "seg": list(CLASSES["seg"])})
    with pytest.raises(CheckpointError, match=r"det\.safetensors: 3 tensors"):
        load_checkpoint(damaged)


def test_an_endless_description_is_not_read(damaged: Path) -> None:
    (damaged / "model.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(CheckpointError, match=r"model\.json: larger than"):
        read_info(damaged)


def test_what_is_no_checkpoint_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(CheckpointError, match=f"{path}: not a checkpoint folder"):
            load_checkpoint(path)
