"""argus-eval on data sets and scenes, with a package and a checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from argus_edge.errors import ArgusError, DatasetError, InputError, TaskError
from argus_edge.runtime.session import Runtime
from argus_edge.spec import PERSONS_TENSOR, TensorSpec
from argus_edge.train.commands import evaluate as evaluating
from argus_edge.train.commands.evaluate import main, run
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import READERS, Reader
from argus_edge.train.evaluation_sets import open_sets
from argus_edge.train.metrics import SCENES, DepthMetrics, DepthProtocol, TaskMetric
from argus_edge.train.subjects import _notes

CLASSES = {task: SCENE_CLASSES[task] for task in ("det", "seg")}
SIZE = 64


class Pictures:
    """Six pictures, of which those in `broken` cannot be used."""

    def __init__(
        self,
        examples: Sequence[Example],
        tasks: tuple[str, ...],
        problems: Problems,
        classes: Mapping[str, tuple[str, ...]],
        broken: Sequence[int] = (),
        metrics: Mapping[str, TaskMetric] | None = None,
        title: str = "pictures",
    ) -> None:
        self.examples, self.tasks, self.problems, self.classes = examples, tasks, problems, classes
        self.broken, self.metrics, self.title = broken, metrics or {}, title

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example | None:
        if index in self.broken:
            self.problems.add(f"{index}.jpg", "picture is cut off", "image")
            return None
        return self.examples[index]


@pytest.fixture(scope="module")
def truth(twin_package: Path) -> list[Example]:
    """Pictures whose truth of seg and depth is what the tiny package answers."""
    random = np.random.default_rng(0)
    examples = []
    with Runtime(twin_package) as runtime:
        for number in range(6):
            image = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            frame = runtime(image)
            things = (LabelledObject(4, (4, 4, 30, 50), 1196), LabelledObject(0, (0, 0, 9, 9), 81))
            seg, depth = frame.seg.labels, frame.depth.values
            examples.append(Example(f"images/{number}.jpg", image, things, seg, depth=depth))
    return examples


@pytest.fixture
def offer(truth: list[Example], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes a layout known: offer("name", ("seg",)) -> "name:PATH"."""

    def offered(
        name: str,
        tasks: tuple[str, ...],
        classes: Mapping[str, tuple[str, ...]] = CLASSES,
        annotations: int = 0,
        examples: Sequence[Example] | None = None,
        **about: Any,
    ) -> str:
        def open_pictures(
            path: Path, split: str, told: tuple[str, ...], problems: Problems
        ) -> LabelledImages:
            assert path == tmp_path
            for number in range(annotations):
                problems.add("all.json", f"box {number} has no area", "annotation")
            return Pictures(examples or truth, told, problems, classes, title=f"{name} {split}", **about)

        reader = Reader(f"{name} pictures", tasks, ("train", "val"), "anything", open_pictures)
        monkeypatch.setitem(READERS, name, reader)
        return f"{name}:{tmp_path}"

    return offered


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_task_is_measured_on_the_first_data_that_tells_about_it(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = offer("first", ("seg",)), offer("second", ("seg", "depth"))
    found = report(capsys, twin_package, "--data", first, "--data", second, "--tasks", "depth,seg")
    assert [(d["title"], d["split"], d["images"]) for d in found["data"]] == [
        ("first val", "val", 6),
        ("second val", "val", 6),
    ]
    metrics = found["precisions"]["fp16"]["metrics"]
    assert metrics["seg"]["mIoU"] == 1
    assert metrics["depth"]["RMSE"] == pytest.approx(0, abs=1e-6)
    assert [list(d["metrics"]["fp16"]) for d in found["data"]] == [["seg"], ["depth"]]
    assert found["data"][1]["problems"] == {"images": 0, "annotations": 0}
    assert set(found["protocols"]) == {"seg", "depth"}
    assert found["scenes"] is None
    assert found["compared_with"] is None


def test_precisions_are_compared_over_all_data(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = offer("first", ("seg",)), offer("second", ("depth",))
    found = report(capsys, twin_package, "--data", texts[0], "--data", texts[1], "--precision", "fp32,fp16")
    assert found["precisions"]["fp16"]["metrics"]["seg"]["mIoU"] == 1
    assert set(found["comparisons"]["fp16"]["kept"]) == {"seg", "depth"}
    assert set(found["data"][0]["metrics"]) == {"fp32", "fp16"}


def test_tasks_that_nobody_tells_about(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = offer("first", ("seg",)), offer("second", ("seg",))
    with pytest.raises(
        TaskError, match=r"tells about depth; .*first:.*: seg; second:.*: nothing more; leave"
    ):
        run([str(twin_package), "--data", first, "--data", second, "--tasks", "seg,depth"])
    capsys.readouterr()
    assert run([str(twin_package), "--data", first, "--data", second, "--limit", "1"]) == 0
    notes = capsys.readouterr().err
    assert "no data set tells about it: det, depth" in notes
    assert "same tasks: second:" in notes
    assert "no task of theirs" not in notes
    pose = offer("third", ("pose",))
    message = rf"third:{re.escape(pose[6:])}: third pictures tells about pose, none of which"
    with pytest.raises(TaskError, match=message):
        run([str(twin_package), "--data", pose])
    with pytest.raises(TaskError, match=message):  # as seg was asked for
        run([str(twin_package), "--data", first, "--data", pose, "--tasks", "seg"])
    assert run([str(twin_package), "--data", pose, "--data", first, "--limit", "1"]) == 0
    assert f"not used, as the model has no task of theirs: {pose}" in capsys.readouterr().err


def test_other_class_names(twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = tuple("pedestrian" if name == "person" else name for name in CLASSES["seg"])
    text = offer("data", ("seg",), {"seg": renamed})
    with pytest.raises(InputError, match=r"data val: task 'seg': .*has pedestrian; name them alike"):
        run([str(twin_package), "--data", text])
    found = report(capsys, twin_package, "--data", text, "--rename", "pedestrian=person")
    assert found["precisions"]["fp16"]["metrics"]["seg"]["mIoU"] == 1
    assert found["protocols"]["seg"].endswith("truth's pedestrian as person")
    found = report(capsys, twin_package, "--data", text, "--shared-classes")
    assert found["protocols"]["seg"].count("8 of 9 classes") == 1
    assert "IoU/person" not in found["precisions"]["fp16"]["metrics"]["seg"]
    for pair, message in (
        ("pedestrain=person", "'pedestrain' is no class of the data"),
        ("pedestrian=persno", "'persno' is no class of the model"),
    ):
        with pytest.raises(InputError, match=message):
            run([str(twin_package), "--data", text, "--rename", pair])


def test_names_with_commas_are_renamed_one_by_one(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"person": "person, individual", "wall": "wall, brick", "sky": "heaven", "box": "crate"}
    text = offer("data", ("seg",), {"seg": tuple(names.get(name, name) for name in CLASSES["seg"])})
    renames = ["person, individual=person", "wall, brick=wall", "heaven=sky,crate=box"]
    options = [option for each in renames for option in ("--rename", each)]
    found = report(capsys, twin_package, "--data", text, *options)
    assert found["precisions"]["fp16"]["metrics"]["seg"]["mIoU"] == 1
    with pytest.raises(InputError, match="'heaven' is renamed twice"):
        run([str(twin_package), "--data", text, *options, "--rename", "heaven=wall"])


def test_classes_in_another_order_are_put_right(
    twin_package: Path, truth: list[Example], offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = offer("data", ("seg",), {"seg": CLASSES["seg"][::-1]})
    found = report(capsys, twin_package, "--data", text)
    assert found["precisions"]["fp16"]["metrics"]["seg"]["pixel_accuracy"] < 1  # the labels mean others now
    assert "classes:" not in found["protocols"]["seg"]


def test_problems_are_shown_counted_and_written(
    twin_package: Path, offer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, file = offer("data", ("seg",), annotations=11, broken=(1, 4)), tmp_path / "problems.jsonl"
    arguments = [str(twin_package), "--data", text]
    assert run([*arguments, "--problems", str(file)]) == 0
    out, notes = capsys.readouterr()
    assert "4 images measured; left out: 2 images, 11 annotations" in out
    assert "all.json: box 9 has no area (annotation left out)" in notes
    assert "data val: 3 problems more; --problems FILE" in notes
    assert "box 10" not in notes
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 13
    assert rows[-1] == {"data": "data val", "path": "4.jpg", "what": "picture is cut off", "lost": "image"}
    found = report(capsys, *arguments)
    assert found["data"][0]["problems"] == {"images": 2, "annotations": 11}
    assert found["data"][0]["images"] == 4


def test_strict_ends_at_the_first_problem(twin_package: Path, offer: Any, tmp_path: Path) -> None:
    text = offer("data", ("seg",), broken=(1,))
    with pytest.raises(DatasetError, match=r"1\.jpg: picture is cut off"):
        run([str(twin_package), "--data", text, "--strict"])


def test_a_set_without_a_usable_image_is_an_error(twin_package: Path, offer: Any, tmp_path: Path) -> None:
    text, file = offer("data", ("seg",), broken=range(6)), tmp_path / "problems.jsonl"
    with pytest.raises(DatasetError, match=r"none of its 6 images .* first of 6 problems: 0\.jpg: picture"):
        run([str(twin_package), "--data", text, "--problems", str(file)])
    assert len(file.read_text().splitlines()) == 6


def test_a_task_that_no_image_tells_about_is_named(
    twin_package: Path, truth: list[Example], offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = offer("data", ("seg", "depth"), examples=[replace(example, labels=None) for example in truth])
    assert run([str(twin_package), "--data", text]) == 0
    notes = capsys.readouterr().err
    assert "data val: no image says anything about task 'seg'" in notes
    assert "task 'depth'" not in notes


def test_limit_takes_the_first_images(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, twin_package, "--data", offer("data", ("seg",), broken=(0,)), "--limit", 3)
    assert found["data"][0]["title"] == "data val; the first 3 only"
    assert found["data"][0]["images"] == 2
    found = report(capsys, twin_package, "--data", offer("data", ("seg",)), "--limit", 60)
    assert found["data"][0]["title"] == "data val"


def test_a_data_set_s_own_protocol_is_used_and_named(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    own = TaskMetric(lambda _: DepthMetrics(DepthProtocol(maximum=42)), ("RMSE",), frozenset({"RMSE"}))
    text = offer("data", ("depth",), metrics={"depth": own})
    assert "42" in report(capsys, twin_package, "--data", text)["protocols"]["depth"]


def test_another_protocol_is_chosen_by_name(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    own = TaskMetric(lambda _: DepthMetrics(DepthProtocol(maximum=42)), ("RMSE",), frozenset({"RMSE"}))
    text = offer("data", ("depth", "seg"), metrics={"depth": own})
    found = report(capsys, twin_package, "--data", text, "--protocol", "depth=scenes")
    assert found["protocols"]["depth"] == DepthMetrics(SCENES).protocol
    for choice, message in (
        ("depth=x", "depth= with one of nyu, scenes"),
        ("seg=x", "with a task of sal, edge, depth, cls"),
        ("depth", "depth= with one of"),
        ("sal=sod", "'sal' is not measured here"),
        ("depth=nyu", "the Eigen crop is for"),
    ):
        with pytest.raises(InputError, match=message):
            run([str(twin_package), "--data", text, "--protocol", choice])
    with pytest.raises(InputError, match="another one is chosen"):
        run([str(twin_package), "--data", text, "--protocol", "depth=nyu", "--protocol", "depth=scenes"])


@pytest.mark.parametrize(
    ("slots", "expected"), [(8, "at most 8 people, as exported"), (20, None), (None, None)]
)
def test_a_package_s_places_for_people_are_named(slots: int | None, expected: str | None) -> None:
    persons = None if slots is None else TensorSpec(PERSONS_TENSOR, "float32", (slots, 4), "KX")
    components = {"heatmaps": SimpleNamespace(persons=persons)}
    spec = SimpleNamespace(tasks={"pose": SimpleNamespace(component="heatmaps")}, components=components)
    package: Any = SimpleNamespace(spec=spec)
    assert _notes(package).get("pose") == expected


def test_the_bar_reaches_its_end_past_broken_images(
    twin_package: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tuple[int, list[None]]] = []

    @contextmanager
    def counting(_: str, total: int) -> Iterator[Callable[[], None]]:
        steps: list[None] = []
        bars.append((total, steps))
        yield lambda: steps.append(None)

    monkeypatch.setattr(evaluating, "_progress", counting)
    assert run([str(twin_package), "--data", offer("data", ("seg",), broken=(0, 4, 5))]) == 0
    ((total, steps),) = bars
    assert total == len(steps) == 6


def test_what_is_wrong_with_the_data_is_said_before_the_model_is_loaded(
    checkpoint: Path, offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("the model is loaded")

    monkeypatch.setattr(evaluating, "find_model", never)
    text = offer("data", ("seg",))
    for arguments, message in (
        (["--data", "data"], "expected LAYOUT:PATH"),
        (["--data", text, "--data", "nope:/data"], "one of the layouts"),
        (["--data", f"data:{tmp_path / 'none'}"], "no such folder"),
        (["--data", text, "--tasks", "depth"], f"data:{tmp_path}: data pictures tells about seg, none"),
        (["--data", text, "--tasks", "detect"], "unknown task"),
        (["--data", text, "--protocol", "sal=x"], "atrc, invpt, mti-net, sod"),
        (["--split", "val"], "a part of a data set"),
        (["--worst", "3"], "go together"),
        (["--pictures", str(tmp_path)], "go together"),
    ):
        with pytest.raises(ArgusError, match=re.escape(message)):
            run([str(checkpoint), *arguments])


def test_one_annotation_file_has_no_split(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    picture = {"id": 1, "file_name": "a.png", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    file = tmp_path / "instances_val.json"
    rows = {"images": [picture], "annotations": [box], "categories": [{"id": 1, "name": "box"}]}
    file.write_text(json.dumps(rows))
    (found,) = open_sets([f"coco:{file}"], None, ("det",))
    assert (found.split, found.count) == (None, 1)


def test_rows_of_classes_and_sizes_on_request(
    twin_package: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(twin_package), "--data", offer("data", ("det", "seg"))]
    assert run(arguments) == 0
    plain = capsys.readouterr().out
    assert run([*arguments, "--per-class", "--per-size"]) == 0
    detailed = capsys.readouterr().out
    for text in ("AP_small", "AR_medium", "AP/person", "IoU/"):
        assert text not in plain
        assert text in detailed
    assert "AP_small" in report(capsys, *arguments)["precisions"]["fp16"]["metrics"]["det"]


def test_worst_images_become_pictures(
    twin_package: Path, truth: list[Example], offer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "worst"
    text = offer("data", ("det", "seg", "depth"))
    assert run([str(twin_package), "--data", text, "--worst", "2", "--pictures", str(folder)]) == 0
    assert "6 pictures in" in capsys.readouterr().err
    names = sorted(path.name for path in folder.iterdir())
    assert [name.split("-")[:2] for name in names[:-1]] == [
        [task, rank] for task in ("depth", "det", "seg") for rank in ("01", "02")
    ]
    assert names[-1] == "worst.json"
    stranger = folder / "seg-09-0.1000-mine.png"
    stranger.write_bytes(b"mine")
    with pytest.raises(InputError, match="no evaluation has written"):
        run([str(twin_package), "--data", text, "--worst", "2", "--pictures", str(folder)])
    assert stranger.read_bytes() == b"mine"


def test_true_boxes_need_a_checkpoint_and_pose(twin_package: Path, checkpoint: Path, offer: Any) -> None:
    text = offer("data", ("seg",))
    for path, message in ((twin_package, "is a package"), (checkpoint, "'pose', which is not measured")):
        with pytest.raises(InputError, match=message):
            run([str(path), "--data", text, "--true-boxes"])


def test_command_measures_a_checkpoint(
    checkpoint: Path, offer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, checkpoint, "--scenes", 2, "--tasks", "det,depth")
    assert found["engine"] == "torch"
    assert found["scenes"] == {"first_seed": 10_000_000, "count": 2, "size": 320}
    assert found["precisions"]["fp32"]["metrics"]["depth"]["images"] == 2
    assert set(found["precisions"]["fp32"]["frame_ms"]) == {"p50", "p90", "p99"}
    assert list(found["protocols"]) == ["det", "depth"]
    assert found["comparisons"] == {}
    assert [d["title"] for d in found["data"]] == ["scenes 10000000 to 10000001, 320x320"]
    found = report(capsys, checkpoint, "--data", offer("data", ("seg",)), "--limit", 2)
    assert found["precisions"]["fp32"]["metrics"]["seg"]["images"] == 2


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_command_compares_precisions(
    engine: str, twin_package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(engine)
    arguments = [str(twin_package), "--scenes", "3", "--engine", engine, "--cache", str(tmp_path)]
    found = report(capsys, *arguments, "--precision", "fp32,fp16")
    assert found["compared_with"] == "fp32"
    assert found["comparisons"]["fp16"]["kept"]["seg"]["mIoU"] == pytest.approx(1, abs=0.1)
    assert 0.05 < found["comparisons"]["fp16"]["frame_time_ratio"] < 20
    assert run([*arguments, "--precision", "fp32,fp16", "--per-class"]) == 0
    table = capsys.readouterr().out
    for text in (
        "fp16 keeps",
        "mIoU",
        "IoU/person",
        "p99",
        "COCO box AP",
        "frame time of fp16 by that of fp32",
    ):
        assert text in table


PROGRAM = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from argus_edge.train.commands.evaluate import run
run([sys.argv[1], "--scenes", "1", "--worst", "1", "--pictures", sys.argv[2]])
"""


def test_a_package_is_measured_without_torch(twin_package: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(twin_package), str(tmp_path / "worst")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout


def test_command_says_what_is_wrong(checkpoint: Path, twin_package: Path, offer: Any, tmp_path: Path) -> None:
    offer("data", ("seg",))
    package, model = str(twin_package), str(checkpoint)
    for arguments, message in (
        ([str(tmp_path / "none")], "expected a checkpoint or model package"),
        ([str(tmp_path)], "manifest.json"),
        ([model, "--engine", "openvino"], "is a checkpoint, run by torch"),
        ([model, "--precision", "int8"], "is a checkpoint, run in fp32"),
        ([package, "--engine", "torch"], "is not a checkpoint"),
        ([package, "--precision", "int4"], "unknown precision 'int4'; expected fp32, fp16, int8"),
        ([package, "--precision", "int8"], "has no precision 'int8'"),
        ([package, "--tasks", "pose"], "no task 'pose'"),
        ([package, "--tasks", "detect"], "unknown task 'detect'"),
        ([package, "--data", "/data/coco"], "expected LAYOUT:PATH"),
        ([package, "--data", "data:"], "expected LAYOUT:PATH"),
        ([package, "--data", "unknown:/data"], "one of the layouts"),
        ([package, "--data", f"data:{tmp_path / 'none'}"], "no such folder"),
        ([package, "--problems", str(tmp_path / "none" / "file")], "cannot be written"),
        (
            [package, "--worst", "1", "--pictures", str(twin_package / "manifest.json")],
            "cannot hold pictures",
        ),
    ):
        with pytest.raises(ArgusError, match=message):
            run(arguments)


def test_an_error_is_one_line_and_exit_code_2(
    twin_package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["argus-eval", str(twin_package), "--data", "nonsense"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("argus-eval: error: data 'nonsense': expected LAYOUT:PATH")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scenes", "0"],
        ["--first-seed", "-1"],
        ["--tasks", "det,,seg"],
        ["--rename", "a"],
        ["--rename", "a=b,a=c"],
        ["--rename", "a=b=c"],
        ["--rename", "=b"],
        ["--limit", "none"],
    ],
)
def test_command_refuses_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run(["nano.argus", *arguments])
    assert leaving.value.code == 2
    assert "expected" in capsys.readouterr().err
