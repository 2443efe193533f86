"""NYU Depth V2 in the two layouts that are in use: depth, boundaries, surface normals and 40 classes.

NYUD_MT, of ASTMT, MTI-Net, ATRC and InvPT (425x560, 795 train and 654 val), where there is `gt_sets`:

    gt_sets/{train,val}.txt         one name a line
    images/NAME.jpg | .png
    depth/NAME.npy | .mat | .png    (H, W) floats [m], in a MATLAB file as `depth`; a PNG has 16 bits [mm];
                                    0 is unknown
    normals/NAME.npy | .png | .jpg  (H, W, 3) floats; pictures have 8 bits, red, green, blue = 255 (n + 1) / 2
    edge/NAME.npy | .png            (H, W) 0 is no boundary, all else is one (1 in arrays, 255 in pictures)
    segmentation/NAME.png | .mat    (H, W) 1 to 40, in a MATLAB file as `segmentation`; 0 and 255 are unknown;
                                    may be missing as a whole

The first of these endings that is there is read. Of MATLAB files those up to version 7 are. Normals shorter
than 0.5 are unknown: in arrays those are 0, in pictures the grey of 0 with the noise of JPEG.

Nobody has written down where the axes of these normals point, and copies differ. Stored ones are taken for
what this project has (x right, y down, z forward, unit, of visible surfaces towards the camera), unless
clearly more of them face the camera with x, y or z turned round, or x and z changed over. That is found from
images spread over the list (normal_axes.py), and `title` says so.

"Sync", of BTS and AdaBins (480x640, 24,231 train and 654 test, depth only), where there is a list:

    nyudepthv2_{train,test}_files_with_gt.txt   a line "rgb/path.jpg depth/path.png 518.8579"; also below
                                                train_test_inputs/
    rgb/path.jpg                                below the folder, sync/ or official_splits/test/
    depth/path.png                              16 bits [mm], 0 is unknown

A slash before a path means the folder; the focal length [px] is not used. Of lists that are called
"..._dense.txt" or otherwise none is read. `val` and `test` are two names of one split.

Published protocols: depth in the Eigen crop as mean over images where all pictures are 480x640, elsewhere
without a crop, in NYUD_MT with pixels pooled; boundaries with a tolerance of 0.011 of the diagonal at 99
thresholds; angles of normals pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, ImageError, shown
from argus_edge.train.data.example import IGNORE, Example
from argus_edge.train.data.images import read_size
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import choose_split, inside, read_text, require_paths
from argus_edge.train.data.readers.listed import BrokenFile, ClassValues, ListedImages, broken_file, counted
from argus_edge.train.data.readers.maps import (
    MapReader,
    MapSource,
    first_there,
    listed_lines,
    read_classes,
    read_example,
    read_values,
)
from argus_edge.train.data.readers.normal_axes import STORED, NormalAxes, find_axes
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.metrics import (
    NYU,
    NYUD,
    TASK_METRICS,
    DepthMetrics,
    DepthProtocol,
    EdgeMetrics,
    TaskMetric,
)
from argus_edge.train.metrics.depth import EIGEN_SIZE

CLASS_NAMES: Final = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, "
    "desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, "
    "television, paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, "
    "bathtub, bag, other structure, other furniture, other prop"
)
CLASSES: Final = tuple(CLASS_NAMES.split(", "))
"""Of Gupta et al., CVPR 2013; stored values are one higher."""

FOLDERS: Final = {"depth": "depth", "normal": "normals", "edge": "edge", "seg": "segmentation"}
SYNC_LIST: Final = "nyudepthv2_{}_files_with_gt.txt"
NORMAL_PLACES: Final = ("normals/{}.npy", "normals/{}.png", "normals/{}.jpg")
SYNC_PLACES: Final = ("{}", "sync/{}", "official_splits/test/{}")
PUBLISHED: Final = {"NYUD_MT": {"train": 795, "val": 654}, "sync": {"train": 24_231, "test": 654}}
SAME_SPLITS: Final = (("val", "test"),)
AXES_IMAGES: Final = 16  # whose normals are looked at to find the axes
SHORTEST_NORMAL: Final = 0.5


def open_nyuv2(
    root: Path, split: str, tasks: tuple[str, ...], problems: Problems
) -> ListedImages[str] | ListedImages[tuple[int, str]]:
    """The set in whichever of the two layouts the folder has.

    Raises DatasetError for a folder of neither, and with everything that is missing.
    """
    if (root / "gt_sets").is_dir():
        return _open_mt(root, split, tasks, problems)
    lists = {
        name: path
        for name in ("train", "test")
        for path in (root / "train_test_inputs" / SYNC_LIST.format(name), root / SYNC_LIST.format(name))
        if path.is_file()
    }
    if not lists:
        raise DatasetError(
            f"{shown(root)}: missing for NYU Depth V2: gt_sets/ (NYUD_MT) or {SYNC_LIST.format('train')} and "
            f"{SYNC_LIST.format('test')} (sync); expected layout: {NYUV2.layout}"
        )
    return _open_sync(root, split, tasks, problems, lists)


def _open_mt(root: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> ListedImages[str]:
    title = "NYUD_MT"
    there = sorted(path.stem for path in (root / "gt_sets").glob("*.txt"))
    split = choose_split(title, root, split, there, SAME_SPLITS)
    # The classes may be left out of a copy, as nobody needs them for the other tasks.
    told = tuple(t for t in tasks if t != "seg" or (root / FOLDERS[t]).is_dir()) or tasks
    require_paths(title, root, ["images", *(FOLDERS[task] for task in told)], NYUV2.layout)
    list_file = f"gt_sets/{split}.txt"
    names = listed_lines(root, list_file)
    name = f"{title} {split} in {shown(root)}"
    title = counted(name, len(names), PUBLISHED[title].get(split))
    axes = _axes(root, names) if "normal" in told else STORED
    if axes != STORED:
        title += f", normals taken as {axes} of the stored ones"
    sources = {
        "depth": MapSource("depth", ("depth/{}.npy", "depth/{}.mat", "depth/{}.png"), _depth),
        "normal": MapSource("normals", NORMAL_PLACES, partial(_normals, axes)),
        "edge": MapSource("edges", ("edge/{}.npy", "edge/{}.png"), _edges),
        "seg": MapSource("labels", ("segmentation/{}.png", "segmentation/{}.mat"), _labels),
    }
    pictures = ("images/{}.jpg", "images/{}.png")
    read = MapReader(root, list_file, pictures, [sources[task] for task in told], problems)
    depth = _DepthMetric(read.picture_path, names, pooled=True)
    classes = {"seg": CLASSES} if "seg" in told else {}
    return ListedImages(title, classes, told, problems, names, read, _metrics(told, depth))


def _open_sync(
    root: Path, split: str, tasks: tuple[str, ...], problems: Problems, lists: dict[str, Path]
) -> ListedImages[tuple[int, str]]:
    if "depth" not in tasks:
        raise DatasetError(
            f"{shown(root)}: NYU Depth V2 in the layout 'sync' has depth only; for {', '.join(tasks)} give a "
            f"folder in the layout NYUD_MT, with gt_sets/"
        )
    split = choose_split("NYU Depth V2 sync", root, split, list(lists), SAME_SPLITS)
    list_file = lists[split].relative_to(root).as_posix()
    lines = [(i, line) for i, line in enumerate(read_text(lists[split]).splitlines(), 1) if line.strip()]
    if not lines:
        raise DatasetError(f"{shown(root)}: {list_file} lists no image")
    name = f"NYU Depth V2 sync {split} in {shown(root)}"
    read = _SyncReader(root, list_file, problems)
    depth = _DepthMetric(read.picture_path, lines, pooled=False)
    title = counted(name, len(lines), PUBLISHED["sync"].get(split))
    return ListedImages(title, {}, ("depth",), problems, lines, read, _metrics(("depth",), depth))


@dataclass(frozen=True, eq=False)
class _SyncReader:
    """Reads the example of a line "rgb depth focal"."""

    root: Path
    list_file: str
    problems: Problems

    def __call__(self, entry: tuple[int, str]) -> Example:
        image, depth = self._paths(entry)
        return read_example(self.root, image, {"depth": (depth, _depth)}, self.problems)

    def picture_path(self, entry: tuple[int, str]) -> Path:
        """Where the picture is. Raises BrokenFile for a broken line."""
        return self._paths(entry)[0]

    def _paths(self, entry: tuple[int, str]) -> tuple[Path, Path]:
        number, line = entry
        where = f"{self.list_file}, line {number}"
        fields = line.split()
        if len(fields) < 2:
            raise BrokenFile(where, f"expected 'rgb depth focal', got {line.strip()!r}")
        names = [field.removeprefix("/") for field in fields[:2]]
        if any(inside(self.root, name) is None for name in names):
            raise BrokenFile(where, "a path leaves the folder of the data set")
        image, depth = (first_there(self.root, SYNC_PLACES, name) for name in names)
        return image, depth


@dataclass(frozen=True, eq=False)
class _DepthMetric:
    """Makes the metric of depth: the Eigen crop is for frames of NYU's own size."""

    picture_path: Callable[[Any], Path]
    entries: Sequence[Any]
    pooled: bool  # over the pixels of all images, where they are not of that size

    def __call__(self, _: Sequence[str]) -> DepthMetrics:
        return DepthMetrics(self._protocol)

    @cached_property  # as all files are looked into
    def _protocol(self) -> DepthProtocol:
        if all(_has_eigen_size(self.picture_path, entry) for entry in self.entries):
            return NYU
        return replace(NYU, crop="none", average="pixel" if self.pooled else "image")


