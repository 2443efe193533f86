"""Writing a model package: all of it or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import PackageError
from argus_edge.package.files import FILE_PATH, sha256_of
from argus_edge.package.format import DTYPES, MANIFEST_FILE, component_path, dump
from argus_edge.package.reader import ModelPackage
from argus_edge.package.to_json import component_to_json, manifest_to_json
from argus_edge.spec import FileEntry, GoldenSpec, PackageSpec, Precision

__all__ = ["golden_files", "write_package"]


def write_package(
    path: str | Path, spec: PackageSpec, files: Mapping[str, Path | bytes], overwrite: bool = False
) -> ModelPackage:
    """Write the package `spec` to the folder `path` (NAME.argus) and return it, opened.

    `files` gives every graph (key: `model_path(component, variant)`) and golden file (`golden_files`) as
    bytes or as the path of a file to copy. The package is built in a temporary folder beside `path`, read
    back as a stranger's would be, and renamed: an error never leaves half a package at `path`. The same
    arguments give the same bytes.

    Raises PackageError when `path` exists and either `overwrite` is false or it is not a model package, when
    `spec` and `files` do not fit together, or when the disk refuses.
    """
    target = Path(path).resolve()
    check_target(target, overwrite)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        try:
            _write_files(partial, spec, files)
            ModelPackage.open(partial)
            _put_in_place(partial, target)
        except PackageError as error:
            raise PackageError(str(error).replace(str(partial), str(target))) from None
        finally:
            _remove(partial)
    except OSError as error:
        raise PackageError(f"{target}: the package cannot be written: {error}") from error
    return ModelPackage.open(target, verify=False)


def golden_files(
    image: NDArray[np.uint8],
    outputs: Mapping[str, Mapping[str, NDArray[Any]]],
    precision: Precision,
    inputs: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
) -> tuple[GoldenSpec, dict[str, bytes]]:
    """Return the golden sample as its spec and as the files for `write_package`.

    `image` (1, H, W, 3) uint8 RGB is the network's input; `outputs` (component -> tensor name -> values) is
    what the graphs of `precision` answered to it; `inputs`, of the same form, is what they read beside it and
    the backbone's features (`PackageSpec.extra_inputs`). Raises PackageError for a dtype the format does not
    have.
    """
    files = {"golden/image.bin": image.tobytes()}
    paths: dict[str, dict[str, dict[str, str]]] = {}
    for kind, tensors in (("inputs", inputs or {}), ("outputs", outputs)):
        paths[kind] = {}
        for component, values_of in tensors.items():
            for name, values in values_of.items():
                if values.dtype.name not in DTYPES:
                    known = ", ".join(DTYPES)
                    raise PackageError(
                        f"golden sample: {component}.{name}: expected {known}, got {values.dtype}"
                    )
                path = f"golden/{component}.{name}.bin"
                paths[kind].setdefault(component, {})[name] = path
                files[path] = values.astype(DTYPES[values.dtype.name], copy=False).tobytes()
    return GoldenSpec("golden/image.bin", precision, paths["outputs"], paths["inputs"]), files


def check_target(target: Path, overwrite: bool) -> None:
    """Raise PackageError when a package may not be written to `target`, as `write_package` would."""
    if not target.exists():
        return
    if not overwrite:
        raise PackageError(f"{target}: already exists; choose another name or overwrite it")
    try:
        ModelPackage.open(target, verify=False)
    except PackageError as error:
        raise PackageError(
            f"{target}: will not be overwritten, because it is not a sound model package ({error}); "
            f"remove it by hand"
        ) from None


def _write_files(folder: Path, spec: PackageSpec, files: Mapping[str, Path | bytes]) -> None:
    described = {component_path(name): dump(component_to_json(spec, name)) for name in spec.components}
    entries = {}
    for name, content in {**files, **described}.items():
        if not FILE_PATH.fullmatch(name):
            raise PackageError(f"{name!r} is not a path inside a model package, like {FILE_PATH.pattern}")
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, place)
        else:
            place.write_bytes(content)
        entries[name] = FileEntry(place.stat().st_size, sha256_of(place))
    (folder / MANIFEST_FILE).write_bytes(dump(manifest_to_json(spec, entries)))


def _put_in_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = partial.with_name(f"{partial.name}.old")
    try:
        target.rename(old)
        partial.rename(target)
    except BaseException:  # Ctrl-C as well
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        _remove(old)


def _remove(folder: Path) -> None:
    """Remove a folder of ours if it is there, to the end, even where Ctrl-C comes in between."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
