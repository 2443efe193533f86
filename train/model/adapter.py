"""The trainable adapter beside the ViT: spatial prior, interactions, projection to the pyramid F0..F3.

Source: ViT-Adapter (arXiv 2205.08534) with the changes of Argus (CVPR 2025): GroupNorm in the spatial prior
and the projection (BatchNorm, which the paper compares it with, is the argument `norm`), and the ViT tokens
scaled before they interact. Where the paper leaves a question open (the scale's value) the choice is one
argument away. As in ViT-Adapter the last tokens, without the ViT's final norm, are added to every level.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.errors import InputError
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.deformable import DeformableAttention, Shape, pixel_centres
from argus_edge.train.model.layers import Norm, conv_norm_relu, normalised, resize

# What the ViT's tokens are multiplied by before they interact, and divided by before they go on through the
# ViT: 1, a number per stage that `measure_scales` sets, or one that is trained.
VitScale = Literal["none", "const", "learned"]


def _split_levels(tokens: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """(B, N, C) tokens of the levels `shapes`, one after the other -> their maps (B, C, h, w)."""
    parts = tokens.split([h * w for h, w in shapes], dim=1)
    return [part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


def _join_levels(maps: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)


class SpatialPrior(nn.Module):
    """A small convolutional stem that gives the ViT what it lacks: local detail at strides 4 to 32."""

    def __init__(self, width: int, inplane: int, norm: Norm) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm_relu(3, inplane, 3, norm, stride=2),
            conv_norm_relu(inplane, inplane, 3, norm),
            conv_norm_relu(inplane, inplane, 3, norm),
            nn.MaxPool2d(3, 2, 1),
        )
        self.conv2 = conv_norm_relu(inplane, 2 * inplane, 3, norm, stride=2)
        self.conv3 = conv_norm_relu(2 * inplane, 4 * inplane, 3, norm, stride=2)
        self.conv4 = conv_norm_relu(4 * inplane, 4 * inplane, 3, norm, stride=2)
        self.project = nn.ModuleList(nn.Conv2d(inplane * k, width, 1) for k in (1, 2, 4, 4))

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) -> maps (B, C, H/s, W/s) at s = 4, 8, 16, 32."""
        c1 = self.stem(image)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return [project(c) for project, c in zip(self.project, (c1, c2, c3, c4), strict=True)]


class Injector(nn.Module):
    """Spatial tokens into ViT tokens; gamma starts at zero, so an untrained adapter leaves the ViT as is."""

    def __init__(self, width: int, heads: int, points: int, ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=1e-6)
        self.value_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = DeformableAttention(width, heads, levels=3, points=points, ratio=ratio)
        self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, vit: Tensor, centres: Tensor, spatial: Tensor, shapes: Sequence[Shape]) -> Tensor:
        attended: Tensor = self.attention(self.query_norm(vit), centres, self.value_norm(spatial), shapes)
        return vit + self.gamma * attended


