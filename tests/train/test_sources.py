"""Where tasks learn from: data sets named on the command line or in a recipe, scenes for the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from argus_edge.errors import DatasetError, InputError, TaskError
from argus_edge.train.commands.train import main
from argus_edge.train.data.layouts import Plan, write_scenes
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.model.checkpoint import read_info
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.sources import assign_data, data_and_split, open_sources, validation_sets

SIDE = 96


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes to learn from and three to validate on, as COCO and ADE20K have theirs."""
    folder = tmp_path_factory.mktemp("data")
    write_scenes(Plan(folder, 11, 3, 0, (SIDE, SIDE), ("coco", "ade20k")))
    return folder


@pytest.fixture
def one_part(data: Path, tmp_path: Path) -> Path:
    """COCO without a part to validate on."""
    folder = tmp_path / "one part"
    shutil.copytree(data / "coco", folder)
    shutil.rmtree(folder / "val2017")
    for file in (folder / "annotations").glob("*_val2017.json"):
        file.unlink()
    return folder


def recipe(**changes: Any) -> Recipe:
    phases = [{"steps": 1, "size": 64, "batch": 2}, {"steps": 1, "size": SIDE, "batch": 4}]
    return recipe_from({"precision": "fp32", "scenes": 4, "phases": phases, "workers": 0} | changes, "test")


def test_each_data_set_serves_the_tasks_it_tells_about(data: Path) -> None:
    coco, ade20k = f"coco:{data}/coco", f"ade20k:{data}/ade20k@training"
    assert assign_data([coco, ade20k], ["det", "seg", "depth"]) == {"det": coco, "seg": ade20k}
    assert assign_data([coco], ["det", "inst", "pose"]) == {"det": coco, "inst": coco, "pose": coco}
    with pytest.raises(TaskError, match=r"no task of det is left for it, as those before tell of det"):
        assign_data([coco, f"yolo:{data}"], ["det"])
    with pytest.raises(TaskError, match="tells about seg"):
        assign_data([f"ade20k:{data}/ade20k"], ["depth"])
    with pytest.raises(DatasetError, match="in the split 'holiday'"):
        assign_data([f"{coco}@holiday"], ["det"])
    with pytest.raises(DatasetError, match="expected LAYOUT:PATH"):
        assign_data([f"{data}/coco"], ["det"])


def test_a_split_follows_the_last_at_sign(tmp_path: Path) -> None:
    assert data_and_split("coco:/data/coco") == ("coco:/data/coco", None)
    assert data_and_split("coco:/data/coco@trainval") == ("coco:/data/coco", "trainval")
    assert data_and_split("maps:/data/street#sky,road@val") == ("maps:/data/street#sky,road", "val")
    assert data_and_split("coco:/me@home/coco") == ("coco:/me@home/coco", None)
    (tmp_path / "me@home").mkdir()
    assert data_and_split(f"coco:{tmp_path}/me@home") == (f"coco:{tmp_path}/me@home", None)
    assert data_and_split(f"coco:{tmp_path}/me@home@val") == (f"coco:{tmp_path}/me@home", "val")


def test_classes_are_those_of_the_data(data: Path, tmp_path: Path) -> None:
    tasks = ("det", "inst", "seg", "pan")
    texts = dict.fromkeys(("det", "inst", "pan"), f"coco:{data}/coco")
    sources = open_sources(recipe(tasks=tasks, data=texts), tmp_path)
    assert set(sources.sets) == {"inst", "pan"}
    assert sources.classes["det"] == sources.classes["inst"] == DET_CLASSES
    assert sources.classes["seg"] == SEG_CLASSES
    assert sources.things == len(DET_CLASSES)
    assert sources.scenes is not None
    alone = open_sources(recipe(tasks=["det"], data={"det": f"coco:{data}/coco"}), tmp_path / "none")
    assert alone.scenes is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="det and inst share a decoder"):
        open_sources(recipe(tasks=["det", "inst"], data={"det": f"coco:{data}/coco"}), tmp_path)


def test_tasks_with_data_have_batches_of_their_own(data: Path, tmp_path: Path) -> None:
    texts = {"det": f"coco:{data}/coco", "seg": f"ade20k:{data}/ade20k"}
    settings = recipe(
        tasks=["det", "seg", "depth", "edge"], data=texts, sizes={"det": 128}, batches={"seg": 6}
    )
    steps = open_sources(settings, tmp_path).steps(settings, Place())
    forms = [[(list(b.targets), *b.image.shape[:2]) for b in steps[step].batches] for step in (0, 1)]
    assert forms == [
        [(["depth", "edge"], 2, 64), (["det"], 2, 128), (["seg"], 6, 64)],
        [(["depth", "edge"], 4, SIDE), (["det"], 4, 128), (["seg"], 6, SIDE)],
    ]


def test_validation_takes_the_other_part(data: Path, one_part: Path, tmp_path: Path) -> None:
    texts = {"det": f"coco:{data}/coco", "seg": f"ade20k:{data}/ade20k"}
    settings = recipe(tasks=["det", "seg"], data=texts, validate_scenes=2)
    sets, notes = validation_sets(settings, open_sources(settings, tmp_path))
    assert [(each.tasks, each.count, each.split) for each in sets] == [
        (("det",), 2, "val"),
        (("seg",), 2, "validation"),
    ]
    assert not notes
    for text, reason in (
        (f"coco:{one_part}", "nothing for det in the split 'val'"),
        (f"coco:{one_part}/annotations/instances_train2017.json", "no part that is not learnt from"),
        (f"coco:{data}/coco@val", "no part that is not learnt from"),
    ):
        settings = recipe(tasks=["det"], data={"det": text})
        sets, (note,) = validation_sets(settings, open_sources(settings, tmp_path))
        assert not sets
        assert note.startswith("det: not validated")
        assert reason in note


def test_a_detector_learns_from_own_data_with_one_command(
    one_part: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = one_part / "annotations" / "instances_train2017.json"
    found = json.loads(annotations.read_text())
    for number, category in enumerate(found["categories"]):
        category["name"] = f"part {number}"
    annotations.write_text(json.dumps(found))
    out = tmp_path / "run"
    arguments = ["--data", f"coco:{one_part}", "--tasks", "det", "--out", str(out), "--workers", "0"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--phases", f"2:{SIDE}:2", "--precision", "fp32"])
    told = capsys.readouterr()
    assert caught.value.code == 0, told.err
    assert told.out.strip() == str(out / "checkpoint")
    assert "argus-train: det: not validated (" in told.err
    info = read_info(out / "checkpoint")
    assert info.tasks == ("det",)
    assert info.classes == {"det": tuple(f"part {n}" for n in range(len(found["categories"])))}
    assert info.recipe["data"] == {"det": f"coco:{one_part}"}
    assert not (out / "scenes").exists()
