"""Checkpoints: a folder of model.json, backbone.safetensors (ViT, adapter), <task>.safetensors per decoder.

Where there is inst, its decoder answers det, too. Weights are stored in half precision and computed in
single; a model is saved and read without pickle.
"""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from argus_edge.errors import ArgusError, CheckpointError
from argus_edge.spec import TaskEntry
from argus_edge.tasks import TASKS, get_task
from argus_edge.train.custom import HINT, is_known
from argus_edge.train.model.argus import Argus, decoder_of
from argus_edge.train.model.build import build_model, norm_named, variant_named

FORMAT_VERSION = 1
MAX_JSON_BYTES = 1 << 20
SHIPPED = {"nano": Path(__file__).parents[1] / "checkpoints" / "nano"}


@dataclass(frozen=True)
class CheckpointInfo:
    """What model.json tells of a checkpoint."""

    variant: str
    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    input_size: int  # [px], side of the square network input
    command: str = ""  # that makes it again
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)  # measured validation metrics and how
    things: int = 0  # how many of the first panoptic classes are countable
    norm: str = "group"  # of the adapter, or "batch"
    custom: Mapping[str, str] = field(default_factory=dict)  # task from outside -> the file it came from

    def entry(self, task: str, tasks: Sequence[str] = ()) -> TaskEntry:
        """How a package of `tasks`, by default all of them, describes one."""
        component = decoder_of(task, tasks or self.tasks)
        row = None if task in TASKS else get_task(task)
        things = self.things if task == "pan" else 0
        return TaskEntry(component, self.classes.get(task, ()), things, custom=row)


def save_checkpoint(path: Path, model: Argus, info: CheckpointInfo) -> None:
    """Write the folder `path`; each file is replaced atomically, model.json last."""
    path.mkdir(parents=True, exist_ok=True)
    parts = {"backbone": nn.ModuleList([model.backbone, model.adapter]).state_dict()}
    parts |= {name: _deployed(decoder) for name, decoder in model.decoders.items()}
    for name, tensors in parts.items():
        write_tensors(path / f"{name}.safetensors", {k: _stored(v) for k, v in tensors.items()})
    text = json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(info)}, indent=2) + "\n"
    write_atomically(path / "model.json", text.encode())


def load_checkpoint(path: Path) -> tuple[Argus, CheckpointInfo]:
    """The model (evaluation mode, CPU) and its description.

    Raises CheckpointError naming the file at fault.
    """
    info = read_info(path)
    require_tasks(path, info, info.tasks)
    try:
        model = build_model(variant_named(info.variant), info.tasks, info.classes, norm=norm_named(info.norm))
    except ArgusError as error:
        raise CheckpointError(f"{path / 'model.json'}: {error}") from error
    load_parts(path, model, dict.fromkeys(model.decoders, ()))
    return model.eval(), info


def require_tasks(path: Path, info: CheckpointInfo, tasks: Sequence[str]) -> None:
    """Raise CheckpointError for one of the checkpoint's `tasks` that comes from outside and is not known."""
    for task in tasks:
        if not is_known(task):
            came = f"; it was trained with {info.custom[task]!r}" if task in info.custom else ""
            raise CheckpointError(f"{path / 'model.json'}: unknown task {task!r}; {HINT}{came}")


def load_parts(
    path: Path, model: Argus, fresh: Mapping[str, Collection[str]], sources: Mapping[str, str] | None = None
) -> None:
    """Backbone, adapter and the decoders that `fresh` names, from the checkpoint folder into `model`.

    fresh: decoder -> those of its tensors that stay as they are in the model, whatever the file holds.
    sources: decoder -> that of the checkpoint whose weights it takes, where that is another one.
    Raises CheckpointError naming the file at fault.
    """
    _load_part(path / "backbone.safetensors", nn.ModuleList([model.backbone, model.adapter]))
    for name, tensors in fresh.items():
        source = name if sources is None else sources[name]
        _load_part(path / f"{source}.safetensors", model.decoders[name], tensors)


def read_info(path: Path) -> CheckpointInfo:
    """model.json of the checkpoint folder `path`. Raises CheckpointError."""
    file = path / "model.json"
    if not file.is_file():
        raise CheckpointError(f"{path}: not a checkpoint folder, expected a file model.json in it")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{file}: larger than {MAX_JSON_BYTES} bytes")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values.pop("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(f"{file}: format version {version!r}, this version reads {FORMAT_VERSION}")
        classes = {task: _names(names) for task, names in values.pop("classes").items()}
        tasks = _names(values.pop("tasks"))
        size = values.pop("input_size")
        info = CheckpointInfo(tasks=tasks, classes=classes, input_size=size, **values)
        kinds = {"command": str, "recipe": dict, "metrics": dict, "things": int, "norm": str, "custom": dict}
        for name, kind in kinds.items():
            if not isinstance(getattr(info, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: not a valid description ({error!r}); train or fetch the checkpoint again"
        ) from error
    if not isinstance(size, int) or size < 64 or size % 32:
        raise CheckpointError(f"{file}: input_size must be a multiple of 32 from 64 px, got {size!r}")
    return info


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    write_atomically(path, save(dict(tensors)))  # save_file would leave a file that only its owner can read


def write_atomically(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone()
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor  # beyond the range of half


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"expected a list of names, got {str(values)[:60]!r}")
    if len(set(values)) != len(values):
        raise ValueError(f"a name occurs twice in {str(values)[:60]}")
    return tuple(values)


def _deployed(module: nn.Module) -> dict[str, Tensor]:
    """The tensors without what only training needs; that starts anew where a checkpoint is trained on."""
    parts: tuple[str, ...] = getattr(module, "training_only", ())
    return {k: v for k, v in module.state_dict().items() if k.split(".")[0] not in parts}


def _load_part(path: Path, module: nn.Module, fresh: Collection[str] = ()) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})") from error
    tensors = {name: tensor for name, tensor in tensors.items() if name not in fresh}
    expected = {name: tensor for name, tensor in _deployed(module).items() if name not in fresh}
    wrong = sorted(set(tensors) ^ set(expected)) + sorted(
        name for name in set(tensors) & set(expected) if tensors[name].shape != expected[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} tensors are missing, unknown or of another shape for this model, "
            f"first {wrong[0]!r}"
        )
    floats = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    module.load_state_dict({**module.state_dict(), **floats})
    if not all(torch.isfinite(p).all() for p in module.state_dict().values() if p.is_floating_point()):
        raise CheckpointError(f"{path}: holds values that are not finite")
