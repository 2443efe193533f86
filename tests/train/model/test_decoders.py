"""The decoders' outputs for training and for export, against torch's operations and published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from argus_edge.train.model.build import build_decoder
from argus_edge.train.model.decoders.dpt import DPTDepth, DPTTrunk, ResidualUnit
from argus_edge.train.model.decoders.mask_dino import (
    Denoising,
    DetectionOutputs,
    MaskDINO,
    inverse_sigmoid,
    to_corners,
)
from argus_edge.train.model.decoders.upernet import POOL_SIZES, UPerNet, pooling_matrix
from argus_edge.train.model.layers import sine_embedding

WIDTH, CLASSES = 24, 5


def pyramid(batch: int = 2, height: int = 64, width: int = 96) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, WIDTH, height // s, width // s) for s in (4, 8, 16, 32)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def last_linear(decoder: MaskDINO) -> nn.Linear:
    last = decoder.regress[-1]
    assert isinstance(last, nn.Linear)
    return last


def mask_dino(queries: int = 20, layers: int = 3, top: int = 30) -> MaskDINO:
    torch.manual_seed(1)
    decoder = MaskDINO(WIDTH, CLASSES, 32, queries, 1, layers, 48, 48, top).eval()
    with torch.no_grad():  # as if trained: boxes that move, classes that differ
        nn.init.normal_(last_linear(decoder).weight, std=0.1)
        decoder.classify.weight.normal_(std=0.5)
    return decoder


def denoising(batch: int, groups: int, most: int, queries: int) -> Denoising:
    extra = groups * most
    group = torch.cat([torch.arange(groups).repeat_interleave(most), torch.full((queries,), -1)])
    mask = (group[:, None] == group[None, :]) | (group[None, :] == -1)
    boxes = torch.rand(batch, extra, 4) * 0.5 + 0.2
    return Denoising(torch.randint(CLASSES, (batch, extra)), boxes, mask)


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (7, 10), (10, 10), (16, 16)])
@pytest.mark.parametrize("cells", POOL_SIZES)
def test_pooling_by_matrix_is_adaptive_average_pooling(size: tuple[int, int], cells: int) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    pooled = (x.flatten(2) @ pooling_matrix(*size, cells, x)).unflatten(2, (cells, cells))
    torch.testing.assert_close(pooled, functional.adaptive_avg_pool2d(x, cells))


@pytest.mark.parametrize("classes", [7, 150])
def test_upernet_has_the_published_number_of_parameters(classes: int) -> None:
    with torch.device("meta"):
        whole = build_decoder("base", "seg", [str(i) for i in range(classes)])
    assert isinstance(whole, UPerNet)
    assert whole.auxiliary is not None
    head, auxiliary = {7: (32_259_591, 1_771_783), 150: (32_332_950, 1_808_534)}[classes]
    assert parameters(whole.auxiliary) == auxiliary
    assert parameters(whole) - auxiliary == head


def test_dpt_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        whole = build_decoder("base", "depth", ())
        unused = ResidualUnit(256)  # the original builds one that its coarsest level never runs
    assert isinstance(whole, DPTDepth)
    assert parameters(whole.trunk) + parameters(unused) == 16_782_336
    assert parameters(whole) - parameters(whole.trunk) == 331_969


def test_upernet_answers_logits_for_training_and_labels_for_export() -> None:
    decoder = UPerNet(WIDTH, 16, CLASSES, nn.BatchNorm2d, 8)
    outputs = decoder.train()(pyramid())
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        "logits": (2, CLASSES, 16, 24),
        "auxiliary": (2, CLASSES, 4, 6),
    }
    features = pyramid(1)
    decoder.eval()
    assert set(decoder(features)) == {"logits"}
    labels = decoder.infer(features)["labels"]
    assert (labels.shape, labels.dtype) == ((1, 64, 96), torch.uint8)
    full = functional.interpolate(decoder(features)["logits"], scale_factor=4, mode="bilinear")
    assert torch.equal(labels.long(), full.argmax(1))


def test_dpt_answers_metres_at_full_size() -> None:
    decoder = DPTDepth(WIDTH, 16, 8)
    depth = decoder(pyramid())["depth"]
    assert depth.shape == (2, 64, 96)
    assert depth.min() > 0
    assert float(depth.detach().mean()) == pytest.approx(3, rel=0.2)  # what an untrained decoder answers
    answer = decoder.infer([1e3 * f for f in pyramid(1)])
    assert set(answer) == {"depth"}
    assert (answer["depth"].shape, answer["depth"].dtype) == ((1, 64, 96), torch.float32)
    assert answer["depth"].min() >= decoder.min_depth


def test_dpt_fuses_from_coarse_to_fine() -> None:
    """Each level moves the answer, and the trunk ends at half the image's size."""
    trunk, features = DPTTrunk(WIDTH, 16), pyramid(1)
    with torch.no_grad():
        whole = trunk(features)
        assert whole.shape == (1, 16, 32, 48)
        for level in range(4):
            without = [torch.zeros_like(f) if i == level else f for i, f in enumerate(features)]
            assert not torch.allclose(trunk(without), whole, atol=1e-4)


