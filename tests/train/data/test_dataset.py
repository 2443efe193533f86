"""Datasets, their cache, the splits and the command that uses them."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.train.commands.data import parse_size, run
from argus_edge.train.data.scenes import Scene, render
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.scenes.splits import SPLITS, get_split


def assert_same(a: Scene, b: Scene) -> None:
    for name in ("image", "depth", "normals", "instances", "labels", "parts"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert (a.seed, a.objects) == (b.seed, b.objects)
    for left, right in zip(a.people, b.people, strict=True):
        assert left.instance_id == right.instance_id
        assert left.keypoints.dtype == right.keypoints.dtype == np.float32
        np.testing.assert_array_equal(left.keypoints, right.keypoints)
    for name in ("width", "height", "fx", "fy", "cx", "cy"):
        assert getattr(a.camera, name) == getattr(b.camera, name)
    np.testing.assert_array_equal(a.camera.rotation, b.camera.rotation)
    np.testing.assert_array_equal(a.camera.position, b.camera.position)


def test_a_cached_scene_equals_the_rendered_one(tmp_path: Path) -> None:
    dataset = SceneDataset(11, 2, (96, 128), tmp_path, normals=True)
    fresh, cached = dataset[1], dataset[1]
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert_same(fresh, render(12, (96, 128)))
    assert fresh.people
    assert_same(cached, fresh)


def test_normals_come_only_when_asked_for(tmp_path: Path) -> None:
    for cache in (None, tmp_path):
        dataset = SceneDataset(5, 1, 64, cache)
        assert dataset[0].normals.shape == dataset[0].normals.shape == (0, 0, 3)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
def test_a_damaged_file_is_drawn_again(tmp_path: Path, damage: bytes | None) -> None:
    dataset = SceneDataset(9, 1, 64, tmp_path)
    scene = dataset[0]
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert_same(dataset[0], scene)
    assert path.read_bytes() == whole
    assert not list(tmp_path.rglob("*.part"))


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    dataset = SceneDataset(9, 1, 64, tmp_path)
    scene = dataset[0]
    (path,) = tmp_path.rglob("*.npz")
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(bytes(data))
    assert_same(dataset[0], scene)


def test_sizes_do_not_share_files(tmp_path: Path) -> None:
    assert SceneDataset(1, 1, 64, tmp_path)[0].width == 64
    assert SceneDataset(1, 1, 72, tmp_path)[0].width == 72


def test_prerender_fills_the_cache_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = SceneDataset(100, 5, 64, tmp_path)
    first = dataset[2]
    assert dataset.prerender(processes=2) == 4
    assert dataset.prerender() == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4" in err
    assert_same(dataset[2], first)
    assert [scene.seed for scene in dataset] == [100, 101, 102, 103, 104]


def test_it_works_in_loader_workers(tmp_path: Path) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    dataset = SceneDataset(100, 4, 64, tmp_path)
    loader = torch_data.DataLoader(dataset, batch_size=None, num_workers=2, collate_fn=lambda scene: scene)
    for scene, seed in zip(loader, range(100, 104), strict=True):
        np.testing.assert_array_equal(scene.image, render(seed, 64).image)


def test_what_a_dataset_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 scene"):
        SceneDataset(0, 0)
    with pytest.raises(InputError, match="has none"):
        SceneDataset(0, 1).prerender()
    with pytest.raises(InputError, match="processes is 0"):
        SceneDataset(0, 1, 64, tmp_path).prerender(0)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot keep scenes there"):
        SceneDataset(0, 1, 64, tmp_path / "file")
    with pytest.raises(IndexError):
        SceneDataset(0, 1)[1]


def test_splits_never_meet() -> None:
    ranges = sorted((split.first, split.first + split.size) for split in SPLITS.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    assert [get_split(name).first for name in ("train", "val", "calibration", "clips")] == [
        0,
        10_000_000,
        20_000_000,
        30_000_000,
    ]
    with pytest.raises(InputError, match="unknown split 'test'; expected one of train, val"):
        get_split("test")
    with pytest.raises(InputError, match="has no scene"):
        get_split("val").seed(10_000_000)


def test_sheet_shows_two_rows_of_five_maps_for_each_scene(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert run(["sheet", "--seed", "4", "--count", "2", "--size", "80x64", "--out", str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape == (256, 400, 3)
    np.testing.assert_array_equal(picture[:64, :80, ::-1], render(4, (64, 80)).image)


def test_clip_has_its_frames(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    assert run(["clip", "--frames", "3", "--size", "96x64", "--out", str(out)]) == 0
    video = cv2.VideoCapture(str(out))
    assert [video.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)] == [96, 64]
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_prerender_command_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prerender", "--split", "val", "--count", "2", "--size", "64", "--out", str(tmp_path)]
    assert run(arguments) == 0
    assert "2 scenes, 2 of them new" in capsys.readouterr().out
    assert SceneDataset(10_000_000, 2, 64, tmp_path).prerender() == 0


@pytest.mark.parametrize("text", ["", "x", "320x", "x320", "-5", "a", "1.5", "3x4x5"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected one number of pixels or WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sheet", "--out", "nowhere/sheet.png"], "nowhere"),
        (["sheet", "--out", "sheet.txt"], r"ends in \.png"),
        (["sheet", "--count", "0", "--out", "sheet.png"], "at least one scene"),
        (["sheet", "--seed", "-1", "--out", "sheet.png"], "whole number"),
        (["clip", "--frames", "0", "--out", "clip.mp4"], "at least 1"),
        (["clip", "--frames", "2", "--out", "clip.avi"], r"\.mp4"),
        (["prerender", "--split", "test", "--count", "1", "--out", "cache"], "unknown split"),
        (["prerender", "--count", "-1", "--out", "cache"], "at least 1 scene"),
    ],
)
def test_commands_refuse_bad_input(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run(arguments)
    assert list(tmp_path.iterdir()) == []
