"""Random damage, seeded: whatever happens to the JSON files, opening gives a package or a PackageError."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage

Replace = Callable[[str, bytes], None]

FILES = ("manifest.json", "models/det/component.json")
ROUNDS = 250
ODDITIES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**60, 1e300, "", "..", "../x", "\x00", "x" * 100),
    *([], {}, [[]], {"": 0}, {"argus": {}}),
)


def damage(data: bytes, random: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    kind = random.integers(4)
    start, length = int(random.integers(len(data))), int(random.integers(1, 40))
    if kind == 0:
        return data[:start]
    if kind == 1:
        for place in random.integers(0, len(data), size=int(random.integers(1, 8))):
            damaged[place] ^= 1 << int(random.integers(8))
    elif kind == 2:
        del damaged[start : start + length]
    else:
        damaged[start:start] = damaged[start : start + length] * int(random.integers(1, 50))
    return bytes(damaged)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@pytest.mark.parametrize("name", FILES)
def test_bytes(package: Path, name: str, replace_file: Replace) -> None:
    random = np.random.default_rng(5)
    original = (package / name).read_bytes()
    for _ in range(ROUNDS):
        replace_file(name, damage(original, random))
        with contextlib.suppress(PackageError):
            ModelPackage.open(package)


@pytest.mark.parametrize("name", FILES)
def test_types(package: Path, name: str, replace_file: Replace) -> None:
    random = np.random.default_rng(6)
    original = json.loads((package / name).read_text())
    for _ in range(ROUNDS):
        value = copy.deepcopy(original)
        spots = list(places(value))
        container, key = spots[random.integers(len(spots))]
        container[key] = ODDITIES[random.integers(len(ODDITIES))]
        replace_file(name, json.dumps(value).encode())
        with contextlib.suppress(PackageError):
            ModelPackage.open(package)