def test_mask_dino_answers_every_layer_while_training() -> None:
    decoder = mask_dino()
    outputs = decoder(pyramid()[1:], denoising(2, 3, 4, 20))
    assert isinstance(outputs, DetectionOutputs)
    assert len(outputs.layers) == len(outputs.denoising) == 1 + 3
    for prediction in (outputs.encoder, *outputs.layers):
        assert (prediction.logits.shape, prediction.boxes.shape) == ((2, 20, CLASSES), (2, 20, 4))
    for prediction in outputs.denoising:
        assert (prediction.logits.shape, prediction.boxes.shape) == ((2, 12, CLASSES), (2, 12, 4))
    for prediction in (outputs.encoder, *outputs.layers, *outputs.denoising):
        assert prediction.boxes.min() >= 0
        assert prediction.boxes.max() <= 1
    assert decoder(pyramid()[1:]).denoising == []


def test_mask_dino_exports_the_best_of_queries_times_classes() -> None:
    decoder, features = mask_dino(), pyramid()[1:]
    with torch.no_grad():
        answer = decoder.infer(features)
        last = decoder(features).layers[-1]
    boxes, scores, classes = answer["boxes"], answer["scores"], answer["classes"]
    assert (boxes.shape, scores.shape, classes.shape) == ((2, 30, 4), (2, 30), (2, 30))
    assert (boxes.dtype, scores.dtype, classes.dtype) == (torch.float32, torch.float32, torch.int32)
    assert (scores.diff(dim=1) <= 0).all()
    assert 0 <= scores.min() < scores.max() <= 1
    assert 0 <= classes.min() < classes.max() < CLASSES
    assert 0 <= boxes.min() < boxes.max() <= 1
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    for image in range(2):
        pairs = [(float(last.logits[image, q, c].sigmoid()), q, c) for q in range(20) for c in range(CLASSES)]
        best = sorted(pairs, reverse=True)[:30]
        torch.testing.assert_close(scores[image], torch.tensor([score for score, _, _ in best]))
        assert classes[image].tolist() == [c for _, _, c in best]
        expected = torch.stack([to_corners(last.boxes[image, q]).clamp(0, 1) for _, q, _ in best])
        torch.testing.assert_close(boxes[image], expected)


def test_mask_dino_selects_only_places_inside_the_image() -> None:
    """On a map of 64 cells a side the outermost centres are nearer than 0.01 to the border, and left out."""
    inside = 62 * 62 + 32 * 32 + 16 * 16 + 8 * 8
    decoder = MaskDINO(WIDTH, CLASSES, 32, inside, 0, 1, 48, 48).eval()
    with torch.no_grad():
        memory, shapes = decoder.encoder(pyramid(1, 512, 512)[1:])
        _, selected = decoder._select(memory, shapes)
    assert shapes == [(64, 64), (32, 32), (16, 16), (8, 8)]
    centres = selected.boxes[0, :, :2]
    assert 0.01 < centres.min() < centres.max() < 0.99
    sizes, counts = selected.boxes[0, :, 2].mul(100).round().unique(return_counts=True)
    assert sizes.tolist() == [5, 10, 20, 40]  # the prior, while the box head is untrained
    assert counts.tolist() == [62 * 62, 32 * 32, 16 * 16, 8 * 8]


