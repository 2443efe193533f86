"""Features that are kept: the same losses with them and without, and nothing that is damaged is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.batches import StepBatches
from argus_edge.train.commands.train import main
from argus_edge.train.data.scenes import SEG_CLASSES
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.features import FeatureCache, PyramidIdentity, kept_features, pyramid_identity
from argus_edge.train.loop import StepReport, Trainer
from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo, save_checkpoint
from argus_edge.train.model.decoders.pooler import AttentionalPooler
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm
from argus_edge.train.processes import Place, join_processes
from argus_edge.train.recipe import Recipe, recipe_from

CPU = torch.device("cpu")
STEPS, IMAGES = 4, 4  # two epochs of two batches
CLS = (1, 2, 3)  # of F0..F3, what its decoder reads


def recipe(*tasks: str, **changes: Any) -> Recipe:
    phases = [{"steps": STEPS, "size": 64, "batch": 2}]
    values = {"tasks": list(tasks or ("seg", "cls")), "phases": phases, "scenes": IMAGES, "views": 1}
    frozen = {"freeze": "backbone+adapter", "precision": "fp32", "warmup": 0}
    return recipe_from(values | frozen | changes, "test")


def tiny(seed: int = 0, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> Argus:
    """All real parts, small. `norm`: of the decoder."""
    torch.manual_seed(seed)
    vit = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    decoders: dict[str, nn.Module] = {
        "seg": UPerNet(24, 16, len(SEG_CLASSES), norm, None, dropout=0.0),
        "cls": AttentionalPooler(24, 6, 3, CLS),
    }
    return Argus(Backbone(vit, False), Adapter(24, 8, 3, group_norm(4), vit_scale="none"), decoders)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneDataset:
    return SceneDataset(0, IMAGES, 96, tmp_path_factory.mktemp("scenes"))


def advance(trainer: Trainer, scenes: SceneDataset, until: int = STEPS) -> list[StepReport]:
    batches = StepBatches(trainer.recipe, scenes, trainer.place)
    return [trainer.advance(batches[step]) for step in range(trainer.step, until)]


def cache_of(trainer: Trainer) -> FeatureCache:
    assert trainer.features is not None
    return trainer.features


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.mark.parametrize(("balancing", "precision"), [("fixed", "fp32"), ("fixed", "bf16"), ("famo", "fp32")])
def test_losses_are_those_without_a_cache(
    scenes: SceneDataset, tmp_path: Path, balancing: str, precision: str
) -> None:
    settings = recipe(balancing=balancing, precision=precision)
    plain = advance(Trainer(tiny(), settings, CPU), scenes)
    filling, full = (Trainer(tiny(), settings, CPU, features=tmp_path) for _ in range(2))
    first, second = advance(filling, scenes), advance(full, scenes)
    assert first == second  # to the last bit, whatever was computed
    for one, other in zip(plain, first, strict=True):
        # A batch of one rounds otherwise than one of two; bf16 has 8 bits.
        assert other.losses == pytest.approx(one.losses, rel=1e-5 if precision == "fp32" else 2e-2)
    assert cache_of(filling).misses == IMAGES
    assert (cache_of(full).misses, cache_of(full).stored, cache_of(full).share) == (0, 0, 1.0)
    assert len(files(tmp_path)) == 4 * IMAGES


def test_maps_are_stored_that_decoders_read(scenes: SceneDataset, tmp_path: Path) -> None:
    advance(Trainer(tiny(), recipe("cls"), CPU, features=tmp_path), scenes)
    coarse = files(tmp_path)
    assert {path.stem[-3:] for path in coarse} == {"-F1", "-F2", "-F3"}
    before = {path: path.stat().st_mtime_ns for path in coarse}
    finer = Trainer(tiny(), recipe("seg"), CPU, features=tmp_path)
    reports = advance(finer, scenes)
    assert cache_of(finer).misses == IMAGES
    assert {path.stem[-3:] for path in set(files(tmp_path)) - set(coarse)} == {"-F0"}
    assert {path: path.stat().st_mtime_ns for path in coarse} == before
    apart = advance(Trainer(tiny(), recipe("seg"), CPU, features=tmp_path / "apart"), scenes)
    assert reports == apart


def test_other_weights_or_precision_are_other_features(scenes: SceneDataset, tmp_path: Path) -> None:
    first = Trainer(tiny(), recipe(), CPU, features=tmp_path)
    advance(first, scenes, 2)
    assert cache_of(first).others() == ""
    model = tiny()
    with torch.no_grad():
        next(model.adapter.parameters())[0] += 1e-6
    other = Trainer(model, recipe(), CPU, features=tmp_path)
    advance(other, scenes, 2)
    assert (cache_of(other).hits, cache_of(other).misses) == (0, IMAGES)
    told = cache_of(other).others()
    assert "features of other weights, too, 0.1 MB" in told
    assert f": {cache_of(first).place.name}; delete" in told
    digests = {
        pyramid_identity(tiny(seed), settings, CPU).digest
        for seed, settings in ((0, recipe()), (1, recipe()), (0, recipe(precision="bf16")))
    }
    assert len(digests) == 3
    # Another decoder, data or rate changes nothing.
    assert pyramid_identity(tiny(), recipe("cls", seed=3, learning_rate=1.0), CPU).digest in digests


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "a bit flipped": lambda path, _: path.write_bytes(_flipped(path.read_bytes(), 500)),
    "truncated": lambda path, _: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path, _: path.write_bytes(b""),
    "no safetensors": lambda path, _: path.write_bytes(b"\xff" * 300),
    "of another image": lambda path, other: path.write_bytes(other.read_bytes()),
    "far too large": lambda path, _: os.truncate(path, 1 << 40),
    "a folder": lambda path, _: _into_folder(path),
}


def _into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_told_of_and_never_used(scenes: SceneDataset, tmp_path: Path, damage: str) -> None:
    expected = advance(Trainer(tiny(), recipe(), CPU, features=tmp_path), scenes)
    stored = files(tmp_path)
    chosen, other = [path for path in stored if path.stem.endswith("F2")][:2]
    whole = chosen.read_bytes()
    DAMAGE[damage](chosen, other)
    again = Trainer(tiny(), recipe(), CPU, features=tmp_path)
    assert advance(again, scenes) == expected
    cache = cache_of(again)
    note, *rest = cache.notes()
    assert str(chosen) in note
    assert "computed again" in note
    assert cache.notes() == ()
    if damage == "a folder":  # which nothing replaces: it is met in every epoch
        assert (cache.damaged, cache.misses) == (2, 2)
        assert "the run goes on without storing more" in rest[0]
        return
    assert (cache.damaged, cache.misses, rest) == (1, 1, [])
    assert chosen.read_bytes() == whole
    assert "1 files were damaged" in cache.summary()


def test_whatever_bit_is_wrong_the_map_is_right_or_none(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PyramidIdentity("0" * 64, 3))
    image = torch.zeros(32, 32, 3, dtype=torch.uint8)
    values = torch.arange(3 * 8 * 8, dtype=torch.bfloat16).view(3, 8, 8)
    cache.put(image, 0, values)
    (path,) = files(tmp_path)
    data, wrong = path.read_bytes(), 0
    for at in range(0, len(data), 2):
        path.write_bytes(_flipped(data, at))
        found = cache.get(image, 0)
        wrong += found is None
        assert found is None or torch.equal(found, values)
    assert wrong > 0.9 * len(data) / 2
    assert len(cache.notes()) == 1
    path.write_bytes(data)
    found = cache.get(image, 0)
    assert found is not None
    assert found.dtype == torch.bfloat16
    # The same bytes as another picture, and another level, are something else.
    assert cache.get(image.view(16, 64, 3), 0) is None
    assert cache.get(image, 1) is None


def test_a_resumed_run_has_the_same_losses(scenes: SceneDataset, tmp_path: Path) -> None:
    whole = advance(Trainer(tiny(), recipe(), CPU, features=tmp_path / "one"), scenes)
    half = Trainer(tiny(), recipe(), CPU, features=tmp_path / "two")
    advance(half, scenes, 3)
    half.save(tmp_path)
    for path in files(tmp_path / "two")[::3]:
        path.unlink()
    resumed = Trainer(tiny(seed=99), recipe(), CPU, features=tmp_path / "two")
    resumed.restore(tmp_path)
    assert cache_of(resumed).place == cache_of(half).place  # of the weights that were restored
    assert advance(resumed, scenes) == whole[3:]


def test_a_full_disk_is_told_once_and_stops_nothing(
    scenes: SceneDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = advance(Trainer(tiny(), recipe(), CPU, features=tmp_path / "one"), scenes)
    trainer = Trainer(tiny(), recipe(), CPU, features=tmp_path / "two")
    (before,) = advance(trainer, scenes, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("argus_edge.train.features.write_tensors", full)
    assert [before, *advance(trainer, scenes)] == expected
    (note,) = cache_of(trainer).notes()
    assert "No space left on device" in note
    assert "the run goes on without storing more" in note
    assert (cache_of(trainer).hits, cache_of(trainer).misses) == (2, 6)
    assert len(files(tmp_path / "two")) == 8


def test_the_last_of_the_disk_is_left_to_the_run(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PyramidIdentity("0" * 64, 3), least_free=1 << 60)
    cache.put(torch.zeros(32, 32, 3, dtype=torch.uint8), 3, torch.zeros(3, 1, 1))
    (note,) = cache.notes()
    assert "No space left on device" in note
    assert not files(tmp_path)


def test_what_features_are_of_no_use_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"this run has freeze 'auto': add --freeze backbone\+adapter, or leave"
    ):
        Trainer(tiny(), recipe(freeze="auto"), CPU, features=tmp_path)
    with pytest.raises(InputError, match=r"with views 0 each image looks new every time.*add --views 1"):
        Trainer(tiny(), recipe(views=0), CPU, features=tmp_path)
    with pytest.raises(InputError, match=r"of which freeze backbone\+adapter has none; choose fixed"):
        recipe(balancing="gradnorm")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no folder to keep features in"):
        Trainer(tiny(), recipe(), CPU, features=tmp_path / "file")


def test_images_of_a_batch_are_computed_alone_and_in_order(tmp_path: Path) -> None:
    cache, seen = FeatureCache(tmp_path, PyramidIdentity("0" * 64, 1)), list[int]()

    def compute(image: Tensor) -> list[Tensor]:
        seen.append(len(image))
        return [image.mean((1, 2, 3)).expand(1, 1, 64 // s, 64 // s) for s in (4, 8, 16, 32)]

    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (3, 64, 64, 3), np.uint8))
    first = kept_features(compute, cache, images[[1]], (0, 3))
    mixed = kept_features(compute, cache, images, (0, 3))
    assert seen == [1, 1, 1]
    assert torch.equal(mixed[0][1], first[0][0])
    assert [tuple(each.shape) for each in mixed] == [(3, 1, 16, 16), (0,), (0,), (3, 1, 2, 2)]
    assert len(set(mixed[3][:, 0, 0, 0].tolist())) == 3


def test_the_command_keeps_features_and_tells_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "stage1",
        build_model("nano", ("cls",), {"cls": ("a", "b")}),
        CheckpointInfo("nano", ("cls",), {"cls": ("a", "b")}, 64),
    )
    options = [
        *("--tasks", "sal", "--init", str(tmp_path / "stage1"), "--phases", "4:64:2", "--scenes", "4"),
        *("--workers", "0", "--device", "cpu", "--cache", str(tmp_path / "scenes"), "--features"),
        *(str(tmp_path / "features"), "--out", str(tmp_path / "run")),
    ]
    (tmp_path / "features" / ("ab" * 8)).mkdir(parents=True)
    (tmp_path / "features" / ("ab" * 8) / "x.safetensors").write_bytes(b"of others")
    assert _status(options) == 2
    assert "add --freeze backbone+adapter" in capsys.readouterr().err
    options += ["--freeze", "backbone+adapter"]
    assert _status(options) == 2
    assert "add --views 1" in capsys.readouterr().err
    assert _status([*options, "--views", "1"]) == 0
    told = capsys.readouterr().err
    assert "features of 4 images came from " in told
    assert "those of 4 were computed" in told
    assert "holds features of other weights, too, 0.0 MB: abababababababab; delete" in told
    assert "50% of features kept" in told
    assert len(files(tmp_path / "features")) == 4 * 4 + 1


def _status(options: list[str]) -> int:
    try:
        return main(options)
    except SystemExit as end:
        return int(end.code or 0)


def _gradients(folder: Path, place: Place) -> dict[str, Tensor]:
    """Of the second epoch, which meets features again; GroupNorm, so that images do not see each other."""
    settings = recipe(learning_rate=1e-30, clip_norm=1e9, phases=[{"steps": 2, "size": 64, "batch": IMAGES}])
    trainer = Trainer(tiny(norm=group_norm(4)), settings, CPU, place, folder / "features")
    advance(trainer, SceneDataset(0, IMAGES, 64, folder / "scenes"), 2)
    assert (cache_of(trainer).hits + cache_of(trainer).misses) * place.count == 2 * IMAGES
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


def test_two_processes_share_a_folder(tmp_path: Path, in_two_processes: Callable[[str, Path], None]) -> None:
    in_two_processes(__file__, tmp_path)
    assert len(files(tmp_path / "features")) == 4 * IMAGES
    expected = _gradients(tmp_path, Place())
    assert len(files(tmp_path / "features")) == 4 * IMAGES  # all of them were there
    largest = max(float(value.abs().max()) for value in expected.values())
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6 * largest)


if __name__ == "__main__":
    torch.save(
        _gradients(Path(sys.argv[1]), place := join_processes(CPU)), Path(sys.argv[1]) / f"{place.rank}.pt"
    )
    torch.distributed.destroy_process_group()
