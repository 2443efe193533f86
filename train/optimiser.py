"""AdamW as the paper uses it: no decay on norms, biases, gammas, embeddings; warm-up, then a cosine."""

import math

import torch
from torch import nn

from argus_edge.train.recipe import Recipe

UNDECAYED = ("level_embedding", "gamma", "pos_embed", "cls_token", "reg_token", "label_embedding", "scale")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in two groups: decayed matrices, and the rest."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = (
                parameter.ndim < 2
                or id(parameter) in embeddings
                or name.endswith(".query")  # the pooler's; Attention's ends in .weight
                or any(part in UNDECAYED for part in name.split("."))
            )
            (rest if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
    )


def rate_factor(step: int, recipe: Recipe) -> float:
    """The learning rate of `step`, as a fraction of the recipe's."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.final_rate + (1 - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