def _has_eigen_size(picture_path: Callable[[Any], Path], entry: Any) -> bool:
    """Whether a picture is 480x640, or cannot be used at all; by the head of its file."""
    try:
        return read_size(picture_path(entry)) == EIGEN_SIZE
    except (ImageError, BrokenFile):  # told of when it is read
        return True


def _nyud_edges(_: Sequence[str]) -> EdgeMetrics:
    return EdgeMetrics(NYUD)


def _metrics(tasks: Sequence[str], depth: _DepthMetric) -> dict[str, TaskMetric]:
    makers: dict[str, Callable[[Sequence[str]], Any]] = {"depth": depth, "edge": _nyud_edges}
    return {task: replace(TASK_METRICS[task], make=makers[task]) for task in tasks if task in makers}


def _depth(root: Path, path: Path) -> NDArray[np.float32]:
    values = read_values(root, path, "depth")
    picture = path.suffix.lower() == ".png"
    deep = values.dtype.kind in "iu" and values.dtype.itemsize > 1 if picture else values.dtype.kind == "f"
    if values.ndim != 2 or not deep:
        expected = "a grey picture of 16 bits [mm]" if picture else "floats (H, W) [m]"
        got = f"{values.dtype} {values.shape}"
        raise broken_file(root, path, f"expected {expected}, got {got}")
    depth = _floats(values)
    depth /= 1000 if picture else 1
    depth[~(np.isfinite(depth) & (depth > 0))] = 0
    return depth


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # of numbers that 32 bits do not hold; infinite ones are unknown
        return values.astype(np.float32)


