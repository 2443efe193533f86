"""What an export is going to do, told before any of it is done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from argus_edge.export.assembly import REPORT_FILE
from argus_edge.export.components import by_component
from argus_edge.export.package import ExportSettings
from argus_edge.export.targets import CPU, TENSORRT, Target
from argus_edge.export.trial import AGREEMENT_FACTOR, AGREEMENT_FRAMES
from argus_edge.package import model_path
from argus_edge.package.format import MANIFEST_FILE, component_path
from argus_edge.runtime.engines import available_engines, engine_status
from argus_edge.runtime.engines.tensorrt_options import BuildOptions, trtexec_command
from argus_edge.spec import BACKBONE, ImageSpec, Precision, TaskEntry


@dataclass(frozen=True)
class Preview:
    """Steps and files, for people; `files` are paths inside the package."""

    steps: tuple[str, ...]
    files: tuple[str, ...]


def preview(
    settings: ExportSettings,
    entries: Mapping[str, TaskEntry],
    inputs: Sequence[ImageSpec],
    images: int,
    source: str,
    measured_on: Sequence[str] = (),
) -> Preview:
    """What `export` will do with these settings.

    Args:
        settings: of the export.
        entries: of its tasks, as `entries_of` gives them.
        inputs: the network's, in every size and batch.
        images: how many to calibrate on.
        source: where they come from, for people.
        measured_on: the data sets with labels, for people.
    """
    components = components_of(entries)
    return Preview(
        tuple(_steps(settings, components, inputs, images, source, measured_on)),
        tuple(_files(components, settings, inputs)),
    )


def device_steps(
    target: Target, package: Path, components: Sequence[str], precisions: Sequence[Precision]
) -> tuple[str, ...]:
    """What is left to do where the package will run, for people; nothing for engines that build nothing."""
    if target is not TENSORRT:
        return ()
    status = engine_status(target.name)
    here = f"TensorRT {status.version} is here" if status.available else f"not done here: {status.reason}"
    commands = []
    for precision in precisions:
        for component in components:
            model, plan = package / model_path(component, precision), f"{component}-{precision}.plan"
            commands.append(trtexec_command(model, plan, precision, BuildOptions()))
    return (
        f"what remains, on the device that will run it ({here})",
        f"  1. copy {package} there; argus-doctor has to list tensorrt with a version",
        f"  2. argus-doctor {package}: builds the engines of {precisions[0]} and compares them with torch",
        f"  3. argus-run {package}: builds those of the precision that it runs",
        "  to build them by hand, or to time each alone, with TensorRT 10:",
        *(f"     {shlex.join(command)}" for command in commands),
        "  TensorRT 11 takes the same; --stronglyTyped is all it knows, and --fp16, --int8, --best are gone",
    )


def components_of(entries: Mapping[str, TaskEntry]) -> tuple[str, ...]:
    """The components of a package in the order in which they are traced."""
    names = [BACKBONE]
    for _, entry in by_component(entries):
        names += [entry.backbone, entry.component]
    return tuple(dict.fromkeys(names))


def _steps(
    settings: ExportSettings,
    components: Sequence[str],
    inputs: Sequence[ImageSpec],
    images: int,
    source: str,
    measured_on: Sequence[str],
) -> Iterator[str]:
    sizes = [image for image in inputs if image.batch == 1]
    size = " and ".join(f"{image.width} x {image.height}" for image in sizes) + " px"
    if len(sizes) > 1:
        yield f"do all that follows for inputs of {size}, one after another"
    why = "the ranges of int8 are measured on them, and " if "int8" in settings.precisions else ""
    compared = min(settings.parity_images, images)
    yield f"take {images} {source}, at {size}: {why}{compared} of them serve the comparison with torch"
    names = ", ".join(components)
    yield (
        f"trace {names}: one ONNX graph each, so that decoders can run at rates of their own, spelled for "
        f"{settings.target.name}"
    )
    yield "let torch answer in double precision, which the graphs are compared with"
    if "fp16" in settings.precisions:
        yield "convert to fp16, but for what overflows or loses places there"
    if "int8" in settings.precisions:
        yield (
            "quantise to int8, component by component, each on what the quantised ones before it give, as "
            "that is what it will read"
        )
    target = settings.target
    if target is not CPU:
        yield f"check every operation, type and Q/DQ against what {target.name} is published to read"
    wanted = [status for status in available_engines() if status.name in target.engines]
    engines = [status for status in wanted if status.available]
    missing = [f"{status.name} ({status.reason})" for status in wanted if not status.available]
    here = ", ".join(f"{status.name} {status.version}" for status in engines) or "no engine: none is here"
    apart = f"; not on {', '.join(missing)}" if missing else ""
    yield f"compare {', '.join(settings.precisions)} with torch on {here}{apart}"
    if settings.max_drop < 1 and settings.precisions != ("fp32",):
        yield from _gate_steps(settings, images, measured_on)
    if settings.batches:
        many = " and ".join(map(str, settings.batches))
        yield (
            f"trace the same for {many} images at once, in the precisions and with the scales found for one, "
            f"and compare it with torch, image by image"
        )
    if settings.page:
        yield "take the times of every graph on each engine" + (
            ", and look at what rounding does to activations" if "int8" in settings.precisions else ""
        )
    yield "write the package to a folder beside it, and give that its name when it is whole"


def _gate_steps(settings: ExportSettings, images: int, measured_on: Sequence[str]) -> Iterator[str]:
    least = "leave out" if settings.fastest else "refuse"
    if measured_on:
        on = "; ".join(measured_on)
        yield f"measure tasks on {on}: {least} what loses more than {settings.max_drop:.2%}"
    else:
        count, limit = min(AGREEMENT_FRAMES, images), AGREEMENT_FACTOR * settings.max_drop
        yield (
            f"look how far answers to {count} of the images are from those in fp32, for want of labels "
            f"(--eval-data): {least} what is off by more than {limit:.2%}"
        )
    if "int8" in settings.precisions:
        yield "where int8 is, return layers to float, the costliest first, until it is not"
    if settings.fastest:
        yield "measure whole frames, and keep fp32 and the fastest of those left"


def _files(components: Sequence[str], settings: ExportSettings, inputs: Sequence[ImageSpec]) -> Iterator[str]:
    yield MANIFEST_FILE
    endings = ["", *(f"-{image.size}" for image in inputs[1:])]
    for component in components:
        yield component_path(component)
        for precision, ending in product(settings.precisions, endings):
            unsure = settings.fastest and precision != "fp32"
            file = model_path(component, f"{precision}{ending}")
            yield file + (", if that is the fastest" if unsure else "")
    if settings.page:
        yield REPORT_FILE
    yield "golden/: a recorded input, and what torch answers to it"
