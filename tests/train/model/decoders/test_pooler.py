"""The attentional pooler against torch's multi-head attention, its counts and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from argus_edge.errors import InputError
from argus_edge.train.losses.classification import classification_loss
from argus_edge.train.model.decoders.pooler import AttentionalPooler

WIDTH, CLASSES = 24, 7


def pyramid(batch: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, WIDTH, 64 // s, 96 // s) for s in (4, 8, 16, 32)]


def pooler(levels: tuple[int, ...] = (1, 2, 3)) -> AttentionalPooler:
    torch.manual_seed(1)
    return AttentionalPooler(WIDTH, CLASSES, 4, levels)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_base_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        decoder = AttentionalPooler(768, 1000, 8)
    assert parameters(decoder.classify) == 769_000
    assert parameters(decoder.norm) == 1_536  # which the published number leaves out
    assert parameters(decoder) - 769_000 - 1_536 == 2_366_208


def attended(decoder: AttentionalPooler, features: list[Tensor]) -> Tensor:
    """The pooled vector by torch's own attention module, in double precision."""
    parts = decoder.attention
    reference = nn.MultiheadAttention(WIDTH, 4, batch_first=True).double()
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in (parts.query, parts.key, parts.value)]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in (parts.query, parts.key, parts.value)]))
        reference.out_proj.load_state_dict(parts.output.state_dict())
        tokens = torch.cat([f.double().flatten(2) for f in features], dim=2).transpose(1, 2)
        tokens = nn.functional.layer_norm(tokens, (WIDTH,))
        query = nn.functional.layer_norm(decoder.query.double(), (WIDTH,)).expand(len(tokens), 1, WIDTH)
        answer: Tensor = reference(query, tokens, tokens, need_weights=False)[0][:, 0]
    return answer


@pytest.mark.parametrize("levels", [(1, 2, 3), (0, 1, 2, 3), (3,)])
def test_pooling_is_attention_of_one_query_to_all_tokens(levels: tuple[int, ...]) -> None:
    decoder = pooler(levels)
    with torch.no_grad():  # as if trained: weights and biases that are not what they started as
        for parameter in decoder.attention.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    features = [pyramid()[level] for level in decoder.levels]
    expected = attended(decoder, features)
    with torch.no_grad():
        double = pooler(levels).double()
        double.load_state_dict(decoder.state_dict())
        torch.testing.assert_close(decoder.pool(features), expected.float(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(double.pool([f.double() for f in features]), expected, rtol=0, atol=1e-10)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    decoder, features = pooler(), pyramid()[1:]
    with torch.no_grad():
        decoder.classify.weight.mul_(100)
        logits, answer = decoder(features)["logits"], decoder.infer(features)
    assert logits.shape == (2, CLASSES)
    assert set(answer) == {"probabilities"}
    assert answer["probabilities"].dtype == torch.float32
    torch.testing.assert_close(answer["probabilities"], logits.exp() / logits.exp().sum(1, keepdim=True))
    assert not torch.allclose(answer["probabilities"][0], answer["probabilities"][1], atol=1e-3)


def test_an_empty_batch_has_empty_answers_and_costs_nothing() -> None:
    decoder, features = pooler(), pyramid(0)[1:]
    assert decoder.infer(features)["probabilities"].shape == (0, CLASSES)
    loss = classification_loss(decoder(features), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in decoder.parameters())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="5 attention heads do not divide a width of 24"):
        AttentionalPooler(WIDTH, CLASSES, 5)
    with pytest.raises(InputError, match=r"\(B, 24, H/8, W/8\).*\(2, 24, 8, 12\)"):
        pooler()(pyramid()[1:3])
    with pytest.raises(InputError, match="reads maps"):
        pooler().infer([f[:, 1:] for f in pyramid()[1:]])
