"""Mask DINO: boxes, classes and, as a switch, masks.

Source: Mask DINO (arXiv 2206.02777) on DINO (arXiv 2203.03605) and Deformable DETR: a deformable encoder over
F1..F3 and a fourth level, two-stage query selection, decoder layers with iterative boxes and "look forward
twice", denoising queries; masks as products of query embeddings with one map at a quarter of the image.
Levels run from fine to coarse (DINO's order), so that the proposals' size prior 0.05 * 2^level grows with the
stride.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.model.decoders.features import check_features
from argus_edge.train.model.decoders.masks import mask_certainty, mask_logits, pick
from argus_edge.train.model.decoders.pixel_decoder import HEADS, Cells, PixelDecoder
from argus_edge.train.model.deformable import DeformableAttention, Shape, pixel_centres
from argus_edge.train.model.layers import Attention, at_least_single, mlp, sine_embedding

LEVELS: Final = 4
PRIOR = 0.01  # class probability an untrained head answers (focal loss)
FAR = 1e4  # logit of a place outside every proposal: finite and half-precision safe

InitialBoxes = Literal["regressed", "masks"]


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
    """Class logits (B, Q, K), boxes (B, Q, 4), cxcywh in [0, 1] of the network input, and mask logits
    (B, Q, H/4, W/4) of a decoder with masks.
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor | None = None

    def part(self, queries: slice) -> "Prediction":
        masks = None if self.masks is None else self.masks[:, queries]
        return Prediction(self.logits[:, queries], self.boxes[:, queries], masks)


