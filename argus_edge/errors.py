"""Every error this library raises on purpose.

    ArgusError
     +- InputError               an image, source, argument or setting is not what it must be
     |   +- ImageError
     |   +- SourceError
     |   +- DatasetError
     |   +- TaskError
     +- PackageError             a model package cannot be trusted or understood
     +- CheckpointError          the same for a training checkpoint
     +- EngineError              an inference engine could not load or run a graph
     |   +- EngineMissingError
     |   +- FrameDroppedError
     +- ExportError              a model could not be turned into a package
     |   +- ParityError
     +- TrainingError            training cannot start, go on or resume
     +- DependencyError          an optional Python package is missing

A message is one sentence: what it is about, what was expected, what came, what to do. Commands print it as
one line and exit with 2 (ParityError: 3). Anything that is not an ArgusError is a defect of the library.
"""

from __future__ import annotations

import os

__all__ = [
    "ArgusError",
    "CheckpointError",
    "DatasetError",
    "DependencyError",
    "EngineError",
    "EngineMissingError",
    "ExportError",
    "FrameDroppedError",
    "ImageError",
    "InputError",
    "PackageError",
    "ParityError",
    "SourceError",
    "TaskError",
    "TrainingError",
]


class ArgusError(Exception):
    """Base of every error raised on purpose; catch it to catch them all."""


class InputError(ArgusError):
    """An image, source, argument or setting handed in by the user is not what it must be."""


class ImageError(InputError):
    """An image is not an (H, W, 3) uint8 RGB array, is empty, or its file cannot be decoded."""


class SourceError(InputError):
    """A file, folder or camera does not exist, cannot be opened, or stopped giving frames."""


class DatasetError(InputError):
    """A data set's folder is not laid out as expected, or holds something broken that may not be left out."""


class TaskError(InputError):
    """A task is unknown, not in this package or checkpoint, or was not run on this frame."""


class PackageError(ArgusError):
    """A model package is missing, truncated, edited, hostile, or of another format version."""


class CheckpointError(ArgusError):
    """A checkpoint is missing, truncated, edited, or does not fit the model it is loaded into."""


class EngineError(ArgusError):
    """An inference engine is unknown, or could not load or run a graph."""


class EngineMissingError(EngineError):
    """The library of an engine is not installed or finds no device; the message says what brings it."""


class FrameDroppedError(EngineError):
    """A frame gave way to a newer one, or what it was handed to was closed, before it was run."""


class ExportError(ArgusError):
    """A model could not be traced, converted, quantised or written."""


class ParityError(ExportError):
    """An exported graph runs, but its numbers differ from the model's by more than the stated tolerance."""


class TrainingError(ArgusError):
    """Training cannot start, continue (for example after a loss that is not finite) or resume."""


class DependencyError(ArgusError):
    """An optional Python package is not installed or does not load; the message carries the pip line."""


def first_line(error: BaseException) -> str:
    """Return what another library's error says, in one line, for a message of ours."""
    return (str(error).splitlines() or [repr(error)])[0]


def shown(name: str | os.PathLike[str]) -> str:
    """A file's name for messages; bytes that are no UTF-8 and control characters as backslash escapes.

    So it can be printed, and cannot colour or clear the terminal.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
