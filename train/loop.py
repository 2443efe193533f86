"""The training loop: a batch of every task, losses, one step of AdamW; resumable to the same weights."""

import copy
import json
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from argus_edge.errors import CheckpointError, TrainingError, first_line
from argus_edge.train.balancing import StepLosses, make_balancer
from argus_edge.train.batches import Batch
from argus_edge.train.features import FeatureCache, check_features, kept_features, pyramid_identity
from argus_edge.train.model.argus import Argus, Pyramid, normalise
from argus_edge.train.objectives import Objective
from argus_edge.train.optimiser import build_optimiser, rate_factor
from argus_edge.train.precision import autocast, with_precision
from argus_edge.train.processes import Place, any_of, held_back, means, shared
from argus_edge.train.recipe import Recipe
from argus_edge.train.stages import freeze_parts
from argus_edge.train.state import read_state, write_state

MOST_FAULTS = 10  # steps in a row whose loss is not finite


@dataclass(frozen=True)
class StepReport:
    step: int
    losses: dict[str, float]  # per task, before their weights, mean over the processes
    weights: dict[str, float]  # that multiplied them
    learning_rate: float
    gradient_norm: float
    images: int
    fault: str = ""  # why the step was skipped


@dataclass
class _Told:
    """What the backward passes of one step tell, per task; `fault` where a loss is not finite."""

    losses: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    fault: str = ""


