"""A checkpoint as a predictor: torch between the very preprocessing and decoding that the runtime uses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from argus_edge.errors import TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import Detections, Frame, Result
from argus_edge.runtime.decode import decode
from argus_edge.runtime.persons import Persons, fill_slots, find_persons
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import ImageSpec
from argus_edge.tasks import get_task
from argus_edge.train.metrics.keypoint_ap import MAX_PERSONS
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.checkpoint import CheckpointInfo

DETECTORS = ("det", "inst")  # what may find people for pose


class TorchPredictor:
    """Image in, results out, computed by torch in float32 on the device the model is on.

    The model is put into evaluation mode; whoever trains it goes back with `model.train()`.

    Args:
        model: the network.
        info: its input size and the class names of its tasks.
        tasks: the tasks to run, by default all of the checkpoint.

    Raises TaskError for a task that is unknown or not in the checkpoint.
    """

    def __init__(self, model: Argus, info: CheckpointInfo, tasks: Sequence[str] | None = None) -> None:
        self.tasks = tuple(tasks or info.tasks)
        for task in self.tasks:
            get_task(task)
            if task not in info.tasks:
                raise TaskError(f"the checkpoint has no task {task!r}; it has: {', '.join(info.tasks)}")
        self._model = model.eval()
        self._info = info
        self._input = ImageSpec(info.input_size, info.input_size)
        self._device = next(model.parameters()).device
        candidates = [t for t in DETECTORS if t in self.tasks] + [t for t in DETECTORS if t in info.tasks]
        self._detector = candidates[0] if candidates else None

    def __call__(self, image: NDArray[np.uint8], people: Detections | None = None) -> Frame:
        """Image (H, W, 3) uint8 RGB of any size -> results in its own frame, `timings` "total" [ms].

        Pose looks at all `people` where they are known, else at the best MAX_PERSONS, which is as many as
        the metric takes, that the checkpoint's detector finds.
        Raises ImageError for anything that is no such image, TaskError for pose without a detector.
        """
        start = time.perf_counter()
        tensor, letterbox = preprocess(image, self._input)
        results: dict[str, Result] = {}
        with torch.inference_mode():
            features = self._model.features(normalise(torch.from_numpy(tensor).to(self._device)))
            answers: dict[str, dict[str, NDArray[Any]]] = {}  # of each decoder, which several tasks may share
            for task in self._order(people):
                entry = self._info.entry(task, self.tasks)
                persons = None
                if task == "pose":
                    found = people if people is not None else results[self._detector or ""]
                    assert isinstance(found, Detections)
                    limit = MAX_PERSONS if people is None else len(people)
                    persons = find_persons(found, limit, letterbox)
                if entry.component not in answers:
                    answers[entry.component] = self._run(entry.component, features, letterbox, persons)
                results[task] = decode(task, answers[entry.component], letterbox, entry, persons=persons)
        timings = {"total": (time.perf_counter() - start) * 1e3}
        reported = {task: results[task] for task in self.tasks}
        return Frame(letterbox.image_height, letterbox.image_width, reported, timings)

    def _order(self, people: Detections | None) -> list[str]:
        """The tasks, and the detector where pose needs it; pose last."""
        order = [task for task in self.tasks if task != "pose"]
        if "pose" in self.tasks:
            if people is None and self._detector is None:
                raise TaskError("task 'pose' needs the people that a detector finds; the checkpoint has none")
            if people is None and self._detector not in order:
                order.append(self._detector or "")
            order.append("pose")
        return order

    def _run(
        self, decoder: str, features: list[Tensor], letterbox: Letterbox, persons: Persons | None
    ) -> dict[str, NDArray[Any]]:
        if persons is None:
            tensors = self._model.infer(decoder, features)
            return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        slots = fill_slots(persons, letterbox, max(1, len(persons)))
        tensors = self._model.infer(decoder, features, torch.from_numpy(slots).to(self._device))
        return {name: tensor.cpu().numpy()[: len(persons)] for name, tensor in tensors.items()}
