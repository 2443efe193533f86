"""The decoder of a task from outside, looked over before anything is trained with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from argus_edge.errors import TaskError
from argus_edge.runtime.decode import outputs_misfit
from argus_edge.spec import ImageSpec
from argus_edge.train.custom import CustomTask, users_code

STRIDES: Final = (4, 8, 16, 32)  # of F0..F3
TRIAL: Final = ImageSpec(64, 64)


def build_custom_decoder(task: CustomTask, variant: Any, classes: Sequence[str], width: int) -> nn.Module:
    """The decoder that `task` builds for a variant whose feature maps have `width` channels.

    Raises TaskError when it is no decoder, or `infer` does not give what the task's kind is made of.
    """
    name = task.row.name
    with users_code(name, "build"):
        decoder: object = task.build(variant, tuple(classes))
    levels: Any = getattr(decoder, "levels", None)
    known = isinstance(levels, tuple) and levels and all(level in range(4) for level in levels)
    if not isinstance(decoder, nn.Module) or not known or not callable(getattr(decoder, "infer", None)):
        raise TaskError(
            f"task {name!r}: build must give a torch module with `infer` and `levels`, a tuple of some of 0 "
            f"to 3; got {type(decoder).__name__} with levels {levels}"
        )
    with users_code(name, "decoder"):
        outputs = _tried(decoder, levels, width)
    wrong = outputs_misfit(task.row.kind, _declared(outputs), TRIAL, len(classes))
    if wrong:
        raise TaskError(f"task {name!r}: `infer` of its decoder does not fit kind {task.row.kind!r}: {wrong}")
    return decoder


def _tried(decoder: nn.Module, levels: Sequence[int], width: int) -> Any:
    """What the decoder answers to one image of nothing; it stays as it was."""
    features = [
        torch.zeros(1, width, TRIAL.height // stride, TRIAL.width // stride)
        for stride in (STRIDES[level] for level in levels)
    ]
    training = decoder.training
    with torch.no_grad():
        outputs = decoder.eval().infer(features)  # type: ignore[operator]
    decoder.train(training)
    return outputs


def _declared(outputs: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    if not isinstance(outputs, dict):
        return {}
    return {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in outputs.items()
        if isinstance(tensor, Tensor)
    }
