"""The objects of a run as COCO results: det.coco.json, inst.coco.json, pose.coco.json, images.coco.json."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argus_edge.results import Detections, Frame, Keypoints
from argus_edge.runtime.persons import PERSON
from argus_edge.runtime.sources import SourceFrame
from argus_edge.spec import PackageSpec


def object_classes(spec: PackageSpec, tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names of the classes of each of `tasks` that finds objects."""
    found: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        kind = spec.tasks[task].row(task).kind
        if kind in ("boxes", "masks"):
            found[task] = spec.tasks[task].classes
        elif kind == "keypoints":
            found[task] = (PERSON,)
    return found


class CocoFiles:
    """One file per task, a list of records as pycocotools' `COCO.loadRes` takes it, and images.coco.json with
    the images (`id` is the frame's number) and categories that the records name, for `COCO` to load before.

    A category has one id in all files: its place, from 0, in the first task's classes, or after them. Each
    file is whole JSON after every frame, however the run ends. Files are named by `files`.
    """

    def __init__(self, folder: Path, classes: Mapping[str, tuple[str, ...]]) -> None:
        names = dict.fromkeys(name for of_task in classes.values() for name in of_task)
        self._ids = {name: number for number, name in enumerate(names)}
        self._results = {task: _GrowingList(folder / f"{task}.coco.json", "[", "]\n") for task in classes}
        categories = json.dumps([{"id": number, "name": name} for name, number in self._ids.items()])
        head = f'{{"info": {{}}, "annotations": [], "categories": {categories}, "images": ['
        self._images = _GrowingList(folder / "images.coco.json", head, "]}\n")
        self.files = [*(results.path for results in self._results.values()), self._images.path]

    def add(self, source_frame: SourceFrame, frame: Frame) -> None:
        """Take the objects of one frame. Raises OSError."""
        number = source_frame.index
        size = {"height": frame.image_height, "width": frame.image_width}
        # First the image: a record whose image is not there is refused by loadRes.
        self._images.add([{"id": number, "file_name": source_frame.name, **size}])
        for task, results in self._results.items():
            result = frame.results.get(task)
            if isinstance(result, Keypoints):
                results.add(result.to_coco(number, self._ids[PERSON]))
            elif isinstance(result, Detections):
                ids = [self._ids[name] for name in result.class_names]
                records = result.to_coco(number)
                results.add([{**record, "category_id": ids[record["category_id"]]} for record in records])

    def close(self) -> None:
        """Close the files. Harmless when repeated."""
        for growing in (*self._results.values(), self._images):
            growing.close()


class _GrowingList:
    """A JSON file that ends in a list, which grows by one write at a time from one whole file to the next."""

    def __init__(self, path: Path, head: str, tail: str) -> None:
        self.path = path
        self._tail = tail.encode()
        self._comma = b""
        self._file = path.open("wb", buffering=0)  # a buffer would write in pieces
        self._write(head.encode() + self._tail)

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        if records:
            lines = ",\n".join(map(json.dumps, records)).encode()
            self._file.seek(-len(self._tail), os.SEEK_END)
            self._write(self._comma + b"\n" + lines + self._tail)
            self._comma = b","

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        if self._file.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
