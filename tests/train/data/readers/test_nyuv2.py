from __future__ import annotations

import io
import itertools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from argus_edge.errors import DatasetError
from argus_edge.results import DenseMap
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import nyuv2, open_data
from argus_edge.train.data.readers.nyuv2 import CLASSES

TASKS: Final = ("depth", "normal", "edge", "seg")
SHAPE: Final = (24, 32)


def picture(shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    return np.full((*shape, 3), (200, 100, 50), np.uint8)


def depth_map() -> NDArray[np.float32]:
    depth = np.linspace(0.5, 9.5, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)
    depth[0, :3] = 0
    return depth


def edge_map() -> NDArray[np.uint8]:
    edges = np.zeros(SHAPE, np.uint8)
    edges[:, 7] = 1
    return edges


def label_values() -> NDArray[np.uint8]:
    return (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 41).astype(np.uint8)


def room() -> NDArray[np.float32]:
    """What a camera in the middle of a box of 4 x 3 x 8 m sees of its sides: normals (H, W, 3) towards it."""
    height, width = SHAPE
    x = (np.arange(width) + 0.5 - width / 2) / (0.93 * width)
    y = (np.arange(height) + 0.5 - height / 2) / (0.93 * width)
    rays = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones(SHAPE)], axis=-1)
    nearest = np.abs(rays / (1.2, 0.8, 4)).argmax(-1)
    normals = np.zeros((*SHAPE, 3), np.float32)
    rows, columns = np.indices(SHAPE)
    normals[rows, columns, nearest] = -np.sign(rays[rows, columns, nearest])
    return normals


