"""From torch modules to ONNX graphs: one for the backbone with its adapter, one for every decoder."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from argus_edge.errors import ExportError, first_line
from argus_edge.spec import IMAGE_TENSOR, PERSONS_TENSOR, ImageSpec, TensorSpec
from argus_edge.train.model.argus import Argus, normalise

OPSET: Final = 21  # the first with GroupNormalization as one operation
SCOPES: Final = "pkg.torch.onnx.name_scopes"  # where torch's exporter notes the module a node came from

LAYOUTS: Final = {"boxes": "NKX", "scores": "NK", "classes": "NK", "masks": "NKHW", "persons": "KX"}
BY_AXES: Final = {2: "NK", 3: "NHW", 4: "NCHW"}  # of everything else


@dataclass(frozen=True)
class Graph:
    """One traced network with the tensors at its boundary, and what torch answered to its example inputs."""

    model: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class _BackboneGraph(nn.Module):
    """uint8 NHWC image -> the chosen maps of F0..F3."""

    def __init__(self, model: Argus, levels: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.adapter, self.levels = model.backbone, model.adapter, tuple(levels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.adapter(normalise(image), self.backbone)
        return tuple(features[level] for level in self.levels)


class _DecoderGraph(nn.Module):
    """Maps of F0..F3 and, for pose, boxes of persons -> what the decoder answers."""

    def __init__(self, decoder: nn.Module, maps: int) -> None:
        super().__init__()
        self.decoder, self.maps = decoder, maps

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answer = self.decoder.infer(tensors[: self.maps], *tensors[self.maps :])  # type: ignore[operator]
        return tuple(answer.values())


def trace_backbone(model: Argus, image: ImageSpec, levels: Sequence[int]) -> Graph:
    """The backbone for the input `image`, giving F`levels`. Raises ExportError."""
    static = copy.deepcopy(model).eval()
    static.backbone.fix_input_size(image.height, image.width)
    module = _BackboneGraph(static, levels)
    example = torch.zeros(image.tensor.shape, dtype=torch.uint8)
    with torch.inference_mode():
        features = module(example)
    outputs = {f"f{level}": f for level, f in zip(levels, features, strict=True)}
    return trace_module("backbone", module, {IMAGE_TENSOR: example}, outputs, {IMAGE_TENSOR: "NHWC"})


def trace_decoder(name: str, head: nn.Module, backbone: Graph, persons: int = 0) -> Graph:
    """The inference form of one task's `head` on the maps that `backbone` gives and, for pose on regions, on
    the boxes of so many `persons`.
    """
    head = copy.deepcopy(head).eval()
    shapes = {spec.name: spec.shape for spec in backbone.outputs}
    names = [f"f{level}" for level in head.levels]  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(shapes[name], generator=generator) for name in names}
    if persons:
        inputs[PERSONS_TENSOR] = torch.tensor([0.25, 0.25, 0.75, 0.75]).repeat(persons, 1)
    module = _DecoderGraph(head, len(names))
    with torch.inference_mode():
        tensors = list(inputs.values())
        outputs = head.infer(tensors[: len(names)], *tensors[len(names) :])  # type: ignore[operator]
    return trace_module(name, module, inputs, outputs, {})


def levels_needed(heads: Sequence[nn.Module]) -> list[int]:
    """Which of F0..F3 these read, in order."""
    return sorted({level for head in heads for level in head.levels})  # type: ignore[union-attr]


def trace_module(
    name: str,
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    layouts: dict[str, str],
) -> Graph:
    """Any module that takes the tensors `inputs` and gives `outputs`, of which `layouts` names unusual axes.

    Raises ExportError.
    """
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
    except Exception as error:  # torch's exporter raises a family of its own
        raise ExportError(f"{name}: torch cannot export it to ONNX: {first_line(error)}") from error
    _name_nodes(model)
    onnx.checker.check_model(model, full_check=True)
    return Graph(model, _specs(inputs, layouts), _specs(outputs, layouts))


def _specs(tensors: dict[str, Tensor], layouts: dict[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name,
            str(tensor.dtype).removeprefix("torch."),
            tuple(tensor.shape),
            layouts.get(name) or LAYOUTS.get(name) or BY_AXES[tensor.ndim],
        )
        for name, tensor in tensors.items()
    )


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name every node by the module it came from (adapter.injectors.0.attention.value/MatMul_3) and drop the
    exporter's stack traces, which hold paths of the exporting machine.
    """
    for index, node in enumerate(model.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "['']")
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
        path = re.sub(r"^decoder\.", "", modules[-1]) if modules else "graph"
        node.name = f"{path}/{node.op_type}_{index}"
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter prints its progress and warns of its own deprecations; neither is for our user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
