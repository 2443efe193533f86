"""The wheel, installed as its users do: with numpy and OpenCV and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import argus_edge
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import engine_status
from argus_edge.runtime.engines.openvino_ops import LIBRARY

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "argus-run",
    "argus-bench",
    "argus-doctor",
    "argus-data",
    "argus-train",
    "argus-eval",
    "argus-export",
)


@dataclass(frozen=True)
class BaseInstall:
    """An environment that holds the wheel and the two base dependencies."""

    wheel: Path
    bin: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        program = [self.bin / command[0], *command[1:]]
        return subprocess.run(
            program, cwd=self.bin, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def base_install(tmp_path_factory: pytest.TempPathFactory) -> BaseInstall:
    folder = tmp_path_factory.mktemp("packaging")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", f"--config-settings=build-dir={folder / 'build'}"]
    subprocess.run([*pip, *build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("argus_edge-*.whl")

    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    (site_packages,) = environment.glob("lib/python*/site-packages")
    for module in (np, cv2):
        package = Path(module.__file__ or "").parent
        # The package itself and the folder of shared libraries that its wheel puts beside it.
        for source in (package, *package.parent.glob(f"{package.name.replace('cv2', 'opencv*')}.libs")):
            (site_packages / source.name).symlink_to(source)
    return BaseInstall(wheel, environment / "bin")


def test_wheel_holds_what_it_should(base_install: BaseInstall) -> None:
    names = zipfile.ZipFile(base_install.wheel).namelist()
    assert "argus_edge/runtime/kernels/letterbox.cu" in names
    assert {"argus_edge/py.typed", "argus_edge/runtime/_native.pyi", "argus_edge/runtime/session.py"} <= {
        *names
    }
    assert any(name.startswith("argus_edge/runtime/_native.") and name.endswith(".so") for name in names)
    if engine_status("openvino").available:  # then its development files were there for the build
        version = engine_status("openvino").version
        assert f"argus_edge/runtime/{LIBRARY.format(version)}" in names
    assert {name.partition("/")[0] for name in names} == {
        "argus_edge",
        f"argus_edge-{argus_edge.__version__}.dist-info",
    }
    strange = [name for name in names if name.endswith((".cpp", ".hpp", ".pyc")) or "/tests/" in name]
    assert strange == []
    checkpoints = ROOT / "train" / "checkpoints"
    for path in checkpoints.rglob("*.*"):
        assert f"argus_edge/train/checkpoints/{path.relative_to(checkpoints).as_posix()}" in names


def test_base_install_imports_and_preprocesses(base_install: BaseInstall) -> None:
    program = """
import sys
import numpy as np
import argus_edge
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import ImageSpec
argus_edge.Runtime
tensor, _ = preprocess(np.full((20, 10, 3), 7, np.uint8), ImageSpec(64, 64))
assert (tensor[0, :, :32] == 7).all()
for library in ("torch", "onnxruntime", "openvino", "rich", "scipy"):
    try:
        __import__(library)
    except ImportError:
        continue
    sys.exit(f"{library} can be imported: this is no base install")
"""
    done = base_install.run("python", "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr


def test_opening_a_package_says_which_extra_to_install(
    base_install: BaseInstall, tiny_package: ModelPackage, tmp_path: Path
) -> None:
    program = """
import sys
import argus_edge
try:
    argus_edge.Runtime(sys.argv[1])
except argus_edge.EngineMissingError as error:
    print(error)
"""
    done = base_install.run("python", "-c", program, tiny_package.path)
    assert "pip install 'argus-edge[openvino]'" in done.stdout, done.stderr

    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    done = base_install.run("argus-run", tiny_package.path, "--source", image)
    assert done.returncode == 2
    assert "pip install 'argus-edge[openvino]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_help_without_any_extra(base_install: BaseInstall, command: str) -> None:
    done = base_install.run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {command}")
