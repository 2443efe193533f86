"""Tasks that are none of the twelve: registered in a process, or brought along by a package."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argus_edge import tasks
from argus_edge.errors import PackageError, TaskError
from argus_edge.package import ModelPackage, write_package
from argus_edge.spec import PackageSpec, TaskEntry
from argus_edge.tasks import TASKS, TaskSpec, all_tasks, get_task, register_task

GROUND = TaskSpec("ground", "near ground", "label_map", "mIoU")
NAMES = ("elsewhere", "near ground", "far ground")


@pytest.fixture
def no_custom_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_custom", {})


@pytest.mark.usefixtures("no_custom_tasks")
def test_a_registered_task_is_known_and_the_twelve_stay() -> None:
    register_task(GROUND)
    assert get_task("ground") is GROUND
    assert list(all_tasks()) == [*TASKS, "ground"]
    assert len(TASKS) == 12
    with pytest.raises(TaskError, match=r"unknown task 'grond'; the tasks are: det, .*, anom, ground$"):
        get_task("grond")


@pytest.mark.usefixtures("no_custom_tasks")
@pytest.mark.parametrize(
    ("row", "named"),
    [
        (replace(GROUND, name="seg"), "task 'seg' is there already; give the new one another name"),
        (replace(GROUND, name="Ground"), r"name must be like \[a-z\].*, got 'Ground'"),
        (replace(GROUND, name="../ground"), r"got '\.\./ground'"),
        (replace(GROUND, name="ground\n"), r"got 'ground\\n'"),
        (replace(GROUND, name="backbone"), "cannot be named 'backbone', which stands for something else"),
        (replace(GROUND, kind="keypoints"), "expected one of the kinds boxes, .*, got 'keypoints'"),
        (replace(GROUND, kind="labels"), "got 'labels'"),  # type: ignore[arg-type]
        (replace(GROUND, title=""), "its title must be 1 to 64 printable characters, got ''"),
        (replace(GROUND, metric="m" * 65), "its metric must be 1 to 64 printable characters"),
        (replace(GROUND, unit="\x1b[2J"), r"its unit must be 0 to 64 printable .* got '\\x1b\[2J'"),
        (replace(GROUND, decoder="upernet"), "decoder 'upernet' is for our own rows"),
    ],
)
def test_a_row_that_cannot_be_is_refused(row: TaskSpec, named: str) -> None:
    with pytest.raises(TaskError, match=named) as refused:
        register_task(row)
    assert "\n" not in str(refused.value)
    assert list(all_tasks()) == list(TASKS)


@pytest.mark.usefixtures("no_custom_tasks")
def test_a_row_is_a_row() -> None:
    with pytest.raises(TaskError, match="a task's row must be a TaskSpec, got 'ground'"):
        register_task("ground")  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_custom_tasks")
def test_a_name_is_registered_once() -> None:
    register_task(GROUND)
    with pytest.raises(TaskError, match="task 'ground' is there already"):
        register_task(replace(GROUND, title="another"))
    assert get_task("ground") is GROUND


def with_ground(package: ModelPackage, row: TaskSpec = GROUND, component: str = "seg") -> PackageSpec:
    """The tiny package's decoder of labels under the name of a task that nobody knows."""
    names = (*package.spec.tasks["seg"].classes[:-3], *NAMES)
    return replace(
        package.spec, tasks={**package.spec.tasks, row.name: TaskEntry(component, names, custom=row)}
    )


def written(package: ModelPackage, path: Path, spec: PackageSpec) -> ModelPackage:
    files = {name: package.path / name for name in package.files if "component.json" not in name}
    return write_package(path / "tiny.argus", spec, files)


def argus(package: ModelPackage) -> Any:
    return json.loads((package.path / "manifest.json").read_text())["additional_metadata"]["argus"]


@pytest.mark.parametrize("unit", ["", "m"])
def test_a_package_brings_the_row_along(tiny_package: ModelPackage, tmp_path: Path, unit: str) -> None:
    row = replace(GROUND, unit=unit)
    package = written(tiny_package, tmp_path, with_ground(tiny_package, row))
    assert ModelPackage.open(package.path).spec.tasks["ground"].row("ground") == row
    said = argus(package)["tasks"]["ground"]["custom"]
    assert said == {"title": "near ground", "kind": "label_map", "metric": "mIoU"} | (
        {"unit": unit} if unit else {}
    )
    assert argus(package)["format_version"] == "1.1"
    assert "ground" not in all_tasks()


def test_others_keep_the_version_that_older_readers_know(tiny_package: ModelPackage) -> None:
    assert argus(tiny_package)["format_version"] == "1.0"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: a.update(format_version="1.0"), "tasks.ground: unknown task; this version has det"),
        (lambda a: a["tasks"]["ground"].pop("custom"), "tasks.ground: key 'custom' is missing"),
        (lambda a: a["tasks"]["seg"].update(a["tasks"]["ground"]), "tasks.seg: unknown key 'custom'"),
        (
            lambda a: a["tasks"].update(Sky=a["tasks"].pop("ground")),
            "tasks.Sky: a task's name must be like",
        ),
        (
            lambda a: a["tasks"].update(total=a["tasks"].pop("ground")),
            "tasks.total: a task cannot be named 'total'",
        ),
        (lambda a: a["tasks"]["ground"].update(things=1), "tasks.ground: unknown key 'things'"),
        (lambda a: a["tasks"]["ground"].update(backbone="seg"), "tasks.ground: unknown key 'backbone'"),
        (lambda a: a["tasks"]["ground"]["custom"].update(decoder="dpt"), "custom: unknown key 'decoder'"),
        (lambda a: a["tasks"]["ground"]["custom"].pop("kind"), "custom: key 'kind' is missing"),
        (
            lambda a: a["tasks"]["ground"]["custom"].update(kind="keypoints"),
            'custom.kind: expected "boxes" or .*, got "keypoints"',
        ),
        (
            lambda a: a["tasks"]["ground"]["custom"].update(kind=["label_map"]),
            r'custom.kind: expected .*, got \["label_map"\]',
        ),
        (
            lambda a: a["tasks"]["ground"]["custom"].update(title="\x1b[2J"),
            "custom.title: expected text of 1 to 64 printable characters",
        ),
        (lambda a: a["tasks"]["ground"]["custom"].update(unit=""), "custom.unit: expected text of 1 to 64"),
        (lambda a: a["tasks"]["ground"].update(custom=[]), r"custom: expected an object, got \[\]"),
        (lambda a: a["tasks"]["ground"].update(component="sky"), "there is no decoder 'sky'"),
        (
            lambda a: a["tasks"].update({f"t{i}": a["tasks"]["ground"] for i in range(32)}),
            "tasks: expected 1 to 32 entries, got 36",
        ),
    ],
)
def test_hostile_rows(
    tiny_package: ModelPackage, tmp_path: Path, change: Callable[[Any], Any], named: str
) -> None:
    package = written(tiny_package, tmp_path, with_ground(tiny_package))
    file = package.path / "manifest.json"
    value = json.loads(file.read_text())
    change(value["additional_metadata"]["argus"])
    file.write_text(json.dumps(value))
    with pytest.raises(PackageError, match=named) as refused:
        ModelPackage.open(package.path)
    assert "\n" not in str(refused.value)


def test_what_a_row_cannot_say_is_not_written(tiny_package: ModelPackage, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"custom\.kind: expected"):
        written(tiny_package, tmp_path, with_ground(tiny_package, replace(GROUND, kind="panoptic")))
    assert list(tmp_path.iterdir()) == []
