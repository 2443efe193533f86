"""Opening a model package without trusting it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import PackageError
from argus_edge.package.files import list_files, read_bytes, sha256_of
from argus_edge.package.format import MANIFEST_FILE, component_path, from_bytes, model_path, nbytes
from argus_edge.package.from_json import Manifest, read_component, read_manifest
from argus_edge.package.strict_json import MAX_JSON_BYTES, parse
from argus_edge.package.wiring import check_wiring
from argus_edge.spec import ComponentSpec, FileEntry, PackageSpec, Precision, TensorSpec

__all__ = ["GoldenSample", "ModelPackage"]

_REMEDY = "export the package again"


@dataclass(frozen=True, slots=True, eq=False)
class GoldenSample:
    """A recorded network input and what each component answered: arrays as the component's tensors say."""

    image: NDArray[np.uint8]  # (1, H, W, 3) RGB
    outputs: Mapping[str, Mapping[str, NDArray[Any]]]  # component -> tensor name -> values
    inputs: Mapping[str, NDArray[Any]]  # component -> values of what it reads beside `image` and features


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model package that has been read and found sound. Made by `open`.

    Attributes:
        path: the folder.
        spec: what the package declares.
        files: every file but manifest.json, by its path inside the folder.
        sha256: of manifest.json, which lists the hashes of all others: the identity of the whole package.
    """

    path: Path
    spec: PackageSpec
    files: Mapping[str, FileEntry]
    sha256: str

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> ModelPackage:
        """Read the package in the folder `path`. Nothing in it is executed.

        `verify=False` leaves out the hashes of graphs and golden files, which take time when those are large.
        Raises PackageError, naming the file and the key, when anything is not as the format has it.
        """
        root = Path(path)
        try:
            if not root.is_dir():
                problem = "a file" if root.exists() else "nothing"
                raise PackageError(f"{root}: expected a model package (a folder NAME.argus), got {problem}")
            present = list_files(root)
            data = read_bytes(root / MANIFEST_FILE, MAX_JSON_BYTES)
            manifest = read_manifest(parse(data, f"{root / MANIFEST_FILE}"))
            _check_files(root, manifest.files, present - {MANIFEST_FILE})
            spec = _read_spec(root, manifest)
            package = cls(root, spec, manifest.files, hashlib.sha256(data).hexdigest())
            for image in spec.inputs:
                check_wiring(root, spec.at(image), manifest.files)
            package._check_golden()
            if verify:
                package.verify()
        except OSError as error:  # a path the system refuses, or a disk that fails
            raise PackageError(f"{root}: the package cannot be read: {error}") from error
        return package

    def verify(self) -> None:
        """Raise PackageError for the first file whose content is not the one the manifest lists."""
        for name, entry in self.files.items():
            if sha256_of(self.path / name) != entry.sha256:
                raise PackageError(
                    f"{self.path / name}: its SHA-256 is not the one in {MANIFEST_FILE}, so the file was "
                    f"changed or damaged; copy it again or {_REMEDY}"
                )

    def at(self, height: int, width: int, batch: int = 1) -> ModelPackage:
        """Return the same package as if its network had an input of `batch` images of `height` x `width` [px]
        alone.

        The golden sample is of the first size and left out of the others. Raises PackageError when it does
        not have the size.
        """
        wanted = replace(self.spec.input, height=height, width=width, batch=batch)
        if wanted in self.spec.inputs:
            return replace(self, spec=self.spec.at(wanted))
        have = ", ".join(image.size for image in self.spec.inputs)
        raise PackageError(f"{self.path}: has inputs of {have} px, asked for {wanted.size}")

    def model_file(self, component: str, precision: Precision) -> Path:
        """Return the path of a component's graph. Raises PackageError when the package does not have it."""
        variants = self.component(component).variants
        for name, variant in variants.items():
            if variant.precision == precision:
                return self.path / model_path(component, name, variant.file)
        have = ", ".join(dict.fromkeys(variant.precision for variant in variants.values()))
        raise PackageError(f"{self.path}: component {component!r} has {have}, asked for {precision}")

    def component(self, name: str) -> ComponentSpec:
        """Return what the package says about a component. Raises PackageError when there is none."""
        try:
            return self.spec.components[name]
        except KeyError:
            have = ", ".join(self.spec.components)
            raise PackageError(f"{self.path}: no component {name!r}; it has {have}") from None

    def golden(self) -> GoldenSample | None:
        """Return the golden sample, or None when the package has none."""
        golden = self.spec.golden
        if golden is None:
            return None
        image = self._load(golden.image, self.spec.input.tensor)
        outputs = {
            component: {name: self._load(path, self._output(component, name)) for name, path in paths.items()}
            for component, paths in golden.outputs.items()
        }
        inputs = {
            component: self._load(golden.inputs[component][tensor.name], tensor)
            for component, tensor in self.spec.extra_inputs.items()
        }
        return GoldenSample(image.astype(np.uint8, copy=False), outputs, inputs)

    def _golden_files(self) -> Iterator[tuple[str, TensorSpec]]:
        if self.spec.golden is not None:
            yield self.spec.golden.image, self.spec.input.tensor
            for component, tensor in self.spec.extra_inputs.items():
                yield self.spec.golden.inputs[component][tensor.name], tensor
            for component, paths in self.spec.golden.outputs.items():
                for name, path in paths.items():
                    yield path, self._output(component, name)

    def _output(self, component: str, name: str) -> TensorSpec:
        for tensor in self.component(component).outputs:
            if tensor.name == name:
                return tensor
        raise PackageError(f"{self.path}: golden sample: {component} has no output {name!r}; {_REMEDY}")

    def _check_golden(self) -> None:
        for path, tensor in self._golden_files():
            if path not in self.files:
                raise PackageError(f"{self.path}: golden file {path} is not listed under files; {_REMEDY}")
            if self.files[path].size != nbytes(tensor):
                raise PackageError(
                    f"{self.path / path}: expected the {nbytes(tensor)} bytes of {tensor}, "
                    f"got {self.files[path].size}; {_REMEDY}"
                )

    def _load(self, path: str, tensor: TensorSpec) -> NDArray[Any]:
        return from_bytes(read_bytes(self.path / path, nbytes(tensor)), tensor)


