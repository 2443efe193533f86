"""Mask DINO, box branch.

Source: Mask DINO (arXiv 2206.02777) on DINO (arXiv 2203.03605) and Deformable DETR: a deformable encoder over
F1..F3 and a fourth level, two-stage query selection, decoder layers with iterative boxes and "look forward
twice", denoising queries. Levels run from fine to coarse (DINO's order), so that the proposals' size prior
0.05 * 2^level grows with the stride.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from argus_edge.train.model.deformable import DeformableAttention, Shape, pixel_centres
from argus_edge.train.model.layers import Attention, mlp, sine_embedding

LEVELS = 4
HEADS = 8
PRIOR = 0.01  # class probability an untrained head answers (focal loss)
FAR = 1e4  # logit of a place outside every proposal: finite and half-precision safe


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    x = x.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


def to_corners(boxes: Tensor) -> Tensor:
    """cxcywh (..., 4) -> xyxy."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


@dataclass(frozen=True)
class Denoising:
    """Noised copies of the true boxes, as extra queries while training."""

    labels: Tensor  # (B, D) class ids, noised
    boxes: Tensor  # (B, D, 4) cxcywh in [0, 1], noised
    mask: Tensor  # (D + Q, D + Q) True = may attend


@dataclass(frozen=True)
class Prediction:
    """Class logits (B, Q, K) and boxes (B, Q, 4), cxcywh in [0, 1] of the network input."""

    logits: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class DetectionOutputs:
    encoder: Prediction  # the selected proposals, with gradient into the encoder
    layers: list[Prediction]  # the initial queries, then every decoder layer
    denoising: list[Prediction]  # the same for the denoising queries; empty without them


class EncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then a feed-forward; post-norm."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, HEADS, LEVELS)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn = mlp(dim, ffn, dim, 2)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, position: Tensor, centres: Tensor, shapes: Sequence[Shape]) -> Tensor:
        tokens = self.norm1(tokens + self.attention(tokens + position, centres, tokens, shapes))
        output: Tensor = self.norm2(tokens + self.ffn(tokens))
        return output


class Encoder(nn.Module):
    """F1, F2, F3 -> the memory: tokens (B, N, dim) at strides 8, 16, 32, 64."""

    def __init__(self, width: int, dim: int, layers: int, ffn: int) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, 1), nn.GroupNorm(32, dim)) for _ in range(LEVELS - 1)
        )
        self.coarse = nn.Sequential(nn.Conv2d(width, dim, 3, 2, 1), nn.GroupNorm(32, dim))
        self.level_embedding = nn.Parameter(torch.zeros(LEVELS, dim))
        self.layers = nn.ModuleList(EncoderLayer(dim, ffn) for _ in range(layers))
        for sequence in (*self.inputs, self.coarse):
            nn.init.xavier_uniform_(sequence[0].weight)
            nn.init.zeros_(sequence[0].bias)
        nn.init.normal_(self.level_embedding)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Shape]]:
        maps = [project(f) for project, f in zip(self.inputs, features, strict=True)]
        maps.append(self.coarse(features[-1]))
        shapes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)
        centres = pixel_centres(shapes, tokens)
        embeddings = zip(self.level_embedding.unbind(), shapes, strict=True)
        levels = torch.cat([embedding.expand(h * w, -1) for embedding, (h, w) in embeddings])
        position = sine_embedding(centres.flip(-1), tokens.shape[-1] // 2) + levels
        for layer in self.layers:
            tokens = layer(tokens, position, centres[None], shapes)
        return tokens, shapes


class DecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention around the query's box, feed-forward; post-norm."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.self_attention = Attention(dim, HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attention = DeformableAttention(dim, HEADS, LEVELS)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = mlp(dim, ffn, dim, 2)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        boxes: Tensor,
        memory: Tensor,
        shapes: Sequence[Shape],
        mask: Tensor | None,
    ) -> Tensor:
        located = x + position
        x = self.norm1(x + self.self_attention(located, located, x, mask))
        x = self.norm2(x + self.cross_attention(x + position, boxes, memory, shapes))
        output: Tensor = self.norm3(x + self.ffn(x))
        return output


