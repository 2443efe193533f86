"""Files of a package, touched only in ways that cannot lead out of its folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from argus_edge.errors import PackageError

__all__ = [
    "FILE_PATH",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "list_files",
    "open_regular",
    "read_bytes",
    "sha256_of",
]

MAX_FILES: Final = 256
MAX_FILE_BYTES: Final = 2**31

_SEGMENT: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
# No segment may start with a dot, and there is no room for a backslash, a drive or a leading slash.
FILE_PATH: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")
_MAX_DEPTH: Final = 8  # of folders; the format itself needs 4
_CHUNK: Final = 2**20


def list_files(root: Path) -> set[str]:
    """Return the paths of all files below the folder `root`, relative to it, with forward slashes.

    Raises PackageError for a link, a device, a pipe or a socket, for more than MAX_FILES entries, and for
    folders nested needlessly deep.
    """
    found: set[str] = set()
    for count, (path, mode) in enumerate(_walk(root, "", 1), start=1):
        if count > MAX_FILES:
            raise PackageError(f"{root}: expected at most {MAX_FILES} files and folders, got more")
        if stat.S_ISREG(mode):
            found.add(path)
        elif not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
            raise PackageError(
                f"{root}: expected regular files and folders, got {kind} {path!r}; "
                f"copy the package with links resolved (cp -rL) or export it again"
            )
    return found


def open_regular(path: Path) -> BinaryIO:
    """Open `path` for reading, without following a link and without waiting on a pipe.

    Raises PackageError when it is absent, cannot be read or is not a regular file.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        handle = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        problem = f"{path}: expected a regular file, got {error.strerror}; export the package again"
        raise PackageError(problem) from None
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise PackageError(f"{path}: expected a regular file, got another kind; export the package again")
    return handle


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file. Raises PackageError when it has more than `limit` bytes."""
    with open_regular(path) as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise PackageError(f"{path}: expected at most {limit} bytes, got more; export the package again")
    return data


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    if depth > _MAX_DEPTH:
        raise PackageError(f"{folder}: expected at most {_MAX_DEPTH} levels of folders, got more")
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            yield f"{prefix}{entry.name}", mode
            if stat.S_ISDIR(mode):
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)
