"""A package's JSON files, read without trusting them (docs/package-format.md); see `to_json`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from argus_edge.errors import PackageError, TaskError
from argus_edge.package.files import FILE_PATH, MAX_FILE_BYTES, MAX_FILES
from argus_edge.package.format import DTYPES, FORMAT_VERSIONS, MAX_BATCH, MAX_SIDE, SCHEMA_VERSION
from argus_edge.package.strict_json import Node
from argus_edge.spec import (
    BACKBONE,
    PRECISIONS,
    ComponentSpec,
    FileEntry,
    GoldenSpec,
    ImageSpec,
    JsonValue,
    QuantizationSpec,
    TaskEntry,
    TensorSpec,
    VariantSpec,
)
from argus_edge.tasks import CUSTOM_KINDS, TASKS, OutputKind, TaskSpec, check_task_name

__all__ = ["Manifest", "read_component", "read_manifest"]

_MAX_COMPONENTS: Final = 32
_MAX_TASKS: Final = 32
_MAX_SIZES: Final = 8
_MAX_VARIANTS: Final = 32
_MAX_TENSORS: Final = 32
_MAX_CLASSES: Final = 65536
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LAYOUT: Final = re.compile(r"[A-Z]{1,6}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says; the components' own files say the rest."""

    name: str
    input: ImageSpec
    tasks: dict[str, TaskEntry]
    components: tuple[str, ...]
    golden: GoldenSpec | None
    report: dict[str, JsonValue]
    files: dict[str, FileEntry]
    other_sizes: tuple[ImageSpec, ...] = ()


def read_manifest(document: Node) -> Manifest:
    """Return what manifest.json says. Raises PackageError for anything the format does not have."""
    top = document.fields("schema_version", "components", "additional_metadata")
    top["schema_version"].choice([SCHEMA_VERSION])
    components = top["components"].entries(_MAX_COMPONENTS)
    for name, folder in components.items():
        folder.choice([f"models/{name}"])
    node = top["additional_metadata"].fields("argus")["argus"]
    if isinstance(node.value, dict) and "format_version" in node.value:
        # Checked before the keys: another version may well have others.
        node.child("format_version").choice(FORMAT_VERSIONS)
    first, _, sizes = FORMAT_VERSIONS
    version = node.value.get("format_version") if isinstance(node.value, dict) else None
    optional = ["golden", "other_sizes"] if version == sizes else ["golden"]
    argus = node.fields("format_version", "name", "input", "tasks", "report", "files", optional=optional)
    image = _read_input(argus["input"])
    return Manifest(
        name=argus["name"].text(),
        input=image,
        tasks=_read_tasks(argus["tasks"], custom=version != first),
        components=tuple(components),
        golden=_read_golden(argus["golden"]) if "golden" in argus else None,
        report=argus["report"].free(),
        files={path: _read_file(node) for path, node in argus["files"].entries(MAX_FILES, FILE_PATH).items()},
        other_sizes=_read_sizes(argus["other_sizes"], image) if "other_sizes" in argus else (),
    )


def read_component(document: Node, sizes: Sequence[str]) -> dict[str | None, ComponentSpec]:
    """Return what one component.json says, in the package's first size (None) and each of its other `sizes`.

    Raises PackageError for anything the format does not have.
    """
    top = document.fields("variants", "additional_metadata")
    own = ("inputs", "outputs", "other_sizes") if sizes else ("inputs", "outputs")
    argus = top["additional_metadata"].fields("argus")["argus"].fields(*own)
    boundaries: dict[str | None, Mapping[str, Node]] = {None: argus}
    if sizes:
        others = argus["other_sizes"].fields(*sizes)
        boundaries |= {size: others[size].fields("inputs", "outputs") for size in sizes}
    variants = {
        name: _read_variant(node, sizes) for name, node in top["variants"].entries(_MAX_VARIANTS).items()
    }
    return {
        size: ComponentSpec(
            _read_tensors(boundary["inputs"]),
            _read_tensors(boundary["outputs"]),
            {name: variant for name, (variant, of) in variants.items() if of == size},
        )
        for size, boundary in boundaries.items()
    }


def _read_sizes(node: Node, image: ImageSpec) -> tuple[ImageSpec, ...]:
    found = [image]
    for item in node.items(1, _MAX_SIZES):
        fields = item.fields("height", "width", optional=["batch"])
        height, width = (fields[side].integer(1, MAX_SIDE) for side in ("height", "width"))
        batch = fields["batch"].integer(2, MAX_BATCH) if "batch" in fields else 1
        found.append(replace(image, height=height, width=width, batch=batch))
    if len(set(found)) != len(found):
        raise node.refusal("sizes that differ from one another and from that of input")
    return tuple(found[1:])


