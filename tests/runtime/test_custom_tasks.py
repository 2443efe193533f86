"""A package's own task runs where nobody knows it: by the row that the package brings along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from argus_edge import ModelPackage, Runtime
from argus_edge.errors import PackageError, TaskError
from argus_edge.package import write_package
from argus_edge.results import DenseMap, LabelMap
from argus_edge.runtime.draw import draw_apart
from argus_edge.spec import TaskEntry
from argus_edge.tasks import OutputKind, TaskSpec, all_tasks

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def with_task(package: ModelPackage, path: Path, kind: OutputKind, component: str) -> ModelPackage:
    """The tiny package with one of its decoders under the name of a task of one's own, too."""
    classes = package.spec.tasks[component].classes
    row = TaskSpec("mine", "something of mine", kind, "figure", "mm" if kind == "dense_map" else "")
    spec = replace(
        package.spec, tasks={**package.spec.tasks, "mine": TaskEntry(component, classes, custom=row)}
    )
    files = {name: package.path / name for name in package.files if "component.json" not in name}
    return write_package(path / "mine.argus", spec, files)


@pytest.mark.parametrize(
    ("kind", "component"), [("label_map", "seg"), ("dense_map", "depth"), ("boxes", "det")]
)
def test_it_answers_as_its_kind(
    tiny_package: ModelPackage, tmp_path: Path, kind: OutputKind, component: str
) -> None:
    package = with_task(tiny_package, tmp_path, kind, component)
    with Runtime(package, threads=1) as runtime:
        assert runtime.tasks == ("det", "seg", "depth", "mine")
        frame = runtime(IMAGE)
    mine, twin = frame["mine"], frame[component]
    assert type(mine) is type(twin)
    if isinstance(mine, LabelMap) and isinstance(twin, LabelMap):
        np.testing.assert_array_equal(mine.labels, twin.labels)
    if isinstance(mine, DenseMap):
        assert mine.unit == "mm"
    assert json.loads(json.dumps(frame.to_json()))["results"].keys() == {"det", "seg", "depth", "mine"}
    assert "mine" in frame.timings
    assert any(caption.startswith("mine") for caption, _ in draw_apart(IMAGE, frame))
    assert frame.draw(IMAGE).shape == IMAGE.shape
    assert "mine" not in all_tasks()


def test_it_may_be_chosen_alone(tiny_package: ModelPackage, tmp_path: Path) -> None:
    package = with_task(tiny_package, tmp_path, "label_map", "seg")
    with Runtime(package, threads=1, tasks=["mine"]) as runtime:
        frame = runtime(IMAGE)
    assert set(frame.results) == {"mine"}
    with pytest.raises(TaskError, match="task 'seg' was not run on this frame; tasks run: mine"):
        frame["seg"]
    with pytest.raises(TaskError, match="'tiny' has no task 'pose'"):
        Runtime(package, tasks=["pose"])


def test_outputs_of_another_kind_are_refused(tiny_package: ModelPackage, tmp_path: Path) -> None:
    package = with_task(tiny_package, tmp_path, "scores", "seg")
    with pytest.raises(
        PackageError, match=r"component 'seg' cannot give task 'mine': expected .*probabilities"
    ):
        Runtime(package)
