"""The ViT, through timm. This is the one file of the project that imports timm.

Source: DINOv2 (arXiv 2304.07193). Patch 14 against the pyramid's strides 4 to 32 is solved by showing the ViT
the image resized by 14/16, so that its token grid is exactly H/16 x W/16 and its weights see the input they
were trained on.
"""

from typing import Any

import timm
import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from argus_edge.train.model.layers import resize

STRIDE = 16  # of the token grid, whatever the patch size


class Backbone(nn.Module):
    """A plain ViT, cut into equal stages between which the adapter interacts."""

    def __init__(self, vit: VisionTransformer, frozen: bool, stages: int = 4) -> None:
        super().__init__()
        self.vit = vit
        self.frozen = frozen
        self.patch: int = vit.patch_embed.patch_size[0]
        self.width: int = vit.embed_dim
        per_stage = len(vit.blocks) // stages
        self.stages = [range(i * per_stage, (i + 1) * per_stage) for i in range(stages)]
        if frozen:
            vit.requires_grad_(False)

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image (B, 3, H, W), normalised RGB -> prefix tokens (B, R, C) (class, registers) and patch tokens
        (B, H/16 * W/16, C), positions added.
        """
        height, width = image.shape[-2] // STRIDE * self.patch, image.shape[-1] // STRIDE * self.patch
        if self.patch != STRIDE:
            image = resize(image, (height, width))
        tokens = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(image)))
        return tokens[:, : self.vit.num_prefix_tokens], tokens[:, self.vit.num_prefix_tokens :]

    def run_stage(self, index: int, prefix: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks of one stage over all tokens.

        Gradients pass through frozen blocks to what changed their input.
        """
        tokens = torch.cat([prefix, patches], dim=1)
        for block in self.stages[index]:
            tokens = self.vit.blocks[block](tokens)
        return tokens[:, : prefix.shape[1]], tokens[:, prefix.shape[1] :]

    def fuse_attention(self, fused: bool) -> None:
        """Whether attention is one fused operation or matrix products: equal results, other speeds."""
        for module in self.vit.modules():
            if isinstance(module, Attention):
                module.fused_attn = fused  # type: ignore[misc]

    def fix_input_size(self, height: int, width: int) -> None:
        """Resample the position embedding once to an input of (height, width) [px], for a static graph."""
        self.vit.set_input_size(img_size=(height // STRIDE * self.patch, width // STRIDE * self.patch))


def build_backbone(name: str, input_size: int, frozen: bool, pretrained: bool) -> Backbone:
    """`name` as in timm; `input_size` [px] is the native grid of an untrained ViT."""
    options: dict[str, Any] = {} if pretrained or frozen else {"img_size": input_size}
    vit = timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True, **options)
    assert isinstance(vit, VisionTransformer)
    return Backbone(vit, frozen)
