"""What the command lines share: how they end, and numbers among their arguments."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from argus_edge.errors import ArgusError, ParityError

__all__ = ["name_list", "positive_number", "run_command", "terminated_as_interrupted"]


def name_list(text: str) -> tuple[str, ...]:
    """Names with commas between them, each once, as argparse takes the type of an argument."""
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return found


def positive_number(text: str) -> int:
    """A whole number from 1, as argparse takes the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends what runs within as Ctrl-C does, so that temporary files are removed.

    After the first of either, both are ignored: what is being removed then goes as a whole.
    """

    def stop(*_: object) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What a parent process had ignored, as nohup does, stays so.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before = {number: old for number, old in handlers.items() if old is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_command(main: Callable[[], int], program: str | None = None) -> NoReturn:
    """Run `main` and leave the process with its exit code.

    An ArgusError becomes one line on stderr, `<program>: error: <message>`, and exit code 2 (ParityError: 3);
    with ARGUS_DEBUG=1 in the environment its traceback comes first. Ctrl-C ends with 130, a closed pipe on
    stdout with 0. Any other exception is a defect: it keeps its traceback and Python's exit code 1.
    """
    name = program or Path(sys.argv[0]).name
    try:
        code = main()
        sys.stdout.flush()
    except ArgusError as error:
        if os.environ.get("ARGUS_DEBUG") == "1":
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stderr.write(f"{name}: error: {' '.join(str(error).split())}\n")
        code = 3 if isinstance(error, ParityError) else 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted\n")
        code = 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which would print the same error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
