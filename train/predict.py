"""A checkpoint as a predictor: torch between the very preprocessing and decoding that the runtime uses."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from argus_edge.errors import TaskError
from argus_edge.results import Frame, Result
from argus_edge.runtime.decode import decode
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import ImageSpec
from argus_edge.tasks import require_built
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.checkpoint import CheckpointInfo


class TorchPredictor:
    """Image in, results out, computed by torch in float32 on the device the model is on.

    The model is put into evaluation mode; whoever trains it goes back with `model.train()`.

    Args:
        model: the network.
        info: its input size and the class names of its tasks.
        tasks: the tasks to run, by default all of the checkpoint.

    Raises TaskError for a task that is unknown, not built or not in the checkpoint.
    """

    def __init__(self, model: Argus, info: CheckpointInfo, tasks: Sequence[str] | None = None) -> None:
        self.tasks = tuple(tasks or info.tasks)
        for task in self.tasks:
            require_built(task)
            if task not in info.tasks:
                raise TaskError(f"the checkpoint has no task {task!r}; it has: {', '.join(info.tasks)}")
        self._model = model.eval()
        self._info = info
        self._input = ImageSpec(info.input_size, info.input_size)
        self._device = next(model.parameters()).device

    def __call__(self, image: NDArray[np.uint8]) -> Frame:
        """Image (H, W, 3) uint8 RGB of any size -> results in its own frame, `timings` "total" [ms].

        Raises ImageError for anything else.
        """
        start = time.perf_counter()
        tensor, letterbox = preprocess(image, self._input)
        results: dict[str, Result] = {}
        with torch.inference_mode():
            features = self._model.features(normalise(torch.from_numpy(tensor).to(self._device)))
            for task in self.tasks:
                outputs = {name: t.cpu().numpy() for name, t in self._model.infer(task, features).items()}
                results[task] = decode(task, outputs, letterbox, self._info.classes.get(task, ()))
        timings = {"total": (time.perf_counter() - start) * 1e3}
        return Frame(letterbox.image_height, letterbox.image_width, results, timings)