class ConvFFN(nn.Module):
    """Feed-forward with one depth-wise 3x3 kernel shared by the three levels."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.leave = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, shapes: Sequence[Shape]) -> Tensor:
        maps = [self.depthwise(level) for level in _split_levels(self.enter(tokens), shapes)]
        output: Tensor = self.leave(functional.gelu(_join_levels(maps)))
        return output


class Extractor(nn.Module):
    """ViT tokens into spatial tokens, then a ConvFFN."""

    def __init__(self, width: int, heads: int, points: int, ratio: float, ffn_ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=1e-6)
        self.value_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = DeformableAttention(width, heads, levels=1, points=points, ratio=ratio)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-6)
        self.ffn = ConvFFN(width, int(width * ffn_ratio))

    def forward(
        self, spatial: Tensor, centres: Tensor, shapes: Sequence[Shape], vit: Tensor, vit_shape: Shape
    ) -> Tensor:
        attended = self.attention(self.query_norm(spatial), centres, self.value_norm(vit), [vit_shape])
        spatial = spatial + attended
        refined: Tensor = self.ffn(self.ffn_norm(spatial), shapes)
        return spatial + refined


class Adapter(nn.Module):
    """Runs a backbone stage by stage, exchanging features with a spatial prior, into the pyramid F0..F3."""

    def __init__(
        self,
        width: int,
        inplane: int,
        heads: int,
        norm: Norm,
        points: int = 4,
        ratio: float = 0.5,
        ffn_ratio: float = 0.25,
        stages: int = 4,
        extra_extractors: int = 2,
        vit_scale: VitScale = "const",
    ) -> None:
        super().__init__()
        self.prior = SpatialPrior(width, inplane, norm)
        self.level_embedding = nn.Parameter(torch.zeros(3, width))
        self.injectors = nn.ModuleList(Injector(width, heads, points, ratio) for _ in range(stages))
        self.extractors = nn.ModuleList(
            Extractor(width, heads, points, ratio, ffn_ratio) for _ in range(stages + extra_extractors)
        )
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.norms = nn.ModuleList(norm(width) for _ in range(4))
        self.vit_scale = vit_scale
        scale = torch.ones(stages)
        if vit_scale == "learned":
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        self.apply(_initialise)
        for module in self.modules():  # the generic initialisation went over the stars of offsets
            if isinstance(module, DeformableAttention):
                module.reset()
        nn.init.normal_(self.level_embedding)

    def forward(self, image: Tensor, backbone: Backbone) -> list[Tensor]:
        """image (B, 3, H, W), normalised RGB, H and W multiples of 32 [px] -> F0..F3, (B, C, H/s, W/s) at
        s = 4, 8, 16, 32. Raises InputError for another shape, and for a batch of no image.
        """
        _check(image)
        height, width = image.shape[-2:]
        shapes = [(height // s, width // s) for s in (8, 16, 32)]
        tokens = backbone.embed(image)
        spatial_centres = pixel_centres(shapes, image)[None]
        vit_centres = pixel_centres([tokens.grid], image)[None]

        f0, *maps = self.prior(image)
        levels = [m + e[:, None, None] for m, e in zip(maps, self.level_embedding.unbind(), strict=True)]
        spatial = _join_levels(levels)
        last = len(self.injectors) - 1
        for stage, injector in enumerate(self.injectors):
            scale = self.scale[stage]
            scaled = injector(tokens.patches * scale, vit_centres, spatial, shapes)
            tokens = backbone.run_stage(stage, tokens._replace(patches=scaled / scale))
            # They stand now before the next stage, and are read at its scale.
            source = tokens.patches * self.scale[min(stage + 1, last)]
            for extractor in self.extractors[stage:] if stage == last else self.extractors[stage : stage + 1]:
                spatial = extractor(spatial, spatial_centres, shapes, source, tokens.grid)
        return self._project(f0, spatial, shapes, tokens.patches.transpose(1, 2).unflatten(2, tokens.grid))

    def _project(self, f0: Tensor, spatial: Tensor, shapes: Sequence[Shape], vit: Tensor) -> list[Tensor]:
        c2, c3, c4 = _split_levels(spatial, shapes)
        pyramid = [f0 + self.up(c2), c2, c3, c4]
        # OpenVINO 2026.4 adds wrongly in fp32 when the second term is resized and a GroupNorm follows. Hence
        # tokens stand first, and are halved by averaging 2x2 cells, which is what bilinear halving does.
        tokens = [_resized(vit, (level.shape[-2], level.shape[-1])) for level in pyramid]
        parts = zip(self.norms, tokens, pyramid, strict=True)
        return [normalised(norm, token, level) for norm, token, level in parts]

    @torch.no_grad()
    def measure_scales(self, images: Sequence[Tensor], backbone: Backbone) -> None:
        """Set the constant scales to 1/RMS of the patch tokens entering each stage.

        images (B, 3, H, W) each, normalised RGB. Raises InputError for none, and where
        the scales are not constants.
        """
        if self.vit_scale != "const":
            raise InputError(f"scales are measured for vit_scale 'const', not for {self.vit_scale!r}")
        if not images:
            raise InputError("scales are measured on at least one batch of images, got none")
        squares = torch.zeros_like(self.scale)
        for image in images:
            tokens = backbone.embed(image)
            for stage in range(len(self.injectors)):
                squares[stage] += tokens.patches.square().mean() / len(images)
                tokens = backbone.run_stage(stage, tokens)
        self.scale.copy_(squares.rsqrt())


def _check(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise InputError(
            f"the adapter needs images (B, 3, H, W), at least one, got a tensor {tuple(image.shape)}"
        )
    height, width = image.shape[-2:]
    if height % 32 or width % 32:
        raise InputError(
            f"the adapter needs sides in multiples of 32 px, got {height}x{width}; resize or pad the image"
        )


def _resized(x: Tensor, size: Shape) -> Tensor:
    """Bilinear resize of (B, C, h, w) to `size`."""
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    if (x.shape[-2], x.shape[-1]) == (2 * size[0], 2 * size[1]):
        return functional.avg_pool2d(x, 2)
    return resize(x, size)


def _initialise(module: nn.Module) -> None:
    """ViT-Adapter's generic initialisation."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
