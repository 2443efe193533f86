"""Scenes as files: read back through the readers, written again after every kind of end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.train.commands.data import run
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example
from argus_edge.train.data.images import read_map, read_rgb
from argus_edge.train.data.layouts import LAYOUT_NAMES, Plan, write_scenes
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import READERS, open_data
from argus_edge.train.data.rendered import scene_example
from argus_edge.train.data.scenes import Scene, render
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES, render_surface

SEED: Final = 600  # of scenes that have people, sky and every class of things
SIZE: Final = (96, 128)
COUNT: Final = 16
ARGUMENTS: Final = ("scenes", "--count", "16", "--val", "4", "--seed", "600", "--size", "128x96")
SEEDS: Final = {"train": list(range(600, 612)), "val": list(range(10_000_600, 10_000_604))}
TASKS: Final = {
    "coco": ("det", "inst", "pose", "pan"), "ade20k": ("seg",), "imagenet": ("cls",),
    "nyuv2": ("depth", "normal", "edge"), "pascal": ("parse", "sal"), "yolo": ("det",),
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All layouts, written in one go by one process."""
    folder = tmp_path_factory.mktemp("scenes") / "all"
    assert run([*ARGUMENTS, "--out", str(folder), "--processes", "1"]) == 0
    return folder


@cache
def scene(seed: int) -> Scene:
    return render(seed, SIZE)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Path of every file and folder -> its bytes, None for folders."""
    return {
        str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in sorted(folder.rglob("*"))
    }


def check_objects(found: Example, true: Example, task: str) -> None:
    assert found.objects is not None
    assert true.objects is not None
    assert len(found.objects) == len(true.objects)
    for ours, theirs in zip(found.objects, true.objects, strict=True):
        assert (ours.class_id, ours.crowd) == (theirs.class_id, False)
        np.testing.assert_allclose(ours.box, theirs.box, atol=1e-5)
        if task in ("inst", "pose"):
            assert ours.area == theirs.area
            assert ours.box == theirs.box
        if task == "inst":
            assert ours.mask is not None
            np.testing.assert_array_equal(ours.mask, theirs.mask)
        if task == "pose":
            assert (ours.keypoints is None) == (theirs.keypoints is None)
            if ours.keypoints is not None and theirs.keypoints is not None:
                known = theirs.keypoints[:, 2] > 0
                np.testing.assert_array_equal(ours.keypoints[known], theirs.keypoints[known])
                assert (ours.keypoints[~known] == 0).all()


def check_panoptic(found: Example, true: Example) -> None:
    assert found.panoptic is not None
    assert true.panoptic is not None
    np.testing.assert_array_equal(found.panoptic.segment_ids, true.panoptic.segment_ids)
    assert set(found.panoptic.segments) == set(true.panoptic.segments)


def check_depth(found: Example, true: Example) -> None:
    assert found.depth is not None
    assert true.depth is not None
    expected = np.where(true.depth < 65.5355, true.depth, 0)
    np.testing.assert_array_equal(found.depth == 0, expected == 0)
    np.testing.assert_allclose(found.depth, expected, atol=0.000505)


def check_normals(found: Example, true: Example) -> None:
    assert found.normals is not None
    assert true.normals is not None
    seen = np.abs(true.normals).any(axis=-1)
    np.testing.assert_array_equal(np.abs(found.normals).any(axis=-1), seen)
    cosine = (found.normals * true.normals).sum(axis=-1)[seen]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max(initial=0) < 0.45


def check_map(found: Any, true: Any) -> None:
    assert found is not None
    np.testing.assert_array_equal(found, true)


def check_parts(found: Example, true: Example) -> None:
    assert (found.parts is None) == (true.parts is None)  # where no person is shown
    if true.parts is not None:
        check_map(found.parts, true.parts)


CHECKS: Final[dict[str, Callable[[Example, Example], None]]] = {
    "pan": check_panoptic,
    "depth": check_depth,
    "normal": check_normals,
    "parse": check_parts,
    "cls": lambda found, true: check_map(found.image_class, true.image_class),
    "seg": lambda found, true: check_map(found.labels, true.labels),
    "sal": lambda found, true: check_map(found.saliency, true.saliency),
    "edge": lambda found, true: check_map(found.edges, true.edges),
}


@pytest.mark.parametrize("split", SEEDS)
@pytest.mark.parametrize("layout", TASKS)
def test_readers_give_what_was_rendered(written: Path, layout: str, split: str) -> None:
    problems, tasks = Problems(strict=True), TASKS[layout]
    images = open_data(f"{layout}:{written / layout}", split, tasks, problems)
    assert sorted(images.tasks) == sorted(tasks)
    seeds = []
    for index in range(len(images)):
        found = images[index]
        assert found is not None
        seed = int(Path(found.name).stem)
        true = scene_example(scene(seed), (*tasks, "inst", "pose"))
        seeds.append(seed)
        assert np.abs(found.image.astype(int) - true.image).mean() < 6
        for task in tasks:
            if task in ("det", "inst", "pose"):
                check_objects(found, true, task)
            else:
                CHECKS[task](found, true)
            if task in SCENE_CLASSES:
                assert images.classes[task] == SCENE_CLASSES[task]
    assert sorted(seeds) == SEEDS[split]
    assert len(problems) == 0


@pytest.mark.parametrize("split", SEEDS)
def test_the_reader_gives_the_surfaces(written: Path, split: str) -> None:
    images = open_data(f"mvtec:{written / 'mvtec'}", split, ("anom",), Problems(strict=True))
    defective: Counter[str] = Counter()
    for index in range(len(images)):
        found = images[index]
        assert found is not None
        assert found.anomaly is not None
        category, bad = found.anomaly.category, bool(np.any(found.anomaly.mask))
        true = render_surface(int(Path(found.name).stem), category, bad, SIZE)
        np.testing.assert_array_equal(found.image, true.image)
        np.testing.assert_array_equal(np.asarray(found.anomaly.mask, bool), true.mask)
        assert true.defect is None or true.defect in found.name
        defective[category] += bad
    assert set(defective) == set(SURFACE_CATEGORIES)
    assert set(defective.values()) == {0 if split == "train" else 1}
    assert len(images) == len(SURFACE_CATEGORIES) * (1 if split == "train" else 2)


def test_every_layout_that_is_written_can_be_read() -> None:
    assert set(LAYOUT_NAMES) == {*TASKS, "mvtec"} <= set(READERS)
    assert all(set(tasks) <= set(READERS[name].tasks) for name, tasks in TASKS.items())


def test_layouts_share_one_file_of_each_image(written: Path) -> None:
    places: dict[str, set[int]] = {}
    for path in written.rglob("*.jpg"):
        places.setdefault(path.name, set()).add(path.stat().st_ino)
        assert path.stat().st_nlink == len(TASKS)
    assert len(places) == COUNT
    assert all(len(files) == 1 for files in places.values())


def test_layouts_have_copies_where_the_disk_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run([*ARGUMENTS, "--out", str(tmp_path / "copies"), "--processes", "1"])
    assert tree(tmp_path / "copies") == tree(written)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_coco_files_are_what_pycocotools_reads(written: Path) -> None:
    from pycocotools.coco import COCO

    folder = written / "coco" / "annotations"
    coco = COCO(str(folder / "instances_val2017.json"))
    people = COCO(str(folder / "person_keypoints_val2017.json"))
    assert coco.getImgIds() == SEEDS["val"]
    assert [row["name"] for row in coco.loadCats(coco.getCatIds())] == list(SCENE_CLASSES["det"])
    (person,) = people.loadCats(people.getCatIds())
    assert [person["keypoints"][i - 1] for i in person["skeleton"][0]] == ["left_ankle", "left_knee"]
    for seed in SEEDS["val"]:
        rows = coco.loadAnns(coco.getAnnIds(seed))
        for row, thing in zip(rows, scene(seed).objects, strict=True):
            mask = coco.annToMask(row)
            np.testing.assert_array_equal(mask, scene(seed).instances == thing.instance_id)
            assert row["area"] == mask.sum()
            assert row["bbox"] == list(cv2.boundingRect(mask))
            assert row["iscrowd"] == 0
            assert "keypoints" not in row
        of_people = {row["id"]: row for row in people.loadAnns(people.getAnnIds(seed))}
        both = [row for row in rows if row["id"] in of_people]
        for row, body in zip(both, scene(seed).people, strict=True):
            found = of_people[row["id"]]
            assert {name: found[name] for name in row} == row
            assert found["num_keypoints"] == (body.keypoints[:, 2] > 0).sum()


def test_panoptic_maps_are_colours_of_ids(written: Path) -> None:
    folder = written / "coco" / "annotations"
    content = json.loads((folder / "panoptic_val2017.json").read_bytes())
    assert [c["name"] for c in content["categories"] if c["isthing"]] == list(SCENE_CLASSES["det"])
    for row in content["annotations"]:
        picture = read_map(folder / "panoptic_val2017" / row["file_name"]).astype(int)
        ids = picture @ [1, 256, 65536]
        assert {s["id"] for s in row["segments_info"]} == set(np.unique(ids).tolist()) - {0}
        for segment in row["segments_info"]:
            mask = (ids == segment["id"]).astype(np.uint8)
            assert segment["area"] == mask.sum()
            assert segment["bbox"] == list(cv2.boundingRect(mask))


def test_the_list_of_ade20k_counts_pixels_and_images(written: Path) -> None:
    head, *lines = (written / "ade20k" / "objectInfo150.txt").read_text().splitlines()
    assert head.split("\t") == ["Idx", "Ratio", "Train", "Val", "Stuff", "Name"]
    labels = {split: np.array([scene(seed).labels for seed in seeds]) for split, seeds in SEEDS.items()}
    together = np.concatenate(list(labels.values()))
    for number, line in enumerate(lines):
        index, ratio, train, val, stuff, name = line.split("\t")
        assert (int(index), name) == (number + 1, SCENE_CLASSES["seg"][number])
        assert float(ratio) == pytest.approx((together == number).mean(), abs=5.1e-5)
        for count, split in ((train, "train"), (val, "val")):
            assert int(count) == (labels[split] == number).any(axis=(1, 2)).sum()
        assert int(stuff) == (name not in SCENE_CLASSES["det"])


# Ends itself in the middle of writing file number argv[1].
DYING: Final = """
import os, signal, sys
from pathlib import Path
from argus_edge.train.commands.data import run
left, whole = int(sys.argv[1]), Path.write_bytes
def write(path, data):
    global left
    left -= 1
    whole(path, data if left else data[: len(data) // 2])
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = write
run(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("ends", "processes"),
    [
        pytest.param([(4, 0), (60, 5)], 2, id="among the scenes"),
        pytest.param([(180, 24), (22, 31)], 1, id="among the surfaces and the files about all"),
    ],
)
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    tmp_path: Path, written: Path, ends: list[tuple[int, int]], processes: int
) -> None:
    folder = tmp_path / "again"
    arguments = [*ARGUMENTS, "--out", str(folder), "--processes"]
    for ends_at, parts in ends:
        command = [sys.executable, "-c", DYING, str(ends_at), *arguments, "1"]
        ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert len(list((folder / ".parts" / "unfinished").iterdir())) == 1
        assert len(parts_in(folder)) == parts
        there = {path: data for path, data in tree(folder).items() if not path.startswith(".parts")}
        assert there.items() <= tree(written).items()
        assert not (folder / "scenes.json").exists()
    assert run([*arguments, str(processes)]) == 0
    assert tree(folder) == tree(written)
    assert not (folder / ".parts").exists()


def start(folder: Path) -> subprocess.Popen[str]:
    """A run on two processes that would take minutes, at a moment when some pictures are there."""
    command = [sys.executable, "-m", "argus_edge.train.commands.data", "scenes", "--count", "5000"]
    command += ["--out", str(folder), "--processes", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: process.poll() is not None or len(parts_in(folder)) > 1)
    return process


def parts_in(folder: Path) -> list[Path]:
    return list((folder / ".parts" / "done").glob("*.json"))


def wait_until(told: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < limit
        time.sleep(0.02)


def members(group: int) -> list[str]:
    """Processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(path.parent.name)
    return found


def test_ctrl_c_ends_all_processes_with_a_message(tmp_path: Path) -> None:
    process = start(tmp_path / "stopped")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: not complete; the same command goes on from here\n" in errors
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    wait_until(lambda: not members(process.pid))
    assert not list((tmp_path / "stopped" / ".parts" / "unfinished").iterdir())


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start(tmp_path / "killed")
    assert len(members(process.pid)) >= 3
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not members(process.pid))


def test_a_worker_ended_from_outside_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    process = start(tmp_path / "short")
    workers = [
        pid for pid in members(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    os.kill(int(workers[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error: one of the processes was ended from outside" in errors
    assert "Traceback" not in errors


def test_a_second_run_waits_its_turn(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    plan = Plan(tmp_path, 2, 1, 0, SIZE)
    with pytest.raises(InputError, match="another run is writing there"):
        write_scenes(plan, 1, progress=False)
    os.close(descriptor)
    assert not list(tmp_path.iterdir())


def test_a_complete_folder_stays_as_it_is(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    (written / ".parts" / "unfinished").mkdir(parents=True)  # killed while it tidied up
    assert run([*ARGUMENTS, "--out", str(written)]) == 0
    out, err = capsys.readouterr()
    assert "12 scenes to train on, 4 to validate on, as coco,ade20k," in out
    assert "nothing was left to draw" in out
    assert err == ""
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == times


def test_help_names_every_layout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(["scenes", "--help"])
    text = "".join(capsys.readouterr().out.split())
    assert ",".join(LAYOUT_NAMES) in text


def test_progress_is_shown_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--count", "2", "--size", "64", "--layouts", "yolo,yolo", "--processes", "1"]
    assert run(["scenes", "--out", str(tmp_path / "few"), *options]) == 0
    out, err = capsys.readouterr()
    assert "1 scenes to train on, 1 to validate on, as yolo; 2 pictures drawn" in out
    assert "2/2" in err
    assert {path.name for path in (tmp_path / "few").iterdir()} == {"yolo", "scenes.json"}
    picture = read_rgb(tmp_path / "few" / "yolo" / "images" / "val" / "000010000000.jpg")
    assert picture.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--seed", "601"], "seed 600 instead of 601;"),
        (["--size", "96"], "size 128x96 instead of 96x96;"),
        (["--val", "5"], "val 4 instead of 5;"),
        (["--count", "20", "--layouts", "coco"], "count 16 instead of 20, layouts .* instead of coco;"),
    ],
)
def test_other_settings_need_another_folder(
    written: Path, tmp_path: Path, changed: list[str], message: str
) -> None:
    begun = tmp_path / "begun" / ".parts"
    begun.mkdir(parents=True)
    (begun / "settings.json").write_bytes((written / "scenes.json").read_bytes())
    for folder in (written, begun.parent):
        before = tree(folder)
        with pytest.raises(InputError, match=f"was begun with {message}.*another folder"):
            run([*ARGUMENTS, "--out", str(folder), *changed])
        assert tree(folder) == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"count": 16}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match="holds other files"):
        run([*ARGUMENTS, "--out", str(tmp_path)])
    (tmp_path / "scenes.json").write_text(content)
    with pytest.raises(InputError, match=r"scenes\.json: not written by this command"):
        run([*ARGUMENTS, "--out", str(tmp_path)])
    assert set(tree(tmp_path)) == {"photo.jpg", "scenes.json"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--count", "0"], "count is 0; expected at least 2"),
        (["--count", "1"], "count is 1; expected at least 2"),
        (["--val", "0"], "val is 0; expected 1 to 15"),
        (["--val", "16"], "val is 16; expected 1 to 15"),
        (["--seed", "-1"], "split 'train' has no scene -1"),
        (["--seed", "9999990"], "split 'train' has no scene 10000001"),
        (["--seed", "9999999", "--count", "3", "--val", "2"], "split 'val' has no scene 10000000"),
        (["--size", "63"], r"size is \(63, 63\)"),
        (["--size", "big"], "size 'big'"),
        (["--processes", "0"], "processes is 0"),
        (["--layouts", "coco,voc"], "layouts 'coco,voc': expected some of coco, ade20k"),
        (["--layouts", ""], "layouts '': expected some of"),
        (["--out", "file/scenes"], "cannot be written: Not a directory"),
        (["--out", "file"], "cannot be written: File exists"),
    ],
)
def test_what_it_refuses(
    changed: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        run([*ARGUMENTS, "--out", "new", *changed])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        run([*ARGUMENTS, "--out", str(tmp_path / "full"), "--processes", "1"])
