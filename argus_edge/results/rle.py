"""COCO's run-length encoding of a mask: what `pycocotools.mask.encode` gives, without pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Mask (H, W) -> {"size": [H, W], "counts": str}, which JSON and pycocotools take as it is.

    Column by column, the lengths of the runs of 0 and 1 in turn, beginning with 0; from the fourth on, each
    as its difference from the one two before it; each in groups of five bits, lowest first, as ASCII from
    "0", with bit 5 saying that more follow (pycocotools, maskApi.c, `rleToString`).
    """
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return {"size": [height, width], "counts": _text([height * width])}
    # Only the columns that the object touches are looked through: most masks are small.
    first, last = int(columns[0]), int(columns[-1]) + 1
    pixels = mask[:, first:last].T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1 + first * height
    edges = [0, *([first * height] if pixels[0] else []), *changes.tolist(), height * width]
    # A run of ones up to the mask's last column ends where the zeros after it begin.
    if pixels[-1] and last < width:
        edges.insert(-1, last * height)
    return {"size": [height, width], "counts": _text(np.diff(edges).tolist())}


def _text(runs: list[int]) -> str:
    codes: list[int] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            codes.append(bits + (0x20 if more else 0) + 48)
    return bytes(codes).decode("ascii")
