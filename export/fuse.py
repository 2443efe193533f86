"""One graph for backbone and decoders together, for tools that take a single file (`trtexec`, profilers).

A package keeps them apart, so that each decoder can run at a rate of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import compose

from argus_edge.errors import ExportError
from argus_edge.export.components import CROP_BACKBONE
from argus_edge.export.rewrite import copied
from argus_edge.package import ModelPackage
from argus_edge.spec import BACKBONE, Precision
from argus_edge.train.model.checkpoint import write_atomically

__all__ = ["check_fusible", "fuse", "fused_files", "fused_name", "write_fused"]


def fused_name(component: str, output: str) -> str:
    """What a component's output is called in the fused graph, such as `det.boxes`."""
    return f"{component}.{output}"


def fuse(graphs: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """The `graphs` of all components, in whatever precision, as one.

    Its inputs are `image` and, with pose on regions, `persons`; its outputs are all decoders', called as
    `fused_name` has it. Raises ExportError where pose reads crops.
    """
    check_fusible(graphs)
    fused = _prefixed(graphs[BACKBONE], BACKBONE)
    features = [output.name for output in fused.graph.output]
    for component, graph in graphs.items():
        if component != BACKBONE:
            decoder = _prefixed(graph, component)
            read = [tensor.name for tensor in decoder.graph.input]
            joints = [(f, name) for name in read if (f := fused_name(BACKBONE, name)) in features]
            outputs = [output.name for model in (fused, decoder) for output in model.graph.output]
            fused = compose.merge_models(fused, decoder, joints, outputs=outputs)
    for output in [output for output in fused.graph.output if output.name in features]:
        fused.graph.output.remove(output)
    fused.graph.name = "argus"
    onnx.checker.check_model(fused, full_check=True)
    return fused


def check_fusible(components: Collection[str]) -> None:
    """Raise ExportError where the components of a package cannot be one graph."""
    if CROP_BACKBONE in components:
        raise ExportError(
            "one graph makes one pass over one image, but with --pose crop the backbone also sees a crop of "
            "each person; choose --pose roi or --layout split"
        )


def _prefixed(graph: onnx.ModelProto, component: str) -> onnx.ModelProto:
    """A copy in which all names but those of the inputs begin with the component's."""
    prefixed: onnx.ModelProto = compose.add_prefix(
        copied(graph), fused_name(component, ""), rename_inputs=False
    )
    return prefixed


def fused_files(package: Path, precisions: Sequence[Precision]) -> dict[Precision, Path]:
    """Where the fused graphs of a package go: beside it, named after it (nano.int8.onnx)."""
    return {precision: package.with_name(f"{package.stem}.{precision}.onnx") for precision in precisions}


def write_fused(package: ModelPackage, files: Mapping[Precision, Path]) -> None:
    """Write the fused graph of each precision that `package` holds to its file, whole or not at all.

    Raises ExportError.
    """
    for precision in package.spec.precisions:
        graphs = {name: onnx.load(package.model_file(name, precision)) for name in package.spec.components}
        write_atomically(files[precision], fuse(graphs).SerializeToString(deterministic=True))