class MaskDINO(nn.Module):
    """F1..F3 -> boxes and classes.

    `queries` are selected from the memory; `top` of queries x classes are answered.
    """

    levels = (1, 2, 3)

    def __init__(
        self,
        width: int,
        classes: int,
        dim: int = 256,
        queries: int = 300,
        encoder_layers: int = 6,
        decoder_layers: int = 9,
        ffn: int = 2048,
        top: int = 100,
    ) -> None:
        super().__init__()
        self.classes, self.queries, self.top = classes, queries, top
        self.encoder = Encoder(width, dim, encoder_layers, ffn)
        self.select = nn.Linear(dim, dim)
        self.select_norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList(DecoderLayer(dim, ffn) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)
        self.position = mlp(2 * dim, dim, dim, 2)
        self.classify = nn.Linear(dim, classes)
        self.regress = mlp(dim, dim, 4, 3)
        self.label_embedding = nn.Embedding(classes, dim)
        nn.init.constant_(self.classify.bias, -math.log((1 - PRIOR) / PRIOR))
        last = self.regress[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Sequence[Tensor], denoising: Denoising | None = None) -> DetectionOutputs:
        """features: F1, F2, F3."""
        memory, shapes = self.encoder(features)
        content, encoder = self._select(memory, shapes)
        content, boxes = content.detach(), encoder.boxes.detach()
        mask = None
        if denoising is not None:
            content = torch.cat([self.label_embedding(denoising.labels), content], dim=1)
            boxes = torch.cat([denoising.boxes, boxes], dim=1)
            mask = denoising.mask
        layers = [Prediction(self.classify(self.decoder_norm(content)).float(), boxes)]
        layers += self._decode(content, boxes, memory, shapes, mask)
        extra = 0 if denoising is None else denoising.labels.shape[1]
        return DetectionOutputs(
            encoder,
            [Prediction(p.logits[:, extra:], p.boxes[:, extra:]) for p in layers],
            [Prediction(p.logits[:, :extra], p.boxes[:, :extra]) for p in layers] if extra else [],
        )

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `boxes` (B, top, 4) xyxy in [0, 1] of the network input, `scores` (B, top) descending, `classes`
        (B, top) int32.
        """
        memory, shapes = self.encoder(features)
        content, encoder = self._select(memory, shapes)
        last = self._decode(content, encoder.boxes, memory, shapes, None)[-1]
        scores, index = last.logits.sigmoid().flatten(1).topk(self.top, dim=1)
        query = (index // self.classes).unsqueeze(-1).expand(-1, -1, 4)
        boxes = to_corners(last.boxes.gather(1, query)).clamp(0, 1)
        return {"boxes": boxes, "scores": scores, "classes": (index % self.classes).to(torch.int32)}

    def _select(self, memory: Tensor, shapes: Sequence[Shape]) -> tuple[Tensor, Prediction]:
        """The `queries` best places of the memory: their content (B, Q, dim) and prediction."""
        anchors, inside = _anchors(shapes, memory)
        proposals = self.select_norm(self.select(memory * inside))
        logits = self.classify(proposals).float()
        best = (logits.amax(-1) - FAR * (1 - inside[:, 0])).topk(self.queries, dim=1).indices.unsqueeze(-1)
        content = proposals.gather(1, best.expand(-1, -1, proposals.shape[-1]))
        anchor = anchors.expand(len(memory), -1, -1).gather(1, best.expand(-1, -1, 4))
        boxes = (self.regress(content).float() + anchor).sigmoid()
        return content, Prediction(logits.gather(1, best.expand(-1, -1, self.classes)), boxes)

    def _decode(
        self, content: Tensor, boxes: Tensor, memory: Tensor, shapes: Sequence[Shape], mask: Tensor | None
    ) -> list[Prediction]:
        predictions = []
        previous = boxes
        for layer in self.decoder:
            centre_first = boxes[..., [1, 0, 2, 3]]  # (y, x, w, h), as DAB-DETR
            embedded = sine_embedding(centre_first, content.shape[-1] // 2).to(content.dtype)
            content = layer(content, self.position(embedded), boxes, memory, shapes, mask)
            normed = self.decoder_norm(content)
            delta = self.regress(normed).float()
            # "Look forward twice": the loss reaches this layer's box change and the one before it; the next
            # layer starts from the box without gradient.
            looked = (delta + inverse_sigmoid(previous)).sigmoid()
            previous = (delta + inverse_sigmoid(boxes)).sigmoid()
            boxes = previous.detach()
            predictions.append(Prediction(self.classify(normed).float(), looked))
        return predictions


def _anchors(shapes: Sequence[Shape], like: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-sigmoid anchors (N, 4) at every memory cell, and 1.0 where they lie inside the image (N, 1)."""
    centres = pixel_centres(shapes, like.float())
    sizes = torch.cat(
        [torch.full((h * w, 2), 0.05 * 2.0**level, device=like.device) for level, (h, w) in enumerate(shapes)]
    )
    anchors = torch.cat([centres, sizes], dim=-1)
    inside = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdim=True).to(like.dtype)
    return inverse_sigmoid(anchors), inside
