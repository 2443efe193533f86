"""Fixed weights of the tasks from measured losses: each loss times its weight is 1, as in the paper."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch

from argus_edge.errors import TrainingError
from argus_edge.train.batches import Batch
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.objectives import task_loss
from argus_edge.train.recipe import Recipe


@torch.no_grad()
def measure_losses(
    model: Argus, recipe: Recipe, batches: Iterable[Sequence[Batch]], device: torch.device
) -> dict[str, float]:
    """The mean loss of each task, before its weight, over the batches of several steps; in float32.

    Nothing is learnt, but statistics of BatchNorm move on: use the model for nothing else afterwards.
    Raises TrainingError for a loss that is not finite, naming the images, or is 0 over all of them.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for step, step_batches in enumerate(batches):
        seed = (recipe.seed << 32) + step
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator().manual_seed(seed)
        for batch in (b.to(device) for b in step_batches):
            features = model.features(normalise(batch.image))
            for task, target in batch.targets.items():
                decoder = model.decoders[task]
                loss = float(
                    task_loss(
                        task, decoder, features, target, generator, recipe.encoder_copies, recipe.mask_points
                    )
                )
                if not math.isfinite(loss):
                    raise TrainingError(f"the loss of task {task!r} is {loss} on {', '.join(batch.names)}")
                found[task].append(loss)
    losses = {task: sum(each) / len(each) for task, each in found.items()}
    for task, loss in losses.items():
        if loss <= 0:
            raise TrainingError(
                f"the loss of task {task!r} is {loss:g}: these images have nothing to learn it from; "
                f"measure more steps"
            )
    return losses


def weights_yaml(losses: Mapping[str, float], steps: int) -> str:
    """The weights as a part of a recipe file, with two digits each."""
    lines = [f"task_weights:  # each brings its loss to 1, the mean over the first {steps} steps"]
    lines += [f"  {task}: {float(f'{1 / loss:.2g}'):g}  # loss {loss:.3g}" for task, loss in losses.items()]
    return "\n".join(lines) + "\n"
