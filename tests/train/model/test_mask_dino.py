"""Mask DINO with masks: sizes, the masks of every output, starting boxes, the exported answers."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes  # type: ignore[import-untyped]

from argus_edge.train.losses.detection import (
    BoxTargets,
    DenoisingSettings,
    DetectionWeights,
    detection_loss,
    make_denoising,
)
from argus_edge.train.losses.masks import PointSettings
from argus_edge.train.model.decoders.mask_dino import (
    InitialBoxes,
    MaskDINO,
    Prediction,
    mask_boxes,
    to_corners,
)
from argus_edge.train.model.decoders.pixel_decoder import PixelDecoder
from argus_edge.train.model.deformable import DeformableAttention

WIDTH, CLASSES, QUERIES, TOP = 24, 5, 12, 20
STARTS: tuple[InitialBoxes, ...] = ("regressed", "masks")


def pyramid(batch: int = 2, height: int = 64, width: int = 96) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, WIDTH, height // s, width // s) for s in (4, 8, 16, 32)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def mask_dino(start: InitialBoxes = "regressed", masks: bool = True, twice: bool | None = None) -> MaskDINO:
    """As if trained: boxes that move, classes that differ, attention that depends on what it reads."""
    torch.manual_seed(1)
    decoder = MaskDINO(WIDTH, CLASSES, 32, QUERIES, 1, 2, 48, 48, TOP, masks, start, twice).eval()
    with torch.no_grad():
        last = decoder.regress[-1]
        assert isinstance(last, nn.Linear)
        last.weight.normal_(std=0.1)
        decoder.classify.weight.normal_(std=0.5)
        for norm in (decoder.decoder_norm, decoder.select_norm):
            norm.weight.normal_(1, 0.2)
            norm.bias.normal_(std=0.2)
        for module in decoder.modules():
            if isinstance(module, DeformableAttention):
                module.offsets.weight.normal_(std=0.1)
                module.weights.weight.normal_(std=0.3)
    return decoder


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    """Mask DINO's own layers on four maps of 768 channels, 80 classes."""
    with torch.device("meta"):
        whole = MaskDINO(768, 80, 256, 300, 6, 9, 2048, 2048, masks=True)
        boxes = MaskDINO(768, 80, 256, 300, 6, 9, 2048, 2048)
    linear = 256 * 256 + 256
    feed_forward = 256 * 2048 + 2048 + 2048 * 256 + 256
    norm = 2 * 256
    # Offsets of 8 heads, 4 levels, 4 points, in two coordinates; their weights; values; output.
    deformable = linear + (256 * 128 + 128) + 2 * linear
    inputs = 3 * (768 * 256 + 256 + norm) + (9 * 768 * 256 + 256 + norm)
    encoder = inputs + 4 * 256 + 6 * (deformable + feed_forward + 2 * norm)
    mask_features = (768 * 256 + norm) + (9 * 256 * 256 + norm) + linear
    assert encoder + mask_features == parameters(whole.encoder) == 10_909_696
    layers = 9 * (4 * linear + deformable + feed_forward + 3 * norm)
    selection = linear + norm
    heads = (256 * 80 + 80) + (2 * linear + 256 * 4 + 4) + 3 * linear  # classes, boxes, mask embedding
    embeddings = (512 * 256 + 256 + linear) + 80 * 256  # of boxes as positions, of noised labels
    assert layers + norm + selection + heads + embeddings == 14_547_668
    assert parameters(whole) == 10_909_696 + 14_547_668 == 25_457_364
    assert parameters(boxes) == 25_457_364 - mask_features - 3 * linear


@pytest.mark.parametrize("start", STARTS)
def test_every_output_has_masks(start: InitialBoxes) -> None:
    decoder, features = mask_dino(start), pyramid()
    assert decoder.levels == (0, 1, 2, 3)
    truths = targets(2, 1)
    noise = make_denoising(truths, CLASSES, QUERIES, DenoisingSettings(8), torch.Generator())
    assert noise is not None
    outputs = decoder(features, noise)
    assert len(outputs.layers) == len(outputs.denoising) == 1 + 2
    for prediction in (outputs.encoder, *outputs.layers):
        assert prediction.masks.shape == (2, QUERIES, 16, 24)
    for prediction in outputs.denoising:
        assert prediction.masks.shape == (2, 8, 16, 24)
    assert decoder(features).denoising == []


