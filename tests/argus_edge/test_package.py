from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage, model_path, write_package
from argus_edge.spec import (
    ComponentSpec,
    GoldenSpec,
    ImageSpec,
    PackageSpec,
    QuantizationSpec,
    TaskEntry,
    TensorSpec,
    VariantSpec,
)

# Changes only with the format: then its version changes too.
EXAMPLE_SHA256 = "60d3dbf33ed744ae2750d467ffbda4eba39561642b41739d5a3a12f3a7b0bede"
PAGE = Path(__file__).parents[2] / "docs" / "package-format.md"

FEATURE = TensorSpec("f0", "float32", (1, 8, 8, 8), "NCHW")
LABELS = TensorSpec("labels", "uint8", (1, 32, 32), "NHW")
EXAMPLE = PackageSpec(
    name="example",
    input=ImageSpec(32, 32),
    tasks={"seg": TaskEntry("seg", ("ground", "person"))},
    components={
        "backbone": ComponentSpec((ImageSpec(32, 32).tensor,), (FEATURE,), {"int8": VariantSpec("int8")}),
        "seg": ComponentSpec(
            (FEATURE,),
            (LABELS,),
            {"int8": VariantSpec("int8", quantization=QuantizationSpec("nncf-transformer", "0" * 64, 300))},
        ),
    },
    golden=GoldenSpec("golden/image.bin", "int8", {"seg": {"labels": "golden/seg.labels.bin"}}),
    report={"accuracy": {"int8": {"seg": {"mIoU": 0.75}}}},
)
EXAMPLE_FILES: dict[str, Path | bytes] = {
    model_path("backbone", "int8"): b"not a real graph",
    model_path("seg", "int8"): b"nor is this one",
    "golden/image.bin": bytes(32 * 32 * 3),
    "golden/seg.labels.bin": bytes(32 * 32),
}


def write_example(path: Path, spec: PackageSpec = EXAMPLE, overwrite: bool = False) -> ModelPackage:
    return write_package(path, spec, EXAMPLE_FILES, overwrite)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    package = write_example(tmp_path / "example.argus")
    assert ModelPackage.open(tmp_path / "example.argus") == package
    assert package.spec == EXAMPLE
    assert package.spec.precisions == ("int8",)
    assert package.model_file("seg", "int8").read_bytes() == b"nor is this one"


def test_the_page_shows_what_is_written(tmp_path: Path) -> None:
    package = write_example(tmp_path / "example.argus")
    shown = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name, block in zip(("manifest.json", "models/seg/component.json"), shown, strict=True):
        assert json.loads(block) == json.loads((package.path / name).read_text())


def test_the_bytes_stay_as_they_are(tmp_path: Path) -> None:
    """The manifest holds the hashes of all other files, so its own pins every byte of the package."""
    package = write_example(tmp_path / "example.argus")
    assert hashlib.sha256((package.path / "manifest.json").read_bytes()).hexdigest() == EXAMPLE_SHA256
    assert package.sha256 == EXAMPLE_SHA256


def test_files_are_copied_from_paths(tmp_path: Path) -> None:
    (tmp_path / "graph").write_bytes(b"from a file")
    files = {**EXAMPLE_FILES, model_path("seg", "int8"): tmp_path / "graph"}
    package = write_package(tmp_path / "example.argus", EXAMPLE, files)
    assert package.model_file("seg", "int8").read_bytes() == b"from a file"


def test_golden_sample_comes_back(tiny_package: ModelPackage) -> None:
    golden = tiny_package.golden()
    assert golden is not None
    assert golden.image.shape == (1, 64, 64, 3)
    assert golden.outputs["det"]["boxes"].shape == (1, 10, 4)
    assert golden.outputs["depth"]["depth"].dtype == np.float32
    assert golden.outputs["seg"]["labels"].max() < 9


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    write_example(tmp_path / "example.argus")
    with pytest.raises(PackageError, match=r"example\.argus: already exists"):
        write_example(tmp_path / "example.argus")
    other = dataclasses.replace(EXAMPLE, name="other")
    assert write_example(tmp_path / "example.argus", other, overwrite=True).spec.name == "other"
    assert [entry.name for entry in tmp_path.iterdir()] == ["example.argus"]


def test_only_packages_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.png").touch()
    with pytest.raises(PackageError, match="photos: will not be overwritten"):
        write_example(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "holiday.png").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    files = dict(EXAMPLE_FILES)
    del files[model_path("seg", "int8")]
    with pytest.raises(
        PackageError, match=r"example\.argus/manifest\.json: models/seg/int8/model\.onnx is not listed"
    ):
        write_package(tmp_path / "example.argus", EXAMPLE, files)
    missing = {**EXAMPLE_FILES, model_path("seg", "int8"): tmp_path / "no such file"}
    with pytest.raises(PackageError, match="no such file"):
        write_package(tmp_path / "example.argus", EXAMPLE, missing)
    nan = dataclasses.replace(EXAMPLE, report={"accuracy": float("nan")})
    with pytest.raises(PackageError, match="cannot be written as JSON"):
        write_example(tmp_path / "example.argus", nan)
    assert list(tmp_path.iterdir()) == []


def test_graphs_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    half = dataclasses.replace(FEATURE, dtype="float16")
    seg = dataclasses.replace(EXAMPLE.components["seg"], inputs=(half,))
    spec = dataclasses.replace(EXAMPLE, components={**EXAMPLE.components, "seg": seg})
    with pytest.raises(PackageError, match=r"seg takes .*float16.* but the backbone gives .*float32"):
        write_example(tmp_path / "example.argus", spec)


def test_what_a_package_lacks_is_named(tiny_package: ModelPackage) -> None:
    with pytest.raises(PackageError, match="component 'det' has fp32, asked for int8"):
        tiny_package.model_file("det", "int8")
    with pytest.raises(PackageError, match="no component 'pose'; it has backbone, det, seg, depth"):
        tiny_package.model_file("pose", "fp32")


def test_onnx_runtime_opens_it(tiny_package: ModelPackage) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", minversion="1.32")
    golden = tiny_package.golden()
    assert golden is not None
    root = str(tiny_package.path)
    with_strict_fields = onnxruntime.ModelPackage.open(root)
    assert [c["name"] for c in with_strict_fields.get_info()["components"]]
    with_strict_fields.close()
    context = onnxruntime.ModelPackageContext(root)
    assert sorted(context.get_component_names()) == sorted(tiny_package.spec.components)
    known = {"image": golden.image, **golden.outputs["backbone"]}
    for name, component in tiny_package.spec.components.items():
        options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
        session = context.select_component(name, options).create_session()
        values = session.run(None, {tensor.name: known[tensor.name] for tensor in component.inputs})
        for tensor, value in zip(component.outputs, values, strict=True):
            assert (tensor.shape, tensor.dtype) == (value.shape, value.dtype.name)
            np.testing.assert_allclose(value, golden.outputs[name][tensor.name], rtol=1e-4, atol=1e-5)
