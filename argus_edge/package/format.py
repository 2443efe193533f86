"""Names, versions and bytes of a package's files (docs/package-format.md).

`manifest.json` and `component.json` have the shape that ONNX Runtime's model-package reader opens; what is
ours stands under the key `argus` in the places it leaves free. `to_json` and `from_json` know their keys.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import PackageError
from argus_edge.spec import JsonValue, TensorSpec

__all__ = [
    "COMPONENT_FILE",
    "DTYPES",
    "FORMAT_VERSIONS",
    "MANIFEST_FILE",
    "MAX_BATCH",
    "MAX_SIDE",
    "SCHEMA_VERSION",
    "component_path",
    "dump",
    "from_bytes",
    "model_path",
    "nbytes",
]

# 1.1 has tasks that are none of the twelve, 1.2 inputs of several sizes and batches as well.
FORMAT_VERSIONS: Final = ("1.0", "1.1", "1.2")
MANIFEST_FILE: Final = "manifest.json"
COMPONENT_FILE: Final = "component.json"
DTYPES: Final = {"uint8": "|u1", "int32": "<i4", "int64": "<i8", "float16": "<f2", "float32": "<f4"}

SCHEMA_VERSION: Final = "1.0"  # of ONNX Runtime's model package
MAX_SIDE: Final = 16384
MAX_BATCH: Final = 256


def component_path(component: str) -> str:
    """Return the path of a component's description inside the package."""
    return f"models/{component}/{COMPONENT_FILE}"


def model_path(component: str, variant: str, file: str = "model.onnx") -> str:
    """Return the path of a variant's graph inside the package: the key `write_package` expects it under."""
    return f"models/{component}/{variant}/{file}"


def nbytes(tensor: TensorSpec) -> int:
    """Return the size of the tensor's values [bytes]."""
    return math.prod(tensor.shape) * np.dtype(DTYPES[tensor.dtype]).itemsize


def from_bytes(data: bytes, tensor: TensorSpec) -> NDArray[Any]:
    """Return the (read-only) values of `tensor` from their bytes: C order, little-endian."""
    return np.frombuffer(data, dtype=DTYPES[tensor.dtype]).reshape(tensor.shape)


def dump(value: JsonValue) -> bytes:
    """Return the bytes of a JSON file of the format: two spaces, ASCII, keys in the order given.

    Raises PackageError for what JSON does not have: NaN, infinities, other types.
    """
    try:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("ascii")
    except (TypeError, ValueError) as error:
        raise PackageError(f"the package's description cannot be written as JSON: {error}") from None
