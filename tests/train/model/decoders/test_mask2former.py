"""Mask2Former's outputs for training and for export, and its published size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from argus_edge.train.model.decoders.mask2former import Level, Mask2Former
from argus_edge.train.model.decoders.masks import mask_certainty, pick

WIDTH, CLASSES, QUERIES = 24, 5, 12


def decoder(top: int = 20) -> Mask2Former:
    torch.manual_seed(1)
    answer = Mask2Former(WIDTH, CLASSES, 32, QUERIES, 1, 4, 48, 48, top=top).eval()
    with torch.no_grad():  # as if trained: queries that differ, masks with an inside and an outside
        answer.content.weight.mul_(5)
        answer.classify.weight.normal_(std=0.5)
        for name, weight in answer.encoder.named_parameters():
            if name.endswith(("offsets.weight", "weights.weight")):
                weight.normal_(std=0.1)
        memory, shapes = answer.encoder(pyramid()[1:])
        assert answer.encoder.mask_features is not None
        assert answer.encoder.mask_features.project.bias is not None
        mean = answer.encoder.mask_map(pyramid()[0], memory, shapes).mean((0, 2, 3))
        answer.encoder.mask_features.project.bias -= mean
    return answer


def pyramid(batch: int = 2, height: int = 64, width: int = 96) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, WIDTH, height // s, width // s) for s in (4, 8, 16, 32)]


@pytest.mark.parametrize(("classes", "expected"), [(150, 20_336_727), (100, 20_323_877)])
def test_the_base_size_has_the_published_number_of_parameters(classes: int, expected: int) -> None:
    with torch.device("meta"):
        whole = Mask2Former(768, classes, 256, 100, 6, 9, 1024, 2048)
    assert sum(p.numel() for p in whole.parameters()) == expected


def test_every_layer_answers_while_training() -> None:
    outputs = decoder().train()(pyramid())
    assert len(outputs) == 1 + 4
    for answer in outputs:
        assert answer.logits.shape == (2, QUERIES, CLASSES + 1)
        assert answer.masks.shape == (2, QUERIES, 16, 24)


def test_every_weight_learns_and_features_get_gradients() -> None:
    model, features = decoder(), [f.requires_grad_() for f in pyramid()]
    outputs = model(features)
    torch.stack([(p.logits**2).sum() + (p.masks**2).sum() for p in outputs]).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(f.grad is not None and f.grad.any() for f in features)


def test_attention_masks_hide_the_outside_and_let_no_gradient_through() -> None:
    model = decoder()
    queries = torch.randn(2, QUERIES, 32, requires_grad=True)
    features = torch.randn(2, 32, 40)
    features[1] = (
        -1e3 * model.mask_embedding(queries[1, 3]).detach()[:, None]
    )  # nothing is inside for this one
    mask = model._attention_mask(queries, Level(features, features, features))
    assert mask.shape == (2, 1, QUERIES, 40)
    assert not mask.requires_grad
    probability = (model.mask_embedding(queries) @ features).sigmoid()
    inside = probability >= 0.5
    seen = inside | ~inside.any(-1, keepdim=True)
    assert torch.equal(mask[:, 0] == 0, seen)
    assert torch.equal(mask[:, 0] == -1e4, ~seen)
    assert not inside[1, 3].any()


def test_a_panoptic_answer_is_the_last_layer_s_best_class() -> None:
    model, features = decoder(), pyramid()
    with torch.no_grad():
        answer, last = model.infer(features), model(features)[-1]
    assert list(answer) == ["scores", "classes", "masks"]
    probability = last.logits.softmax(-1)
    assert answer["classes"].dtype == torch.int32
    assert answer["scores"].dtype == answer["masks"].dtype == torch.float32
    assert torch.equal(answer["classes"].long(), probability.argmax(-1))
    torch.testing.assert_close(answer["scores"], probability.amax(-1))
    torch.testing.assert_close(answer["masks"], last.masks)
    assert (answer["classes"] == CLASSES).any()  # some query answers "no object"


def test_an_instance_answer_is_the_best_of_queries_and_classes() -> None:
    model, features = decoder(top=20), pyramid()
    model.answer = "masks"
    with torch.no_grad():
        answer, last = model.infer(features), model(features)[-1]
    assert {name: tuple(t.shape) for name, t in answer.items()} == {
        "boxes": (2, 20, 4),
        "scores": (2, 20),
        "classes": (2, 20),
        "masks": (2, 20, 16, 24),
    }
    assert answer["classes"].dtype == torch.int32
    for image in range(2):
        probability = last.logits[image].softmax(-1)[:, :-1]
        rows = []
        for index in probability.flatten().topk(20).indices.tolist():
            query, label = divmod(index, CLASSES)
            mask = last.masks[image, query]
            inside = mask > 0
            quality = float(mask.sigmoid()[inside].mean()) if inside.any() else 0.0
            rows.append((float(probability[query, label]) * quality, label, mask))
        rows.sort(key=lambda row: -row[0])
        # A pixel hardly inside a mask counts in part there, and whole here.
        expected = torch.tensor([row[0] for row in rows])
        torch.testing.assert_close(answer["scores"][image], expected, rtol=2e-3, atol=0)
        assert answer["classes"][image].tolist() == [row[1] for row in rows]
        torch.testing.assert_close(answer["masks"][image], torch.stack([row[2] for row in rows]))
        for box, (_, _, mask) in zip(answer["boxes"][image], rows, strict=True):
            ys, xs = torch.nonzero(mask > 0, as_tuple=True)
            around = [xs.min() / 24, ys.min() / 16, (xs.max() + 1) / 24, (ys.max() + 1) / 16]
            torch.testing.assert_close(box, torch.stack(around))


def test_an_empty_mask_has_an_empty_box_and_no_score() -> None:
    model = decoder()
    model.answer = "masks"
    last = model.mask_embedding[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # all logits are 0, nothing is above
    answer = model.infer(pyramid(1))
    assert not answer["scores"].any()
    assert not answer["boxes"].any()
    assert answer["masks"].isfinite().all()


def test_no_more_instances_are_answered_than_there_are() -> None:
    model = decoder(top=1000)
    model.answer = "masks"
    assert model.infer(pyramid(1))["scores"].shape == (1, QUERIES * CLASSES)


def test_the_certainty_of_a_large_mask_fits_half_precision() -> None:
    masks = torch.full((1, 2, 256, 256), 3.0)
    masks[0, 1, 100:, :] = -2.0
    exact = torch.tensor(3.0).sigmoid()
    torch.testing.assert_close(mask_certainty(masks), exact.expand(1, 2))
    torch.testing.assert_close(mask_certainty(masks.half()).float(), exact.expand(1, 2), rtol=2e-3, atol=0)


def test_picking_is_indexing_per_image() -> None:
    x, index = torch.randn(3, 7, 2, 4), torch.randint(7, (3, 5))
    expected = torch.stack([image[rows] for image, rows in zip(x, index, strict=True)])
    assert torch.equal(pick(x, index), expected)
