"""The training loop: a batch of every task, losses, one step of AdamW; resumable to the same weights."""

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from argus_edge.errors import CheckpointError, TrainingError
from argus_edge.train.batches import Batch
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.checkpoint import write_atomically, write_tensors
from argus_edge.train.objectives import task_loss
from argus_edge.train.optimiser import build_optimiser, rate_factor
from argus_edge.train.processes import Place, average_gradients
from argus_edge.train.recipe import Recipe

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepReport:
    step: int
    losses: dict[str, float]  # per task, before their weights
    learning_rate: float
    gradient_norm: float
    images: int


class Trainer:
    """Holds model, averaged model and optimiser, and advances them one step at a time."""

    def __init__(
        self, model: Argus, recipe: Recipe, device: torch.device, place: Place | None = None
    ) -> None:
        self.recipe, self.device, self.place = recipe, device, place or Place()
        self.model = model.to(device).train()
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        if device.type == "cpu" and recipe.precision == "bf16":
            model.backbone.fuse_attention(False)  # the plain form trains up to four times as fast there
        self.optimiser = build_optimiser(model, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.step = 0

    def advance(self, batches: Sequence[Batch]) -> StepReport:
        """One step over the batches of all tasks. Raises TrainingError when the loss of one is not finite."""
        seed = (self.recipe.seed << 32) + self.step * self.place.count + self.place.rank
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator().manual_seed(seed)
        rate = self.recipe.learning_rate * rate_factor(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        losses: dict[str, float] = {}
        for batch in batches:
            losses |= self._backward(batch.to(self.device), generator)
        average_gradients(self.model.parameters(), self.place)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._update_average()
        self.step += 1
        images = self.place.count * sum(len(b.image) for b in batches)
        return StepReport(self.step, losses, rate, float(norm), images)

    def _backward(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        dtype = AUTOCAST[self.recipe.precision]
        losses = {}
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            features = self.model.features(normalise(batch.image))
            total = torch.zeros((), device=self.device)
            for task, target in batch.targets.items():
                decoder = self.model.decoders[task]
                loss = task_loss(task, decoder, features, target, generator, self.recipe.encoder_copies)
                losses[task] = float(loss.detach())
                if not math.isfinite(losses[task]):
                    raise TrainingError(f"step {self.step}: the loss of task {task!r} is {losses[task]}")
                total = total + self.recipe.task_weights[task] * loss
        self.scaler.scale(total).backward()
        return losses

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average, with a shorter memory in the first steps."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(
            self.average.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def save(self, folder: Path) -> None:
        """Everything the next step depends on; the description last, so that a torn save is never read."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for parameter, state in self.optimiser.state.items():
            tensors |= {f"optimiser.{names[id(parameter)]}.{k}": v for k, v in state.items()}
        name = f"state-{self.step}.safetensors"
        write_tensors(folder / name, {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
        description = {
            "step": self.step,
            "tensors": name,
            "scaler": self.scaler.state_dict(),
            "recipe": self.recipe.to_json(),
        }
        write_atomically(folder / "state.json", json.dumps(description, indent=2).encode())
        for old in folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self, folder: Path) -> None:
        """Continue what `save` left. Raises CheckpointError: not there, torn, or of another recipe."""
        try:
            description = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / Path(description["tensors"]).name)
            recipe = json.loads(json.dumps(self.recipe.to_json()))
            changed = [k for k, v in recipe.items() if description["recipe"].get(k) != v]
            if changed:
                raise CheckpointError(
                    f"{folder}: the run to resume was started with other settings for {', '.join(changed)}"
                )
            self.model.load_state_dict(_part(tensors, "model."))
            self.average.load_state_dict(_part(tensors, "average."))
            saved = _part(tensors, "optimiser.")
            for name, parameter in self.model.named_parameters():
                state = _part(saved, f"{name}.")
                if state:
                    self.optimiser.state[parameter] = {k: v.to(self.device) for k, v in state.items()}
            self.scaler.load_state_dict(description["scaler"])
            self.step = int(description["step"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{folder}: no run to resume there ({error})") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def measure_scales(model: Argus, images: Iterable[NDArray[np.uint8]]) -> None:
    """Set the adapter's constant scales for the ViT it has; images (H, W, 3) uint8 RGB."""
    device = next(model.parameters()).device
    tensors = (normalise(torch.from_numpy(image)[None].to(device)) for image in images)
    model.adapter.measure_scales(list(tensors), model.backbone)


def run(
    trainer: Trainer,
    batches: "torch.utils.data.DataLoader[list[Batch]]",
    folder: Path,
    on_step: Callable[[StepReport], None],
    on_validate: Callable[[Trainer], None],
) -> None:
    """Train from the trainer's step to the recipe's end; `batches` starts at the trainer's step."""
    recipe = trainer.recipe
    for step_batches in batches:
        on_step(trainer.advance(step_batches))
        if not trainer.place.leads:
            continue
        last = trainer.step == recipe.steps
        if last or trainer.step % recipe.save_every == 0:
            trainer.save(folder)
        if last or trainer.step % recipe.validate_every == 0:
            on_validate(trainer)