@dataclass(frozen=True)
class DetectionOutputs:
    encoder: Prediction  # the selected proposals, with gradient into the encoder
    layers: list[Prediction]  # the initial queries, then every decoder layer
    denoising: list[Prediction]  # the same for the denoising queries; empty without them


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
    """F1..F3 -> boxes and classes; with `masks`, F0..F3 -> boxes, classes and masks.

    `queries` are selected from the memory; `top` of queries x classes are answered. Queries start from the
    boxes that the box head gives ("regressed") or, as published, those around their first masks ("masks").
    `published_norms` is the default where there are masks: class and mask head read a layer's normed output
    normed once more, its proposals' classes are those of the normed content, and the next layer starts from
    the box of the output before it is normed. Without them, every head reads the output normed once. `cells`
    is where the encoder's reference points lie, by default "corner", as published, where there are masks.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        dim: int = 256,
        queries: int = 300,
        encoder_layers: int = 6,
        decoder_layers: int = 9,
        encoder_ffn: int = 2048,
        ffn: int = 2048,
        top: int = 100,
        masks: bool = False,
        initial_boxes: InitialBoxes = "regressed",
        published_norms: bool | None = None,
        cells: Cells | None = None,
    ) -> None:
        super().__init__()
        self.width, self.classes, self.queries, self.top = (
            width,
            classes,
            queries,
            min(top, queries * classes),
        )
        self.initial_boxes, self.published_norms = (
            initial_boxes,
            masks if published_norms is None else published_norms,
        )
        self.levels = (0, 1, 2, 3) if masks else (1, 2, 3)
        # What `infer_boxes` reads: the first masks come from F0, too.
        self.box_levels = self.levels if initial_boxes == "masks" else (1, 2, 3)
        cells = cells or ("corner" if masks else "centre")  # as published, and as nano has been trained
        self.encoder = PixelDecoder(width, dim, encoder_layers, encoder_ffn, LEVELS, masks=masks, cells=cells)
        self.select = nn.Linear(dim, dim)
        self.select_norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList(DecoderLayer(dim, ffn) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)
        self.position = mlp(2 * dim, dim, dim, 2)
        self.classify = nn.Linear(dim, classes)
        self.regress = mlp(dim, dim, 4, 3)
        self.label_embedding = nn.Embedding(classes, dim)
        self.mask_embedding = mlp(dim, dim, dim, 3) if masks else None
        nn.init.constant_(self.classify.bias, -math.log((1 - PRIOR) / PRIOR))
        last = self.regress[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Sequence[Tensor], denoising: Denoising | None = None) -> DetectionOutputs:
        """features: the maps of `levels`."""
        memory, shapes, pixels = self._encode(features)
        content, encoder = self._select(memory, shapes, pixels)
        content, boxes = content.detach(), self._start(encoder).detach()
        mask = None
        if denoising is not None:
            content = torch.cat([self.label_embedding(denoising.labels), content], dim=1)
            boxes = torch.cat([denoising.boxes, boxes], dim=1)
            mask = denoising.mask
        states = [(self.decoder_norm(content), boxes)]
        states += self._decode(content, boxes, memory, shapes, mask)
        layers = [
            Prediction(at_least_single(self.classify(state)), boxes, self._masks(state, pixels))
            for state, boxes in states
        ]
        extra = 0 if denoising is None else denoising.labels.shape[1]
        return DetectionOutputs(
            encoder,
            [layer.part(slice(extra, None)) for layer in layers],
            [layer.part(slice(extra)) for layer in layers] if extra else [],
        )

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """features: the maps of `levels`. -> `boxes` (B, top, 4) xyxy in [0, 1] of the network input,
        `scores` (B, top) descending, `classes` (B, top) int32. A decoder with masks also answers `masks`
        (B, top, H/4, W/4), logits; its scores are class score x mean probability inside the mask.
        """
        if self.mask_embedding is None:
            return self.infer_boxes(features)
        memory, shapes, pixels = self._encode(features)
        answer, states = self._best(memory, shapes, pixels)
        masks = self._masks(states, pixels)
        assert masks is not None
        scores, order = (answer["scores"] * mask_certainty(masks)).topk(self.top, dim=1)
        return {
            "boxes": pick(answer["boxes"], order),
            "scores": scores,
            "classes": pick(answer["classes"], order),
            "masks": pick(masks, order),
        }

    def infer_boxes(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """features: the maps of `box_levels`. The answer of a decoder without masks: none is computed, except
        the first ones where queries start from the boxes around them.
        """
        memory, shapes, pixels = self._encode(features)
        return self._best(memory, shapes, pixels)[0]

    def _encode(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Shape], Tensor | None]:
        """Memory (B, N, dim), its shapes and, with F0 among the features, the map that masks come from."""
        check_features(features, self.width, range(4 - len(features), 4))
        memory, shapes = self.encoder(features[-3:])
        if memory.shape[1] < self.queries:
            raise InputError(
                f"{self.queries} queries are chosen among the image's {memory.shape[1]} places; "
                f"give the detector a larger image"
            )
        pixels = self.encoder.mask_map(features[0], memory, shapes) if len(features) == 4 else None
        return memory, shapes, pixels

    def _select(
        self, memory: Tensor, shapes: Sequence[Shape], pixels: Tensor | None = None
    ) -> tuple[Tensor, Prediction]:
        """The `queries` best places of the memory: their content (B, Q, dim) and prediction."""
        anchors, inside = _anchors(shapes, memory)
        proposals = self.select_norm(self.select(memory * inside))
        logits = at_least_single(self.classify(proposals))
        best = (logits.amax(-1) - FAR * (1 - inside[:, 0])).topk(self.queries, dim=1).indices.unsqueeze(-1)
        content = proposals.gather(1, best.expand(-1, -1, proposals.shape[-1]))
        anchor = anchors.expand(len(memory), -1, -1).gather(1, best.expand(-1, -1, 4))
        boxes = (at_least_single(self.regress(content)) + anchor).sigmoid()
        normed = self.decoder_norm(content)
        if self.published_norms:
            chosen = at_least_single(self.classify(normed))
        else:
            chosen = logits.gather(1, best.expand(-1, -1, self.classes))
        return content, Prediction(chosen, boxes, self._masks(normed, pixels))

    def _start(self, encoder: Prediction) -> Tensor:
        """The boxes (B, Q, 4) that the first layer reads."""
        if self.initial_boxes == "regressed" or encoder.masks is None:
            return encoder.boxes
        return mask_boxes(encoder.masks, encoder.boxes)

    def _masks(self, states: Tensor, pixels: Tensor | None) -> Tensor | None:
        """Mask logits (B, Q, H/4, W/4) of states (B, Q, dim)."""
        if pixels is None or self.mask_embedding is None:
            return None
        return at_least_single(mask_logits(self.mask_embedding(states), pixels))

    def _best(
        self, memory: Tensor, shapes: Sequence[Shape], pixels: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The `top` best of queries x classes, and the states (B, top, dim) of their queries."""
        content, encoder = self._select(memory, shapes, pixels if self.initial_boxes == "masks" else None)
        states, boxes = self._decode(content, self._start(encoder), memory, shapes, None)[-1]
        logits = at_least_single(self.classify(states))
        scores, index = logits.sigmoid().flatten(1).topk(self.top, dim=1)
        query = (index // self.classes).unsqueeze(-1)
        corners = to_corners(boxes.gather(1, query.expand(-1, -1, 4))).clamp(0, 1)
        answer = {"boxes": corners, "scores": scores, "classes": (index % self.classes).to(torch.int32)}
        return answer, states.gather(1, query.expand(-1, -1, states.shape[-1]))

    def _decode(
        self, content: Tensor, boxes: Tensor, memory: Tensor, shapes: Sequence[Shape], mask: Tensor | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Of every layer the states (B, Q, dim) that class and mask head read, and the boxes (B, Q, 4)."""
        outputs = []
        previous = boxes
        for layer in self.decoder:
            centre_first = boxes[..., [1, 0, 2, 3]]  # (y, x, w, h), as DAB-DETR
            embedded = sine_embedding(centre_first, content.shape[-1] // 2).to(content.dtype)
            content = layer(content, self.position(embedded), boxes, memory, shapes, mask)
            normed = self.decoder_norm(content)
            delta = at_least_single(self.regress(normed))
            step = at_least_single(self.regress(content)) if self.published_norms else delta
            # "Look forward twice": the loss reaches this layer's box change and the one before it; the next
            # layer starts from the box without gradient.
            looked = (delta + inverse_sigmoid(previous)).sigmoid()
            previous = (step + inverse_sigmoid(boxes)).sigmoid()
            boxes = previous.detach()
            outputs.append((self.decoder_norm(normed) if self.published_norms else normed, looked))
        return outputs


def mask_boxes(masks: Tensor, otherwise: Tensor) -> Tensor:
    """The boxes around mask logits (B, Q, h, w) > 0: cxcywh (B, Q, 4) in [0, 1], cells counted whole; of an
    empty mask the box `otherwise` (B, Q, 4).
    """
    left, right = _extent(masks.amax(-2) > 0, otherwise)
    top, bottom = _extent(masks.amax(-1) > 0, otherwise)
    boxes = torch.stack([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)], dim=-1) / 2
    return torch.where((right > left).unsqueeze(-1), boxes, otherwise)


def _extent(occupied: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Begin of the first and end of the last true cell of (..., n), in [0, 1]; 1 and 0 if there is none."""
    size = occupied.shape[-1]
    edges = torch.arange(size + 1, dtype=like.dtype, device=like.device) / size
    begin = torch.where(occupied, edges[:-1], edges[-1]).amin(-1)
    end = torch.where(occupied, edges[1:], edges[0]).amax(-1)
    return begin, end


def _anchors(shapes: Sequence[Shape], like: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-sigmoid anchors (N, 4) at every memory cell, and 1.0 where they lie inside the image (N, 1)."""
    centres = pixel_centres(shapes, at_least_single(like))
    sizes = torch.cat(
        [centres.new_full((h * w, 2), 0.05 * 2.0**level) for level, (h, w) in enumerate(shapes)]
    )
    anchors = torch.cat([centres, sizes], dim=-1)
    inside = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdim=True).to(like.dtype)
    return inverse_sigmoid(anchors), inside
