"""The ViT, through timm. This is the one file of the project that imports timm.

Source: DINOv2 (arXiv 2304.07193, registers 2309.16588); DINOv3 (2508.10104), whose positions are rotations of
queries and keys instead of an embedding added to the tokens.

An embedding of positions learned on another grid is resampled by timm's rule: bicubic, antialiased, to the
grid's explicit size. Files of DINOv2 with registers were published with the same rule; the plain ones with
bicubic without antialias, which differs by a little on any but their own grid of 37 x 37.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from argus_edge.errors import CheckpointError, InputError
from argus_edge.train.model.deformable import Shape
from argus_edge.train.model.layers import resize
from argus_edge.train.model.vit_weights import check_fit, read_tensors, timm_names

STRIDE = 16  # [px] of the pyramid's level that the token grid stands for

# A patch of 14 px against strides of 4 to 32. "resize_image": the ViT sees the image resized by 14/16, hence
# a grid of exactly H/16 x W/16, and its weights the patches they were trained on. "resize_kernel": the patch
# embedding resized to 16 px (pseudo-inverse, FlexiViT), the same grid. "keep": the image as it is, a grid of
# floor(H/14) x floor(W/14), up to 13 px at the right and at the bottom unseen (Meta's adapter for DINOv2).
# All the same for a patch of 16 px.
PatchFit = Literal["resize_image", "resize_kernel", "keep"]


class Tokens(NamedTuple):
    """What runs through the ViT."""

    prefix: Tensor  # (B, R, C): class token, registers
    patches: Tensor  # (B, h * w, C)
    grid: Shape  # (h, w) of the patches
    rotation: Tensor | None  # (h * w, 2 * C / heads): sines, cosines of a ViT with rotary positions


class Backbone(nn.Module):
    """A plain ViT, cut into equal stages between which the adapter interacts.

    Frozen means that its weights get no gradient and its dropout stays off; gradients pass through it.
    """

    def __init__(
        self,
        vit: VisionTransformer | Eva,
        frozen: bool,
        stages: int = 4,
        patch_fit: PatchFit = "resize_image",
    ) -> None:
        super().__init__()
        if len(vit.blocks) % stages:
            raise InputError(f"a ViT of {len(vit.blocks)} blocks cannot be cut into {stages} equal stages")
        self.vit = vit
        self.frozen = frozen
        self.patch_fit = patch_fit
        if patch_fit == "resize_kernel":
            rows, columns = vit.patch_embed.grid_size
            vit.set_input_size(img_size=(rows * STRIDE, columns * STRIDE), patch_size=(STRIDE, STRIDE))
        self.patch: int = vit.patch_embed.patch_size[0]
        self.width: int = vit.embed_dim
        per_stage = len(vit.blocks) // stages
        self.stages = [range(i * per_stage, (i + 1) * per_stage) for i in range(stages)]
        self.fixed_grid: Shape | None = None
        self.register_buffer("fixed_rotation", None, persistent=False)
        if frozen:
            vit.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Backbone":
        """As of any module, except that a frozen ViT stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.vit.eval()
        return self

    def grid(self, height: int, width: int) -> Shape:
        """(h, w) of the patch tokens for an image of (height, width) [px]."""
        cell = self.patch if self.patch_fit == "keep" else STRIDE
        return height // cell, width // cell

    def embed(self, image: Tensor) -> Tokens:
        """image (B, 3, H, W), normalised RGB -> tokens with their positions.

        Raises InputError for another size than that of `fix_input_size`.
        """
        grid = self.grid(image.shape[-2], image.shape[-1])
        if self.fixed_grid not in (None, grid):
            raise InputError(f"the input was fixed to {self.fixed_grid} tokens, got an image of {grid}")
        embedded = self.vit._pos_embed(self.vit.patch_embed(self._fitted(image, grid)))
        tokens = self.vit.norm_pre(embedded[0] if isinstance(embedded, tuple) else embedded)
        count = self.vit.num_prefix_tokens
        rotation = self._rotation(grid) if self.fixed_grid is None else self.fixed_rotation
        return Tokens(tokens[:, :count], tokens[:, count:], grid, rotation)

    def run_stage(self, index: int, tokens: Tokens) -> Tokens:
        """The blocks of one stage over all tokens.

        Gradients pass through frozen blocks to what changed their input.
        """
        x = torch.cat([tokens.prefix, tokens.patches], dim=1)
        rotary = {} if tokens.rotation is None else {"rope": tokens.rotation}
        for block in self.stages[index]:
            x = self.vit.blocks[block](x, **rotary)
        count = tokens.prefix.shape[1]
        return tokens._replace(prefix=x[:, :count], patches=x[:, count:])

    def fuse_attention(self, fused: bool) -> None:
        """Whether attention is one fused operation or matrix products: equal results, other speeds."""
        for block in self.vit.blocks:
            block.attn.fused_attn = fused  # type: ignore[union-attr]

    def fix_input_size(self, height: int, width: int) -> None:
        """Compute the positions once for an input of (height, width) [px], for a static graph."""
        rows, columns = self.grid(height, width)
        self.vit.set_input_size(img_size=(rows * self.patch, columns * self.patch))
        self.fixed_rotation = self._rotation((rows, columns))
        self.fixed_grid = (rows, columns)
        if isinstance(self.vit, VisionTransformer):  # else timm resamples the embedding in every forward
            self.vit.dynamic_img_size = False  # type: ignore[misc]
            self.vit.patch_embed.flatten = True

    def _fitted(self, image: Tensor, grid: Shape) -> Tensor:
        size = (grid[0] * self.patch, grid[1] * self.patch)
        if self.patch_fit == "keep":
            return image[..., : size[0], : size[1]]
        return image if self.patch == STRIDE else resize(image, size)

    def _rotation(self, grid: Shape) -> Tensor | None:
        if not isinstance(self.vit, Eva) or self.vit.rope is None:
            return None
        rotation: Tensor = self.vit.rope.get_embed(shape=list(grid))  # type: ignore[operator]
        return rotation


