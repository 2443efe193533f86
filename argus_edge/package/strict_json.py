"""JSON from a stranger: bounded, without the freedoms Python's reader takes, and typed value by value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from argus_edge.errors import PackageError
from argus_edge.spec import JsonValue

__all__ = ["MAX_JSON_BYTES", "MAX_JSON_DEPTH", "NAME", "Node", "parse"]

MAX_JSON_BYTES: Final = 2**20
MAX_JSON_DEPTH: Final = 16
MAX_INTEGER_DIGITS: Final = 18
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_REMEDY: Final = "update argus-edge or export the package again"
_L = TypeVar("_L", bound=str)


def parse(data: bytes, where: str) -> Node:
    """Read one JSON document. `where` names it in errors.

    Raises PackageError when it is longer than MAX_JSON_BYTES, nested deeper than MAX_JSON_DEPTH, not UTF-8,
    not JSON, or holds a key twice, NaN, an infinity, or an integer of more than MAX_INTEGER_DIGITS digits.
    """
    if len(data) > MAX_JSON_BYTES:
        raise PackageError(f"{where}: expected at most {MAX_JSON_BYTES} bytes, got more; {_REMEDY}")
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short_integer,
        )
        # A lone surrogate escape is a string that cannot be printed or written again.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise PackageError(f"{where}: expected strict JSON, got {reason}; {_REMEDY}") from None
    return Node(value, where)


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON value and the place it came from. Each method returns the value as one type or refuses it."""

    value: Any
    file: str
    keys: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """File and keys, as errors name them."""
        return f"{self.file}: {'.'.join(self.keys)}" if self.keys else self.file

    def child(self, key: str) -> Node:
        """Return the value under `key`, which must exist."""
        return Node(self.value[key], self.file, (*self.keys, key))

    def refusal(self, expected: str) -> PackageError:
        """Return the error that says what was expected here and what came."""
        shown = json.dumps(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return PackageError(f"{self.where}: expected {expected}, got {shown}; {_REMEDY}")

    def fields(self, *required: str, optional: Sequence[str] = ()) -> dict[str, Node]:
        """Return an object with exactly the keys `required`, and of `optional` those that are there."""
        found = self._object()
        for key in found:
            if key not in required and key not in optional:
                raise PackageError(f"{self.where}: unknown key {key[:60]!r}; {_REMEDY}")
        for key in required:
            if key not in found:
                raise PackageError(f"{self.where}: key {key!r} is missing; {_REMEDY}")
        return {key: self.child(key) for key in found}

    def entries(self, limit: int, pattern: re.Pattern[str] = NAME) -> dict[str, Node]:
        """Return an object of 1 to `limit` entries with free keys, each of which matches `pattern`."""
        found = self._object()
        if not 1 <= len(found) <= limit:
            raise PackageError(f"{self.where}: expected 1 to {limit} entries, got {len(found)}; {_REMEDY}")
        for key in found:
            if not pattern.fullmatch(key):
                raise PackageError(
                    f"{self.where}: expected a name like {pattern.pattern}, got {key[:60]!r}; {_REMEDY}"
                )
        return {key: self.child(key) for key in found}

    def items(self, low: int, high: int) -> list[Node]:
        """Return a list of `low` to `high` values."""
        if not isinstance(self.value, list) or not low <= len(self.value) <= high:
            raise self.refusal(f"a list of {low} to {high} values")
        return [Node(value, self.file, (*self.keys, str(i))) for i, value in enumerate(self.value)]

    def text(self, pattern: re.Pattern[str] = NAME) -> str:
        """Return a string that matches `pattern`."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.refusal(f"text like {pattern.pattern}")
        return self.value

    def label(self) -> str:
        """Return a string of 1 to 64 printable characters."""
        if not isinstance(self.value, str) or not 1 <= len(self.value) <= 64 or not self.value.isprintable():
            raise self.refusal("text of 1 to 64 printable characters")
        return self.value

    def choice(self, options: Sequence[_L]) -> _L:
        """Return the member of `options` that the value equals."""
        for option in options:
            if self.value == option:
                return option
        raise self.refusal(" or ".join(json.dumps(option) for option in options))

    def integer(self, low: int, high: int) -> int:
        """Return an integer of `low` to `high`."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.refusal(f"an integer of {low} to {high}")
        return self.value

    def free(self) -> dict[str, JsonValue]:
        """Return an object whose content is nobody's business here."""
        return self._object()

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.refusal("an object")
        return self.value


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"more than {MAX_JSON_DEPTH} levels of nesting")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:60]}")
    return value


def _short_integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of more than {MAX_INTEGER_DIGITS} digits")
    return int(text)
