"""Several processes that train one model: each takes its share of every batch, gradients are averaged by DDP.

Started by `torchrun --nproc-per-node N --no-python argus-train ...`, or by hand with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT set. One process needs none of this.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


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
    # Numbers travel over gloo in any case, gradients over what the device has.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Place(distributed.get_rank(), distributed.get_world_size())


def shared(module: nn.Module, place: Place) -> nn.Module:
    """`module` as one of the processes trains it: its gradients become their mean over the processes.

    Every parameter must take part in every backward pass. What has nothing to train stays as it is.
    """
    if place.count == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    return DistributedDataParallel(module)


def held_back(module: nn.Module, hold: bool) -> AbstractContextManager[None]:
    """While `hold`, gradients of a `shared` module add up here instead of being averaged at once."""
    if hold and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


@torch.no_grad()
def means(values: Mapping[str, float], place: Place) -> dict[str, float]:
    """Each number's mean over the processes, which all have the same names."""
    if place.count == 1:
        return dict(values)
    numbers = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.all_reduce(numbers)
    return dict(zip(values, (numbers / place.count).tolist(), strict=True))


def objects_in(count: int) -> float:
    """The number of objects that losses are divided by: its mean over the processes, at least 1."""
    if not distributed.is_initialized():
        return float(max(1, count))
    return max(1.0, means({"": float(count)}, Place(count=distributed.get_world_size()))[""])


@torch.no_grad()
def any_of(flag: bool, place: Place) -> bool:
    """Whether the flag is up in any process."""
    if place.count == 1:
        return flag
    number = torch.tensor(int(flag))
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return bool(number)