def test_what_only_training_needs_has_no_part_in_the_exported_answer() -> None:
    decoder, segmenter = mask_dino(), UPerNet(WIDTH, 16, CLASSES, nn.BatchNorm2d, 8).eval()
    features = pyramid(1)
    assert segmenter.auxiliary is not None
    with torch.no_grad():
        before = decoder.infer(features[1:]) | segmenter.infer(features)
        for part in (decoder.label_embedding, segmenter.auxiliary):
            for parameter in part.parameters():
                parameter.fill_(float("nan"))
        after = decoder.infer(features[1:]) | segmenter.infer(features)
    assert set(before) == {"boxes", "scores", "classes", "labels"}
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_box_looks_forward_twice(layer: int) -> None:
    """The box of layer k moves the box changes of layers k and k - 1, and of none before."""
    decoder = mask_dino(layers=4)
    deltas: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        output.retain_grad()
        deltas.append(output)

    decoder.regress.register_forward_hook(keep)
    outputs = decoder(pyramid(1)[1:], denoising(1, 2, 3, 20))
    outputs.layers[1 + layer].boxes.sum().backward()
    reached = [
        delta.grad is not None and bool(delta.grad.any()) for delta in deltas[1:]
    ]  # [0]: the encoder's
    assert reached == [k in (layer - 1, layer) for k in range(4)]
    assert deltas[0].grad is None or not deltas[0].grad.any()


def test_the_encoder_s_proposals_carry_gradient_into_the_memory() -> None:
    decoder = mask_dino()
    features = [f.requires_grad_() for f in pyramid(1)[1:]]
    outputs = decoder(features)
    (outputs.encoder.boxes.sum() + outputs.encoder.logits.sum()).backward()
    assert all(f.grad is not None and f.grad.any() for f in features)


def test_denoising_groups_see_neither_each_other_nor_are_seen() -> None:
    decoder, features = mask_dino(), pyramid()[1:]
    noise = denoising(2, 3, 4, 20)
    labels, boxes = noise.labels.clone(), noise.boxes.clone()
    labels[:, 4:8] = (labels[:, 4:8] + 1) % CLASSES
    boxes[:, 4:8] = 1 - boxes[:, 4:8]
    with torch.no_grad():
        before, without = decoder(features, noise), decoder(features)
        after = decoder(features, Denoising(labels, boxes, noise.mask))
    for old, new in zip(before.denoising, after.denoising, strict=True):
        for group in (slice(0, 4), slice(8, 12)):
            torch.testing.assert_close(new.logits[:, group], old.logits[:, group])
            torch.testing.assert_close(new.boxes[:, group], old.boxes[:, group])
        assert not torch.allclose(new.boxes[:, 4:8], old.boxes[:, 4:8])
    for old, new, bare in zip(before.layers, after.layers, without.layers, strict=True):
        for prediction in (new, bare):
            torch.testing.assert_close(prediction.logits, old.logits)
            torch.testing.assert_close(prediction.boxes, old.boxes)


def test_an_untrained_class_head_answers_its_prior() -> None:
    decoder = MaskDINO(WIDTH, CLASSES, 32, 20, 1, 1, 48, 48, 20)
    assert decoder.classify.bias.sigmoid().tolist() == pytest.approx([0.01] * CLASSES, rel=1e-5)
    assert not last_linear(decoder).weight.any()


def test_inverse_sigmoid_undoes_sigmoid_and_stays_finite() -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    torch.testing.assert_close(inverse_sigmoid(x.sigmoid()), x)
    assert torch.isfinite(inverse_sigmoid(torch.tensor([0.0, 1.0]))).all()


def test_sine_embedding_is_detr_s() -> None:
    position, features = torch.tensor([[0.25, 0.8]]), 6
    expected = []
    for value in (0.25, 0.8):
        for i in range(features):
            angle = torch.tensor(value * 2 * torch.pi / 10000 ** (2 * (i // 2) / features))
            expected.append(float(angle.cos() if i % 2 else angle.sin()))
    torch.testing.assert_close(sine_embedding(position, features), torch.tensor([expected]))
