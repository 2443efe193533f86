from __future__ import annotations

import inspect
import re

from argus_edge import errors


def test_exactly_the_error_classes_are_public() -> None:
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert classes == set(errors.__all__)


def test_the_drawn_tree_is_the_real_tree() -> None:
    drawn: dict[str, str] = {}
    branch = {0: "ArgusError"}
    for indent, name in re.findall(r"^([ |]*)\+- (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = (len(indent) - 5) // 4 + 1
        branch[depth] = name
        drawn[name] = branch[depth - 1]
    real = {name: getattr(errors, name).__base__.__name__ for name in errors.__all__ if name != "ArgusError"}
    assert drawn == real


def test_every_class_says_when_it_occurs() -> None:
    for name in errors.__all__:
        assert len(getattr(errors, name).__doc__) > 30, name
