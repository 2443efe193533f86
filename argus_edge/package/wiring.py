"""Whether the graphs, tasks and golden sample of a package fit together (docs/package-format.md)."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Final

from argus_edge.errors import PackageError
from argus_edge.package.format import MANIFEST_FILE, MAX_SIDE, model_path
from argus_edge.spec import (
    BACKBONE,
    IMAGE_TENSOR,
    PERSONS_TENSOR,
    ComponentSpec,
    PackageSpec,
    TaskEntry,
    TensorSpec,
)

__all__ = ["MAX_PERSONS", "check_wiring"]

MAX_PERSONS: Final = 256

_REMEDY: Final = "export the package again"


def check_wiring(path: Path, spec: PackageSpec, files: Container[str]) -> None:
    """Check image -> backbone -> decoders, one decoder for each task, a graph for each variant.

    `path` is the package's folder, `files` what its manifest lists. Raises PackageError.
    """
    _check_graphs(path, spec, files)
    _check_backbones(path, spec)
    for task, entry in spec.tasks.items():
        _check_task(path, spec, task, entry)
    for name, component in spec.components.items():
        if not component.is_backbone:
            _check_decoder(path, spec, name, component)
    _check_golden_inputs(path, spec)
    if spec.input.batch > 1:
        _check_batch(path, spec)
    used = {name for e in spec.tasks.values() for name in (e.component, e.backbone)} | {BACKBONE}
    for name in spec.components:
        if name not in used:
            raise PackageError(f"{path / MANIFEST_FILE}: no task uses the component {name!r}; {_REMEDY}")


def _check_graphs(path: Path, spec: PackageSpec, files: Container[str]) -> None:
    for name, component in spec.components.items():
        for variant_name, variant in component.variants.items():
            graph = model_path(name, variant_name, variant.file)
            if graph not in files:
                raise PackageError(f"{path / MANIFEST_FILE}: {graph} is not listed under files; {_REMEDY}")
    if not spec.precisions:
        raise PackageError(f"{path}: no precision in which every component exists; {_REMEDY}")


def _check_batch(path: Path, spec: PackageSpec) -> None:
    """Of several images at once, every tensor has a part for each; those of pose would not."""
    for name, component in spec.components.items():
        for tensor in (*component.inputs, *component.outputs):
            if tensor.layout[0] != "N" or tensor.shape[0] != spec.input.batch:
                raise PackageError(
                    f"{path}: {name} must have {spec.input.batch} images along the first axis of every "
                    f"tensor at {spec.input.size} px, got {tensor}; {_REMEDY}"
                )


def _check_backbones(path: Path, spec: PackageSpec) -> None:
    if BACKBONE not in spec.components:
        raise PackageError(f"{path / MANIFEST_FILE}: components: {BACKBONE!r} is missing; {_REMEDY}")
    if spec.components[BACKBONE].inputs != (spec.input.tensor,):
        raise PackageError(f"{path}: the backbone's input is not {spec.input.tensor}; {_REMEDY}")
    for name, component in spec.components.items():
        if component.is_backbone:
            (image,) = component.inputs
            height, width = image.shape[1:3] if len(image.shape) == 4 else (0, 0)
            sized = 2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE
            shape = (spec.input.batch, height, width, 3)
            if not sized or image != TensorSpec(IMAGE_TENSOR, "uint8", shape, "NHWC"):
                raise PackageError(
                    f"{path}: {name} must take uint8 ({spec.input.batch}, H, W, 3) in NHWC, H and W from 2 "
                    f"to {MAX_SIDE}, got {image}; {_REMEDY}"
                )


def _check_task(path: Path, spec: PackageSpec, task: str, entry: TaskEntry) -> None:
    where = f"{path / MANIFEST_FILE}: tasks: {task}"
    decoder, backbone = (spec.components.get(name) for name in (entry.component, entry.backbone))
    if decoder is None or decoder.is_backbone:
        raise PackageError(f"{where}: there is no decoder {entry.component!r}; {_REMEDY}")
    if backbone is None or not backbone.is_backbone:
        raise PackageError(f"{where}: there is no backbone {entry.backbone!r}; {_REMEDY}")
    if len({e.backbone for e in spec.tasks.values() if e.component == entry.component}) > 1:
        raise PackageError(f"{where}: {entry.component!r} cannot read several backbones; {_REMEDY}")
    wants_persons = entry.row(task).kind == "keypoints" and entry.backbone == BACKBONE
    if wants_persons and decoder.persons is None:
        raise PackageError(
            f"{where}: {entry.component!r} must take {PERSONS_TENSOR!r} or read a backbone of crops; "
            f"{_REMEDY}"
        )
    if decoder.persons is not None and not wants_persons:
        raise PackageError(f"{where}: {entry.component!r} must not take {PERSONS_TENSOR!r}; {_REMEDY}")


def _check_decoder(path: Path, spec: PackageSpec, name: str, component: ComponentSpec) -> None:
    backbone = next((e.backbone for e in spec.tasks.values() if e.component == name), BACKBONE)
    features = {tensor.name: tensor for tensor in spec.components[backbone].outputs}
    for tensor in component.inputs:
        if tensor.name == PERSONS_TENSOR:
            count = tensor.shape[0]
            if tensor != TensorSpec(PERSONS_TENSOR, "float32", (count, 4), "KX") or count > MAX_PERSONS:
                raise PackageError(
                    f"{path}: {name} must take {PERSONS_TENSOR} as float32 (P, 4) in KX, P at most "
                    f"{MAX_PERSONS}, got {tensor}; {_REMEDY}"
                )
        elif features.get(tensor.name) != tensor:
            raise PackageError(
                f"{path}: {name} takes {tensor}, but the backbone gives "
                f"{features.get(tensor.name, 'no such tensor')}; {_REMEDY}"
            )


def _check_golden_inputs(path: Path, spec: PackageSpec) -> None:
    if spec.golden is None:
        return
    expected = {(name, tensor.name) for name, tensor in spec.extra_inputs.items()}
    given = {(name, tensor) for name, paths in spec.golden.inputs.items() for tensor in paths}
    if given != expected:
        wanted, have = (", ".join(sorted(map(".".join, names))) or "none" for names in (expected, given))
        raise PackageError(f"{path}: golden sample: expected the inputs {wanted}, got {have}; {_REMEDY}")