def _check_files(root: Path, listed: Mapping[str, FileEntry], present: set[str]) -> None:
    for name in sorted(present - set(listed)):
        raise PackageError(
            f"{root}: the file {name!r} is not listed in {MANIFEST_FILE}; remove it or {_REMEDY}"
        )
    for name, entry in listed.items():
        if name not in present:
            raise PackageError(f"{root / name}: listed in {MANIFEST_FILE}, but not there; {_REMEDY}")
        size = (root / name).lstat().st_size
        if size != entry.size:
            raise PackageError(
                f"{root / name}: expected {entry.size} bytes as listed in {MANIFEST_FILE}, got {size}; "
                f"copy it again or {_REMEDY}"
            )


def _read_spec(root: Path, manifest: Manifest) -> PackageSpec:
    sizes = [image.size for image in manifest.other_sizes]
    components: dict[str, dict[str | None, ComponentSpec]] = {}
    for name in manifest.components:
        path = component_path(name)
        if path not in manifest.files:
            raise PackageError(f"{root / MANIFEST_FILE}: {path} is not listed under files; {_REMEDY}")
        data = read_bytes(root / path, MAX_JSON_BYTES)
        if hashlib.sha256(data).hexdigest() != manifest.files[path].sha256:
            raise PackageError(f"{root / path}: its SHA-256 is not the one in {MANIFEST_FILE}; {_REMEDY}")
        components[name] = read_component(parse(data, str(root / path)), sizes)
    return PackageSpec(
        name=manifest.name,
        input=manifest.input,
        tasks=manifest.tasks,
        components={name: each[None] for name, each in components.items()},
        golden=manifest.golden,
        report=manifest.report,
        other_sizes={
            image: {name: each[image.size] for name, each in components.items()}
            for image in manifest.other_sizes
        },
    )