def write(path: Path, values: NDArray[Any], key: str = "") -> None:
    """By the ending; colours as RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {key: values}, do_compression=True)
    else:
        stored = values[..., ::-1] if values.ndim == 3 else values
        assert cv2.imwrite(str(path), stored)


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def as_colours(normals: NDArray[np.float32]) -> NDArray[np.uint8]:
    colours: NDArray[np.uint8] = np.rint((normals + 1) * 127.5).astype(np.uint8)
    return colours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """NYUD_MT with two images in val and one in train."""
    root = tmp_path / "NYUD_MT"
    for name in ("1", "2", "3"):
        write(root / f"images/{name}.png", picture())
        write(root / f"depth/{name}.npy", depth_map())
        write(root / f"normals/{name}.npy", room())
        write(root / f"edge/{name}.npy", edge_map())
        write(root / f"segmentation/{name}.png", label_values())
    write_lines(root / "gt_sets/val.txt", "2", "1")
    write_lines(root / "gt_sets/train.txt", "3")
    return root


def open_all(root: Path, split: str = "val", tasks: tuple[str, ...] = TASKS) -> LabelledImages:
    return open_data(f"nyuv2:{root}", split, tasks)


def check_whole(example: Example | None) -> None:
    assert example is not None
    np.testing.assert_array_equal(example.image, picture())
    np.testing.assert_array_equal(example.depth, depth_map())
    np.testing.assert_array_equal(example.normals, room())
    np.testing.assert_array_equal(example.edges, edge_map())
    np.testing.assert_array_equal(example.labels, label_values() - np.uint8(1))  # 0 becomes 255
    for label in (example.depth, example.normals):
        assert label is not None
        assert label.dtype == np.float32


def test_a_folder_is_read_to_the_pixel(folder: Path) -> None:
    images = open_all(folder)
    assert len(images) == 2
    assert images.tasks == TASKS
    assert images.classes == {"seg": CLASSES}
    assert [CLASSES[i] for i in (0, 19, 39)] == ["wall", "floor mat", "other prop"]
    assert images.title == f"NYUD_MT val in {folder}: 2 images (654 published)"
    examples = [images[i] for i in range(2)]
    assert [example.name for example in examples if example] == ["images/2.png", "images/1.png"]
    for example in examples:
        check_whole(example)
    assert len(images.problems) == 0
    with pytest.raises(IndexError):
        images[2]


def test_only_labels_that_are_asked_for_are_read(folder: Path) -> None:
    for name in ("normals", "edge", "segmentation"):
        for path in (folder / name).iterdir():
            path.write_bytes(b"broken")
    images = open_all(folder, tasks=("depth",))
    example = images[0]
    assert example is not None
    assert (example.normals, example.edges, example.labels) == (None, None, None)
    assert images.tasks == ("depth",)
    assert images.classes == {}
    assert len(images.problems) == 0


def test_a_set_can_be_handed_to_other_processes(folder: Path) -> None:
    images = pickle.loads(pickle.dumps(open_all(folder)))
    check_whole(images[1])
    assert "tolerance" not in images.metrics["edge"].make(()).protocol
    assert "0.011" in images.metrics["edge"].make(()).protocol


@pytest.mark.parametrize("ending", ["mat", "png"])
def test_depth_in_other_files(folder: Path, ending: str) -> None:
    for path in (folder / "depth").iterdir():
        path.unlink()
    millimetres = np.rint(depth_map() * 1000).astype(np.uint16)
    values: NDArray[Any] = depth_map().astype(np.float64) if ending == "mat" else millimetres
    write(folder / f"depth/2.{ending}", values, "depth")
    example = open_all(folder)[0]
    assert example is not None
    assert example.depth is not None
    np.testing.assert_allclose(example.depth, depth_map(), atol=0.0005 if ending == "png" else 0)


def test_depth_that_is_no_number_or_negative_is_unknown(folder: Path) -> None:
    depth = depth_map().astype(np.float64)
    depth[3, :4] = np.nan, np.inf, -1, 1e300
    write(folder / "depth/2.npy", depth[..., None])
    example = open_all(folder)[0]
    assert example is not None
    expected = depth_map()
    expected[3, :4] = 0
    np.testing.assert_array_equal(example.depth, expected)


def test_labels_and_boundaries_in_other_files(folder: Path) -> None:
    (folder / "segmentation/2.png").unlink()
    (folder / "edge/2.npy").unlink()
    write(folder / "segmentation/2.mat", label_values().astype(np.float64), "segmentation")
    write(folder / "edge/2.png", edge_map() * np.uint8(255))
    check_whole(open_all(folder)[0])


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_normals_in_pictures(folder: Path, ending: str) -> None:
    true = room()
    true[:8, :8] = 0  # whole blocks of JPEG
    for name in ("1", "2"):
        (folder / f"normals/{name}.npy").unlink()
        write(folder / f"normals/{name}.{ending}", as_colours(true))
    images = open_all(folder)
    assert "taken as" not in images.title
    example = images[0]
    assert example is not None
    assert example.normals is not None
    known, found = np.abs(true).any(-1), np.abs(example.normals).any(-1)
    wrong, median, mean = {"png": (0, 0.5, 0.5), "jpg": (2, 2, 8)}[ending]  # JPEG mixes colours at edges
    assert np.count_nonzero(known != found) <= wrong
    np.testing.assert_allclose(np.linalg.norm(example.normals[found], axis=-1), 1, atol=1e-5)
    cosine = (example.normals * true).sum(-1)[known & found]
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    assert np.median(angles) < median
    assert angles.mean() < mean


def test_normals_that_are_no_direction_are_unknown(folder: Path) -> None:
    stored = room()
    stored[0, :4] = [[np.nan, 0, -1], [0, 0, 0.4], [0, np.inf, 0], [3e38, 3e38, -3e38]]
    stored[1] *= 1.5
    write(folder / "normals/2.npy", stored)
    example = open_all(folder)[0]
    assert example is not None
    assert example.normals is not None
    assert (example.normals[0, :4] == 0).all()
    np.testing.assert_allclose(example.normals[1:], room()[1:], atol=1e-6)


WAYS = [(order, signs) for order in ((0, 1, 2), (2, 1, 0)) for signs in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize(("order", "signs"), WAYS)
def test_axes_of_normals_are_found(
    folder: Path, order: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    for path in (folder / "normals").iterdir():
        write(path, room()[..., order] * np.array(signs, np.float32))
    images = open_all(folder)
    check_whole(images[0])
    names = [("-" if signs[order.index(i)] < 0 else "") + "xyz"[order.index(i)] for i in range(3)]
    same = (order, signs) == ((0, 1, 2), (1, 1, 1))
    expected = "" if same else f", normals taken as ({', '.join(names)}) of the stored ones"
    assert images.title.endswith(f"published){expected}")


def test_axes_stay_as_stored_where_nothing_tells(folder: Path) -> None:
    wall = np.zeros((*SHAPE, 3), np.float32)
    wall[..., 2] = -1
    for path in (folder / "normals").iterdir():
        write(path, wall)
    (folder / "normals/1.npy").write_bytes(b"broken")
    images = open_all(folder, tasks=("normal",))
    assert "taken as" not in images.title
    assert len(images.problems) == 0
    example = images[0]
    assert example is not None
    np.testing.assert_array_equal(example.normals, wall)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def lie(path: Path) -> None:
    """A header of numpy's that tells of 80 GB."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        data, {"descr": "<f8", "fortran_order": False, "shape": (100_000, 100_000)}
    )
    path.write_bytes(data.getvalue() + bytes(64))


