"""What tasks lose in a lower precision, and how long frames take: measured, on engines of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from argus_edge.export.agreement import MEASURES, disagreement
from argus_edge.export.assembly import Contents, write_contents
from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.export.engines import answers_of, opened, opened_all
from argus_edge.export.gate import Loss
from argus_edge.export.sensitivity import Layer, layers_of, rank_layers
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array
from argus_edge.runtime.session import Runtime
from argus_edge.runtime.timing import Times, interleaved
from argus_edge.spec import Precision, QuantizationSpec
from argus_edge.train.evaluation_sets import EvaluationSet, check_used
from argus_edge.train.validate import evaluate

__all__ = ["AGREEMENT_FACTOR", "AGREEMENT_FRAMES", "Trial"]

AGREEMENT_FRAMES: Final = 16
AGREEMENT_FACTOR: Final = 10
"""Answers may differ by so many times what a metric may lose: a difference costs where fp32 was right, and
then in part.
"""
RANKING_ENGINE: Final = "onnxruntime"  # it opens a graph fastest, and there is one for each layer
RANKING_FRAMES: Final = 4
ROUNDS: Final = 30  # of runs that are timed

Graphs = Mapping[str, onnx.ModelProto]  # component -> graph
Figures = dict[str, dict[str, float]]  # task -> figure -> value


@dataclass(frozen=True)
class Trial:
    """Measures graphs of `plan` against those in fp32.

    A task that the data sets `sets` tell about is measured on them as argus-eval does it; one that they do
    not tell about, or of which fp32 has no figure above 0, by how far its answers to `frames` are from those
    in fp32.
    """

    plan: Plan
    fp32: Graphs
    frames: Sequence[Array]  # network inputs (1, H, W, 3) uint8
    sets: Sequence[EvaluationSet]
    engines: Sequence[str]  # that graphs are judged on, the default one first
    max_drop: float  # share of its figure that a task may lose
    scratch: Path
    notify: Callable[[str], None] = field(default=lambda _: None)
    advance: Callable[[], None] = field(default=lambda: None)
    rest: Callable[[onnx.ModelProto], onnx.ModelProto] = field(default=lambda graph: graph)
    """What engines get of an int8 graph (`Target.rest`)."""

    def measure(self, precision: Precision, graphs: Graphs) -> dict[str, Loss]:
        """What each task loses in `precision`, on the engine where that is most."""
        if precision == "int8":
            graphs = {component: self.rest(graph) for component, graph in graphs.items()}
        found = [self._measured_on(engine, precision, graphs) for engine in self.engines]
        # What is no number counts as most.
        return {
            task: max((losses[task] for losses in found), key=lambda loss: (not loss.holds, loss.loss))
            for task in self.plan.entries
        }

    def rank(self, quantised: Graphs, tasks: Sequence[str]) -> list[Layer]:
        """The int8 layers that `tasks` depend on, those first that cost these tasks most."""
        entries = [self.plan.entries[task] for task in tasks]
        components = {name for entry in entries for name in (entry.backbone, entry.component)}
        if "pose" in tasks:
            components.add(self.plan.entries[self.plan.finder].component)
        layers = layers_of(quantised, components)
        self.notify(f"gate: effect of each of {len(layers)} layers on {', '.join(tasks)}")
        with self._effect(tasks) as effect:
            return rank_layers(layers, quantised, self.fp32, effect, self.advance)

    def component_times(self, graphs: Mapping[str, Graphs], component: str) -> dict[str, Times]:
        """Times [ms] of one component in several forms, all of them int8, on the default engine."""
        inputs = [
            self.plan.inputs(component, np.ascontiguousarray(frame), answers, extra)
            for frame, answers, extra in zip(self.frames[:RANKING_FRAMES], *self._float_answers, strict=False)
        ]
        with ExitStack() as stack:
            engines = {
                name: stack.enter_context(
                    opened(self.engines[0], self.rest(each[component]), "int8", self.scratch)
                )
                for name, each in graphs.items()
            }
            runs = {name: _in_turn(engine.run, inputs) for name, engine in engines.items()}
            return interleaved(runs, ROUNDS)

    def frame_times(self, variants: Mapping[Precision, Graphs]) -> dict[Precision, Times]:
        """Times [ms] of whole frames with all tasks in each precision, on the default engine."""
        images = [np.ascontiguousarray(frame[0]) for frame in self.frames]
        with ExitStack() as stack:
            package = self._written(variants)
            runtimes = {
                precision: stack.enter_context(Runtime(package, self.engines[0], precision, cache=False))
                for precision in variants
            }
            runs = {str(precision): _in_turn(runtime, images) for precision, runtime in runtimes.items()}
            times = interleaved(runs, ROUNDS)
        return {precision: times[precision] for precision in variants}

    # -- with labels -----------------------------------------------------------------------------------------

    @cached_property
    def _float_figures(self) -> Figures:
        return self._figures(self.engines[0], "fp32", self.fp32)

    def _measured_on(self, engine: str, precision: Precision, graphs: Graphs) -> dict[str, Loss]:
        losses: dict[str, Loss] = {}
        if self.sets:
            reference, figures = self._float_figures, self._figures(engine, precision, graphs)
            rows = {task: each.metrics[task] for each in self.sets for task in each.tasks}
            for task, row in rows.items():
                kept = row.kept(reference[task], figures[task])
                if kept:
                    name = min(kept, key=lambda name: kept[name])
                    values = reference[task][name], figures[task][name]
                    losses[task] = Loss(1 - kept[name], self.max_drop, name, engine, *values)
        if left := [task for task in self.plan.entries if task not in losses]:
            losses |= self._disagreements(engine, precision, graphs, left)
        return losses

    def _figures(self, engine: str, precision: Precision, graphs: Graphs) -> Figures:
        package = self._written({precision: graphs})
        figures: Figures = {}
        for each in self.sets:
            self.notify(f"{precision} on {engine}: {', '.join(each.tasks)} on {each.title}")
            classes = {task: entry.classes for task, entry in self.plan.entries.items()}
            tables = each.tables(classes, {}, shared=False)
            with Runtime(package, engine, precision, each.tasks, score_threshold=0.0, cache=False) as runtime:
                found = evaluate(
                    {precision: runtime}, each.read(), each.tasks, self.advance, each.classes, 0,
                    metrics=each.metrics, tables=tables,
                )[precision]  # fmt: skip
            check_used(each, len(found.frame_ms))
            figures |= found.metrics
        return figures

    def _written(self, variants: Mapping[Precision, Graphs]) -> ModelPackage:
        """A package of the graphs, which the next one takes the place of."""
        unknown = QuantizationSpec("trial", "0" * 64, 0)
        contents = Contents("trial", self.plan, variants, unknown)
        return write_contents([contents], self.scratch / "trial", overwrite=True)

    # -- without -----------------------------------------------------------------------------------------

    @cached_property
    def _float_answers(self) -> tuple[list[Answers], list[Extra]]:
        self.notify(f"fp32 on {self.engines[0]}: answers to compare with")
        return answers_of(
            self.plan, self.fp32, "fp32", self.engines[0], self.frames[:AGREEMENT_FRAMES], None, self.scratch
        )

    def _disagreements(
        self, engine: str, precision: Precision, graphs: Graphs, tasks: Sequence[str]
    ) -> dict[str, Loss]:
        reference, extra = self._float_answers
        self.notify(f"{precision} on {engine}: {', '.join(tasks)} compared with fp32")
        frames = self.frames[:AGREEMENT_FRAMES]
        answers, _ = answers_of(self.plan, graphs, precision, engine, frames, extra, self.scratch)
        losses = {}
        for task in tasks:
            kind = self.plan.entries[task].row(task).kind
            measure = MEASURES.get(kind, MEASURES[None])
            loss = self._disagreement(task, reference, answers)
            losses[task] = Loss(loss, AGREEMENT_FACTOR * self.max_drop, measure, engine)
        return losses

    def _disagreement(self, task: str, reference: Sequence[Answers], answers: Sequence[Answers]) -> float:
        entry = self.plan.entries[task]
        each = ([frame[entry.component] for frame in frames] for frames in (reference, answers))
        return disagreement(entry.row(task).kind, *each)

    @contextmanager
    def _effect(self, tasks: Sequence[str]) -> Iterator[Callable[[str, onnx.ModelProto], float]]:
        """(component, its graph with one int8 layer) -> what it does to the answers of `tasks`, all the rest
        being in float.
        """
        reference, extra = self._float_answers[0][:RANKING_FRAMES], self._float_answers[1][:RANKING_FRAMES]
        decoders = {self.plan.entries[task].component: self.plan.entries[task].backbone for task in tasks}
        floats = {component: self.fp32[component] for component in decoders}
        with opened_all(RANKING_ENGINE, floats, "fp32", self.scratch) as engines:

            def effect(component: str, graph: onnx.ModelProto) -> float:
                changed = [dict(answers) for answers in reference]
                later = [name for name, backbone in decoders.items() if backbone == component]
                with opened(RANKING_ENGINE, graph, "int8", self.scratch) as engine:
                    for frame, answers, used in zip(self.frames, changed, extra, strict=False):
                        for name in (component, *later):
                            run = (engine if name == component else engines[name]).run
                            inputs = self.plan.inputs(name, np.ascontiguousarray(frame), answers, used)
                            answers[name] = {key: np.array(value) for key, value in run(inputs).items()}
                return sum(self._disagreement(task, reference, changed) for task in tasks)

            yield effect


def _in_turn(run: Callable[[Any], object], inputs: Sequence[Any]) -> Callable[[int], object]:
    """What runs input N in round N, and after the last one the first again."""
    return lambda number: run(inputs[number % len(inputs)])
