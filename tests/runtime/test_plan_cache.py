"""Built engines on disk: taken when everything fits, and else not, with the reason."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from argus_edge.errors import EngineError
from argus_edge.runtime.engines.plan_cache import (
    NEVER_BUILT,
    PlanCache,
    TensorRTIdentity,
    cache_folder,
    graph_hash,
    write_atomically,
)

ORIN = TensorRTIdentity("a" * 64, "fp16", "10.3.0", "Orin", "8.7", "CUDA 12.6", "workspace=1024")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    cache = PlanCache(tmp_path / "engines")
    assert cache.load(ORIN) == (None, NEVER_BUILT)
    cache.store(ORIN, b"plan")
    assert cache.load(ORIN) == (b"plan", "")
    return cache


def test_a_folder_of_ones_own(cache: PlanCache) -> None:
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert sorted(file.suffix for file in cache.folder.iterdir()) == [".json", ".plan"]


@pytest.mark.parametrize("field", [field.name for field in fields(TensorRTIdentity)])
def test_everything_that_an_engine_depends_on_is_its_name(field: str, cache: PlanCache) -> None:
    other = replace(ORIN, **{field: "b" * 64})
    plan, reason = cache.load(other)
    assert plan is None
    if field == "graph":
        assert reason == NEVER_BUILT
    else:
        assert reason == f"{field.replace('_', ' ')} was {getattr(ORIN, field)}, is {'b' * 64}"
    cache.store(other, b"another")
    assert cache.load(other) == (b"another", "")
    assert cache.load(ORIN) == (b"plan", "")


def test_the_nearest_engine_gives_the_reason(cache: PlanCache) -> None:
    cache.store(replace(ORIN, driver="CUDA 12.4", device="Thor"), b"far")
    assert cache.load(replace(ORIN, tensorrt="10.7.0"))[1] == "tensorrt was 10.3.0, is 10.7.0"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"format": 9}', b"\xff", b"[" * 100_000])
def test_a_broken_guard_is_none(content: bytes, cache: PlanCache) -> None:
    (cache.folder / f"{ORIN.name}.json").write_bytes(content)
    assert cache.load(ORIN) == (None, NEVER_BUILT)


def test_an_edited_guard_is_told(cache: PlanCache) -> None:
    file = cache.folder / f"{ORIN.name}.json"
    guard = json.loads(file.read_bytes())
    guard["identity"]["driver"] = "CUDA 11.4"
    file.write_text(json.dumps(guard))
    assert cache.load(ORIN) == (None, "its guard says that driver was CUDA 11.4, is CUDA 12.6")


def test_a_damaged_or_missing_engine_is_told(cache: PlanCache) -> None:
    file = cache.folder / f"{ORIN.name}.plan"
    file.write_bytes(b"pla")
    assert cache.load(ORIN) == (None, "the engine is not what its guard says it is")
    file.unlink()
    assert cache.load(ORIN)[1].startswith("the engine cannot be read")


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match="set XDG_CACHE_HOME"):
        PlanCache(tmp_path / "file" / "engines").store(ORIN, b"plan")


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "x", "text")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_weights_beside_the_graph_count(tmp_path: Path) -> None:
    model, weights = tmp_path / "model.onnx", tmp_path / "model.data"
    model.write_bytes(b"\x0a\x08location\x12\x0amodel.data")
    weights.write_bytes(b"1")
    first = graph_hash(model)
    (tmp_path / "other.onnx").write_bytes(b"not named in it")
    assert graph_hash(model) == first
    weights.write_bytes(b"2")
    assert graph_hash(model) != first


@pytest.mark.parametrize("content", [None, b""])
def test_an_unreadable_graph_is_one_error(content: bytes | None, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.onnx: it cannot be read"):
        graph_hash(model)


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("tensorrt") == tmp_path / "argus_edge" / "tensorrt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("tensorrt") == tmp_path / "home" / ".cache" / "argus_edge" / "tensorrt"
    assert not list(tmp_path.iterdir())


def test_the_engine_used_longest_ago_gives_way(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    first, second, third = (replace(ORIN, graph=letter * 64) for letter in "bcd")
    for age, identity in ((30, first), (20, second), (10, third)):
        cache.store(identity, b"x" * 100, {"threads": "2"})
        moment = time.time() - age
        os.utime(cache.file(identity), (moment, moment))
    assert cache.load(first)[0] is not None  # used just now
    cache.forget_oldest(250)
    assert cache.load(second) == (None, NEVER_BUILT)
    assert cache.load(first)[0] == cache.load(third)[0] == b"x" * 100
    assert cache.settings(third) == {"threads": "2"}
