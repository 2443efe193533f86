"""Classification: a learned query attends to the tokens of several levels at once; a linear layer reads it.

Source: the attentional pooler of CoCa (arXiv 2205.01917) with one query, as in OpenCLIP: LayerNorm on query
and tokens, cross-attention, neither feed-forward nor residual. The LayerNorm before the linear layer is ours.
Tokens carry no position: the ViT has put it into them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.model.decoders.features import check_features
from argus_edge.train.model.layers import Attention


class AttentionalPooler(nn.Module):
    """The maps of `levels` -> class logits (B, K)."""

    def __init__(self, width: int, classes: int, heads: int, levels: Sequence[int] = (1, 2, 3)) -> None:
        """`levels` says which of F0..F3 the query sees. Raises InputError unless `heads` divides `width`."""
        super().__init__()
        if width % heads:
            raise InputError(f"{heads} attention heads do not divide a width of {width}")
        self.width, self.levels = width, tuple(levels)
        self.query = nn.Parameter(torch.randn(1, width))
        self.query_norm = nn.LayerNorm(width)
        self.token_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    def pool(self, features: Sequence[Tensor]) -> Tensor:
        """-> one vector per image (B, C). Raises InputError when the maps do not fit the decoder."""
        check_features(features, self.width, self.levels)
        tokens = self.token_norm(torch.cat([f.flatten(2) for f in features], dim=2).transpose(1, 2))
        query = self.query_norm(self.query).expand(tokens.shape[0], -1, -1)
        pooled: Tensor = self.attention(query, tokens, tokens)
        return pooled.squeeze(1)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `logits` (B, K)."""
        return {"logits": self.classify(self.norm(self.pool(features)))}

    def infer(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """-> `probabilities` (B, K) float32, of sum 1."""
        return {"probabilities": self(features)["logits"].softmax(dim=-1).to(torch.float32)}
