"""Packages whose graphs, tasks and golden sample do or do not fit together; nobody reads the graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argus_edge.errors import PackageError
from argus_edge.package import ModelPackage, golden_files, model_path, write_package
from argus_edge.package.format import nbytes
from argus_edge.spec import (
    ComponentSpec,
    GoldenSpec,
    ImageSpec,
    PackageSpec,
    TaskEntry,
    TensorSpec,
    VariantSpec,
)

FP32 = {"fp32": VariantSpec("fp32")}
INPUT = ImageSpec(32, 32)
F0 = TensorSpec("f0", "float32", (1, 8, 8, 8), "NCHW")
CROP = TensorSpec("image", "uint8", (1, 256, 192, 3), "NHWC")
CROP_F0 = TensorSpec("f0", "float32", (1, 8, 64, 48), "NCHW")
PERSONS = TensorSpec("persons", "float32", (4, 4), "KX")
MASKS = TensorSpec("masks", "float32", (1, 5, 8, 8), "NKHW")
HEATMAPS = TensorSpec("heatmaps", "float32", (4, 2, 64, 48), "NCHW")
NAMES = ("nose", "left_eye")

ROI = PackageSpec(
    name="people",
    input=INPUT,
    tasks={
        "pan": TaskEntry("pan", ("box", "person", "sky"), things=2),
        "pose": TaskEntry("pose", NAMES),
    },
    components={
        "backbone": ComponentSpec((INPUT.tensor,), (F0,), FP32),
        "pan": ComponentSpec((F0,), (MASKS,), FP32),
        "pose": ComponentSpec((F0, PERSONS), (HEATMAPS,), FP32),
    },
    golden=GoldenSpec(
        "golden/image.bin",
        "fp32",
        {"pan": {"masks": "golden/masks.bin"}},
        {"pose": {"persons": "golden/p.bin"}},
    ),
)
CROPS = replace(
    ROI,
    tasks={**ROI.tasks, "pose": TaskEntry("pose", NAMES, backbone="crops")},
    components={
        **ROI.components,
        "pose": ComponentSpec((CROP_F0,), (HEATMAPS,), FP32),
        "crops": ComponentSpec((CROP,), (CROP_F0,), FP32),
    },
    golden=replace(ROI.golden, inputs={"crops": {"image": "golden/p.bin"}}) if ROI.golden else None,
)


def write(path: Path, spec: PackageSpec) -> ModelPackage:
    files: dict[str, Path | bytes] = {model_path(name, "fp32"): b"no graph" for name in spec.components}
    if spec.golden is not None:
        files["golden/image.bin"] = bytes(nbytes(INPUT.tensor))
        files["golden/masks.bin"] = bytes(nbytes(MASKS))
        files["golden/p.bin"] = bytes(sum(map(nbytes, spec.extra_inputs.values())) or 1)
    return write_package(path / "people.argus", spec, files)


def manifest(package: ModelPackage) -> Any:
    return json.loads((package.path / "manifest.json").read_text())["additional_metadata"]["argus"]


def with_component(spec: PackageSpec, name: str, component: ComponentSpec) -> PackageSpec:
    return replace(spec, components={**spec.components, name: component}, golden=None)


def with_task(spec: PackageSpec, name: str, entry: TaskEntry) -> PackageSpec:
    return replace(spec, tasks={**spec.tasks, name: entry}, golden=None)


def with_golden(spec: PackageSpec, inputs: dict[str, dict[str, str]]) -> PackageSpec:
    assert spec.golden is not None
    return replace(spec, golden=replace(spec.golden, inputs=inputs))


@pytest.mark.parametrize("spec", [ROI, CROPS], ids=["roi", "crops"])
def test_people_are_written_and_read_in_both_modes(tmp_path: Path, spec: PackageSpec) -> None:
    package = write(tmp_path, spec)
    assert package.spec == ModelPackage.open(package.path).spec == spec
    sample = package.golden()
    assert sample is not None
    ((component, tensor),) = package.spec.extra_inputs.items()
    assert sample.inputs[component].shape == tensor.shape


def test_only_what_does_not_go_without_saying_is_written(tmp_path: Path) -> None:
    tasks = manifest(write(tmp_path, CROPS))["tasks"]
    assert tasks["pan"] == {"component": "pan", "classes": ["box", "person", "sky"], "things": 2}
    assert tasks["pose"] == {"component": "pose", "classes": list(NAMES), "backbone": "crops"}
    plain = replace(ROI, tasks={"pan": TaskEntry("pan", ("sky",))})
    plain = replace(plain, components={k: v for k, v in ROI.components.items() if k != "pose"}, golden=None)
    (tmp_path / "plain").mkdir()
    assert manifest(write(tmp_path / "plain", plain))["tasks"]["pan"].keys() == {"component", "classes"}


def test_tasks_may_share_a_decoder(tmp_path: Path) -> None:
    names = ("box", "person")
    shared = replace(
        ROI, tasks={"det": TaskEntry("pan", names), "inst": TaskEntry("pan", names), **ROI.tasks}
    )
    assert write(tmp_path, shared).spec.tasks["det"].component == "pan"


def test_a_golden_sample_takes_persons() -> None:
    persons = np.zeros((4, 4), np.float32)
    spec, files = golden_files(np.zeros((1, 32, 32, 3), np.uint8), {}, "fp32", {"pose": {"persons": persons}})
    assert spec.inputs == {"pose": {"persons": "golden/pose.persons.bin"}}
    assert len(files["golden/pose.persons.bin"]) == 64
    with pytest.raises(PackageError, match=r"pose\.persons: expected .* got float64"):
        golden_files(
            np.zeros((1, 32, 32, 3), np.uint8), {}, "fp32", {"pose": {"persons": persons.astype(float)}}
        )


def pose(*inputs: TensorSpec) -> ComponentSpec:
    return ComponentSpec(inputs, (HEATMAPS,), FP32)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (with_component(ROI, "pose", pose(F0)), "'pose' must take 'persons' or read a backbone of crops"),
        (with_component(CROPS, "pose", pose(CROP_F0, PERSONS)), "'pose' must not take 'persons'"),
        (with_component(ROI, "pan", pose(F0, PERSONS)), "pan: 'pan' must not take 'persons'"),
        (
            with_component(ROI, "pose", pose(F0, replace(PERSONS, shape=(4, 5)))),
            r"persons as float32 \(P, 4\)",
        ),
        (
            with_component(ROI, "pose", pose(F0, replace(PERSONS, shape=(1, 4, 4), layout="NKX"))),
            "persons as",
        ),
        (with_component(ROI, "pose", pose(F0, replace(PERSONS, shape=(257, 4)))), "P at most 256"),
        (with_component(ROI, "pose", pose(F0, replace(PERSONS, dtype="float16"))), "persons as float32"),
        (with_component(ROI, "pose", pose(F0, replace(PERSONS, layout="NX"))), "in KX"),
        (with_component(ROI, "pose", pose(F0, PERSONS, INPUT.tensor)), "pose takes .*image.* no such tensor"),
        (with_component(ROI, "pose", pose(INPUT.tensor)), "there is no decoder 'pose'"),
        (with_task(ROI, "pose", TaskEntry("pose", NAMES, backbone="pan")), "there is no backbone 'pan'"),
        (with_task(ROI, "pose", TaskEntry("pose", NAMES, backbone="crops")), "there is no backbone 'crops'"),
        (with_task(CROPS, "pose", TaskEntry("crops", NAMES)), "there is no decoder 'crops'"),
        (with_task(CROPS, "pose", TaskEntry("pose", NAMES)), "'pose' must take 'persons'"),
        (with_task(CROPS, "seg", TaskEntry("pose", NAMES)), "'pose' cannot read several backbones"),
        (with_component(CROPS, "pose", pose(F0)), "pose takes .* but the backbone gives .*64, 48"),
        (
            with_component(
                CROPS, "crops", ComponentSpec((replace(CROP, dtype="float32"),), (CROP_F0,), FP32)
            ),
            r"crops must take uint8 \(1, H, W, 3\) in NHWC, H and W from 2 to 16384, got .*float32",
        ),
        (
            with_component(
                CROPS, "crops", ComponentSpec((replace(CROP, shape=(2, 256, 192, 3)),), (CROP_F0,), FP32)
            ),
            "crops must take uint8",
        ),
        (with_golden(ROI, {}), "golden sample: expected the inputs pose.persons, got none"),
        (with_golden(CROPS, {}), "golden sample: expected the inputs crops.image, got none"),
        (with_golden(ROI, {"pan": {"f0": "golden/p.bin"}}), "inputs pose.persons, got pan.f0"),
        (
            with_golden(ROI, {"pose": {"persons": "golden/masks.bin"}}),
            "masks.bin: expected the 64 bytes of .*persons",
        ),
    ],
)
def test_people_that_do_not_fit_are_refused(tmp_path: Path, spec: PackageSpec, named: str) -> None:
    with pytest.raises(PackageError, match=named) as refused:
        write(tmp_path, spec)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t["pan"].update(things=4), "tasks.pan.things: expected an integer of 0 to 3, got 4"),
        (lambda t: t["pan"].update(things=-1), "tasks.pan.things: expected an integer of 0 to 3"),
        (lambda t: t["pan"].update(things=2.0), "tasks.pan.things: expected an integer"),
        (lambda t: t["pan"].update(things=True), "tasks.pan.things: expected an integer .* got true"),
        (lambda t: t["pan"].update(backbone="backbone"), "tasks.pan: unknown key 'backbone'"),
        (lambda t: t["pose"].update(things=1), "tasks.pose: unknown key 'things'"),
        (lambda t: t["pose"].update(backbone="../crops"), r"tasks.pose.backbone: expected text .*\.\./crops"),
        (lambda t: t["pose"].update(backbone=None), "tasks.pose.backbone: expected text like .* got null"),
        (lambda t: t["pose"].update(backbone="pose"), "there is no backbone 'pose'"),
    ],
)
def test_hostile_tasks(tmp_path: Path, change: Callable[[Any], Any], named: str) -> None:
    package = write(tmp_path, ROI)
    file = package.path / "manifest.json"
    value = json.loads(file.read_text())
    change(value["additional_metadata"]["argus"]["tasks"])
    file.write_text(json.dumps(value))
    with pytest.raises(PackageError, match=named):
        ModelPackage.open(package.path)
