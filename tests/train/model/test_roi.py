from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align as reference  # type: ignore[import-untyped]

from argus_edge.runtime.engines import engine_status, open_engine
from argus_edge.runtime.persons import grid_to_image, widen
from argus_edge.train.model.decoders.dpt import DPTPose
from argus_edge.train.model.roi import STRIDES, PoseOnRegions, roi_align

DIM = 8
SIDE = 96


def boxes(batch: int, count: int) -> Tensor:
    """Some inside a map of 20 x 28 cells, some beyond its border, around it, outside it, of no size."""
    corners = torch.rand(batch, count, 2, 2, dtype=torch.float64) * torch.tensor([28, 20])
    low, high = corners.amin(2), corners.amax(2)
    found = torch.cat([low - 4 * torch.rand(batch, count, 2), high + 7 * torch.rand(batch, count, 2)], -1)
    found[:, 0] = torch.tensor([-1, -1, 29, 21])
    found[:, 1] = torch.tensor([-50, -50, -40, -44])
    found[:, 2] = torch.tensor([3, 4, 3, 4])
    return found


def pyramid(batch: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(batch, DIM, SIDE // s, SIDE // s, dtype=dtype) for s in STRIDES]


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_regions_are_cut_as_torchvision_cuts_them(samples: int) -> None:
    torch.manual_seed(samples)
    features = torch.randn(2, 3, 20, 28, dtype=torch.float64)
    places = boxes(2, 9)
    expected = reference(features, list(places), (16, 12), 1.0, samples, aligned=True)
    cut = roi_align(features, places, (16, 12), samples)
    assert (cut - expected).abs().max() <= 1e-12
    assert (roi_align(features.float(), places.float(), (16, 12), samples) - expected).abs().max() <= 1e-5


def test_gradients_reach_features_and_boxes() -> None:
    features = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    places = torch.tensor([[[0.7, 1.2, 4.9, 5.3]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, b: roi_align(f, b, (4, 3), 2), (features, places))


class Bright(nn.Module):
    """Stands in for the decoder: F0 is the heatmap."""

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"heatmaps": features[0]}


@pytest.mark.parametrize("level", range(4))
def test_a_cell_of_a_region_is_where_it_would_be_in_the_crop(level: int) -> None:
    """Features that say where they are (x and y [px] of the input) must come back as UDP's crop has them."""
    places = np.array([[10.0, 5.0, 50.0, 80.0], [40.0, 30.0, 80.0, 50.0]])
    features = []
    for stride in STRIDES:
        centres = (torch.arange(SIDE // stride, dtype=torch.float64) + 0.5) * stride - 0.5
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        features.append(torch.stack([x, y])[None])
    persons = torch.from_numpy(places / SIDE)
    cut = PoseOnRegions(Bright()).cut(features, persons[None])[level]
    stride, regions = STRIDES[level], widen(places)
    assert cut.shape == (2, 2, 256 // stride, 192 // stride)
    v, u = np.mgrid[: 256 // stride, : 192 // stride]
    crop = np.stack([u, v], axis=-1) * stride + (stride - 1) / 2  # [px] of the crop, the cells' centres
    expected = grid_to_image(crop.reshape(1, -1, 2).repeat(2, 0), regions, 256, 192).reshape(2, *crop.shape)
    border = stride / 2 - 0.5
    inside = ((expected > border) & (expected < SIDE - 1 - border)).all(axis=-1)
    assert inside.mean() > 0.3
    assert np.abs(cut.permute(0, 2, 3, 1).numpy() - expected)[inside].max() < 1e-9


def test_persons_are_told_apart_in_a_batch() -> None:
    torch.manual_seed(0)
    decoder = DPTPose(DIM, 8, hidden=4).eval()
    model, features = PoseOnRegions(decoder), pyramid(2)
    persons = torch.rand(2, 3, 2).sort(dim=1).values.repeat_interleave(2, -1) * 0.4 + torch.tensor(
        [0, 0, 0.3, 0.5]
    )
    heatmaps = model(features, persons)["heatmaps"]
    assert heatmaps.shape == (6, 17, 64, 48)
    for image in range(2):
        for person in range(3):
            alone = model.infer([f[image : image + 1] for f in features], persons[image, person : person + 1])
            torch.testing.assert_close(
                alone["heatmaps"][0], heatmaps[3 * image + person], rtol=1e-4, atol=1e-5
            )


def test_the_decoder_keeps_its_parameters_to_itself() -> None:
    """A checkpoint holds the decoder; whether it reads crops or regions is not written in its weights."""
    decoder = DPTPose(DIM, 8)
    model = PoseOnRegions(decoder)
    assert [name.removeprefix("decoder.") for name in model.state_dict()] == list(decoder.state_dict())
    exact = PoseOnRegions(decoder.double())
    heatmaps = exact.infer(pyramid(dtype=torch.float64), torch.rand(1, 4, dtype=torch.float64))["heatmaps"]
    assert heatmaps.dtype == torch.float32


def test_a_person_outside_the_frame_gives_finite_maps_and_gradients() -> None:
    torch.manual_seed(1)
    decoder = DPTPose(DIM, 8)
    features = [f.requires_grad_() for f in pyramid()]
    persons = torch.tensor([[[5.0, 5.0, 6.0, 7.0], [0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0]]])
    heatmaps = PoseOnRegions(decoder)(features, persons)["heatmaps"]
    heatmaps.square().mean().backward()
    assert torch.isfinite(heatmaps).all()
    for tensor in (*features, *decoder.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


class Exported(nn.Module):
    def __init__(self, model: PoseOnRegions) -> None:
        super().__init__()
        self.model = model

    def forward(self, f0: Tensor, f1: Tensor, f2: Tensor, f3: Tensor, persons: Tensor) -> Tensor:
        return self.model.infer((f0, f1, f2, f3), persons)["heatmaps"]


@pytest.mark.slow
def test_engines_answer_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(2)
    decoder = DPTPose(DIM, 8, hidden=4)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    module = Exported(PoseOnRegions(decoder, samples=2)).eval()
    persons = torch.tensor([[0.1, 0.1, 0.5, 0.9], [0.6, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    inputs = (*pyramid(), persons)
    names = ["f0", "f1", "f2", "f3", "persons"]
    file = tmp_path / "pose.onnx"
    with torch.no_grad():
        expected = module(*inputs).numpy()
        program = torch.onnx.export(
            module, inputs, dynamo=True, opset_version=21, input_names=names, output_names=["heatmaps"],
            verbose=False,
        )  # fmt: skip
        assert program is not None
        program.save(str(file))
    known = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    ran = 0
    for name in ("onnxruntime", "openvino"):
        if engine_status(name).available:
            engine = open_engine(name, file, threads=1, precision="fp32")
            found = engine.run(known)["heatmaps"]
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
            engine.close()
            ran += 1
    assert ran
