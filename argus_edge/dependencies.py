"""Optional packages, imported where they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

from argus_edge.errors import ArgusError, DependencyError, EngineMissingError

__all__ = ["pip_line", "require"]

_ENGINE_EXTRAS: Final = frozenset({"openvino", "onnxruntime", "cuda", "tensorrt"})


def pip_line(extra: str) -> str:
    """Return the shell command that installs the extra `extra` of this distribution."""
    return f"pip install 'argus-edge[{extra}]'"


def require(module: str, extra: str) -> ModuleType:
    """Import `module` (dotted name), which the extra `extra` of this distribution brings.

    Raises EngineMissingError when the extra is an engine's and DependencyError otherwise; both say which
    pip command helps, and whether the package is absent or present but broken.
    """
    error: type[ArgusError] = EngineMissingError if extra in _ENGINE_EXTRAS else DependencyError
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        if isinstance(cause, ModuleNotFoundError) and cause.name == module.partition(".")[0]:
            problem = f"{cause.name} is not installed"
        else:
            problem = f"{module} does not load ({cause})"
        raise error(f"{problem}; run: {pip_line(extra)}") from cause
