"""What a run keeps: the log and TensorBoard without doubled steps, the best weights, what is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from argus_edge.errors import InputError, TrainingError
from argus_edge.train.data.example import Example
from argus_edge.train.data.rendered import scene_example
from argus_edge.train.data.scenes import SEG_CLASSES, render
from argus_edge.train.evaluation_sets import EvaluationSet
from argus_edge.train.journal import Journal, scene_sets, score
from argus_edge.train.loop import StepReport, Trainer
from argus_edge.train.metrics import TASK_METRICS
from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.checkpoint import CheckpointInfo, read_info
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm
from argus_edge.train.recipe import recipe_from
from argus_edge.train.run_log import RunLog

STEPS = 60
INFO = CheckpointInfo("nano", ("seg",), {"seg": SEG_CLASSES}, 64, "argus-train --out <somewhere>")
SEG = {"seg": TASK_METRICS["seg"]}


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [scene_example(render(seed, 64), ("seg",)) for seed in range(5)]


@pytest.fixture
def on(examples: list[Example]) -> EvaluationSet:
    return EvaluationSet("a few scenes", ("seg",), {"seg": SEG_CLASSES}, len(examples), lambda: examples)


def trainer(step: int = 0, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    adapter = Adapter(24, 8, 3, group_norm(4), vit_scale="none")
    decoders = {"seg": UPerNet(24, 16, len(SEG_CLASSES), nn.BatchNorm2d, 8)}
    phases = [{"steps": STEPS, "size": 64, "batch": 2}]
    settings = {"tasks": ["seg"], "precision": "fp32", "phases": phases, "validate_every": 20} | changes
    made = Trainer(
        Argus(Backbone(vit, False), adapter, decoders), recipe_from(settings, "test"), torch.device("cpu")
    )
    made.step = step
    return made


def report(step: int, loss: float = 1.0, fault: str = "") -> StepReport:
    return StepReport(step, {"seg": loss}, {"seg": 2.0}, 1e-3, 0.5, 2, fault)


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def board(out: Path) -> EventAccumulator:
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def told(out: Path, made: Trainer, on: EvaluationSet, steps: Iterable[int], loss: float = 1.0) -> None:
    """Journal steps of a run that trains nothing."""
    with Journal(out, made, INFO, [on]) as journal:
        for step in steps:
            made.step = step
            journal.on_step(report(step, loss))
            if step % made.recipe.validate_every == 0:
                journal.on_validate(made)


def test_a_run_keeps_log_pictures_report_and_checkpoints(tmp_path: Path, on: EvaluationSet) -> None:
    told(tmp_path, trainer(), on, range(1, 21))
    first, second, validation = logged(tmp_path)
    assert (first["step"], second["step"], validation["step"]) == (10, 20, 20)
    assert (
        second | {"loss/seg": 1.0, "weight/seg": 2.0, "learning_rate": 1e-3, "gradient_norm": 0.5} == second
    )
    assert second["images_per_second"] > 0
    assert second["seconds"] > first["seconds"] > 0
    assert 0 <= validation["seg/mIoU"] == validation["score"] <= 1
    for name in ("checkpoint", "best"):
        info = read_info(tmp_path / name)
        assert info.command == INFO.command
        assert info.metrics["seg"]["mIoU"] == validation["seg/mIoU"]
        assert info.metrics["step"] == 20
    events = board(tmp_path)
    assert [e.step for e in events.Scalars("loss/seg")] == [10, 20]
    assert [e.step for e in events.Scalars("seg/mIoU")] == [20]
    assert len(events.Tags()["images"]) == 4
    (picture,) = events.Images("seg/truth, prediction 1")
    assert (picture.width, picture.height) == (64 + 4 + 64, 64)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert "argus-train --out &lt;somewhere&gt;" in page
    assert "step 20 of 60" in page
    assert {f.name for f in tmp_path.iterdir()} == {
        "best", "checkpoint", "log.jsonl", "report.html", "tensorboard",
    }  # fmt: skip


def test_a_resumed_run_has_no_step_twice(tmp_path: Path, on: EvaluationSet) -> None:
    told(tmp_path, trainer(), on, range(1, 36), loss=1.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 35, "loss/seg"')  # torn by a kill
    before = logged_steps(tmp_path, "loss/seg", torn=True)
    assert before == [(10, 1.0), (20, 1.0), (30, 1.0)]

    told(tmp_path, trainer(step=22), on, range(23, 41), loss=3.0)
    expected = [(10, 1.0), (20, 1.0), (30, 3.0), (40, 3.0)]
    assert logged_steps(tmp_path, "loss/seg") == expected
    assert [step for step, _ in logged_steps(tmp_path, "score")] == [20, 40]
    seconds = [value for _, value in logged_steps(tmp_path, "seconds")]
    assert seconds == sorted(seconds)
    events = board(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("loss/seg")] == expected
    assert [e.step for e in events.Images("seg/truth, prediction 1")] == [20, 40]


def logged_steps(out: Path, name: str, torn: bool = False) -> list[tuple[int, float]]:
    lines = (out / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in (lines[:-1] if torn else lines)]
    return [(row["step"], row[name]) for row in rows if name in row]


def test_a_missed_validation_is_made_up_for(tmp_path: Path, on: EvaluationSet) -> None:
    told(tmp_path, trainer(), on, range(1, 16))
    assert not (tmp_path / "checkpoint").exists()
    for _ in range(2):
        with Journal(tmp_path, trainer(step=STEPS), INFO, [on]):
            pass
        assert [step for step, _ in logged_steps(tmp_path, "score")] == [STEPS]
    assert read_info(tmp_path / "checkpoint").metrics["step"] == STEPS
    assert "finished" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_best_is_the_one_with_the_highest_score(
    tmp_path: Path, on: EvaluationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.3, 0.5, 0.4, 0.45])
    monkeypatch.setattr(Journal, "_measure", lambda *_: ({"seg": {"mIoU": next(figures), "images": 5.0}}, []))
    told(tmp_path, trainer(), on, range(1, 61))
    told(tmp_path, trainer(step=59), on, [60])  # remembers the best of the run before
    assert [value for _, value in logged_steps(tmp_path, "score")] == [0.3, 0.5, 0.45]
    assert read_info(tmp_path / "best").metrics["step"] == 40
    assert read_info(tmp_path / "checkpoint").metrics["step"] == 60


def test_a_kill_while_checkpoints_change_places_loses_none(tmp_path: Path, on: EvaluationSet) -> None:
    told(tmp_path, trainer(), on, range(1, 21))
    (tmp_path / "best").rename(tmp_path / ".best.old")
    (tmp_path / ".best.part").mkdir()
    told(tmp_path, trainer(step=20), on, [])
    assert read_info(tmp_path / "best").metrics["step"] == 20
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, on: EvaluationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(tmp_path, trainer(), on, range(1, 21))

    def full(path: Path, *_: object) -> None:
        path.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("argus_edge.train.journal.save_checkpoint", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*the one before is whole"):
        told(tmp_path, trainer(step=20), on, range(21, 41))
    assert read_info(tmp_path / "checkpoint").metrics["step"] == 20
    assert [step for step, _ in logged_steps(tmp_path, "score")] == [20]


def test_a_skipped_step_is_told_once_and_logged(
    tmp_path: Path, on: EvaluationSet, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = "step 9: the loss of task 'seg' is nan on \x1b[31m[red].png"
    with Journal(tmp_path, trainer(), INFO, [on]) as journal:
        journal.on_step(report(10, math.nan, fault))
        journal.on_step(report(11))
    shown = capsys.readouterr().err
    assert shown.count("the loss of task 'seg' is nan on \\x1b[31m[red].png; the step is skipped") == 1
    assert "seg 1.000" in shown
    assert "img/s" in shown
    first, second = logged(tmp_path)
    assert first == {"step": 10, "fault": fault}
    assert "loss/seg" not in second  # JSON has no NaN
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the loss of task &#x27;seg&#x27; is nan on \\x1b[31m[red].png" in page


def test_a_set_without_a_class_of_the_model_is_refused_before_training(
    tmp_path: Path, on: EvaluationSet
) -> None:
    other = replace(on, classes={"seg": ("tree", "lamp")})
    with pytest.raises(InputError, match=r"a few scenes: task 'seg'.*tree"):
        Journal(tmp_path, trainer(), INFO, [other])


def test_the_score_is_a_mean_in_which_errors_are_turned_over() -> None:
    metrics = {task: TASK_METRICS[task] for task in ("seg", "normal", "det")}
    first = {"seg/mIoU": 0.2, "normal/mean_angle": 30.0, "det/AP": 0.0}
    assert score(first, first, metrics) == pytest.approx((0.2 + 0.5 + 0.0) / 3)
    later = {"seg/mIoU": 0.2, "normal/mean_angle": 10.0}  # AP could not be measured
    assert score(later, first, metrics) == pytest.approx((0.2 + 0.75) / 3)
    assert score({"normal/mean_angle": 0.0}, first, {"normal": metrics["normal"]}) == 1


def test_scenes_and_surfaces_are_sets_of_their_own(tmp_path: Path) -> None:
    recipe = trainer(tasks=["seg", "anom"], validate_scenes=2).recipe
    scenes, surfaces = scene_sets(recipe, recipe.tasks, tmp_path)
    assert (scenes.tasks, surfaces.tasks) == (("seg",), ("anom",))
    assert surfaces.title.startswith("surfaces 10000000 to 10000001, 64x64")
    for _ in range(2):  # a set is read at each validation
        assert [e is not None and e.labels is not None for e in scenes.read()] == [True, True]
        assert [e is not None and e.anomaly is not None for e in surfaces.read()] == [True, True]
    assert scene_sets(recipe, (), tmp_path) == []


def test_rows_that_are_none_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'{"step": 1, "seconds": 2.5}\n[3]\n{"no": 1}\n\xff\xfe\n{"step": "2"}\n{"step": 3}\n{"st'
    )
    log = RunLog(path, 2)
    log.add(2, {"loss/seg": 0.5, "gradient_norm": math.inf})
    log.close()
    assert log.seconds == 2.5
    assert logged(tmp_path) == [{"step": 1, "seconds": 2.5}, {"step": 2, "loss/seg": 0.5}]
