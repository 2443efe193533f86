"""What a training run shows and keeps: progress, TensorBoard, log.jsonl, report.html and two checkpoints."""

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import torch
from safetensors import SafetensorError
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from argus_edge.errors import TrainingError, first_line
from argus_edge.runtime.machine import this_machine
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.evaluation_sets import EvaluationSet, check_used, rendered_sets
from argus_edge.train.loop import StepReport, Trainer
from argus_edge.train.metrics import TaskMetric
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.checkpoint import CheckpointInfo, save_checkpoint
from argus_edge.train.predict import DETECTORS, TorchPredictor
from argus_edge.train.recipe import Recipe
from argus_edge.train.run_log import Row, RunLog
from argus_edge.train.run_progress import RunProgress
from argus_edge.train.run_report import RunReport, write_report
from argus_edge.train.samples import Sample, Samples
from argus_edge.train.truth import true_people
from argus_edge.train.validate import evaluate

LATEST: Final = "checkpoint"  # the averaged weights when they were last measured
BEST: Final = "best"  # those with the highest score


def scene_sets(recipe: Recipe, tasks: Sequence[str], cache: Path) -> list[EvaluationSet]:
    """The first scenes of the validation split, and as many surfaces for anom; `cache` keeps scenes."""
    first, size = get_split("val").first, recipe.phases[-1].size
    return rendered_sets(tasks, first, recipe.validate_scenes, cache, size)