class Trainer:
    """Holds model, averaged model and optimiser, and advances them one step at a time.

    Each step takes the batches of all tasks, back-propagates one task after another down to the feature maps,
    one batch after another through adapter and backbone, and steps once.

    `features` is a folder that keeps the maps of a frozen backbone and adapter, so that they see each image
    once. Raises InputError where the recipe has no use for that.
    """

    def __init__(
        self,
        model: Argus,
        recipe: Recipe,
        device: torch.device,
        place: Place | None = None,
        features: Path | None = None,
    ) -> None:
        if features is not None:
            check_features(recipe)
        recipe = with_precision(recipe, device)
        self.recipe, self.device, self.place = recipe, device, place or Place()
        self.model = model.to(device)
        trained = freeze_parts(model, recipe)
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        if device.type == "cpu" and recipe.precision == "bf16":
            model.backbone.fuse_attention(False)  # the plain form trains up to four times as fast there
        several = self.place.count > 1
        pyramid: nn.Module = Pyramid(model.backbone, model.adapter, whole=several)
        if recipe.compile:
            pyramid = torch.compile(pyramid)  # type: ignore[assignment]
        self._pyramid = shared(pyramid, self.place)
        self._objectives = {
            task: shared(
                Objective(task, model.decoders[task], recipe.encoder_copies, recipe.mask_points, several),
                self.place,
            )
            for task in trained
        }
        self.optimiser = build_optimiser(model, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.balancer = make_balancer(recipe.balancing, recipe.task_weights, trained)
        self.step = 0
        self._faults = 0  # in a row
        self.features: FeatureCache | None = None
        if features is not None:
            self.features = FeatureCache(features, pyramid_identity(model, recipe, device))

    def advance(self, batches: Sequence[Batch]) -> StepReport:
        """One step over the batches of all tasks.

        A step in which a loss is not finite changes nothing but the count. Raises TrainingError after
        MOST_FAULTS of them in a row.
        """
        rate = self.recipe.learning_rate * rate_factor(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.optimiser.zero_grad(set_to_none=True)
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        placed = [batch.to(self.device) for batch in batches]
        told = self._backward(placed)
        norm, fault = 0.0, told.fault
        losses = means(told.losses, self.place)
        if any_of(bool(fault), self.place):
            fault = fault or "a loss of another process is not finite"
            self.model.load_state_dict(buffers, strict=False)
            self._count_fault(fault)
        else:
            norm = self._descend(losses)
            self._faults = 0
            after = self._repeated(placed) if self.balancer.repeats else {}
            self.balancer.update(StepLosses(losses, means(told.gradients, self.place), after))
        self.step += 1
        images = self.place.count * sum(len(b.image) for b in batches)
        return StepReport(self.step, losses, told.weights, rate, norm, images, fault)

    def _generator(self) -> torch.Generator:
        """Chance for one step, the same whenever it is taken."""
        seed = (self.recipe.seed << 32) + self.step * self.place.count + self.place.rank
        torch.manual_seed(seed)  # dropout
        return torch.Generator(self.device).manual_seed(seed)

    def _backward(self, batches: Sequence[Batch]) -> "_Told":
        generator, told = self._generator(), _Told()
        last = {task: index for index, batch in enumerate(batches) for task in batch.targets}
        for index, batch in enumerate(batches):
            with held_back(self._pyramid, hold=index < len(batches) - 1):
                with self._autocast():
                    features = self._features_of(batch)
                leaves = [f.detach().requires_grad_(f.requires_grad) for f in features]
                gradients = [torch.zeros_like(leaf) for leaf in leaves] if leaves[0].requires_grad else []
                for task, target in batch.targets.items():
                    with held_back(self._objectives[task], hold=index < last[task]):
                        self._backward_task(task, leaves, target, batch, generator, told)
                    for total, leaf in zip(gradients, leaves, strict=False):
                        if leaf.grad is not None:
                            total += leaf.grad
                            leaf.grad = None
                if gradients:
                    torch.autograd.backward(features, gradients)
        return told

    def _features_of(self, batch: Batch) -> list[Tensor]:
        """F0..F3; those that no decoder of the batch reads may be empty."""
        if self.features is None:
            return self._pyramid(normalise(batch.image))  # type: ignore[no-any-return]
        decoders = [self.model.decoders[task] for task in batch.targets]
        levels = {level for decoder in decoders for level in decoder.levels}  # type: ignore[union-attr]
        return kept_features(self._pyramid, self.features, batch.image, sorted(levels))

    def _backward_task(
        self,
        task: str,
        leaves: Sequence[Tensor],
        target: Any,
        batch: Batch,
        generator: torch.Generator,
        told: "_Told",
    ) -> None:
        with self._autocast():
            loss: Tensor = self._objectives[task](leaves, target, generator)
        value = float(loss.detach())
        told.losses[task] = told.losses.get(task, 0.0) + batch.share * value
        if not math.isfinite(value):
            told.fault = told.fault or (
                f"step {self.step}: the loss of task {task!r} is {value} on {', '.join(batch.names)}"
            )
        weight = told.weights[task] = self.balancer.weight(task, value)
        if loss.requires_grad:
            self.scaler.scale(weight * batch.share * loss).backward()
        reached = [leaf.grad for leaf in leaves if leaf.grad is not None]
        scale = self.scaler.get_scale() * weight
        # Per place, over the channels; means, as tasks differ in their number of images and places.
        norms = [grad.norm(dim=1).mean() for grad in reached]
        norm = batch.share * float(torch.stack(norms).sum()) if norms else 0.0
        told.gradients[task] = told.gradients.get(task, 0.0) + (norm / scale if scale else 0.0)

    def _autocast(self) -> torch.autocast:
        return autocast(self.recipe.precision, self.device)

    def _descend(self, losses: dict[str, float]) -> float:
        """One step of the optimiser; the norm of the gradients before they were clipped."""
        self.scaler.unscale_(self.optimiser)
        factor = self.balancer.factor(losses)
        trained = [p for p in self.model.parameters() if p.grad is not None]
        if factor != 1:
            for parameter in trained:
                assert parameter.grad is not None
                parameter.grad.mul_(factor)
        norm = nn.utils.clip_grad_norm_(trained, self.recipe.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._update_average()
        return float(norm)

    @torch.no_grad()
    def _repeated(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The losses of the same batches, with the same chance, after the step."""
        generator = self._generator()
        losses: dict[str, float] = {}
        with self._autocast():
            for batch in batches:
                features = self._features_of(batch)
                for task, target in batch.targets.items():
                    loss = float(self._objectives[task](features, target, generator))
                    losses[task] = losses.get(task, 0.0) + batch.share * loss
        return means(losses, self.place)

    def _count_fault(self, fault: str) -> None:
        self._faults += 1
        if self._faults >= MOST_FAULTS:
            raise TrainingError(
                f"{fault}; {MOST_FAULTS} steps in a row had such a loss, so the run stops: lower the "
                f"learning rate or look at these images; the last saved state is kept"
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average, with a shorter memory in the first steps."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        states = self.average.state_dict().values(), self.model.state_dict().values()
        averages, values = ([t for t in state if t.is_floating_point()] for state in states)
        torch._foreach_lerp_(averages, values, 1 - decay)  # one kernel for many tensors on a GPU
        for count, value in zip(*states, strict=True):
            if not count.is_floating_point():
                count.copy_(value)

    def save(self, folder: Path) -> None:
        """Everything the next step depends on. Raises TrainingError, with nothing lost, where it cannot."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"balancer.{k}": v for k, v in self.balancer.state_dict().items()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for parameter, state in self.optimiser.state.items():
            tensors |= {f"optimiser.{names[id(parameter)]}.{k}": v for k, v in state.items()}
        facts = {
            "step": self.step,
            "faults": self._faults,
            "scaler": self.scaler.state_dict(),
            "recipe": self.recipe.to_json(),
        }
        write_state(folder, self.step, tensors, facts)

    def restore(self, folder: Path) -> None:
        """Continue what `save` left last. Raises CheckpointError: none is there, or of another recipe."""
        tensors, facts = read_state(folder)
        recipe = json.loads(json.dumps(self.recipe.to_json()))
        defaults = Recipe().to_json()  # of settings that are newer than the run
        try:
            changed = [k for k, v in recipe.items() if facts["recipe"].get(k, defaults[k]) != v]
            if changed:
                raise CheckpointError(
                    f"{folder}: the run to resume was started with other settings for {', '.join(changed)}"
                )
            self.model.load_state_dict(_part(tensors, "model."))
            self.average.load_state_dict(_part(tensors, "average."))
            self.balancer.load_state_dict(_part(tensors, "balancer."))
            saved = _part(tensors, "optimiser.")
            for name, parameter in self.model.named_parameters():
                state = _part(saved, f"{name}.")
                if state:
                    self.optimiser.state[parameter] = {k: v.to(self.device) for k, v in state.items()}
            self.scaler.load_state_dict(facts["scaler"])
            self._faults, self.step = int(facts["faults"]), int(facts["step"])
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: no run to resume there ({first_line(error)})") from error
        if self.features is not None:  # these are the weights that count
            identity = pyramid_identity(self.model, self.recipe, self.device)
            self.features = FeatureCache(self.features.folder, identity)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def measure_scales(model: Argus, images: Iterable[NDArray[np.uint8]]) -> None:
    """Set the adapter's constant scales for the ViT it has; images (H, W, 3) uint8 RGB."""
    device = next(model.parameters()).device
    tensors = (normalise(torch.from_numpy(image)[None].to(device)) for image in images)
    model.adapter.measure_scales(list(tensors), model.backbone)


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether SIGTERM or SIGINT has come; they end nothing by themselves."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: came.append(got))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    trainer: Trainer,
    batches: Iterable[list[Batch]],
    folder: Path,
    on_step: Callable[[StepReport], None],
    on_validate: Callable[[Trainer], None],
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train from the trainer's step to the recipe's end; `batches` starts at the trainer's step.

    When `stop` says so in any process, the state is saved and training ends early. Returns whether it came to
    its end.
    """
    recipe = trainer.recipe
    for step_batches in batches:
        on_step(trainer.advance(step_batches))
        last = trainer.step == recipe.steps
        stopped = not last and any_of(stop(), trainer.place)
        if trainer.place.leads:
            if last or stopped or trainer.step % recipe.save_every == 0:
                trainer.save(folder)
            if last or (not stopped and trainer.step % recipe.validate_every == 0):
                on_validate(trainer)
        if stopped:
            return False
    return True
