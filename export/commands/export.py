"""argus-export: a checkpoint becomes a model package.

argus-export --tasks det,seg --precision int8
argus-export runs/own/checkpoint --precision int8 --calibration coco:/data/own --eval-data coco:/data/own
argus-export --precision auto --eval-data scenes

The checkpoint's backbone and the chosen decoders become one ONNX graph each, in the chosen precisions, are
compared with torch on every engine of this machine, and are written with the figures to a folder NAME.argus.
No task may lose more than --max-drop in a lower precision; int8 layers are returned to float until none does.
Where that cannot be, or an engine's answers are not torch's, it ends with exit code 3.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from argus_edge.command import positive_number, run_command, terminated_as_interrupted
from argus_edge.dependencies import require
from argus_edge.errors import InputError, PackageError
from argus_edge.package import ModelPackage, failure_lines, gate_lines, parity_rows
from argus_edge.package.format import MAX_BATCH
from argus_edge.package.wiring import MAX_PERSONS
from argus_edge.package.writer import check_target
from argus_edge.spec import PRECISIONS, ImageSpec, Precision
from argus_edge.train.custom import add_task_option, load_installed, load_task_files
from argus_edge.train.data.readers import READERS

if TYPE_CHECKING:
    from argus_edge.export.preview import Preview

CALIBRATION_IMAGES: Final = 300  # fewer than this get a warning
PARITY_IMAGES: Final = 8
PERSONS: Final = 8
MAX_DROP: Final = 0.01
AUTO: Final = "auto"
SCENES: Final = "scenes"


def main() -> NoReturn:
    """The console script."""
    with terminated_as_interrupted():
        run_command(lambda: run(sys.argv[1:]), "argus-export")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code. Raises ArgusError for anything the user can put right."""
    options = _parse(arguments)
    tasks = _tasks(options.tasks)
    load_task_files(options.task_file)
    precisions = _precisions(options.precision)
    for module in ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "rich"):
        require(module, "export")
    from argus_edge.export.batch import check_batches
    from argus_edge.export.calibration import find_calibration
    from argus_edge.export.components import entries_of
    from argus_edge.export.evaluation import find_evaluation
    from argus_edge.export.fuse import check_fusible, fused_files, write_fused
    from argus_edge.export.package import ExportSettings, check_tasks, export
    from argus_edge.export.preview import components_of, device_steps, preview
    from argus_edge.export.targets import TARGETS
    from argus_edge.export.targets.plugins import call_plugins
    from argus_edge.export.trial import AGREEMENT_FRAMES
    from argus_edge.train.model.checkpoint import SHIPPED, load_checkpoint
    from argus_edge.train.recipe import smallest_size

    target = TARGETS[options.target]
    if options.plugins and (target.name != "tensorrt" or options.layout == "fused"):
        raise InputError("--plugins: expected --target tensorrt, and no --layout fused, beside it")
    checkpoint = SHIPPED.get(options.checkpoint) or Path(options.checkpoint)
    model, info = load_checkpoint(checkpoint)
    tasks = check_tasks(tasks, info)
    smallest = smallest_size(info.variant, tasks)
    sizes = options.size or (info.input_size,)
    for size in sizes:
        if size < smallest or size % 32:
            raise InputError(
                f"--size {size}: expected a multiple of 32 px, at least {smallest} for {', '.join(tasks)}"
            )
    inputs = [ImageSpec(size, size) for size in sizes]
    out = options.out or Path(f"{info.variant}.argus")
    if out.exists() and not options.overwrite:  # before the work, not after it
        raise PackageError(f"{out} exists already; add --overwrite to replace it, or choose another --out")
    check_target(out, options.overwrite)
    fused = fused_files(out, precisions) if options.layout == "fused" else {}
    for file in fused.values():
        if file.exists() and not options.overwrite:
            raise InputError(f"{file} exists already; add --overwrite to replace it, or choose another --out")
    for name, number in (("calibration", options.calibration_images), ("parity", options.parity_images)):
        if number < 1:
            raise InputError(f"--{name}-images {number}: expected at least 1")
    compared = options.parity_images
    few = compared if precisions == ("fp32",) else max(compared, AGREEMENT_FRAMES)
    count = options.calibration_images if "int8" in precisions else few
    settings = ExportSettings(
        tasks,
        precisions,
        out.stem,
        shlex.join(["argus-export", *arguments]),
        options.pose,
        _persons(options.persons, options.pose),
        weight_bits=options.weight_bits,
        max_drop=options.max_drop,
        fastest=options.precision == AUTO,
        keep_failed=options.keep_failed,
        target=replace(target, write=call_plugins) if options.plugins else target,
        page=not options.no_report,
        batches=options.batch,
        parity_images=options.parity_images,
    )
    check_batches(settings.batches, tasks)
    entries = entries_of(info, tasks, options.pose)
    if fused:
        check_fusible(components_of(entries))
    remaining = device_steps(settings.target, out, components_of(entries), precisions)
    _load_readers((options.calibration, *options.eval_data))
    source = find_calibration(options.calibration, tasks)
    with tempfile.TemporaryDirectory(prefix="argus-export-scenes-") as cache:
        classes = {task: entry.classes for task, entry in entries.items()}
        evaluation = find_evaluation(options.eval_data, classes, options.eval_images, Path(cache))
        if options.dry_run:
            measured_on = [each.title for each in evaluation]
            every = [replace(image, batch=n) for image in inputs for n in (1, *options.batch)]
            told = _told(out, preview(settings, entries, every, count, source.title, measured_on))
            print("\n".join([told, *remaining]))
            return 0
        with _progress() as (notify, advance):
            images = {}
            for image in inputs:
                notify(f"{count} calibration images of {image.size} px")
                images[image] = source.read(count, image, advance)
            found = len(images[inputs[0]].images)
            if "int8" in precisions and found < CALIBRATION_IMAGES:
                _warn(f"{found} calibration images are few, {CALIBRATION_IMAGES} serve better")
            package = export(
                model, info, settings, images, out, options.overwrite, notify, advance, evaluation
            )
            if fused:
                notify("joining the graphs")
                write_fused(package, fused)
    if options.json:
        print(json.dumps(package.spec.report, indent=2))
    else:
        print("\n".join([_summary(package), *remaining]))
    failures = list(failure_lines(package.spec.report))
    for failure in failures:
        _warn(failure)
    return 3 if failures else 0


