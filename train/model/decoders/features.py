"""What decoders do first with the pyramid F0..F3: look at its shapes, average its cells."""

from collections.abc import Sequence

import torch
from torch import Tensor

from argus_edge.errors import InputError
from argus_edge.train.model.layers import constant


def check_features(features: Sequence[Tensor], width: int, levels: Sequence[int]) -> None:
    """Raise InputError unless `features` are the maps F`levels` of one image: (B, width, H/s, W/s), s = 4, 8,
    16, 32 for levels 0 to 3.
    """
    shapes = [tuple(f.shape) for f in features]
    strides = [4 * 2**level for level in levels]
    fits = len(shapes) == len(strides) and all(len(shape) == 4 and shape[1] == width for shape in shapes)
    if not fits or len({(b, h * s, w * s) for (b, _, h, w), s in zip(shapes, strides, strict=True)}) > 1:
        expected = ", ".join(f"(B, {width}, H/{s}, W/{s})" for s in strides)
        raise InputError(f"the decoder reads maps {expected} of one batch of images, got {shapes}")


def averaging_matrix(length: int, size: int, like: Tensor) -> Tensor:
    """(size, length): adaptive average pooling of `length` values to `size` as a matrix, of `like`'s dtype.

    Exporters refuse adaptive pooling where sizes do not divide; a constant matrix is right for every size.
    """
    start = constant(tuple(i * length // size for i in range(size)), like.device)
    end = constant(tuple(-(-(i + 1) * length // size) for i in range(size)), like.device)
    position = torch.arange(length, device=like.device)
    inside = ((position >= start[:, None]) & (position < end[:, None])).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
