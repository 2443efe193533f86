"""COCO results of a run: pycocotools loads them, with the ids that images.coco.json tells, at any moment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.package import ModelPackage
from argus_edge.results import Detections, Frame, Instances, Keypoints, LabelMap, Result
from argus_edge.runtime.commands.coco import CocoFiles, object_classes
from argus_edge.runtime.commands.outputs import RunFolder
from argus_edge.runtime.sources import SourceFrame, open_source
from argus_edge.spec import TaskEntry

CLASSES = {"det": ("box", "person"), "inst": ("person", "cone"), "pose": ("person",)}
IMAGE: NDArray[np.uint8] = np.zeros((20, 30, 3), np.uint8)


def _frame(number: int, objects: int = 2) -> tuple[SourceFrame, Frame]:
    boxes = np.array([[1, 2, 11, 12.5], [3, 3, 8, 9]], np.float32)[:objects]
    scores = np.array([0.9, 0.5], np.float32)[:objects]
    classes = np.array([1, 0], np.int32)[:objects]
    masks = np.zeros((objects, 20, 30), np.bool_)
    masks[:, 2:12, 1:11] = True
    points = np.full((objects, 17, 2), 5, np.float32)
    results: dict[str, Result] = {
        "det": Detections(boxes, scores, classes, CLASSES["det"]),
        "inst": Instances(boxes, scores, classes, CLASSES["inst"], masks),
        "seg": LabelMap(np.zeros((20, 30), np.uint8), ("ground",)),
        "pose": Keypoints(points, np.ones((objects, 17), np.float32), boxes, scores),
    }
    return SourceFrame(number, f"{number}.png", None, 0.0, IMAGE), Frame(20, 30, results)


def _loaded(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_pycocotools_loads_what_a_run_writes(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    files = CocoFiles(tmp_path, CLASSES)
    for number in (0, 3):
        files.add(*_frame(number))
    files.close()
    images = COCO(str(tmp_path / "images.coco.json"))
    assert images.loadImgs([3]) == [{"id": 3, "file_name": "3.png", "height": 20, "width": 30}]
    names = {row["id"]: row["name"] for row in images.loadCats(images.getCatIds())}
    assert names == {0: "box", 1: "person", 2: "cone"}
    found = {task: images.loadRes(str(tmp_path / f"{task}.coco.json")) for task in CLASSES}
    rows = {task: loaded.loadAnns(loaded.getAnnIds([3])) for task, loaded in found.items()}
    assert {task: [names[row["category_id"]] for row in task_rows] for task, task_rows in rows.items()} == {
        "det": ["person", "box"],
        "inst": ["cone", "person"],
        "pose": ["person", "person"],
    }
    assert rows["det"][0]["bbox"] == [1, 2, 10, 10.5]
    assert found["inst"].annToMask(rows["inst"][0]).sum() == 100
    assert rows["pose"][0]["keypoints"][:3] == [5, 5, 1]


def test_files_are_whole_after_every_frame(tmp_path: Path) -> None:
    """Nothing is closed here: so a run that is killed leaves them."""
    files = CocoFiles(tmp_path, CLASSES)
    for count in range(4):
        assert [len(_loaded(tmp_path / f"{task}.coco.json")) for task in CLASSES] == [2 * count] * 3
        assert len(_loaded(tmp_path / "images.coco.json")["images"]) == count
        files.add(*_frame(count))
    files.add(*_frame(9, objects=0))
    assert len(_loaded(tmp_path / "det.coco.json")) == 8
    assert len(_loaded(tmp_path / "images.coco.json")["images"]) == 5
    files.close()
    files.close()


def test_a_frame_without_some_task_is_no_harm(tmp_path: Path) -> None:
    files = CocoFiles(tmp_path, CLASSES)
    source_frame, frame = _frame(0)
    files.add(source_frame, replace(frame, results={"det": frame.det}))
    files.close()
    assert len(_loaded(tmp_path / "det.coco.json")) == 2
    assert _loaded(tmp_path / "pose.coco.json") == []


def test_the_tasks_with_objects_are_known_by_their_kind(tiny_package: ModelPackage) -> None:
    spec = tiny_package.spec
    assert object_classes(spec, ["seg", "det"]) == {"det": spec.tasks["det"].classes}
    posed = replace(spec, tasks={**spec.tasks, "pose": TaskEntry("pose", ("nose",))})
    assert object_classes(posed, ["pose"]) == {"pose": ("person",)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot be written to: No space left"):  # noqa: SIM117
        with open_source([IMAGE]) as source, RunFolder(tmp_path, source, CLASSES) as folder:
            folder.add(*_frame(0), IMAGE)