class Trap:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def trap(path: Path) -> None:
    np.save(path, np.array([Trap(path.parent / "sprung")], object), allow_pickle=True)


DEFECTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("depth/2.npy", Path.unlink, "No such file"),
    ("depth/2.npy", cut, "cannot be read"),
    ("depth/2.npy", lie, "cannot be read"),
    ("depth/2.npy", trap, "cannot be read"),
    ("depth/2.npy", lambda p: p.write_bytes(b""), "cannot be read"),
    ("depth/2.npy", lambda p: p.write_bytes(p.read_bytes().replace(b"}", b" ")), "cannot be read"),
    ("depth/2.npy", lambda p: write(p, depth_map().astype(np.int32)), r"expected floats \(H, W\) \[m\]"),
    ("depth/2.npy", lambda p: write(p, room()), "expected floats"),
    ("depth/2.npy", lambda p: write(p, np.zeros(9, np.float32)), "expected numbers"),
    ("depth/2.npy", lambda p: write(p, depth_map()[:-1]), "is 23x32 but its picture 24x32"),
    ("depth/2.mat", lambda p: scipy.io.savemat(p, {"depth": {"of": 1}}), "expected numbers"),
    ("depth/2.mat", lambda p: write(p, depth_map(), "other"), "expected a variable 'depth'"),
    ("depth/2.mat", lambda p: p.write_bytes(b"MATLAB 5.0" + bytes(300)), "not a MATLAB file"),
    ("depth/2.png", lambda p: write(p, np.ones(SHAPE, np.uint8)), "expected a grey picture of 16 bits"),
    ("depth/2.png", lambda p: write(p, picture()), "expected a grey picture of 16 bits"),
    ("normals/2.npy", lambda p: write(p, depth_map()), r"expected normals \(H, W, 3\)"),
    ("normals/2.npy", lambda p: write(p, room()[:, 1:]), "is 24x31"),
    ("edge/2.npy", lambda p: write(p, np.full(SHAPE, np.nan)), "expected finite numbers"),
    ("edge/2.npy", lambda p: write(p, room()), "expected finite numbers"),
    ("segmentation/2.png", lambda p: write(p, np.full(SHAPE, 41, np.uint8)), "has the values 41"),
    ("segmentation/2.png", lambda p: write(p, picture()), "label map has colours"),
    ("segmentation/2.png", cut, "cut off"),
    ("segmentation/2.mat", lambda p: write(p, depth_map(), "segmentation"), "map .* of whole numbers"),
    ("segmentation/2.mat", lambda p: write(p, np.full(SHAPE, -3.0), "segmentation"), "has the values -3"),
]


@pytest.mark.parametrize(("name", "harm", "what"), DEFECTS)
def test_a_broken_label_is_left_out_and_told_of(
    folder: Path, name: str, harm: Callable[[Path], object], what: str
) -> None:
    if name.endswith((".mat", ".png")) and not name.startswith("segmentation/2.png"):
        next((folder / name).parent.glob("2.*")).unlink()
    harm(folder / name)
    images = open_all(folder)
    example = images[0]
    assert images[0] is not None  # again: it counts once
    (problem,) = images.problems
    assert (problem.path, problem.lost) == (name, "annotation")
    assert re.search(what, problem.what)
    assert not (folder / "depth/sprung").exists()
    fields = {"depth": "depth", "normals": "normals", "edge": "edges", "segmentation": "labels"}
    for kind, field in fields.items():
        assert (getattr(example, field) is None) == name.startswith(kind)
    check_whole(images[1])
    with pytest.raises(DatasetError, match=what):
        open_data(f"nyuv2:{folder}", "val", TASKS, Problems(strict=True))[0]


