"""Progress on stderr: a bar where rich is installed (the base install does without), else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

EVERY: Final = 5.0  # between plain lines [s]


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show how far a loop is; the value of the `with` is called once for each step done.

    `total` is the number of steps, None where it is not known.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield _plain(label, total)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def _plain(label: str, total: int | None) -> Callable[[], None]:
    done, last = 0, time.monotonic()

    def step() -> None:
        nonlocal done, last
        done += 1
        if done == total or time.monotonic() - last > EVERY:
            last = time.monotonic()
            print(f"{label} {done}/{total if total is not None else '?'}", file=sys.stderr)

    return step