def build_backbone(
    name: str,
    input_size: int,
    frozen: bool,
    pretrained: bool,
    weights: Path | None = None,
    patch_fit: PatchFit = "resize_image",
) -> Backbone:
    """The ViT that timm calls `name`, cut into stages.

    A ViT that is not frozen has its positions on the grid of `input_size` [px], a frozen one on the grid that
    it was published with. `pretrained` fetches the published weights through timm, `weights` is a local file
    of them. Raises InputError for a model that timm does not have or that is no plain ViT; CheckpointError
    for weights that cannot be fetched or read or are of another model.
    """
    if pretrained and weights is not None:
        raise InputError(f"{name}: weights are either fetched or read from {weights}, not both")
    if not timm.is_model(name):
        raise InputError(
            f"{name}: timm {timm.__version__} has no such model; check its name, or install a later timm"
        )
    options: dict[str, Any] = {} if frozen else {"img_size": input_size}
    try:
        vit = timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True, **options)
    except Exception as error:  # timm's own, and with `pretrained` the whole family of the hub's client
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if pretrained:
            raise CheckpointError(
                f"{name}: the published weights cannot be fetched ({reason}); give a local file of them"
            ) from error
        raise InputError(f"{name}: timm cannot build it as a ViT ({reason})") from error
    if not isinstance(vit, (VisionTransformer, Eva)) or not _is_plain(vit):
        raise InputError(
            f"{name}: expected a plain ViT such as those of DINOv2 and DINOv3, got timm's "
            f"{type(vit).__name__} with {type(vit.patch_embed).__name__}"
        )
    if weights is not None:
        load_weights(vit, weights)
    return Backbone(vit, frozen, patch_fit=patch_fit)


def _is_plain(vit: VisionTransformer | Eva) -> bool:
    """No hybrid, nothing distilled; an Eva with rotary positions alone, as in DINOv3."""
    known = type(vit) is VisionTransformer or (type(vit) is Eva and vit.pos_embed is None)
    return known and type(vit.patch_embed) is PatchEmbed


def load_weights(vit: VisionTransformer | Eva, path: Path) -> None:
    """Fill `vit` from a local file with the official names or timm's; positions are resampled to its grid.

    Raises InputError or CheckpointError naming the file, what was expected, and what came.
    """
    expected = vit.state_dict()
    tensors = {k: v.float() for k, v in timm_names(read_tensors(path), expected).items()}
    positions = tensors.get("pos_embed")
    if positions is not None and positions.ndim == 3 and vit.pos_embed is not None:
        prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        side = max(positions.shape[1] - prefix, 0) ** 0.5
        if side and side.is_integer():  # else of another kind of ViT, which is told below
            tensors["pos_embed"] = resample_abs_pos_embed(
                positions,
                new_size=list(vit.patch_embed.grid_size),
                old_size=[int(side), int(side)],
                num_prefix_tokens=prefix,
            )
    check_fit(path, tensors, expected)
    vit.load_state_dict(tensors)
