"""Whole models: one frame's forward pass, and steps of training."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from argus_edge.train.batches import Batch, StepBatches, scene_source
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.kernels.launch import without_kernels
from argus_edge.train.loop import Trainer
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.build import BACKBONES, Variant, build_model
from argus_edge.train.recipe import recipe_from
from benchmarks.gpu.kernels import copy_rate, product_rate
from benchmarks.gpu.measure import DTYPES, Card, Row, percentiles

TASKS = ("det", "seg", "depth")
SMALL = 96  # side of the image [px] in a smoke test
BATCHES: dict[Variant, int] = {"nano": 40, "small": 16, "base": 8}  # images of a training step
STEPS = 10  # of training that are timed, after as many as WARM_UP
WARM_UP = 3
COSTS = 8  # of a profile that are told
WANTED_MS = 6.0  # of base in fp16


def forwards(card: Card, variant: Variant) -> Iterator[Row]:
    """det, seg and depth of one frame in fp32 and fp16: on one backbone pass or one each, with and without
    our kernels, compiled; and the least time that products and weights would take at the device's limits.
    """
    size = card.size(BACKBONES[variant].input_size, SMALL)
    torch.manual_seed(0)
    model = build_model(variant, TASKS, SCENE_CLASSES).eval()
    model.backbone.fix_input_size(size, size)
    model.to(card.device)
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, device=card.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), without_kernels():
        shared(model, image)
    rate = copy_rate(card, card.size(1 << 28, 1 << 10)) / 2  # read alone
    for precision in ("fp32", "fp16"):
        network = model if precision == "fp32" else halved(model)
        weights = sum(p.nbytes for p in network.parameters())
        peak = product_rate(card, precision)
        attainable = 1e3 * max(counter.get_total_flops() / peak, weights / rate)
        for form in ("shared", "separate", "shared, torch alone", "shared, compiled"):
            found = percentiles(forward_times(card, network, image, precision, form))
            share = attainable / found["p50_ms"]
            aimed = variant == "base" and precision == "fp16" and form == "shared, compiled"
            yield Row(
                "forward",
                f"{variant} {size} px, {precision}, {form}",
                {**found, "attainable_ms": attainable, "of attainable": share},
                reached=found["p50_ms"] <= WANTED_MS if aimed else None,
            )


def forward_times(card: Card, model: Argus, image: Tensor, precision: str, form: str) -> list[float]:
    run = separate if form == "separate" else shared
    if form.endswith("compiled"):
        run = torch.compile(run)
    half = precision != "fp32"
    types = torch.autocast(card.device.type, DTYPES[precision], enabled=half, cache_enabled=False)
    with torch.no_grad(), types, card.kernels(not form.endswith("torch alone")):
        return card.times(lambda: run(model, image))


def shared(model: Argus, image: Tensor) -> list[dict[str, Tensor]]:
    """One backbone pass, and every decoder."""
    features = model.features(normalise(image))
    return [model.infer(task, features) for task in TASKS]


def separate(model: Argus, image: Tensor) -> list[dict[str, Tensor]]:
    """As three models would: a backbone pass for every decoder."""
    return [model.infer(task, model.features(normalise(image))) for task in TASKS]


def halved(model: Argus) -> Argus:
    """The model with what autocast would round anew in every pass rounded once, and its kernels NHWC."""
    half = copy.deepcopy(model)
    for module in half.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.half()
    return half.to(memory_format=torch.channels_last)


def training(card: Card, variant: Variant) -> Iterator[Row]:
    """Images a second in bf16 with the fused optimiser, on one batch that lies there; what a step costs."""
    size, batch = card.size(BACKBONES[variant].input_size, SMALL), card.size(BATCHES[variant], 2)
    values: dict[str, Any] = {
        "variant": variant, "tasks": list(TASKS), "scenes": batch,
        "phases": [{"steps": 1000, "size": size, "batch": batch}],
        "precision": card.size("bf16", "fp32"),
    }  # fmt: skip
    recipe = recipe_from(values, "benchmark")
    batches = StepBatches(recipe, scene_source(recipe, None))[0]
    for form in ("torch alone", "our kernels", "our kernels, compiled"):
        torch.manual_seed(0)
        chosen = recipe_from({**values, "compile": form.endswith("compiled")}, "benchmark")
        trainer = Trainer(build_model(variant, TASKS, SCENE_CLASSES), chosen, card.device)
        with card.kernels(form != "torch alone"):
            seconds = step_time(card, trainer, batches)
            spent = list(costs(card, trainer, batches, variant)) if form == "our kernels" else []
        figures = {"images/s": batch / seconds, "step_ms": 1e3 * seconds}
        if card.device.type == "cuda":
            figures["GiB"] = torch.cuda.max_memory_allocated() / 2**30
        yield Row("training", f"{variant} {size} px, {batch} images, {form}", figures)
        yield from spent
        del trainer


def step_time(card: Card, trainer: Trainer, batches: list[Batch]) -> float:
    """Seconds of one step."""
    for _ in range(card.size(WARM_UP, 1)):
        trainer.advance(batches)
    if card.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    steps: int = card.size(STEPS, 1)
    start = time.perf_counter()
    for _ in range(steps):
        trainer.advance(batches)
    if card.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def costs(card: Card, trainer: Trainer, batches: list[Batch], variant: str) -> Iterator[Row]:
    """The operations that take most of a step, by the time of their own kernels; on the CPU by its own."""
    cuda = card.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=kinds) as found:
        trainer.advance(batches)
        if cuda:
            torch.cuda.synchronize()
    times: dict[str, float] = {}
    for event in found.key_averages():
        if cuda and event.device_type.name == "CUDA":
            times[event.key] = event.self_device_time_total / 1e3
        elif not cuda:
            times[event.key] = event.self_cpu_time_total / 1e3
    total = sum(times.values())
    for name, milliseconds in sorted(times.items(), key=lambda item: -item[1])[:COSTS]:
        figures = {"ms": milliseconds, "of step": milliseconds / total}
        yield Row("profile", f"{variant}: {name[:70]}", figures)
