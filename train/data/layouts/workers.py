"""Work spread over processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Final, TypeVar

import cv2

from argus_edge.errors import InputError

T = TypeVar("T")

_CHUNK: Final = 4  # jobs a process does before it reports


def spread(
    work: Callable[[Sequence[T]], None], jobs: Sequence[T], processes: int, report: Callable[[int], None]
) -> None:
    """Call `work` with all jobs, a few at a time, and `report` with the number of each few that are done.

    Ctrl-C reaches this process only; the others finish what they are at and end. If this process is killed
    they end at once.

    Raises InputError when one of the others was killed.
    """
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    if processes == 1 or len(chunks) < 2:
        for chunk in chunks:
            work(chunk)
            report(len(chunk))
        return
    pool = ProcessPoolExecutor(min(processes, len(chunks)), get_context("spawn"), _start_worker)
    try:
        # What a process blocks when it starts another one, the other blocks too.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            sizes = {pool.submit(work, chunk): len(chunk) for chunk in chunks}
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for done in as_completed(sizes):
            done.result()
            report(sizes[done])
    except BrokenProcessPool as error:
        raise InputError(
            "one of the processes was ended from outside, perhaps for want of memory; "
            "the same command goes on, with fewer --processes if need be"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