def test_without_masks_nothing_of_the_branch_exists() -> None:
    decoder = mask_dino(masks=False)
    assert decoder.levels == decoder.box_levels == (1, 2, 3)
    assert not [name for name, _ in decoder.named_parameters() if "mask" in name]
    outputs = decoder(pyramid()[1:])
    assert all(p.masks is None for p in (outputs.encoder, *outputs.layers))
    assert set(decoder.infer(pyramid()[1:])) == {"boxes", "scores", "classes"}


@pytest.mark.parametrize("twice", [True, False])
def test_a_mask_is_the_product_of_its_query_with_the_mask_features(twice: bool) -> None:
    decoder, features = mask_dino(twice=twice), pyramid()
    contents: list[Tensor] = []
    decoder.decoder[-1].register_forward_hook(lambda _, __, output: contents.append(output))
    with torch.no_grad():
        last = decoder(features).layers[-1]
        memory, shapes = decoder.encoder(features[1:])
        pixels = decoder.encoder.mask_map(features[0], memory, shapes)
        state = decoder.decoder_norm(contents[0])
        state = decoder.decoder_norm(state) if twice else state
        assert decoder.mask_embedding is not None
        expected = torch.einsum("bqc,bchw->bqhw", decoder.mask_embedding(state), pixels)
        classes = decoder.classify(state)
    torch.testing.assert_close(last.masks, expected)
    torch.testing.assert_close(last.logits, classes)


def test_the_default_norms_twice_where_there_are_masks() -> None:
    assert mask_dino().published_norms
    assert not mask_dino(masks=False).published_norms


def test_mask_boxes_are_torchvision_s() -> None:
    torch.manual_seed(2)
    masks = torch.randn(2, 3, 10, 16) - 1.8
    masks[0, 0] = -1
    masks[0, 0, 3, 5] = 1  # one cell
    masks[0, 1] = 1
    masks[1, 2] = -1  # empty
    regressed = torch.rand(2, 3, 4)
    boxes = mask_boxes(masks, regressed)
    assert torch.equal(boxes[1, 2], regressed[1, 2])
    full = (masks > 0).flatten(0, 1)[:5]
    assert full.flatten(1).any(1).all()
    # torchvision's boxes end where the last cell begins.
    expected = masks_to_boxes(full) + torch.tensor([0.0, 0, 1, 1])
    corners = to_corners(boxes).flatten(0, 1)[:5] * torch.tensor([16.0, 10, 16, 10])
    torch.testing.assert_close(corners, expected)


def first_references(decoder: MaskDINO, features: list[Tensor]) -> Tensor:
    kept: list[Tensor] = []
    handle = decoder.decoder[0].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[2]))
    decoder(features)
    handle.remove()
    return kept[0]


def test_queries_start_from_the_boxes_they_are_told_to() -> None:
    features = pyramid()
    for start in STARTS:
        decoder = mask_dino(start)
        encoder = decoder(features).encoder
        around = mask_boxes(encoder.masks, encoder.boxes)
        assert not torch.allclose(around, encoder.boxes, atol=0.01)
        references = first_references(decoder, features)
        assert not references.requires_grad
        assert torch.equal(references, around if start == "masks" else encoder.boxes)