def _load_readers(texts: Sequence[str]) -> None:
    """Make known what other packages bring, where one of the data sets may need it."""
    if any(text != SCENES and text.partition(":")[0] not in READERS for text in texts):
        load_installed()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="argus-export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="?",
        default="nano",
        help="checkpoint folder, or the shipped 'nano' (default: %(default)s)",
    )
    add("--tasks", help="comma-separated, such as det,seg (default: all of the checkpoint)")
    add_task_option(add)
    add(
        "--precision",
        default="fp32",
        help="comma-separated of fp32, fp16, int8, or auto: fp32 and the fastest on this machine that keeps "
        "the gate (default: %(default)s)",
    )
    add(
        "--target",
        choices=("cpu", "tensorrt"),
        default="cpu",
        help="engines that the graphs are spelled and typed for (default: %(default)s)",
    )
    add(
        "--plugins",
        action="store_true",
        help="call GroupNorm and sampling by name, for which TensorRT takes kernels of ours where it builds "
        "with ARGUS_TENSORRT=plugins=1; not run on hardware yet",
    )
    add("--out", type=Path, help="package folder to write (default: <variant>.argus here)")
    add("--overwrite", action="store_true", help="replace an existing package")
    add(
        "--size",
        type=_sizes,
        metavar="SIDE,...",
        help="side of the square network input [px]; of several, the package has graphs for each, and runs "
        "those of the first if not told otherwise (default: the checkpoint's)",
    )
    add(
        "--batch",
        type=_batches,
        metavar="N,...",
        default=(),
        help="graphs for so many images at once as well, in every size, beside those for one; not for pose",
    )
    add(
        "--calibration",
        default=SCENES,
        metavar="DATA",
        help="what to calibrate on: scenes, LAYOUT:PATH[@SPLIT], a folder of images or a video (default: "
        "%(default)s)",
    )
    add("--calibration-images", type=int, default=CALIBRATION_IMAGES, help="how many (default: %(default)s)")
    add(
        "--parity-images",
        type=int,
        default=PARITY_IMAGES,
        help="how many of them torch answers to as well, in double precision (default: %(default)s)",
    )
    add(
        "--weight-bits",
        type=int,
        choices=(7, 8),
        default=7,
        help="of int8 weights; 8 overflow on CPUs without VNNI (default: %(default)s)",
    )
    add(
        "--max-drop",
        type=_share,
        default=MAX_DROP,
        metavar="SHARE",
        help="of its figure in fp32 that a task may lose; 1: do not measure it (default: %(default)s)",
    )
    add(
        "--eval-data",
        action="append",
        default=[],
        metavar="DATA",
        help="what to measure it on: scenes or LAYOUT:PATH[@SPLIT]; repeatable (default: no labels, only "
        "how far answers are from those in fp32)",
    )
    add("--eval-images", type=positive_number, metavar="N", help="most of each (default: all; 200 scenes)")
    add("--keep-failed", action="store_true", help="write the package also where it misses a bound")
    add(
        "--layout",
        choices=("split", "fused"),
        default="split",
        help="fused: beside the package one graph of everything for each precision, for tools that take a "
        "single file, such as trtexec (default: %(default)s)",
    )
    add(
        "--pose",
        choices=("roi", "crop"),
        default="roi",
        help="roi: regions of the shared features; crop: each person's crop through the backbone again",
    )
    add("--persons", type=int, help=f"most whose pose a frame gives, in roi (default: {PERSONS})")
    add(
        "--no-report",
        action="store_true",
        help="leave out report.html, and what is measured for it alone: times of graphs, activations",
    )
    add("--dry-run", action="store_true", help="tell every step and file, and do nothing")
    add("--json", action="store_true", help="print the package's report as JSON on stdout")
    return parser.parse_args(arguments)


