"""What is measured: an untrained checkpoint, the tiny package in two precisions; scripts; processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from argus_edge.package import ModelPackage, model_path, write_package
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano of det, seg and depth."""
    torch = pytest.importorskip("torch")
    from argus_edge.train.model.build import build_model
    from argus_edge.train.model.checkpoint import CheckpointInfo, save_checkpoint

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "nano"
    tasks, classes = ("det", "seg", "depth"), {"det": DET_CLASSES, "seg": SEG_CLASSES}
    save_checkpoint(path, build_model("nano", tasks, classes), CheckpointInfo("nano", tasks, classes, 320))
    return path


@pytest.fixture(scope="session")
def twin_package(tiny_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny package once more, with the same graphs under the name of a second precision."""
    spec = tiny_package.spec
    files = {name: tiny_package.path / name for name in tiny_package.files if "component.json" not in name}
    components = {}
    for name, component in spec.components.items():
        variants = {**component.variants, "fp16": replace(component.variants["fp32"], precision="fp16")}
        components[name] = replace(component, variants=variants)
        files[model_path(name, "fp16")] = tiny_package.model_file(name, "fp32")
    path = tmp_path_factory.mktemp("packages") / "twin.argus"
    return write_package(path, replace(spec, components=components), files).path


@pytest.fixture(scope="session")
def in_two_processes() -> Callable[[str, Path], None]:
    """Runs a test file, with a folder as its argument, as two processes that meet each other."""

    def start(file: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        workers = [
            subprocess.Popen(
                [sys.executable, file, str(folder)], env=os.environ | meeting | {"RANK": str(rank)}
            )
            for rank in range(2)
        ]
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]

    return start