@pytest.mark.parametrize("start", STARTS)
def test_instances_are_the_best_pairs_ranked_with_their_masks(start: InitialBoxes) -> None:
    decoder, features = mask_dino(start), pyramid()
    with torch.no_grad():
        answer = decoder.infer(features)
        last = decoder(features).layers[-1]
    assert {name: (tuple(t.shape), t.dtype) for name, t in answer.items()} == {
        "boxes": ((2, TOP, 4), torch.float32),
        "scores": ((2, TOP), torch.float32),
        "classes": ((2, TOP), torch.int32),
        "masks": ((2, TOP, 16, 24), torch.float32),
    }
    for image in range(2):
        pairs = [
            (last.logits[image, q, c].sigmoid().item(), q, c) for q in range(QUERIES) for c in range(CLASSES)
        ]
        found = []
        for score, q, c in sorted(pairs, reverse=True)[:TOP]:
            mask = last.masks[image, q]
            certainty = mask[mask > 0].sigmoid().mean().item() if (mask > 0).any() else 0.0
            found.append((score * certainty, q, c))
        found.sort(reverse=True)
        queries = [q for _, q, _ in found]
        assert len(set(queries)) > 3
        # A pixel hardly inside a mask counts in part there, and whole here.
        expected = torch.tensor([score for score, _, _ in found])
        torch.testing.assert_close(answer["scores"][image], expected, rtol=2e-3, atol=0)
        assert answer["classes"][image].tolist() == [c for _, _, c in found]
        torch.testing.assert_close(answer["masks"][image], last.masks[image, queries])
        torch.testing.assert_close(answer["boxes"][image], to_corners(last.boxes[image, queries]).clamp(0, 1))


