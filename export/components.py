"""The graphs of a package: which there are, what each reads, and what torch answers to the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from torch import nn

from argus_edge.errors import TaskError
from argus_edge.export.trace import Graph, levels_needed, trace_backbone, trace_decoder
from argus_edge.geometry import Letterbox
from argus_edge.runtime.decode import decode_boxes
from argus_edge.runtime.engines import Array
from argus_edge.runtime.persons import fill_slots, find_persons, grid_matrix, person_index, warp, widen
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, PERSONS_TENSOR, ImageSpec, TaskEntry
from argus_edge.train.data.heatmaps import CROP
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.checkpoint import CheckpointInfo
from argus_edge.train.model.roi import PoseOnRegions
from argus_edge.train.predict import DETECTORS

PoseMode = Literal["roi", "crop"]
POSE_MODES: Final[tuple[PoseMode, ...]] = ("roi", "crop")
CROP_BACKBONE: Final = "crop_backbone"

Answers = dict[str, dict[str, Array]]  # component -> output -> values
Extra = dict[str, Array]  # component -> what it reads beside the image and a backbone's features
Run = Callable[[str, Mapping[str, Array]], Mapping[str, Array]]  # component, inputs -> outputs


@dataclass(frozen=True)
class Plan:
    """What is exported: graphs by component, backbones before the decoders that read them."""

    graphs: Mapping[str, Graph]
    entries: Mapping[str, TaskEntry]  # task -> its row in the package
    input: ImageSpec

    @property
    def detector(self) -> str | None:
        """The component that finds people for `pose`, which comes last; None without pose."""
        return self.entries[self.finder].component if "pose" in self.entries else None

    @property
    def finder(self) -> str:
        """The task that finds people for `pose`, as the runtime chooses it."""
        return next(task for task in DETECTORS if task in self.entries)

    def backbone_of(self, component: str) -> str:
        """The component whose features a decoder reads."""
        return next(entry.backbone for entry in self.entries.values() if entry.component == component)

    def pose_reads(self, detections: Mapping[str, Array], image: Array) -> Extra:
        """What pose reads of one frame: the persons of these detections, or the crop of the largest of them.

        image: the network's input (1, H, W, 3).
        """
        entry, detector = self.entries["pose"], self.entries[self.finder]
        height, width = image.shape[1:3]
        whole = Letterbox(height, width, height, width)
        found = decode_boxes(detections, whole, detector.classes)
        persons = next((t for t in self.graphs[entry.component].inputs if t.name == PERSONS_TENSOR), None)
        if persons is not None:
            slots = persons.shape[0]
            return {entry.component: fill_slots(find_persons(found, slots, whole), whole, slots)}
        regions = find_persons(found, len(found)).regions
        if not len(regions):
            regions = widen(np.array([[0.0, 0.0, width, height]]))
        # The largest: a small one, enlarged, is nearly flat and tells little about the graph.
        region = max(regions, key=lambda r: float(r[3] - r[1]))
        rows, columns = self.graphs[entry.backbone].inputs[0].shape[1:3]
        crop = warp(image[0], grid_matrix(region, rows, columns), rows, columns, self.input.pad_color)
        return {entry.backbone: crop[None]}

    def inputs(self, component: str, image: Array, answers: Answers, extra: Extra) -> dict[str, Array]:
        """What a component reads of one frame, after those before it have answered."""
        graph = self.graphs[component]
        if [tensor.name for tensor in graph.inputs] == [IMAGE_TENSOR]:
            return {IMAGE_TENSOR: extra.get(component, image)}
        known = dict(answers[self.backbone_of(component)])
        if component in extra:
            known[PERSONS_TENSOR] = extra[component]
        return {tensor.name: known[tensor.name] for tensor in graph.inputs}

    def answer(self, run: Run, image: Array, extra: Extra | None = None) -> tuple[Answers, Extra]:
        """Each component's answer to one frame, and what pose read, which is `extra` where it is given."""
        answers: Answers = {}
        used = dict(extra or {})
        for component in self.graphs:
            inputs = self.inputs(component, image, answers, used)
            answers[component] = {name: np.array(values) for name, values in run(component, inputs).items()}
            if component == self.detector and extra is None:
                used = self.pose_reads(answers[component], image)
        return answers, used


