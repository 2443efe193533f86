"""The cheapest one-to-one assignment of queries to objects (Hungarian algorithm, through scipy)."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """cost (Q, M) -> indices of the matched queries and of their objects, each (min(Q, M),).

    What is not a number matches last: the loss then says so, where scipy would refuse the whole matrix.
    """
    rows, columns = linear_sum_assignment(cost.nan_to_num(nan=1e9).cpu().numpy())
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)


def matched(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The images and queries (N,) of the pairs of all images, which pick all matched outputs at once.

    Picked image by image, each costs a gradient as large as the outputs of the whole batch.
    """
    images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(pairs)]
    return torch.cat(images), torch.cat([queries for queries, _ in pairs])
