"""Engines that tests need, and what they have them do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argus_edge.runtime import graphs
from argus_edge.runtime.engines import engine_status, open_engine


def needs_engine(name: str) -> str:
    """Skip the test where it is not installed."""
    if not engine_status(name).available:
        pytest.skip(f"no {name}")
    return name


def before_each_run(monkeypatch: pytest.MonkeyPatch, do: Callable[[Path], None]) -> None:
    """Have engines that are opened from now on do something first; they get their graph's file."""

    def opened(name: str, file: Path, **settings: Any) -> Any:
        engine = open_engine(name, file, **settings)
        run = engine.run

        def run_after(inputs: Any) -> Any:
            do(file)
            return run(inputs)

        engine.run = run_after  # type: ignore[method-assign]
        return engine

    monkeypatch.setattr(graphs, "open_engine", opened)
