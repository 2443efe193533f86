"""Each heavy library is imported in its one place, so that everything else works without it.

import-linter holds the direction of imports between our own packages; this looks at what comes from outside,
also where it is imported by name with `require("library.module", extra)`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("argus_edge", "runtime", "train", "export")

PLACES = {
    "timm": ("train/model/backbone.py",),
    "onnxruntime": (
        "runtime/engines/onnxruntime_engine.py",
        "runtime/engines/onnxruntime_cuda_engine.py",
        "export/",  # its quantizer
    ),
    "openvino": ("runtime/engines/openvino_engine.py",),
    "tensorrt": (
        "runtime/engines/tensorrt_engine.py",
        "runtime/engines/tensorrt_builder.py",
        "runtime/engines/tensorrt_plugins.py",
    ),
    "cuda": ("runtime/engines/cuda_memory.py", "runtime/engines/cuda_kernels.py"),
    "nncf": ("export/",),
    "onnx": ("export/",),
    "pycocotools": ("train/metrics/", "train/data/readers/masks.py", "train/data/layouts/coco.py"),
    "scipy": ("train/losses/",),
    "torch": ("train/", "export/"),
    "torchvision": ("train/", "export/"),
    "triton": ("train/kernels/",),
    "safetensors": ("train/",),
    "tensorboard": ("train/",),
    "cv2": ("runtime/", "train/", "argus_edge/geometry.py"),
}


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                yield path


def imported_libraries(path: Path) -> set[str]:
    """Top-level names of everything `path` imports, anywhere in it, under `if TYPE_CHECKING` too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                names.add(module)
            case ast.Call(
                func=ast.Name(id="require" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names.add(module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("library", PLACES)
def test_library_stays_in_its_place(library: str) -> None:
    users = [path.relative_to(ROOT).as_posix() for path in sources() if library in imported_libraries(path)]
    strays = [user for user in users if not user.startswith(PLACES[library])]
    assert not strays, (
        f"{library} belongs in {', '.join(PLACES[library])}; also imported in {', '.join(strays)}"
    )


def test_require_and_hidden_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import a.b\nfrom c.d import e\ndef f():\n    import g\n    require('h.i', 'extra')\n"
        "    importlib.import_module('j')\n"
    )
    assert imported_libraries(path) == {"a", "c", "g", "h", "j"}
