"""Fixtures for the tests of the contract."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from argus_edge.package import ModelPackage


@pytest.fixture
def package(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """The folder of a package of one's own, to be spoilt."""
    return Path(shutil.copytree(tiny_package.path, tmp_path / "tiny.argus"))


@pytest.fixture
def replace_file(package: Path) -> Callable[[str, bytes], None]:
    """Replace a file of `package` and list its new size and hash in the manifest, as an attacker would."""
    manifest_file = package / "manifest.json"
    manifest = json.loads(manifest_file.read_text())

    def replace(name: str, data: bytes) -> None:
        (package / name).write_bytes(data)
        if name != "manifest.json":
            entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest["additional_metadata"]["argus"]["files"][name] = entry
            manifest_file.write_text(json.dumps(manifest))

    return replace
