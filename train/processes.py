"""Several processes that train one model: each takes its share of every batch, and gradients are averaged.

Started by `torchrun --nproc-per-node N --no-python argus-train ...`, or by hand with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT set. One process needs none of this.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Only the leader writes files and shows progress."""
        return self.rank == 0


def join_processes(device: torch.device) -> Place:
    """Meet the other processes that the environment announces, if it does."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Place()
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Place(distributed.get_rank(), distributed.get_world_size())


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], place: Place) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    if place.count == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    gradients: list[Tensor] = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    joined = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(joined)
    joined /= place.count
    for parameter, part in zip(trained, joined.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter)
