"""AdamW as the paper uses it: no decay on norms, biases, gammas, embeddings; warm-up, then a cosine."""

import math
from typing import Any

import torch
from torch import nn

from argus_edge.train.recipe import Recipe

UNDECAYED = ("level_embedding", "gamma", "pos_embed", "cls_token", "reg_token", "label_embedding", "scale")


def parameter_groups(
    model: nn.Module, weight_decay: float, backbone_rate: float = 1.0
) -> list[dict[str, Any]]:
    """Trainable parameters in groups, those that decay before the rest; and where the ViT learns at a rate of
    its own, its parameters in two more. `share` is the group's rate as a fraction of the recipe's.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, weight_decay): [], (1.0, 0.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = (
                parameter.ndim < 2
                or id(parameter) in embeddings
                or name.endswith(".query")  # the pooler's; Attention's ends in .weight
                or any(part in UNDECAYED for part in name.split("."))
            )
            share = backbone_rate if name.startswith("backbone.") else 1.0
            groups.setdefault((share, 0.0 if plain else weight_decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share}
        for (share, decay), parameters in groups.items()
    ]


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    groups = parameter_groups(model, recipe.weight_decay, recipe.backbone_rate)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def rate_factor(step: int, recipe: Recipe) -> float:
    """The learning rate of `step`, as a fraction of the recipe's."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.final_rate + (1 - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
