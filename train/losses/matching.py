"""The cheapest one-to-one assignment of queries to objects (Hungarian algorithm, through scipy)."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Of each image the queries that got an object, and its objects, both (N,) int64 on the CPU.
Pairs = Sequence[tuple[Tensor, Tensor]]


def assign(cost: Tensor, counts: Sequence[int]) -> Pairs:
    """cost (B, Q, M) of which image b has the first counts[b] objects -> its min(Q, counts[b]) pairs.

    What is not a number matches last: the loss then says so, where scipy would refuse the whole matrix. All
    costs leave the device at once: each transfer waits for everything before it.
    """
    costs = cost.nan_to_num(nan=1e9).cpu().numpy()
    found = (linear_sum_assignment(of[:, :count]) for of, count in zip(costs, counts, strict=True))
    return [(torch.as_tensor(rows), torch.as_tensor(columns)) for rows, columns in found]


def matched(pairs: Pairs, counts: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Image, query, and number among the objects of the whole batch, each (N,) on `device`.

    They pick all matched outputs at once: image by image, each would cost a gradient as large as the outputs
    of the whole batch.
    """
    images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(pairs)]
    before = [sum(counts[:image]) for image in range(len(counts))]
    objects = [start + of for start, (_, of) in zip(before, pairs, strict=True)]
    rows = torch.stack([torch.cat(images), torch.cat([q for q, _ in pairs]), torch.cat(objects)])
    image, query, of = rows.to(device).unbind()
    return image, query, of
