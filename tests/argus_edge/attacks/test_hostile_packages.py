"""Packages as an accident or an attacker leaves them: each is refused by one line that names the culprit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage

GRAPH = "models/det/fp32/model.onnx"
Replace = Callable[[str, bytes], None]


def argus(manifest: Any) -> Any:
    return manifest["additional_metadata"]["argus"]


# -- the folder and its files --------------------------------------------------------------------------------


def truncate(package: Path) -> None:
    os.truncate(package / GRAPH, 100)


def empty_graph(package: Path) -> None:
    os.truncate(package / GRAPH, 0)


def flip_a_weight(package: Path) -> None:
    data = bytearray((package / GRAPH).read_bytes())
    data[len(data) // 2] ^= 1
    (package / GRAPH).write_bytes(data)


def remove_graph(package: Path) -> None:
    (package / GRAPH).unlink()


def folder_for_graph(package: Path) -> None:
    (package / GRAPH).unlink()
    (package / GRAPH).mkdir()


def link_out(package: Path) -> None:
    (package / GRAPH).unlink()
    (package / GRAPH).symlink_to("/etc/passwd")


def link_folder(package: Path) -> None:
    shutil.move(package / "models/det", package.parent / "det")
    (package / "models/det").symlink_to(package.parent / "det", target_is_directory=True)


def link_manifest(package: Path) -> None:
    shutil.move(package / "manifest.json", package.parent / "manifest.json")
    (package / "manifest.json").symlink_to(package.parent / "manifest.json")


def pipe(package: Path) -> None:
    (package / "manifest.json").unlink()
    os.mkfifo(package / "manifest.json")


def stranger(package: Path) -> None:
    (package / "models/det/fp32/weights.bin").write_bytes(b"external data")


def crowd(package: Path) -> None:
    for i in range(300):
        (package / f"golden/{i}").touch()


def burrow(package: Path) -> None:
    (package / "models/a/b/c/d/e/f/g/h").mkdir(parents=True)


def no_manifest(package: Path) -> None:
    (package / "manifest.json").unlink()


def huge_manifest(package: Path) -> None:
    os.truncate(package / "manifest.json", 2**40)


def edited_component(package: Path) -> None:
    file = package / "models/det/component.json"
    file.write_text(file.read_text().replace("boxes", "bowes"))


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (truncate, rf"{GRAPH}: expected 1417 bytes as listed in manifest.json, got 100"),
        (empty_graph, rf"{GRAPH}: expected 1417 bytes as listed in manifest.json, got 0"),
        (flip_a_weight, rf"{GRAPH}: its SHA-256 is not the one in manifest.json"),
        (remove_graph, rf"{GRAPH}: listed in manifest.json, but not there"),
        (folder_for_graph, rf"{GRAPH}: listed in manifest.json, but not there"),
        (link_out, rf"got a symbolic link '{GRAPH}'"),
        (link_folder, r"got a symbolic link 'models/det'"),
        (link_manifest, r"got a symbolic link 'manifest.json'"),
        (pipe, r"got a special file 'manifest.json'"),
        (stranger, r"the file 'models/det/fp32/weights.bin' is not listed"),
        (crowd, r"at most 256 files"),
        (burrow, r"at most 8 levels of folders"),
        (no_manifest, r"manifest.json: expected a regular file, got No such file"),
        (huge_manifest, r"manifest.json: expected at most 1048576 bytes"),
        (edited_component, r"models/det/component.json: its SHA-256 is not the one"),
    ],
)
def test_files(package: Path, attack: Callable[[Path], None], named: str) -> None:
    attack(package)
    with pytest.raises(PackageError, match=named) as refused:
        ModelPackage.open(package)
    one_line(refused.value, package)


def one_line(error: PackageError, package: Path) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith(str(package))


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_not_a_folder(tmp_path: Path, kind: str) -> None:
    if kind == "a file":
        (tmp_path / "x.argus").touch()
    with pytest.raises(PackageError, match=rf"x\.argus: expected a model package .* got {kind}"):
        ModelPackage.open(tmp_path / "x.argus")


def test_hashes_are_left_out_only_on_request(package: Path) -> None:
    flip_a_weight(package)
    ModelPackage.open(package, verify=False)


# -- the text of the manifest --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "strict JSON"),
        (b"\xff\xfe", "strict JSON, got 'utf-8' codec"),
        (b"{", "strict JSON"),
        (b"[]", r"manifest.json: expected an object, got \[\]"),
        (b'{"a": NaN}', "the number NaN"),
        (b'{"a": -Infinity}', "the number -Infinity"),
        (b'{"a": 1e999}', "the number 1e999"),
        (b'{"a": ' + b"9" * 5000 + b"}", "an integer of more than 18 digits"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (b'{"a": "\\ud800"}', "strict JSON"),
        (b"[" * 100_000, "more than 16 levels of nesting"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 16 levels of nesting"),
        (b'"' + b"[" * 100 + b'"', "expected an object"),
        (b"cos\nsystem\n(S'echo'\ntR.", "strict JSON"),
    ],
)
def test_manifest_text(package: Path, text: bytes, named: str) -> None:
    (package / "manifest.json").write_bytes(text)
    with pytest.raises(PackageError, match=named) as refused:
        ModelPackage.open(package)
    one_line(refused.value, package)


# -- the values ----------------------------------------------------------------------------------------------


def move_file(path: str) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        files = argus(manifest)["files"]
        files[path] = files.pop(GRAPH)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(extra=1), "manifest.json: unknown key 'extra'"),
        (lambda m: argus(m).update(run="rm -rf /"), "additional_metadata.argus: unknown key 'run'"),
        (lambda m: argus(m)["input"].update(mean=0), "argus.input: unknown key 'mean'"),
        (lambda m: argus(m).pop("tasks"), "argus: key 'tasks' is missing"),
        (lambda m: m.update(schema_version="2.0"), 'schema_version: expected "1.0", got "2.0"'),
        (lambda m: m.update(schema_version=1.0), 'schema_version: expected "1.0", got 1.0'),
        (
            lambda m: argus(m).update(format_version="1.3", new=1),
            'format_version: expected "1.0" or "1.1" or "1.2", got "1.3"',
        ),
        (
            lambda m: m["components"].update(det="../det"),
            r'components.det: expected "models/det", got "\.\./det"',
        ),
        (lambda m: m["components"].update({"../det": "models/../det"}), r"components: .* got '\.\./det'"),
        (move_file("../model.onnx"), r"files: expected a name .* got '\.\./model.onnx'"),
        (move_file("models/../../model.onnx"), r"files: expected a name .* got 'models/\.\./"),
        (move_file("/etc/passwd"), "files: expected a name .* got '/etc/passwd'"),
        (move_file("models\\det"), r"files: expected a name .* got 'models\\\\det'"),
        (move_file("C:model.onnx"), "files: expected a name .* got 'C:model.onnx'"),
        (move_file("models/\n"), r"files: expected a name .* got 'models/\\n'"),
        (lambda m: argus(m)["files"][GRAPH].update(size=-1), "size: expected an integer of 1 to"),
        (
            lambda m: argus(m)["files"][GRAPH].update(size=2**40),
            "size: expected an integer of 1 to 2147483648",
        ),
        (lambda m: argus(m)["files"][GRAPH].update(size=True), "size: expected an integer .* got true"),
        (lambda m: argus(m)["files"][GRAPH].update(sha256="0"), "sha256: expected text like"),
        (lambda m: argus(m).update(files={}), "files: expected 1 to 256 entries, got 0"),
        (lambda m: argus(m)["files"].pop(GRAPH), f"'{GRAPH}' is not listed"),
        (lambda m: argus(m)["input"].update(height="64"), 'input.height: expected an integer .* got "64"'),
        (lambda m: argus(m)["input"].update(height=10**9), "input.height: expected an integer of 1 to 16384"),
        (lambda m: argus(m)["input"].update(height=96), "the backbone's input is not"),
        (lambda m: argus(m)["input"].update(color="BGR"), 'input.color: expected "RGB", got "BGR"'),
        (lambda m: argus(m)["input"].update(pad_color=[0, 0]), "pad_color: expected a list of 3 to 3"),
        (lambda m: argus(m)["tasks"].update(fly={}), "tasks.fly: unknown task"),
        (
            lambda m: argus(m)["tasks"]["det"].update(component="pose"),
            "tasks: det: there is no decoder 'pose'",
        ),
        (lambda m: argus(m)["tasks"]["det"].update(component="backbone"), "there is no decoder 'backbone'"),
        (
            lambda m: argus(m)["tasks"]["det"].update(classes=["a\x1b[2J"]),
            "classes.0: expected text of 1 to 64",
        ),
        (lambda m: argus(m)["tasks"]["det"].update(classes={"0": "a"}), "classes: expected a list"),
        (
            lambda m: argus(m)["golden"].update(image="../x"),
            r'golden.image: expected text like .* got "\.\./x"',
        ),
        (lambda m: argus(m)["golden"].update(image=GRAPH), "expected the 12288 bytes of .* got 1417"),
        (lambda m: argus(m)["golden"]["outputs"].update(pose={"a": GRAPH}), "no component 'pose'"),
        (lambda m: argus(m)["golden"]["outputs"].update(det={"a": GRAPH}), "det has no output 'a'"),
        (lambda m: argus(m).update(report=[]), r"report: expected an object, got \[\]"),
    ],
)
def test_manifest_values(
    package: Path, replace_file: Replace, change: Callable[[Any], Any], named: str
) -> None:
    value = json.loads((package / "manifest.json").read_text())
    change(value)
    replace_file("manifest.json", json.dumps(value).encode())
    with pytest.raises(PackageError, match=named) as refused:
        ModelPackage.open(package)
    one_line(refused.value, package)


def variant(component: Any) -> Any:
    return component["variants"]["fp32"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(extra=1), "component.json: unknown key 'extra'"),
        (
            lambda c: variant(c)["executor_info"]["ort"].update(model_file="../../seg/fp32/model.onnx"),
            "model_file",
        ),
        (
            lambda c: variant(c)["executor_info"]["ort"].update(model_file="/etc/passwd"),
            "model_file: expected",
        ),
        (
            lambda c: variant(c)["executor_info"]["ort"].update(model_file="other.onnx"),
            "other.onnx is not listed",
        ),
        (lambda c: variant(c)["executor_info"]["argus"].update(precision="int4"), 'or "int8", got "int4"'),
        (lambda c: variant(c).update(ep="a b"), "ep: expected text"),
        (lambda c: c.update(variants={}), "variants: expected 1 to 32 entries, got 0"),
        (lambda c: argus(c)["inputs"][0].update(dtype="object"), 'inputs.0.dtype: .* got "object"'),
        (
            lambda c: argus(c)["inputs"][0].update(shape=[1, -8, 8, 8]),
            "inputs.0.shape.1: expected an integer",
        ),
        (
            lambda c: argus(c)["inputs"][0].update(layout="NC"),
            "layout: expected one letter for each of the 4 axes",
        ),
        (lambda c: argus(c)["inputs"][0].update(name="f9"), "but the backbone gives no such tensor"),
        (
            lambda c: argus(c)["outputs"][1].update(name="boxes"),
            "outputs: expected tensors with different names",
        ),
    ],
)
def test_component_values(
    package: Path, replace_file: Replace, change: Callable[[Any], Any], named: str
) -> None:
    value = json.loads((package / "models/det/component.json").read_text())
    change(value)
    replace_file("models/det/component.json", json.dumps(value).encode())
    with pytest.raises(PackageError, match=named) as refused:
        ModelPackage.open(package)
    one_line(refused.value, package)