def make_plan(
    model: Argus,
    info: CheckpointInfo,
    tasks: Sequence[str],
    image: ImageSpec,
    pose: PoseMode = "roi",
    persons: int = 8,
    notify: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Trace everything that `tasks` need. Raises ExportError, and TaskError for pose without a detector."""
    entries = entries_of(info, tasks, pose)
    heads = heads_of(model, entries)
    graphs: dict[str, Graph] = {}

    def trace(backbone: str) -> None:
        notify(f"tracing {backbone}")
        readers = [heads[entry.component] for entry in entries.values() if entry.backbone == backbone]
        reads = image if backbone == BACKBONE else replace(image, height=CROP.height, width=CROP.width)
        graphs[backbone] = trace_backbone(model, reads, levels_needed(readers))

    trace(BACKBONE)
    for task, entry in by_component(entries):
        if entry.backbone not in graphs:
            trace(entry.backbone)
        notify(f"tracing {entry.component}")
        head = heads[entry.component]
        people = persons if isinstance(head, PoseOnRegions) else 0
        graphs[entry.component] = trace_decoder(task, head, graphs[entry.backbone], people)
    return Plan(graphs, entries, image)


def entries_of(info: CheckpointInfo, tasks: Sequence[str], pose: PoseMode) -> dict[str, TaskEntry]:
    """What a package of `tasks` says about each. Raises TaskError for pose without a detector of people."""
    entries = {task: info.entry(task, tasks) for task in tasks}
    if "pose" in tasks:
        finder = next((task for task in DETECTORS if task in tasks), None)
        if finder is None:
            raise TaskError("task 'pose' needs the persons that a detector finds: export it with det or inst")
        person_index(entries[finder].classes)
        if pose == "crop":
            entries["pose"] = replace(entries["pose"], backbone=CROP_BACKBONE)
    return entries


def by_component(entries: Mapping[str, TaskEntry]) -> list[tuple[str, TaskEntry]]:
    """One task for each decoding component; pose last, for it waits for a detector."""
    chosen = {entry.component: (task, entry) for task, entry in entries.items() if task == entry.component}
    return sorted(chosen.values(), key=lambda item: item[0] == "pose")


def heads_of(model: Argus, entries: Mapping[str, TaskEntry]) -> dict[str, nn.Module]:
    """What each decoding component is; the decoder itself where it reads crops."""
    return {
        task: model.decoders[task] if entry.backbone == CROP_BACKBONE else model.head(task)
        for task, entry in by_component(entries)
    }


def torch_run(model: Argus, plan: Plan) -> Run:
    """The components as `model` computes them, in the precision of its parameters.

    A reference is in double: where an image is flat, torch's own fp32 is off by 1e-4 and more.
    """
    heads = heads_of(model, plan.entries)
    dtype = next(model.parameters()).dtype

    def run(component: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            if component not in heads:
                image = torch.from_numpy(np.ascontiguousarray(inputs[IMAGE_TENSOR]))
                maps = model.features(normalise(image).to(dtype))
                wanted = {tensor.name for tensor in plan.graphs[component].outputs}
                return {f"f{i}": f.numpy() for i, f in enumerate(maps) if f"f{i}" in wanted}
            tensors = {name: torch.from_numpy(values).to(dtype) for name, values in inputs.items()}
            people = [tensors.pop(PERSONS_TENSOR)] if PERSONS_TENSOR in tensors else []
            outputs = heads[component].infer(list(tensors.values()), *people)  # type: ignore[operator]
            return {name: t.numpy() for name, t in outputs.items()}

    return run


def in_single(answers: Answers) -> Answers:
    """The same answers with numbers in single precision, as a package records them."""
    return {
        component: {
            name: values.astype(np.float32) if np.issubdtype(values.dtype, np.floating) else values
            for name, values in outputs.items()
        }
        for component, outputs in answers.items()
    }