class Journal:
    """Tells of a run in the folder `out`, on stderr, and keeps the averaged weights; for the leader only.

    A run that is resumed continues what the journal wrote up to the trainer's step.
    """

    def __init__(
        self, out: Path, trainer: Trainer, info: CheckpointInfo, sets: Sequence[EvaluationSet]
    ) -> None:
        """Args:
            out: folder of the run, made if missing.
            trainer: at the step that the run starts or continues from.
            info: describes the checkpoints; without metrics.
            sets: what to validate on, no two for the same task; their `read` is called at each validation.

        Raises InputError when the model and a set have no class in common, TrainingError where `out` cannot
        be written.
        """
        self.out, self.trainer, self.info, self.sets = out, trainer, info, sets
        self.metrics: dict[str, TaskMetric] = {
            task: each.metrics[task] for each in sets for task in each.tasks
        }
        self.tables = [each.tables(info.classes, {}, shared=True) for each in sets]
        out.mkdir(parents=True, exist_ok=True)
        for name in (LATEST, BEST):
            _recover(out / name)
        self.log = RunLog(out / "log.jsonl", trainer.step)
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=trainer.step + 1)
        self.progress = RunProgress(trainer.recipe.steps, trainer.step)
        self.samples: list[Sample] = []
        self.protocols: dict[str, str] = {}
        self._trained, self._started = self.log.seconds, time.perf_counter()
        self._clock, self._images = self._started, 0

    def __enter__(self) -> "Journal":
        """Start to show progress, and make up for a validation that an interruption has prevented."""
        self.progress.start()
        step, recipe = self.trainer.step, self.trainer.recipe
        due = step and (step == recipe.steps or step % recipe.validate_every == 0)
        if due and not any(row["step"] == step for row in self.log.validations):
            self.on_validate(self.trainer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        self.board.close()
        self.log.close()
        if self.samples or not (self.out / "report.html").exists():  # else the one with pictures stays
            try:
                self._report()
            except TrainingError:
                if error is None:
                    raise

    def on_step(self, report: StepReport) -> None:
        """Show the step; every `log_every` steps, log it."""
        self._images += report.images
        speed = self._images / (time.perf_counter() - self._clock)
        if report.fault:
            self.progress.tell(f"{report.fault}; the step is skipped")
            self.log.add(report.step, {"fault": report.fault})
        features = self.trainer.features
        for note in features.notes() if features is not None else ():
            self.progress.tell(note)
        kept = None if features is None else features.share
        self.progress.show(report, speed, kept)
        if report.step % self.trainer.recipe.log_every == 0:
            self._record(
                report.step,
                {f"loss/{task}": loss for task, loss in report.losses.items()}
                | {f"weight/{task}": weight for task, weight in report.weights.items()}
                | {"learning_rate": report.learning_rate, "gradient_norm": report.gradient_norm}
                | {"images_per_second": speed, "seconds": self._seconds()}
                | ({} if kept is None else {"features_kept": kept}),
            )
            self._clock, self._images = time.perf_counter(), 0

    def on_validate(self, trainer: Trainer) -> None:
        """Measure the averaged model, keep it, and bring the report up to date."""
        figures, self.samples = self._measure(trainer)
        values = {f"{t}/{name}": value for t, each in figures.items() for name, value in each.items()}
        validations = self.log.validations
        value = score(values, next(iter(validations), values), self.metrics)
        facts = {"step": trainer.step, "score": value, "on": [each.title for each in self.sets], **figures}
        info = dataclasses.replace(self.info, metrics=facts)
        if self.sets and value > max((row["score"] for row in validations), default=-1.0):
            _replace(self.out / BEST, trainer.average, info)
        _replace(self.out / LATEST, trainer.average, info)
        self._record(trainer.step, {"score": value} | values)  # last: it says that all of this was done
        self._show_samples(trainer.step)
        self._report()
        self._clock, self._images = time.perf_counter(), 0

    def _measure(self, trainer: Trainer) -> tuple[dict[str, dict[str, float]], list[Sample]]:
        """Task -> figure -> value, and pictures."""
        figures: dict[str, dict[str, float]] = {}
        pictures: list[Sample] = []
        finds_people = any(task in self.info.tasks for task in DETECTORS)
        for each, tables in zip(self.sets, self.tables, strict=True):
            names = {**each.classes, **{task: table.names for task, table in tables.items()}}
            samples = Samples(each.count, names)
            with self.progress.validating(each.count) as advance:
                (found,) = evaluate(
                    {"average": TorchPredictor(trainer.average, self.info, each.tasks)},
                    each.read(),
                    each.tasks,
                    advance,
                    each.classes,
                    warm_up=0,
                    metrics=each.metrics,
                    tables=tables,
                    people=true_people if "pose" in each.tasks and not finds_people else None,
                    watch=samples.add,
                ).values()
            check_used(each, len(found.frame_ms))
            figures |= found.metrics
            self.protocols |= found.protocols
            pictures += samples.pictures
        return figures, pictures

    def _show_samples(self, step: int) -> None:
        """The pictures in TensorBoard, as the JPEGs they are; `add_image` would make larger PNGs."""
        numbers: Counter[str] = Counter()
        for sample in self.samples:
            numbers[sample.task] += 1
            image = Summary.Image(
                height=sample.height, width=sample.width, colorspace=3, encoded_image_string=sample.jpeg
            )
            tag = f"{sample.task}/truth, prediction {numbers[sample.task]}"
            self.board._get_file_writer().add_summary(
                Summary(value=[Summary.Value(tag=tag, image=image)]), step
            )
        self.board.flush()

    def _seconds(self) -> float:
        return self._trained + time.perf_counter() - self._started

    def _record(self, step: int, values: Mapping[str, float]) -> Row:
        row = self.log.add(step, values)
        for name, value in row.items():
            if name not in ("step", "seconds"):
                self.board.add_scalar(name, value, step)
        return row

    def _report(self) -> None:
        report = RunReport(
            self.info,
            self.trainer.step,
            self.trainer.recipe.steps,
            _machine(self.trainer.device, self._seconds()),
            [each.title for each in self.sets],
            self.log.rows,
            self.metrics,
            self.protocols,
            self.samples,
        )
        write_report(self.out / "report.html", report)


def score(
    figures: Mapping[str, float], first: Mapping[str, float], metrics: Mapping[str, TaskMetric]
) -> float:
    """One number by which the checkpoints of a run are ranked: the mean over the tasks, more is better.

    A task counts with its primary figure, which lies between 0 and 1, or 0 where that could not be measured.
    An error e, which was f at the run's first validation, counts with f / (e + f): one half at first, 1
    without error.

    figures, first: under "task/figure".
    """
    shares = []
    for task, metric in metrics.items():
        name = f"{task}/{metric.primary}"
        value = figures.get(name)
        if value is not None and metric.primary in metric.errors:
            start = first.get(name, value)
            value = start / (value + start) if value else 1.0
        shares.append(value or 0.0)
    return sum(shares) / len(shares) if shares else 0.0  # without data to validate on


def _replace(folder: Path, model: Argus, info: CheckpointInfo) -> None:
    """Write a checkpoint beside `folder` and let it take that place."""
    fresh, old = _beside(folder)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        save_checkpoint(fresh, model, info)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{folder}: the checkpoint cannot be written ({first_line(error)}); make room and resume: "
            f"the one before is whole"
        ) from error


def _recover(folder: Path) -> None:
    """Put back what `_replace` had moved away when it was killed."""
    fresh, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")


def _machine(device: torch.device, seconds: float) -> dict[str, str]:
    machine = this_machine()
    facts = {"CPU": f"{machine.cpu}, {machine.cores} cores used"}
    if device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
    facts |= {"system": machine.system, "Python": machine.python, "PyTorch": str(torch.__version__)}
    return facts | {"time": f"{seconds:,.0f} s"}
