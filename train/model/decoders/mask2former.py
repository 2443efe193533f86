"""Mask2Former: queries that each answer one mask and its class.

Source: Mask2Former (arXiv 2112.01527), section 3 and its published configurations: a deformable pixel
decoder, decoder layers with masked attention in rounds over 1/32, 1/16 and 1/8, and prediction heads before
the first layer and after each. Where it departs: attention masks are made from mask features resized once per
level, not from full masks resized before every layer. Both steps are linear, so the numbers are the same, and
inference needs full masks only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from argus_edge.train.model.decoders.features import check_features
from argus_edge.train.model.decoders.mask_dino import FAR, mask_boxes, to_corners
from argus_edge.train.model.decoders.masks import mask_certainty, mask_logits, pick
from argus_edge.train.model.decoders.pixel_decoder import HEADS, PixelDecoder, cell_positions, split_levels
from argus_edge.train.model.layers import Attention, mlp, resize

LEVELS: Final = 3
CELLS: Final = "corner"  # where the published model has its cells


@dataclass(frozen=True)
class MaskPrediction:
    """Class logits (B, Q, K + 1), the last class "no object", and mask logits (B, Q, H/4, W/4)."""

    logits: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Level:
    """What the queries read from one level of the memory, of N = h * w cells."""

    key: Tensor  # (B, N, C), with position
    value: Tensor  # (B, N, C)
    features: Tensor  # (B, C, N), the mask features at this level's size


class MaskedDecoderLayer(nn.Module):
    """Cross-attention within each query's mask, self-attention, feed-forward; post-norm."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.cross_attention = Attention(dim, HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, HEADS)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = mlp(dim, ffn, dim, 2)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, level: Level, mask: Tensor) -> Tensor:
        """x (B, Q, C), position (Q, C), mask (B, 1, Q, N) added to the attention's logits."""
        x = self.norm1(x + self.cross_attention(x + position, level.key, level.value, mask))
        located = x + position
        x = self.norm2(x + self.self_attention(located, located, x))
        output: Tensor = self.norm3(x + self.ffn(x))
        return output


class Mask2Former(nn.Module):
    """F0..F3 -> masks with their classes.

    `answer` is what inference gives: every query, for a panoptic merge, or the `top` best of queries x
    classes as instances with their masks.
    """

    levels = (0, 1, 2, 3)

    def __init__(
        self,
        width: int,
        classes: int,
        dim: int = 256,
        queries: int = 100,
        encoder_layers: int = 6,
        decoder_layers: int = 9,
        encoder_ffn: int = 1024,
        ffn: int = 2048,
        answer: Literal["panoptic", "masks"] = "panoptic",
        top: int = 100,
    ) -> None:
        super().__init__()
        self.width, self.classes = width, classes
        self.answer, self.top = answer, min(top, queries * classes)
        self.encoder = PixelDecoder(
            width, dim, encoder_layers, encoder_ffn, LEVELS, coarse_first=True, masks=True, cells=CELLS
        )
        self.content = nn.Embedding(queries, dim)
        self.position = nn.Embedding(queries, dim)
        self.level_embedding = nn.Embedding(LEVELS, dim)
        self.decoder = nn.ModuleList(MaskedDecoderLayer(dim, ffn) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, classes + 1)
        self.mask_embedding = mlp(dim, dim, dim, 3)

    def forward(self, features: Sequence[Tensor]) -> list[MaskPrediction]:
        """features: F0..F3. Returns what the queries answer before the first layer and after each."""
        queries, mask_features = self._decode(features)
        return [
            MaskPrediction(self.classify(x), mask_logits(self.mask_embedding(x), mask_features))
            for x in queries
        ]

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Answer "panoptic": `scores` (B, Q) of each query's best class, `classes` (B, Q) int32 with K for
        "no object", `masks` (B, Q, H/4, W/4) logits.

        Answer "masks": `boxes` (B, top, 4) xyxy in [0, 1] of the network input around the masks, `scores`
        (B, top) descending, class probability x mean probability inside the mask, `classes` (B, top) int32,
        `masks` (B, top, H/4, W/4) logits. An empty mask has an empty box and score 0.
        """
        queries, mask_features = self._decode(features)
        last = queries[-1]
        probability = self.classify(last).softmax(-1)
        if self.answer == "panoptic":
            scores, classes = probability.max(-1)
            masks = mask_logits(self.mask_embedding(last), mask_features)
            return {"scores": scores, "classes": classes.to(torch.int32), "masks": masks}
        scores, index = probability[..., :-1].flatten(1).topk(self.top, dim=1)
        masks = mask_logits(pick(self.mask_embedding(last), index // self.classes), mask_features)
        scores, order = (scores * mask_certainty(masks)).topk(self.top, dim=1)
        masks = pick(masks, order)
        classes = pick(index % self.classes, order).to(torch.int32)
        nowhere = torch.zeros(4, dtype=masks.dtype, device=masks.device).expand(*scores.shape, -1)
        boxes = to_corners(mask_boxes(masks, nowhere)).clamp(0, 1)
        return {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}

    def _decode(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The normed queries (B, Q, C) before the first layer and after each, and the mask features."""
        check_features(features, self.width, self.levels)
        memory, shapes = self.encoder(features[1:])
        mask_features = self.encoder.mask_map(features[0], memory, shapes)
        embedding = self.level_embedding.weight
        values = [tokens + embedding[i] for i, tokens in enumerate(split_levels(memory, shapes))]
        positions = split_levels(cell_positions(shapes, memory.shape[-1], memory, CELLS)[None], shapes)
        levels = [
            Level(value + position, value, resize(mask_features, shape).flatten(2))
            for value, position, shape in zip(values, positions, shapes, strict=True)
        ]
        x = self.content.weight.expand(len(memory), -1, -1)
        normed = [self.decoder_norm(x)]
        for index, layer in enumerate(self.decoder):
            level = levels[index % LEVELS]
            x = layer(x, self.position.weight, level, self._attention_mask(normed[-1], level))
            normed.append(self.decoder_norm(x))
        return normed, mask_features

    def _attention_mask(self, queries: Tensor, level: Level) -> Tensor:
        """(B, 1, Q, N): -FAR outside each query's mask, where its probability is below one half, 0 inside,
        and 0 everywhere for a query whose mask is empty. The comparison lets no gradient through.
        """
        logits = self.mask_embedding(queries) @ level.features
        outside = (logits < 0).to(queries.dtype)
        empty = outside.amin(-1, keepdim=True)
        mask: Tensor = outside * (1 - empty) * -FAR
        return mask.unsqueeze(1)
