"""What a package's JSON files say, as values that JSON has (docs/package-format.md); see `from_json`."""

from __future__ import annotations

from collections.abc import Mapping

from argus_edge.package.format import FORMAT_VERSIONS, SCHEMA_VERSION
from argus_edge.spec import (
    BACKBONE,
    ComponentSpec,
    FileEntry,
    GoldenSpec,
    ImageSpec,
    JsonValue,
    PackageSpec,
    TaskEntry,
    TensorSpec,
    VariantSpec,
)

__all__ = ["component_to_json", "manifest_to_json"]


def manifest_to_json(spec: PackageSpec, files: Mapping[str, FileEntry]) -> dict[str, JsonValue]:
    """Return the content of manifest.json; `files` lists every other file of the package."""
    argus: dict[str, JsonValue] = {
        "format_version": _version_of(spec),
        "name": spec.name,
        "input": _input_to_json(spec.input),
        **_sizes_to_json(spec),
        "tasks": {name: _task_to_json(task) for name, task in spec.tasks.items()},
    }
    if spec.golden is not None:
        argus["golden"] = _golden_to_json(spec.golden)
    argus["report"] = dict(spec.report)
    argus["files"] = {
        path: {"size": files[path].size, "sha256": files[path].sha256} for path in sorted(files)
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "components": {name: f"models/{name}" for name in spec.components},
        "additional_metadata": {"argus": argus},
    }


def component_to_json(spec: PackageSpec, name: str) -> dict[str, JsonValue]:
    """Return the content of the component.json of one component of a package."""
    component = spec.components[name]
    variants: dict[str, JsonValue] = {
        key: _variant_to_json(variant) for key, variant in component.variants.items()
    }
    argus = _boundary_to_json(component)
    if spec.other_sizes:
        others = {image.size: components[name] for image, components in spec.other_sizes.items()}
        boundaries: dict[str, JsonValue] = {size: _boundary_to_json(o) for size, o in others.items()}
        argus["other_sizes"] = boundaries
        for size, other in others.items():
            variants |= {key: _variant_to_json(variant, size) for key, variant in other.variants.items()}
    return {"variants": variants, "additional_metadata": {"argus": argus}}


def _boundary_to_json(component: ComponentSpec) -> dict[str, JsonValue]:
    return {
        "inputs": [_tensor_to_json(tensor) for tensor in component.inputs],
        "outputs": [_tensor_to_json(tensor) for tensor in component.outputs],
    }


def _sizes_to_json(spec: PackageSpec) -> dict[str, JsonValue]:
    sizes: list[JsonValue] = [_size_to_json(image) for image in spec.other_sizes]
    return {"other_sizes": sizes} if sizes else {}


def _size_to_json(image: ImageSpec) -> dict[str, JsonValue]:
    batch: dict[str, JsonValue] = {"batch": image.batch} if image.batch > 1 else {}
    return {"height": image.height, "width": image.width, **batch}


def _input_to_json(image: ImageSpec) -> dict[str, JsonValue]:
    return {
        "height": image.height,
        "width": image.width,
        "dtype": image.dtype,
        "layout": image.layout,
        "color": image.color,
        "resize": image.resize,
        "placement": image.placement,
        "pad_color": list(image.pad_color),
    }


def _version_of(spec: PackageSpec) -> str:
    """The lowest version that has what the package needs, so that older readers open what they can."""
    first, custom, sizes = FORMAT_VERSIONS
    if spec.other_sizes:
        return sizes
    return custom if any(task.custom is not None for task in spec.tasks.values()) else first


def _task_to_json(task: TaskEntry) -> dict[str, JsonValue]:
    """A key that says what goes without saying is left out."""
    entry: dict[str, JsonValue] = {"component": task.component, "classes": list(task.classes)}
    if task.custom is not None:
        row = task.custom
        unit = {"unit": row.unit} if row.unit else {}
        entry["custom"] = {"title": row.title, "kind": row.kind, "metric": row.metric, **unit}
    if task.things:
        entry["things"] = task.things
    if task.backbone != BACKBONE:
        entry["backbone"] = task.backbone
    return entry


def _golden_to_json(golden: GoldenSpec) -> dict[str, JsonValue]:
    entry: dict[str, JsonValue] = {"image": golden.image, "precision": golden.precision}
    if golden.inputs:
        entry["inputs"] = {component: dict(paths) for component, paths in golden.inputs.items()}
    entry["outputs"] = {component: dict(paths) for component, paths in golden.outputs.items()}
    return entry


def _tensor_to_json(tensor: TensorSpec) -> dict[str, JsonValue]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "layout": tensor.layout,
    }


def _variant_to_json(variant: VariantSpec, size: str | None = None) -> dict[str, JsonValue]:
    """`size`: where it is not the package's first."""
    argus: dict[str, JsonValue] = {"precision": variant.precision}
    if size is not None:
        argus["size"] = size
    if variant.quantization is not None:
        argus["quantization"] = {
            "recipe": variant.quantization.recipe,
            "calibration_sha256": variant.quantization.calibration_sha256,
            "calibration_images": variant.quantization.calibration_images,
        }
    return {"ep": variant.ep, "executor_info": {"ort": {"model_file": variant.file}, "argus": argus}}
