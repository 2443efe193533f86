"""How files of data sets are opened: only ordinary ones, and only up to a size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

# Waits for nobody to write into a pipe. Windows has neither such pipes nor the flag, but needs "binary".
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_ordinary(path: Path, most: int) -> BinaryIO:
    """A file, open for reading.

    Raises OSError with a `strerror` that says what is wrong, without the path: there is none, it is a folder,
    pipe or device, which could go on for ever, or it has more than `most` bytes.
    """
    number = os.open(path, _FLAGS)
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "expected a file; it is a folder, or no ordinary file")
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"expected at most {most} bytes, got {about.st_size}")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_ordinary(path: Path, most: int) -> bytes:
    """What is in a file when it is opened. Raises OSError as `open_ordinary` does."""
    with open_ordinary(path, most) as file:
        return file.read(os.fstat(file.fileno()).st_size)
