"""Variables of MATLAB files of level 5, as versions 5 to 7 save them: numbers, texts, structs and cells.

After "MAT-File Format" of MathWorks. Not by scipy's reader, because some broken files end the process in it;
here every size is checked against what is there before it is believed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from argus_edge.errors import ImageError, first_line
from argus_edge.train.data.contents import read_ordinary

MAX_BYTES: Final = 256 << 20  # of a file, and of what it unpacks to
MAX_DEPTH: Final = 16  # of structs in structs

_HEADER: Final = 128
_MATRIX: Final = 14
_PACKED: Final = 15
_NUMBERS: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS: Final = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
# Classes of arrays: what numbers are meant to be, whatever smaller type they are stored in.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_CLASSES: Final = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
_COMPLEX: Final = 1 << 11


def read_variable(path: Path, name: str) -> Any:
    """The variable of that name.

    Returns:
        An array of numbers (logical ones are uint8), a text, or a list: of cells, or of a struct array's
        elements, as dicts. Lists are in MATLAB's order, columns first. Whatever is empty, but for texts, is
        an empty array.

    Raises ImageError: there is no such file or variable, or it is broken, too large or of another level.
    """
    try:
        data = read_ordinary(path, MAX_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data[124:126] != (b"\x00\x01" if order == "<" else b"\x01\x00"):
        raise ImageError("not a MATLAB file of level 5; save it with -v7")
    try:
        for kind, content in _elements(memoryview(data)[_HEADER:], order):
            for inner, matrix in _unpacked(content, order) if kind == _PACKED else [(kind, content)]:
                array = _Array(matrix, order) if inner == _MATRIX else None
                if array is not None and array.name == name:
                    return array.value(MAX_DEPTH)
    except (ValueError, LookupError, TypeError, zlib.error) as error:
        raise ImageError(f"MATLAB file is cut off or broken: {first_line(error)}") from error
    raise ImageError(f"expected a variable '{name}', got none")


def _unpacked(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(content, MAX_BYTES)
    if not unpacker.eof:
        raise ValueError(f"a variable is cut off or larger than {MAX_BYTES} bytes")
    return _elements(memoryview(data), order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The parts of a block, each with what kind it is of."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("a part ends too early")
        kind, size = (int(word) for word in np.frombuffer(data, f"{order}u4", 2, position))
        start, padded = position + 8, -(-size // 8) * 8 if kind != _PACKED else size
        if kind >> 16:  # up to four bytes lie in place of the size
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, position + 4, 4
        if size > padded or start + size > len(data):
            raise ValueError("a part is longer than the file")
        yield kind, data[start : start + size]
        position = start + padded


class _Array:
    """One array: its name at once, its value when asked for."""

    def __init__(self, content: memoryview, order: str) -> None:
        self._order = order
        self._parts = _elements(content, order)
        flags = self._numbers("array flags")
        self._class, self._complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & _COMPLEX)
        self._shape = tuple(int(n) for n in self._numbers("dimensions"))
        self._count = math.prod(self._shape)
        if len(self._shape) < 2 or min(self._shape) < 0 or self._count > MAX_BYTES:
            raise ValueError(f"an array of {self._shape}")
        self.name = self._text()

    def value(self, depth: int) -> Any:
        if self._complex or depth == 0:
            raise ValueError("complex numbers" if self._complex else "structs too deep in each other")
        if self._class == _CHAR:
            return self._text()
        if self._count == 0:
            return np.zeros(self._shape, _CLASSES.get(self._class, "f8"))
        if self._class in _CLASSES:
            with np.errstate(invalid="ignore"):  # of numbers that their own class does not hold
                return self._numbers("numbers").astype(_CLASSES[self._class]).reshape(self._shape, order="F")
        if self._class == _CELL:
            return [self._inner(depth) for _ in range(self._count)]
        if self._class == _STRUCT:
            names = self._field_names()
            return [{name: self._inner(depth) for name in names} for _ in range(self._count)]
        raise ValueError(f"arrays of class {self._class} are not read")

    def _inner(self, depth: int) -> Any:
        kind, content = self._next("an inner array")
        if kind != _MATRIX:
            raise ValueError(f"a part of kind {kind} instead of an array")
        return _Array(content, self._order).value(depth - 1) if len(content) else np.zeros((0, 0))

    def _field_names(self) -> list[str]:
        (length,) = self._numbers("field lengths")
        kind, content = self._next("field names")
        size = int(length)
        if kind not in _TEXTS or size < 1 or len(content) % size:
            raise ValueError("names of fields")
        names = [bytes(content[i : i + size]).split(b"\0")[0] for i in range(0, len(content), size)]
        if not names:  # nothing would use up what is there
            raise ValueError("a struct without fields")
        return [name.decode("latin-1") for name in names]

    def _numbers(self, what: str) -> Any:
        kind, content = self._next(what)
        return np.frombuffer(bytes(content), self._order + _NUMBERS[kind])

    def _text(self) -> str:
        kind, content = self._next("a text")
        encoding = _TEXTS[kind]
        if encoding == "utf-16":
            encoding = {"<": "utf-16-le", ">": "utf-16-be"}[self._order]
        return str(content, encoding)

    def _next(self, what: str) -> tuple[int, memoryview]:
        part = next(self._parts, None)
        if part is None:
            raise ValueError(f"{what} is missing")
        return part
