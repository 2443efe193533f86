"""Scenes by number, kept on disk once drawn.

One uncompressed .npz per scene. Normals are not stored: they would take more room than all the rest, and
render_normals() gives them again to the last bit.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from argus_edge.errors import InputError
from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.render import (
    RENDERER_VERSION,
    Size,
    check_seed,
    check_size,
    render,
    render_normals,
)
from argus_edge.train.data.scenes.scene import DET_CLASSES, Scene, SceneObject, ScenePerson

_CHUNK: Final = 16  # scenes a process draws before it reports
_UNREADABLE: Final = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)


class SceneDataset:
    """Scenes first_seed ... first_seed + count - 1, drawn when first asked for, read from `cache` afterwards.

    Safe to use from several processes at once: files appear whole or not at all.

    Args:
        first_seed: seed of scene 0.
        count: number of scenes.
        size: edge of a square image or (height, width) [px].
        cache: folder to keep scenes in, made if missing; None draws each time.
        normals: without them `Scene.normals` is (0, 0, 3), and a cached scene takes a tenth of the time.

    Raises:
        InputError: a number is out of range or the folder cannot be made.
    """

    def __init__(
        self, first_seed: int, count: int, size: Size = 320, cache: Path | None = None, normals: bool = False
    ) -> None:
        if count < 1:
            raise InputError(f"count is {count}; a dataset needs at least 1 scene")
        self.first_seed, self.count, self.normals = check_seed(first_seed), count, normals
        self.height, self.width = check_size(size)
        self.folder: Path | None = None
        if cache is not None:
            self.folder = Path(cache) / f"scenes-v{RENDERER_VERSION}-{self.height}x{self.width}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{cache}: cannot keep scenes there: {error.strerror}") from error

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:
        """Scene number `index`.

        Raises:
            IndexError: there is no such scene, which also ends a `for` loop over the dataset.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        seed, shape = self.first_seed + index, (self.height, self.width)
        scene = self._load(seed)
        if scene is None:
            scene = render(seed, shape)
            self._store(scene)
            return scene if self.normals else replace(scene, normals=_no_normals())
        return replace(scene, normals=render_normals(seed, shape)) if self.normals else scene

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(self.count))

    def prerender(self, processes: int = 1, progress: bool = True) -> int:
        """Draws all scenes that the cache does not hold yet, with progress on stderr; returns their number.

        Raises:
            InputError: there is no cache to fill, or `processes` is below 1.
        """
        if self.folder is None:
            raise InputError("prerender fills a cache, but this dataset has none; give a folder as 'cache'")
        if processes < 1:
            raise InputError(f"processes is {processes}; expected at least 1")
        missing = [i for i in range(self.count) if not self._path(self.first_seed + i).is_file()]
        chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
        columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task("scenes", total=len(missing))
            self._draw_chunks(chunks, processes, lambda done: bar.advance(task, done))
        return len(missing)

    def _draw_chunks(self, chunks: list[list[int]], processes: int, report: Callable[[int], None]) -> None:
        if processes == 1:
            for chunk in chunks:
                report(self._draw(chunk))
            return
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(self._draw, chunk) for chunk in chunks]):
                report(done.result())

    def _draw(self, indices: list[int]) -> int:
        for index in indices:
            self._store(render(self.first_seed + index, (self.height, self.width)))
        return len(indices)

    def _path(self, seed: int) -> Path:
        assert self.folder is not None
        # A thousand to a folder keeps folders quick to list.
        return self.folder / f"{seed // 1000:06d}" / f"{seed:09d}.npz"

    def _store(self, scene: Scene) -> None:
        """Writes a scene beside its place and moves it there."""
        if self.folder is None:
            return
        path = self._path(scene.seed)
        path.parent.mkdir(exist_ok=True)
        camera = scene.camera
        numbers = [camera.fx, camera.fy, camera.cx, camera.cy, *camera.rotation.ravel(), *camera.position]
        things = [(o.instance_id, o.class_id, o.visible_pixels, *o.box) for o in scene.objects]
        small = scene.instances.astype(np.uint8 if scene.instances.max() < 256 else np.int32)
        unfinished = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez(
                    file,
                    image=scene.image,
                    depth=scene.depth,
                    instances=small,
                    labels=scene.labels,
                    parts=scene.parts,
                    objects=np.array(things, np.float64).reshape(-1, 7),
                    people=np.array([p.instance_id for p in scene.people], np.int32),
                    keypoints=np.array([p.keypoints for p in scene.people], np.float32).reshape(-1, 17, 3),
                    camera=np.array(numbers),
                )
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _load(self, seed: int) -> Scene | None:
        """The scene as stored, without normals; None if it is not there or not whole."""
        if self.folder is None:
            return None
        try:
            with self._path(seed).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                maps = {name: file[name] for name in file.files}
            scene = _unpack(seed, maps)
        except _UNREADABLE:
            return None
        shape = (self.height, self.width)
        whole = scene.image.shape == (*shape, 3) and all(
            m.shape == shape for m in (scene.depth, scene.instances, scene.labels, scene.parts)
        )
        return scene if whole else None


def _unpack(seed: int, maps: dict[str, np.ndarray]) -> Scene:
    height, width = maps["depth"].shape
    fx, fy, cx, cy = (float(value) for value in maps["camera"][:4])
    rotation, position = maps["camera"][4:13].reshape(3, 3), maps["camera"][13:16]
    objects = tuple(
        SceneObject(
            int(row[0]), int(row[1]), DET_CLASSES[int(row[1])], (row[3], row[4], row[5], row[6]), int(row[2])
        )
        for row in maps["objects"].tolist()
    )
    people = zip(maps["people"].tolist(), maps["keypoints"], strict=True)
    return Scene(
        seed=seed,
        image=maps["image"],
        depth=maps["depth"],
        normals=_no_normals(),
        instances=maps["instances"].astype(np.int32),
        labels=maps["labels"],
        parts=maps["parts"],
        objects=objects,
        people=tuple(ScenePerson(instance, keypoints) for instance, keypoints in people),
        camera=Camera(width, height, fx, fy, cx, cy, rotation, position),
    )


def _no_normals() -> np.ndarray:
    return np.zeros((0, 0, 3), np.float32)
