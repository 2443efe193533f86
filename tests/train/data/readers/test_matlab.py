from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from argus_edge.errors import ImageError
from argus_edge.train.data.readers.matlab import read_variable

RANDOM = np.random.default_rng(7)
ARRAYS = {
    name: (RANDOM.normal(size=(5, 3)) * 50).astype(name)
    for name in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
} | {
    "row": np.arange(4.0)[None],
    "one": np.array([[7]], np.uint8),
    "cube": np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
    "logical": np.array([[True, False], [False, False]]),
    "empty": np.zeros((0, 3), np.int16),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_arrays_are_as_scipy_reads_them(tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"before": 3.5, name: ARRAYS[name], "a": "text"}, do_compression=packed)
    values = read_variable(path, name)
    expected = scipy.io.loadmat(path)[name]
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)
    assert read_variable(path, "a") == "text"


@pytest.mark.parametrize("packed", [False, True])
def test_structs_and_cells(tmp_path: Path, packed: bool) -> None:
    things = np.zeros((1, 2), [("name", object), ("parts", object)])
    cells = np.array([["täil", np.eye(2)], [1, ""]], object)
    things[0, 0] = ("dog", cells)
    things[0, 1] = ("", np.zeros((0, 0)))
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"things": things}, do_compression=packed)
    first, second = read_variable(path, "things")
    assert first["name"] == "dog"
    assert first["parts"][0] == "täil"
    assert first["parts"][1] == 1  # columns first
    np.testing.assert_array_equal(first["parts"][2], np.eye(2))
    assert np.size(second["parts"]) == 0


def test_numbers_of_the_other_byte_order(tmp_path: Path) -> None:
    def part(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    array = (
        part(6, struct.pack(">II", 6, 0))  # double
        + part(5, struct.pack(">ii", 2, 2))
        + part(1, b"depth")
        + part(3, struct.pack(">hhhh", 1, -2, 3, 400))  # in 16 bits, as MATLAB saves whole numbers
    )
    header = b"MATLAB".ljust(124) + b"\x01\x00MI"
    (tmp_path / "a.mat").write_bytes(header + part(14, array))
    np.testing.assert_array_equal(read_variable(tmp_path / "a.mat", "depth"), [[1, 3], [-2, 400]])


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with pytest.raises(ImageError, match="No such file"):
        read_variable(path, "a")
    scipy.io.savemat(path, {"a": 1, "complex": np.array([1j])})
    with pytest.raises(ImageError, match="expected a variable 'b'"):
        read_variable(path, "b")
    with pytest.raises(ImageError, match="complex"):
        read_variable(path, "complex")
    scipy.io.savemat(path, {"a": 1}, format="4")
    with pytest.raises(ImageError, match="level 5"):
        read_variable(path, "a")
    path.write_bytes(b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + b"\x89HDF")
    with pytest.raises(ImageError, match="-v7"):
        read_variable(path, "a")
    nested: Any = {"a": 1}
    for _ in range(30):
        nested = {"a": nested}
    scipy.io.savemat(path, {"a": nested})
    with pytest.raises(ImageError, match="too deep"):
        read_variable(path, "a")


def test_what_unpacks_without_end_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argus_edge.train.data.readers.matlab.MAX_BYTES", 1 << 16)
    packed = zlib.compress(bytes(1 << 20))
    header = b"MATLAB".ljust(124) + b"\x00\x01IM"
    (tmp_path / "a.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(ImageError, match="larger than 65536 bytes"):
        read_variable(tmp_path / "a.mat", "a")
    (tmp_path / "a.mat").write_bytes(header + bytes(1 << 17))
    with pytest.raises(ImageError, match="at most 65536"):
        read_variable(tmp_path / "a.mat", "a")


@pytest.mark.parametrize("packed", [False, True])
def test_broken_files_raise_image_errors_only(tmp_path: Path, packed: bool) -> None:
    things = np.zeros((1, 2), [("name", object), ("mask", object)])
    things[0, 0] = ("dog", np.eye(9, dtype=np.uint8))
    things[0, 1] = ("cat", np.array([["a", 1]], object))
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"things": things}, do_compression=packed)
    data, chance = path.read_bytes(), random.Random(3)
    broken = 0
    for _ in range(600):
        harmed = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            harmed[chance.randrange(124, len(data))] = chance.randrange(256)
        path.write_bytes(harmed[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
        try:
            read_variable(path, "things")
        except ImageError:
            broken += 1
    assert broken > 200