@pytest.mark.parametrize("harm", [Path.unlink, cut, lambda path: path.write_bytes(b"no picture")])
def test_an_image_that_is_broken_is_none(folder: Path, harm: Callable[[Path], object]) -> None:
    harm(folder / "images/2.png")
    images = open_all(folder)
    assert images[0] is None
    check_whole(images[1])
    (problem,) = images.problems
    assert problem.lost == "image"
    assert Path(problem.path).stem == "2"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..\\up"])
def test_names_do_not_leave_the_folder(folder: Path, name: str) -> None:
    for kind in ("images", "depth"):
        write(folder.parent / f"{kind}/secret.png", picture())
    write_lines(folder / "gt_sets/val.txt", name, "1")
    images = open_all(folder)
    assert images[0] is None
    check_whole(images[1])
    (problem,) = images.problems
    assert problem.path.startswith("gt_sets/val.txt")
    assert "leaves the folder" in problem.what
    assert "Eigen" not in images.metrics["depth"].make(()).protocol


def test_what_is_missing_is_named_at_once(folder: Path) -> None:
    for name in ("depth", "edge"):
        (folder / name).rename(folder / f"not_{name}")
    with pytest.raises(DatasetError, match=r"missing for NYUD_MT: depth, edge; expected layout: .*gt_sets"):
        open_all(folder)
    assert open_all(folder, tasks=("normal",)).tasks == ("normal",)
    with pytest.raises(DatasetError, match=r"no split 'valid'; there: train, val"):
        open_all(folder, "valid")
    (folder / "gt_sets/val.txt").write_text("\n\n")
    with pytest.raises(DatasetError, match=r"val\.txt: lists no image"):
        open_all(folder, tasks=("normal",))
    with pytest.raises(DatasetError, match=r"missing for NYU Depth V2: gt_sets.*sync"):
        open_all(folder.parent)


def test_classes_may_be_missing(folder: Path) -> None:
    (folder / "segmentation").rename(folder / "not_segmentation")
    images = open_all(folder)
    assert images.tasks == ("depth", "normal", "edge")
    assert images.classes == {}
    with pytest.raises(DatasetError, match="segmentation"):
        open_all(folder, tasks=("seg",))


def test_published_counts(folder: Path) -> None:
    write_lines(folder / "gt_sets/train.txt", *map(str, range(795)))
    assert open_all(folder, "train").title.endswith(": 795 images (as published)")
    write_lines(folder / "gt_sets/mine.txt", "1")
    assert open_all(folder, "mine").title.endswith(": 1 images")


def test_test_is_another_name_of_val(folder: Path) -> None:
    assert len(open_all(folder, "test")) == 2
    assert len(open_data(f"nyuv2:{folder}", None, TASKS)) == 2


def measured(images: LabelledImages) -> dict[str, float]:
    """The metric of depth, on the truth itself."""
    metric = images.metrics["depth"].make(())
    for i in range(len(images)):
        example = images[i]
        assert example is not None
        assert example.depth is not None
        metric.update(DenseMap(example.depth, "m"), example.depth)
    return metric.result()


def test_depth_is_measured_in_the_crop_only_of_nyu_frames(folder: Path) -> None:
    images = open_all(folder, tasks=("depth",))
    protocol = images.metrics["depth"].make(()).protocol
    assert "no crop" in protocol
    assert "pixels pooled" in protocol
    assert measured(images)["RMSE"] == 0
    for name in ("1", "2"):
        write(folder / f"images/{name}.png", picture((480, 640)))
        write(folder / f"depth/{name}.npy", np.full((480, 640), 2, np.float32))
    images = open_all(folder, tasks=("depth",))
    protocol = images.metrics["depth"].make(()).protocol
    assert "Eigen crop" in protocol
    assert "mean over images" in protocol
    assert measured(images)["pixels"] == 2 * 426 * 560
    write(folder / "images/1.png", picture())
    write(folder / "depth/1.npy", depth_map())
    assert measured(open_all(folder, tasks=("depth",)))["RMSE"] == 0


