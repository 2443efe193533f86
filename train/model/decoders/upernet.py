"""UPerNet with a training-only FCN head: label maps, and probability maps of two classes.

Source: UPerNet (arXiv 1807.10221) as in OpenMMLab's segmentation heads; all resizes align_corners=False.
Argus uses it for segmentation, human parts, saliency (without the FCN) and edges.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.model.decoders.features import averaging_matrix, check_features
from argus_edge.train.model.layers import Norm, conv_norm_relu, resize

POOL_SIZES = (1, 2, 3, 6)


def pooling_matrix(height: int, width: int, size: int, like: Tensor) -> Tensor:
    """(height * width, size * size): adaptive average pooling of a flattened map as one constant matrix."""
    return torch.kron(averaging_matrix(height, size, like), averaging_matrix(width, size, like)).T


class PyramidPooling(nn.Module):
    """Averages of F3 over 1, 2, 3 and 6 cells a side, beside F3 itself."""

    def __init__(self, width: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_norm_relu(width, channels, 1, norm) for _ in POOL_SIZES)
        self.merge = conv_norm_relu(width + len(POOL_SIZES) * channels, channels, 3, norm)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        maps = [x]
        for size, branch in zip(POOL_SIZES, self.branches, strict=True):
            pooled = (x.flatten(2) @ pooling_matrix(height, width, size, x)).unflatten(2, (size, size))
            maps.append(resize(branch(pooled), (height, width)))
        merged: Tensor = self.merge(torch.cat(maps, dim=1))
        return merged


def _classifier(channels: int, classes: int) -> nn.Conv2d:
    last = nn.Conv2d(channels, classes, 1)
    assert last.bias is not None
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return last


class UPerNet(nn.Module):
    """F0..F3 -> logits (B, K, H/4, W/4)."""

    levels = (0, 1, 2, 3)
    training_only = ("auxiliary",)

    def __init__(
        self,
        width: int,
        channels: int,
        classes: int,
        norm: Norm,
        auxiliary: int | None,
        dropout: float = 0.1,
        probability: str | None = None,
    ) -> None:
        """`auxiliary` is the width of the FCN on F2 that only training sees; None leaves it out.

        `probability` names the map that `infer` then answers in place of labels: the probability of class 1
        of two. Raises InputError when there are not two, or more classes than a byte can tell apart.
        """
        super().__init__()
        if probability is not None and classes != 2:
            raise InputError(f"the probability map {probability!r} is of 2 classes, not {classes}")
        if not 1 <= classes <= 255:
            raise InputError(f"a label map has 1 to 255 classes, not {classes}")
        self.width, self.probability = width, probability
        self.pooling = PyramidPooling(width, channels, norm)
        self.laterals = nn.ModuleList(conv_norm_relu(width, channels, 1, norm) for _ in range(3))
        self.smooth = nn.ModuleList(conv_norm_relu(channels, channels, 3, norm) for _ in range(3))
        self.fuse = conv_norm_relu(4 * channels, channels, 3, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = _classifier(channels, classes)
        self.auxiliary = None if auxiliary is None else self._fcn(width, auxiliary, classes, norm, dropout)

    @staticmethod
    def _fcn(width: int, channels: int, classes: int, norm: Norm, dropout: float) -> nn.Sequential:
        last = _classifier(channels, classes)
        return nn.Sequential(conv_norm_relu(width, channels, 3, norm), nn.Dropout2d(dropout), last)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """-> (B, K, H/4, W/4). Raises InputError when the maps do not fit the decoder."""
        check_features(features, self.width, self.levels)
        maps = [lateral(f) for lateral, f in zip(self.laterals, features[:3], strict=True)]
        maps.append(self.pooling(features[3]))
        for level in (2, 1, 0):
            maps[level] = maps[level] + resize(maps[level + 1], tuple(maps[level].shape[-2:]))
        maps[:3] = [smooth(m) for smooth, m in zip(self.smooth, maps[:3], strict=True)]
        size = tuple(maps[0].shape[-2:])
        joined = torch.cat([maps[0]] + [resize(m, size) for m in maps[1:]], dim=1)
        logits: Tensor = self.classify(self.dropout(self.fuse(joined)))
        return logits

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `logits` (B, K, H/4, W/4) and, while training, `auxiliary` (B, K, H/16, W/16)."""
        outputs = {"logits": self.logits(features)}
        if self.training and self.auxiliary is not None:
            outputs["auxiliary"] = self.auxiliary(features[2])
        return outputs

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `labels` (B, H, W) uint8, class ids at the network input's resolution, or under the name of
        `probability` that of class 1 (B, H, W) float32 in [0, 1].
        """
        logits = self.logits(features)
        size = (logits.shape[-2] * 4, logits.shape[-1] * 4)
        if self.probability is None:
            return {"labels": resize(logits, size).argmax(dim=1).to(torch.uint8)}
        # The softmax of two is the sigmoid of their difference, and resizing commutes with the difference.
        ahead = resize(logits[:, 1:] - logits[:, :1], size)
        return {self.probability: ahead.sigmoid().squeeze(1).to(torch.float32)}