def test_an_empty_mask_scores_nothing() -> None:
    decoder, features = mask_dino(), pyramid(1)
    assert decoder.encoder.mask_features is not None
    assert decoder.mask_embedding is not None
    last = decoder.mask_embedding[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # every mask logit is 0, no cell above it
        assert not decoder.infer(features)["scores"].any()


@pytest.mark.parametrize("start", STARTS)
def test_boxes_alone_are_those_of_the_last_layer(start: InitialBoxes) -> None:
    decoder, features = mask_dino(start), pyramid()
    assert decoder.box_levels == ((1, 2, 3) if start == "regressed" else (0, 1, 2, 3))
    inputs = [features[level] for level in decoder.box_levels]
    with torch.no_grad():
        last = decoder(features).layers[-1]
        expected, order = last.logits.sigmoid().flatten(1).topk(TOP)
        if start == "regressed":  # the mask branch has no part in it
            for name, parameter in decoder.named_parameters():
                if "mask" in name:
                    parameter.fill_(float("nan"))
        answer = decoder.infer_boxes(inputs)
    assert set(answer) == {"boxes", "scores", "classes"}
    torch.testing.assert_close(answer["scores"], expected)
    assert torch.equal(answer["classes"].long(), order % CLASSES)
    corners = to_corners(last.boxes).clamp(0, 1)
    wanted = torch.stack([corners[image, order[image] // CLASSES] for image in range(2)])
    torch.testing.assert_close(answer["boxes"], wanted)


class Answer(nn.Module):
    def __init__(self, decoder: MaskDINO, boxes: bool) -> None:
        super().__init__()
        self.decoder, self.boxes = decoder, boxes

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        infer = self.decoder.infer_boxes if self.boxes else self.decoder.infer
        return tuple(infer(features).values())


@pytest.mark.filterwarnings("default")  # of torch's exporter itself
@pytest.mark.parametrize(("start", "boxes"), [("masks", False), ("regressed", True)])
def test_onnx_runtime_answers_the_same(tmp_path: Path, start: InitialBoxes, boxes: bool) -> None:
    decoder, features = mask_dino(start), pyramid(1)
    levels = decoder.box_levels if boxes else decoder.levels
    inputs = tuple(features[level] for level in levels)
    names = [f"f{level}" for level in levels]
    path = tmp_path / "decoder.onnx"
    with torch.no_grad():
        expected = (decoder.infer_boxes if boxes else decoder.infer)(inputs)
        program = torch.onnx.export(
            Answer(decoder, boxes).eval(),
            inputs,
            dynamo=True,
            opset_version=21,
            input_names=names,
            verbose=False,
        )
    assert program is not None
    program.save(path)
    if boxes:
        assert not [i.name for i in program.model_proto.graph.initializer if "mask" in i.name]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = session.run(None, {name: t.numpy() for name, t in zip(names, inputs, strict=True)})
    for answer, (name, truth) in zip(answers, expected.items(), strict=True):
        np.testing.assert_allclose(answer, truth.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_encoder_with_another_order_of_levels_is_the_same_network() -> None:
    """Its weights permuted with the levels."""
    torch.manual_seed(3)
    fine = PixelDecoder(WIDTH, 32, 2, 48)
    coarse = PixelDecoder(WIDTH, 32, 2, 48, coarse_first=True)
    state = fine.state_dict()
    for name, value in state.items():
        if name == "level_embedding":
            state[name] = value.flip(0)
        elif ".attention.offsets." in name or ".attention.weights." in name:
            state[name] = value.unflatten(0, (8, 4, -1)).flip(1).flatten(0, 2)
    coarse.load_state_dict(state)
    features = pyramid()[1:]
    with torch.no_grad():
        (left, shapes), (right, reverse) = fine(features), coarse(features)
    assert reverse == shapes[::-1]
    parts = right.split([h * w for h, w in reverse], dim=1)[::-1]
    torch.testing.assert_close(torch.cat(parts, dim=1), left)


def targets(*counts: int) -> list[BoxTargets]:
    found = []
    for count in counts:
        boxes = torch.rand(count, 4) * 0.3 + 0.3
        found.append(BoxTargets(torch.randint(CLASSES, (count,)), boxes, torch.rand(count, 64, 96) > 0.5))
    return found


@pytest.mark.parametrize("counts", [(2, 1), (0, 2), (0, 0)])
@pytest.mark.parametrize("start", STARTS)
def test_every_parameter_learns_from_the_whole_loss(start: InitialBoxes, counts: tuple[int, int]) -> None:
    decoder, truths = mask_dino(start).train(), targets(*counts)
    noise = make_denoising(truths, CLASSES, QUERIES, DenoisingSettings(8), torch.Generator())
    outputs = decoder(pyramid(), noise)
    loss = detection_loss(outputs, truths, DetectionWeights(points=PointSettings(64)), torch.Generator())
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in decoder.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
        if sum(counts):
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


def test_a_decoder_learns_one_image() -> None:
    """Masks, boxes and classes of two objects, by gradient descent on the whole loss."""
    torch.manual_seed(4)
    decoder = MaskDINO(WIDTH, CLASSES, 32, QUERIES, 1, 1, 48, 48, TOP, masks=True, initial_boxes="masks")
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 8:40, 8:40], masks[1, 24:56, 56:88] = True, True
    boxes = torch.tensor([[0.25, 0.375, 1 / 3, 0.5], [0.75, 0.625, 1 / 3, 0.5]])
    truths = [BoxTargets(torch.tensor([1, 3]), boxes, masks)]
    features, generator = pyramid(1), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(decoder.parameters(), 2e-3)
    weights = DetectionWeights(points=PointSettings(256))
    losses = []
    for _ in range(60):
        loss = detection_loss(decoder(features), truths, weights, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 10)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]
    with torch.no_grad():
        answer = decoder.eval().infer(features)
    best = {int(c): i for i, c in reversed(list(enumerate(answer["classes"][0])))}
    for index, label in enumerate((1, 3)):
        predicted = answer["masks"][0, best[label]] > 0
        truth = masks[index, ::4, ::4]
        overlap = (predicted & truth).sum() / (predicted | truth).sum()
        assert overlap > 0.8


def test_a_prediction_is_cut_in_all_its_parts() -> None:
    whole = Prediction(torch.randn(1, 5, 3), torch.rand(1, 5, 4), torch.randn(1, 5, 2, 2))
    part = whole.part(slice(2, None))
    for field in fields(Prediction):
        assert torch.equal(getattr(part, field.name), getattr(whole, field.name)[:, 2:])
    assert Prediction(whole.logits, whole.boxes).part(slice(2)).masks is None