def test_protocol_of_depth_is_found_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []

    def counted(path: Path) -> tuple[int, int]:
        looked.append(path)
        return 480, 640

    monkeypatch.setattr(nyuv2, "read_size", counted)
    images = open_all(folder, tasks=("depth",))
    assert looked == []
    protocols = {images.metrics["depth"].make(()).protocol for _ in range(3)}
    copy = pickle.loads(pickle.dumps(images))
    assert protocols == {copy.metrics["depth"].make(()).protocol}
    assert len(looked) == len(images) == 2


@pytest.fixture
def sync(tmp_path: Path) -> Path:
    """The layout of BTS, with its two halves below folders of their own."""
    root = tmp_path / "nyu"
    millimetres = np.rint(depth_map() * 1000).astype(np.uint16)
    for base, room_name in (("sync", "kitchen_0001a"), ("official_splits/test", "bathroom")):
        for number in (45, 46):
            write(root / base / room_name / f"rgb_000{number}.png", picture())
            write(root / base / room_name / f"sync_depth_000{number}.png", millimetres)
    lines = [f"{{}}/rgb_000{n}.png {{}}/sync_depth_000{n}.png 518.8579" for n in (45, 46)]
    write_lines(
        root / "nyudepthv2_train_files_with_gt.txt",
        *(line.replace("{}", "/kitchen_0001a") for line in lines),
    )
    write_lines(
        root / "train_test_inputs/nyudepthv2_test_files_with_gt.txt",
        *(line.replace("{}", "bathroom") for line in lines),
    )
    return root


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_sync_is_read_to_the_pixel(sync: Path, split: str) -> None:
    images = pickle.loads(pickle.dumps(open_all(sync, split, ("depth", "edge"))))
    assert images.tasks == ("depth",)
    assert len(images) == 2
    for i in range(2):
        example = images[i]
        np.testing.assert_array_equal(example.image, picture())
        np.testing.assert_allclose(example.depth, depth_map(), atol=0.0005)
        assert (example.depth[0, :3] == 0).all()
    assert len(images.problems) == 0
    protocol = images.metrics["depth"].make(()).protocol
    assert "no crop" in protocol
    assert "mean over images" in protocol
    assert images[1].name.endswith("rgb_00046.png")
    published = {"train": "24,231"}.get(split, "654")
    assert images.title.endswith(f": 2 images ({published} published)")


def test_sync_defects(sync: Path) -> None:
    path = sync / "nyudepthv2_train_files_with_gt.txt"
    write_lines(
        path,
        "kitchen_0001a/rgb_00045.png",
        "",
        "../../etc/passwd kitchen_0001a/sync_depth_00045.png 518.8",
        "kitchen_0001a/rgb_00045.png //etc/passwd 518.8",
        "kitchen_0001a/gone.png kitchen_0001a/sync_depth_00045.png 518.8",
        "kitchen_0001a/rgb_00045.png kitchen_0001a/gone.png 518.8",
        "kitchen_0001a/rgb_00046.png kitchen_0001a/sync_depth_00046.png 518.8",
    )
    images = open_all(sync, "train")
    examples = [images[i] for i in range(len(images))]
    assert [example is None for example in examples] == [True, True, True, True, False, False]
    assert [(problem.path.split(".txt, ")[-1], problem.lost) for problem in images.problems] == [
        ("line 1", "image"),
        ("line 3", "image"),
        ("line 4", "image"),
        ("sync/kitchen_0001a/gone.png", "image"),
        ("sync/kitchen_0001a/gone.png", "annotation"),
    ]
    assert images.metrics["depth"].make(()).protocol


def test_sync_has_depth_only(sync: Path) -> None:
    with pytest.raises(DatasetError, match=r"has depth only; for normal, edge give a folder .* NYUD_MT"):
        open_all(sync, tasks=("normal", "edge"))
    (sync / "nyudepthv2_train_files_with_gt.txt").unlink()
    with pytest.raises(DatasetError, match="no split 'train'; there: test"):
        open_all(sync, "train")