def _edges(root: Path, path: Path) -> NDArray[np.uint8]:
    values = read_values(root, path, "edge")
    if values.ndim != 2 or not np.isfinite(values).all():
        raise broken_file(root, path, "expected finite numbers (H, W), 0 off the boundaries")
    edges: NDArray[np.uint8] = (values != 0).astype(np.uint8)
    return edges


def _labels(root: Path, path: Path) -> NDArray[np.uint8]:
    values = read_classes(root, path, "segmentation")
    return ClassValues(len(CLASSES), first=1, ignored=(0, IGNORE))(root, path, values)


def _stored_normals(root: Path, path: Path) -> NDArray[np.float32]:
    values = read_values(root, path, "normals")
    if values.ndim != 3 or values.shape[2] != 3 or not (values.dtype == np.uint8 or values.dtype.kind == "f"):
        what = f"expected normals (H, W, 3), floats or colours of 8 bits, got {values.dtype} {values.shape}"
        raise broken_file(root, path, what)
    normals = _floats(values)
    if values.dtype == np.uint8:
        normals = normals / np.float32(127.5) - 1
    normals[~np.isfinite(normals).all(axis=-1)] = 0
    unit: NDArray[np.float32] = np.zeros_like(normals)
    with np.errstate(over="ignore"):  # a length without end makes 0
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
    np.divide(normals, length, out=unit, where=length >= SHORTEST_NORMAL)
    return unit


def _normals(axes: NormalAxes, root: Path, path: Path) -> NDArray[np.float32]:
    return axes.apply(_stored_normals(root, path))


def _axes(root: Path, names: Sequence[str]) -> NormalAxes:
    """The axes of the stored normals, from images spread over the list; broken ones are told of later."""
    maps = []
    for name in names[:: max(1, len(names) // AXES_IMAGES)][:AXES_IMAGES]:
        if inside(root, name) is not None:
            with suppress(BrokenFile):
                maps.append(_stored_normals(root, first_there(root, NORMAL_PLACES, name)))
    return find_axes(maps)


NYUV2: Final = Reader(
    title="NYU Depth V2",
    tasks=tuple(FOLDERS),
    splits=("train", "val"),
    layout="NYUD_MT: gt_sets/{train,val}.txt, images/, depth/, normals/, edge/, segmentation/; or sync: "
    "nyudepthv2_{train,test}_files_with_gt.txt with lines 'rgb depth focal', and their files",
    open=open_nyuv2,
)
