"""log.jsonl of a training run: one JSON object a line, each with the step it tells about."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argus_edge.errors import TrainingError
from argus_edge.train.model.checkpoint import write_atomically

Row = dict[str, Any]
"""The "step" and, by their names, numbers of it ("loss/det", "seconds" since the run began), figures of a
validation ("det/AP", with a "score"), or the "fault" for which it was skipped."""


class RunLog:
    """The rows of a run up to a step, and the file that new ones go to.

    What a run wrote after the step it is resumed from is dropped: it will be written again.
    """

    def __init__(self, path: Path, step: int) -> None:
        """Raises TrainingError where the file cannot be written."""
        self._path = path
        try:
            self.rows = [row for row in _read(path) if row["step"] <= step]
            write_atomically(path, "".join(_line(row) for row in self.rows).encode("ascii"))
            self._file = path.open("a", encoding="ascii")
        except OSError as error:
            raise self._refused(error) from error

    def add(self, step: int, values: Mapping[str, Any]) -> Row:
        """Append a row; numbers that are not finite are left out. Raises TrainingError on a full disk."""
        row = {"step": step, **{name: value for name, value in values.items() if _sound(value)}}
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error
        self.rows.append(row)
        return row

    @property
    def validations(self) -> list[Row]:
        return [row for row in self.rows if "score" in row]

    @property
    def seconds(self) -> float:
        """How long the run had trained when it last told."""
        return max((float(row["seconds"]) for row in self.rows if "seconds" in row), default=0.0)

    def close(self) -> None:
        self._file.close()

    def _refused(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{self._path}: cannot be written ({error.strerror}); make room and resume: states are whole"
        )


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _sound(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _read(path: Path) -> list[Row]:
    """The whole rows of the file; a line that a kill has torn is none."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows
