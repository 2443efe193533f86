"""Mask2Former's transformer decoder and heads against the one in transformers, by mapping weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerTransformerModule

from argus_edge.train.model.decoders.mask2former import Mask2Former, MaskPrediction
from argus_edge.train.model.decoders.pixel_decoder import split_levels

WIDTH, CLASSES, DIM, QUERIES, LAYERS, FFN = 24, 5, 32, 12, 9, 48
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}


def theirs() -> Mask2FormerTransformerModule:
    """As published: post-norm, 9 layers, and no projection where the widths agree."""
    config = Mask2FormerConfig(
        feature_size=DIM,
        mask_feature_size=DIM,
        hidden_dim=DIM,
        dim_feedforward=FFN,
        num_queries=QUERIES,
        decoder_layers=LAYERS + 1,
    )
    return Mask2FormerTransformerModule(DIM, config)


def ours() -> Mask2Former:
    return Mask2Former(WIDTH, CLASSES, DIM, QUERIES, 1, LAYERS, FFN, FFN)


def mapped(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the weights of their transformer module."""
    names = {
        "queries_features": "content",
        "queries_embedder": "position",
        "level_embed": "level_embedding",
        "decoder.layernorm": "decoder_norm",
    }
    parts = {
        "self_attn.q_proj": "self_attention.query",
        "self_attn.k_proj": "self_attention.key",
        "self_attn.v_proj": "self_attention.value",
        "self_attn.out_proj": "self_attention.output",
        "cross_attn.out_proj": "cross_attention.output",
        "cross_attn_layer_norm": "norm1",
        "self_attn_layer_norm": "norm2",
        "final_layer_norm": "norm3",
        "fc1": "ffn.0",
        "fc2": "ffn.2",
    }
    names |= {f"decoder.layers.{n}.{a}": f"decoder.{n}.{b}" for n in range(LAYERS) for a, b in parts.items()}
    names |= {f"decoder.mask_predictor.mask_embedder.{n}.0": f"mask_embedding.{2 * n}" for n in range(3)}
    weights = {}
    for name, tensor in reference.items():
        owner, _, kind = name.rpartition(".")
        if kind.startswith("in_proj"):
            target = owner.replace("decoder.layers", "decoder").replace("cross_attn", "cross_attention")
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                weights[f"{target}.{part}.{kind.removeprefix('in_proj_')}"] = rows
        else:
            weights[f"{names[owner]}.{kind}"] = tensor
    return weights


def shake(module: nn.Module) -> None:
    """Weights as of a trained network: no zeros, no ones, no symmetry."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5)


@torch.no_grad()
def balance(decoder: Mask2Former, inputs: list[Tensor]) -> None:
    """Most masks are to have an inside and an outside, and some are to be empty: one channel, the same
    everywhere, moves each mask by an amount of its own; the others have mean 0.
    """
    memory, shapes = decoder.encoder(inputs[1:])
    mean = decoder.encoder.mask_map(inputs[0], memory, shapes).mean((0, 2, 3))
    assert decoder.encoder.mask_features is not None
    project = decoder.encoder.mask_features.project
    assert project.bias is not None
    project.bias -= mean
    project.weight[0], project.bias[0] = 0, 10


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_output_is_that_of_transformers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    decoder, reference = ours().double().eval(), theirs().double().eval()
    shake(decoder)
    shake(reference)
    unmapped, unknown = decoder.load_state_dict(mapped(reference.state_dict()), strict=False)
    assert not unknown
    assert {name.split(".")[0] for name in unmapped} == {"encoder", "classify"}

    inputs = [torch.randn(2, WIDTH, 64 // s, 96 // s, dtype=torch.float64) for s in (4, 8, 16, 32)]
    balance(decoder, inputs)
    decoder, reference, inputs = decoder.to(dtype), reference.to(dtype), [x.to(dtype) for x in inputs]
    with torch.no_grad():
        memory, shapes = decoder.encoder(inputs[1:])
        maps = [
            tokens.transpose(1, 2).unflatten(2, shape)
            for tokens, shape in zip(split_levels(memory, shapes), shapes, strict=True)
        ]
        expected = reference(maps, decoder.encoder.mask_map(inputs[0], memory, shapes))
        answers = decoder(inputs)
        logits = [decoder.classify(x.transpose(0, 1)) for x in expected.intermediate_hidden_states]
    assert len(answers) == len(expected.masks_queries_logits) == LAYERS + 1
    for answer, their_logits, their_masks in zip(answers, logits, expected.masks_queries_logits, strict=True):
        torch.testing.assert_close(answer.logits, their_logits, rtol=0, atol=TOLERANCE[dtype])
        torch.testing.assert_close(answer.masks, their_masks, rtol=0, atol=TOLERANCE[dtype])
    assert every_case_occurs(answers, shapes)


def every_case_occurs(answers: list[MaskPrediction], shapes: list[tuple[int, int]]) -> bool:
    """Whether the attention masks hold queries that see a part, and queries with an empty mask."""
    shares = []
    for index, answer in enumerate(answers[:-1]):
        small = nn.functional.interpolate(answer.masks, size=shapes[index % 3], mode="bilinear")
        shares.append((small.sigmoid() < 0.5).double().mean((2, 3)).flatten())
    blocked = torch.cat(shares)
    return bool((blocked == 1).any() and ((blocked > 0.1) & (blocked < 0.9)).any())