def _read_input(node: Node) -> ImageSpec:
    keys = ("height", "width", "dtype", "layout", "color", "resize", "placement", "pad_color")
    image = node.fields(*keys)
    red, green, blue = (value.integer(0, 255) for value in image["pad_color"].items(3, 3))
    return ImageSpec(
        height=image["height"].integer(1, MAX_SIDE),
        width=image["width"].integer(1, MAX_SIDE),
        dtype=image["dtype"].choice(["uint8"]),
        layout=image["layout"].choice(["NHWC"]),
        color=image["color"].choice(["RGB"]),
        resize=image["resize"].choice(["bilinear_antialias"]),
        placement=image["placement"].choice(["top_left"]),
        pad_color=(red, green, blue),
    )


def _read_tasks(node: Node, custom: bool) -> dict[str, TaskEntry]:
    """`custom`: whether the format's version has tasks that are none of the twelve."""
    tasks = {}
    for name, entry in node.entries(_MAX_TASKS).items():
        if name in TASKS:
            tasks[name] = _read_task(entry, TASKS[name])
        elif custom:
            tasks[name] = _read_custom_task(entry, name)
        else:
            raise PackageError(
                f"{entry.where}: unknown task; this version has {', '.join(TASKS)}; update argus-edge"
            )
    return tasks


def _read_task(node: Node, row: TaskSpec) -> TaskEntry:
    own: dict[OutputKind, tuple[str, ...]] = {"panoptic": ("things",), "keypoints": ("backbone",)}
    fields = node.fields("component", "classes", optional=own.get(row.kind, ()))
    classes = _read_classes(fields["classes"])
    return TaskEntry(
        fields["component"].text(),
        classes,
        things=fields["things"].integer(0, len(classes)) if "things" in fields else 0,
        backbone=fields["backbone"].text() if "backbone" in fields else BACKBONE,
    )


def _read_custom_task(node: Node, name: str) -> TaskEntry:
    try:
        check_task_name(name)
    except TaskError as error:
        raise PackageError(f"{node.where}: {error}; export the package again") from None
    fields = node.fields("component", "classes", "custom")
    row = fields["custom"].fields("title", "kind", "metric", optional=("unit",))
    return TaskEntry(
        fields["component"].text(),
        _read_classes(fields["classes"]),
        custom=TaskSpec(
            name,
            row["title"].label(),
            row["kind"].choice(CUSTOM_KINDS),
            row["metric"].label(),
            row["unit"].label() if "unit" in row else "",
        ),
    )


def _read_classes(node: Node) -> tuple[str, ...]:
    return tuple(label.label() for label in node.items(0, _MAX_CLASSES))


def _read_golden(node: Node) -> GoldenSpec:
    golden = node.fields("image", "precision", "outputs", optional=["inputs"])
    return GoldenSpec(
        golden["image"].text(FILE_PATH),
        golden["precision"].choice(PRECISIONS),
        outputs=_read_golden_files(golden["outputs"]),
        inputs=_read_golden_files(golden["inputs"]) if "inputs" in golden else {},
    )


def _read_golden_files(node: Node) -> dict[str, dict[str, str]]:
    return {
        component: {tensor: path.text(FILE_PATH) for tensor, path in paths.entries(_MAX_TENSORS).items()}
        for component, paths in node.entries(_MAX_COMPONENTS).items()
    }


def _read_file(node: Node) -> FileEntry:
    entry = node.fields("size", "sha256")
    return FileEntry(entry["size"].integer(1, MAX_FILE_BYTES), entry["sha256"].text(_SHA256))


def _read_tensors(node: Node) -> tuple[TensorSpec, ...]:
    tensors = []
    for item in node.items(1, _MAX_TENSORS):
        fields = item.fields("name", "dtype", "shape", "layout")
        shape = tuple(side.integer(1, 2**24) for side in fields["shape"].items(1, 6))
        layout = fields["layout"].text(_LAYOUT)
        if len(layout) != len(shape):
            raise fields["layout"].refusal(f"one letter for each of the {len(shape)} axes of the shape")
        dtype = fields["dtype"].choice(tuple(DTYPES))
        tensors.append(TensorSpec(fields["name"].text(), dtype, shape, layout))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise node.refusal("tensors with different names")
    return tuple(tensors)


def _read_variant(node: Node, sizes: Sequence[str]) -> tuple[VariantSpec, str | None]:
    """A variant and, where it is not the package's first one, its size."""
    variant = node.fields("ep", "executor_info")
    info = variant["executor_info"].fields("ort", "argus")
    optional = ["quantization", "size"] if sizes else ["quantization"]
    argus = info["argus"].fields("precision", optional=optional)
    quantization = None
    if "quantization" in argus:
        recipe = argus["quantization"].fields("recipe", "calibration_sha256", "calibration_images")
        quantization = QuantizationSpec(
            recipe["recipe"].label(),
            recipe["calibration_sha256"].text(_SHA256),
            recipe["calibration_images"].integer(0, 2**31),
        )
    found = VariantSpec(
        precision=argus["precision"].choice(PRECISIONS),
        file=info["ort"].fields("model_file")["model_file"].text(),
        ep=variant["ep"].text(),
        quantization=quantization,
    )
    return found, argus["size"].choice(sizes) if "size" in argus else None