def _tasks(text: str | None) -> tuple[str, ...]:
    """None asks for all of the checkpoint: (). Raises InputError for a list without a name."""
    if text is None:
        return ()
    tasks = tuple(name.strip() for name in text.split(",") if name.strip())
    if not tasks:
        raise InputError(f"--tasks {text!r}: expected names with commas between them, such as det,seg")
    return tasks


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive_number(side) for side in text.split(",")))


def _batches(text: str) -> tuple[int, ...]:
    """Of several images each: one is there anyway."""
    counts = _sizes(text)
    if max(counts) > MAX_BATCH:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_BATCH} images at once, got {text!r}")
    return tuple(count for count in counts if count > 1)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, such as 0.01, got {text!r}")
    return value


def _persons(count: int | None, pose: str) -> int:
    if count is None:
        return PERSONS
    if pose == "crop":
        raise InputError("--persons is for --pose roi; with crops, every person has a pass of its own")
    if not 1 <= count <= MAX_PERSONS:
        raise InputError(f"--persons {count}: expected 1 to {MAX_PERSONS}")
    return count


def _precisions(text: str) -> tuple[Precision, ...]:
    """Highest first; all for "auto". Raises InputError for an unknown one."""
    if text == AUTO:
        return PRECISIONS
    wanted = [name for name in text.split(",") if name]
    unknown = [name for name in wanted if name not in PRECISIONS]
    if unknown or not wanted:
        raise InputError(
            f"--precision {text!r}: expected one or more of {', '.join(PRECISIONS)}, comma-separated, or auto"
        )
    return tuple(precision for precision in PRECISIONS if precision in wanted)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Two calls: what begins now, and one more image done."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[images]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        current: list[object] = []
        done = 0

        def notify(description: str) -> None:
            nonlocal done
            done = 0
            if current:
                progress.update(current[-1], total=1, completed=1, images="")  # type: ignore[arg-type]
            current.append(progress.add_task(description, total=None, images=""))

        def advance() -> None:
            nonlocal done
            done += 1
            progress.update(current[-1], images=str(done))  # type: ignore[arg-type]

        yield notify, advance


def _told(out: Path, found: Preview) -> str:
    does = "replaces the package there" if out.exists() else "is new"
    steps = (f"  {number}. {step}" for number, step in enumerate(found.steps, 1))
    return "\n".join([f"{out} {does}", *steps, "files", *(f"  {out / file}" for file in found.files)])


def _summary(package: ModelPackage) -> str:
    lines = [f"{package.path}  {', '.join(package.spec.tasks)}  {', '.join(package.spec.precisions)}"]
    for name in package.spec.components:
        sizes = [
            f"{p} {package.model_file(name, p).stat().st_size / 2**20:.1f} MiB"
            for p in package.spec.precisions
        ]
        lines.append(f"  {name:10} {'  '.join(sizes)}")
    lines.append(f"  {'against torch':16}{'engine':14}{'output':18}{'error':>10}{'SQNR [dB]':>12}")
    for precision, engine, output, error, sqnr in parity_rows(package.spec.report):
        lines.append(
            f"  {precision:16}{engine:14}{output:18}{error:>10.1e}{'' if sqnr is None else sqnr:>12}"
        )
    return "\n".join([*lines, *gate_lines(package.spec.report)])


def _warn(text: str) -> None:
    print(f"argus-export: warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
