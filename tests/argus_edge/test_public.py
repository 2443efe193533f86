from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import argus_edge
from argus_edge import dependencies, errors

_LISTING = """
import sys, types
import argus_edge
shown = {n: v for n, v in vars(argus_edge).items() if not n.startswith("_")}
names = {n for n, v in shown.items() if not isinstance(v, types.ModuleType)}
print(sorted(names - {"annotations", "extend_path", "TYPE_CHECKING", "Any"}))
"""


def test_all_is_exactly_what_is_exposed(tmp_path: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-c", _LISTING], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    expected = sorted(set(argus_edge.__all__) - {"Runtime", "__version__"})  # these two are not plain names
    assert listing.stdout.strip() == str(expected)


def test_every_error_is_exposed_at_the_top() -> None:
    for name in errors.__all__:
        assert getattr(argus_edge, name) is getattr(errors, name)


def test_runtime_is_found_lazily() -> None:
    assert argus_edge.Runtime.__name__ == "Runtime"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Runtme"):
        argus_edge.Runtme  # noqa: B018


def test_the_version_is_the_distributions() -> None:
    try:
        installed = metadata.version("argus-edge")
    except metadata.PackageNotFoundError:
        pytest.skip("argus-edge runs from a checkout without being installed")
    assert argus_edge.__version__ == installed


@pytest.mark.parametrize(
    ("extra", "error"), [("train", errors.DependencyError), ("openvino", errors.EngineMissingError)]
)
def test_a_missing_package_says_how_to_get_it(extra: str, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=rf"no_such_module is not installed; run: pip install 'argus-edge\[{extra}\]'"
    ):
        dependencies.require("no_such_module.part", extra)


def test_a_broken_package_is_told_from_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("raise ImportError('libfoo.so: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.DependencyError, match=r"broken_module does not load \(libfoo.so"):
        dependencies.require("broken_module", "train")
