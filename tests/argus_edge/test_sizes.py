"""Packages whose network takes inputs of several sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage, model_path, write_package
from argus_edge.spec import ComponentSpec, ImageSpec, PackageSpec, TensorSpec, VariantSpec

SIZES = (ImageSpec(96, 128), ImageSpec(128, 128), ImageSpec(64, 64, batch=2))


def resized(tensor: TensorSpec, old: ImageSpec, new: ImageSpec) -> TensorSpec:
    """The same tensor for another size or batch of the network's input."""
    scales = {"H": new.height / old.height, "W": new.width / old.width, "N": new.batch / old.batch}
    shape = tuple(round(n * scales.get(axis, 1)) for n, axis in zip(tensor.shape, tensor.layout, strict=True))
    return replace(tensor, shape=shape)


def at_size(spec: PackageSpec, image: ImageSpec) -> dict[str, ComponentSpec]:
    return {
        name: ComponentSpec(
            tuple(resized(tensor, spec.input, image) for tensor in component.inputs),
            tuple(resized(tensor, spec.input, image) for tensor in component.outputs),
            {f"fp32-{image.size}": VariantSpec("fp32")},
        )
        for name, component in spec.components.items()
    }


@pytest.fixture
def spec(tiny_package: ModelPackage) -> PackageSpec:
    spec = tiny_package.spec
    return replace(spec, other_sizes={image: at_size(spec, image) for image in SIZES})


@pytest.fixture
def files(tiny_package: ModelPackage, spec: PackageSpec) -> dict[str, Path | bytes]:
    """Graphs of the other sizes are text: reading a package opens none."""
    files: dict[str, Path | bytes] = {
        name: tiny_package.path / name for name in tiny_package.files if not name.endswith(".json")
    }
    for components in spec.other_sizes.values():
        for name, component in components.items():
            for variant in component.variants:
                files[model_path(name, variant)] = f"{name} {variant}".encode()
    return files


@pytest.fixture
def package(spec: PackageSpec, files: dict[str, Path | bytes], tmp_path: Path) -> ModelPackage:
    return write_package(tmp_path / "sizes.argus", spec, files)


def manifest_of(package: ModelPackage) -> Any:
    return json.loads((package.path / "manifest.json").read_text())


def test_reading_gives_what_was_written(package: ModelPackage, spec: PackageSpec) -> None:
    assert package.spec == spec
    assert [image.size for image in package.spec.inputs] == ["64x64", "96x128", "128x128", "2x64x64"]
    assert manifest_of(package)["additional_metadata"]["argus"]["format_version"] == "1.2"


def test_at_a_size_it_is_a_package_of_that_size(package: ModelPackage, spec: PackageSpec) -> None:
    at = package.at(96, 128)
    assert at.spec.input == SIZES[0]
    assert at.spec.components == spec.other_sizes[SIZES[0]]
    assert at.spec.precisions == ("fp32",)
    assert at.golden() is None
    assert at.model_file("seg", "fp32").read_text() == "seg fp32-96x128"
    assert at.sha256 == package.sha256
    first = package.at(64, 64)
    assert first.golden() is not None
    assert first.spec.inputs == (spec.input,)
    assert first.model_file("seg", "fp32") == package.model_file("seg", "fp32")


def test_a_size_that_is_not_there_is_refused(package: ModelPackage) -> None:
    with pytest.raises(PackageError, match=r"has inputs of 64x64, 96x128, .*2x64x64 px, asked for 64x96"):
        package.at(64, 96)
    with pytest.raises(PackageError, match="asked for 2x96x128"):
        package.at(96, 128, 2)


def test_one_size_needs_no_new_format(tiny_package: ModelPackage) -> None:
    assert manifest_of(tiny_package)["additional_metadata"]["argus"]["format_version"] == "1.0"


def wrong_shape(spec: PackageSpec) -> PackageSpec:
    components = dict(spec.other_sizes[SIZES[0]])
    components["seg"] = replace(components["seg"], inputs=spec.components["seg"].inputs)
    return replace(spec, other_sizes={**spec.other_sizes, SIZES[0]: components})


def no_variant(spec: PackageSpec) -> PackageSpec:
    components = dict(spec.other_sizes[SIZES[0]])
    components["seg"] = replace(components["seg"], variants={})
    return replace(spec, other_sizes={**spec.other_sizes, SIZES[0]: components})


def same_names(spec: PackageSpec) -> PackageSpec:
    components = {
        name: replace(c, variants=spec.components[name].variants)
        for name, c in at_size(spec, SIZES[0]).items()
    }
    return replace(spec, other_sizes={SIZES[0]: components})


def one_image_among_two(spec: PackageSpec) -> PackageSpec:
    components = dict(spec.other_sizes[SIZES[2]])
    components["seg"] = replace(components["seg"], outputs=spec.components["seg"].outputs)
    return replace(spec, other_sizes={**spec.other_sizes, SIZES[2]: components})


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (wrong_shape, "seg takes .* but the backbone gives"),
        (no_variant, "no precision in which every component exists"),
        (same_names, "no precision in which every component exists"),
        (one_image_among_two, "seg must have 2 images along the first axis .* at 2x64x64 px"),
    ],
)
def test_every_size_must_fit_together(
    spec: PackageSpec,
    files: dict[str, Path | bytes],
    spoil: Callable[[PackageSpec], PackageSpec],
    named: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(PackageError, match=named):
        write_package(tmp_path / "spoilt.argus", spoil(spec), files)
    assert not (tmp_path / "spoilt.argus").exists()


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([], "other_sizes: expected a list of 1 to 8"),
        ([{"height": 64, "width": 64}], "sizes that differ from one another and from that of input"),
        ([{"height": 96, "width": 128}] * 2, "sizes that differ"),
        ([{"height": 96, "width": 0}], "width: expected an integer of 1 to"),
        ([{"height": 96, "width": 128, "batch": 1}], "batch: expected an integer of 2 to 256"),
        ([{"height": 96, "width": 128}], "unknown key '128x128'"),
        ("96x128", "other_sizes: expected"),
    ],
)
def test_a_manifest_with_other_sizes_is_refused(package: ModelPackage, sizes: Any, named: str) -> None:
    manifest = manifest_of(package)
    manifest["additional_metadata"]["argus"]["other_sizes"] = sizes
    (package.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=named):
        ModelPackage.open(package.path)


def test_an_older_format_has_no_sizes(package: ModelPackage) -> None:
    manifest = manifest_of(package)
    manifest["additional_metadata"]["argus"]["format_version"] = "1.1"
    (package.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="unknown key 'other_sizes'"):
        ModelPackage.open(package.path)
