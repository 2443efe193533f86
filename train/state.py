"""What a run keeps on disk to be resumed: tensors, and a description that names their step.

Files appear whole or not at all, the description last, so that a save cut short is never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from argus_edge.errors import CheckpointError, TrainingError, first_line
from argus_edge.train.model.checkpoint import write_atomically, write_tensors

KEPT: Final = 2  # states


def write_state(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Keep the state of a step, and the one before it.

    Raises TrainingError where the disk refuses, for instance because it is full; earlier states stay whole.
    """
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    tensors_file, facts_file = _files(folder, step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors_file, stored)
        write_atomically(facts_file, json.dumps(facts, indent=2).encode())
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{folder}: the state of step {step} cannot be written ({first_line(error)}); make room and "
            f"resume: earlier states are whole"
        ) from error
    for old in saved_steps(folder)[:-KEPT]:
        for file in reversed(_files(folder, old)):  # the description first: it promises the tensors
            file.unlink(missing_ok=True)


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The last state in `folder`, or the one before if the last cannot be read.

    Raises CheckpointError when there is none, or none that can be read.
    """
    broken = []
    for step in reversed(saved_steps(folder)):
        tensors_file, facts_file = _files(folder, step)
        try:
            return load_file(tensors_file), dict(json.loads(facts_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            broken.append(f"{facts_file.stem}: {first_line(error)}")
    raise CheckpointError(f"{folder}: no run to resume there ({'; '.join(broken) or 'no state-*.json'})")


def saved_steps(folder: Path) -> list[int]:
    """The steps whose states lie in `folder`, in order."""
    names = (path.stem.removeprefix("state-") for path in folder.glob("state-*.json"))
    return sorted(int(name) for name in names if name.isdecimal())


def _files(folder: Path, step: int) -> tuple[Path, Path]:
    return folder / f"state-{step}.safetensors", folder / f"state-{step}.json"
