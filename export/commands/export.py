"""argus-export: a checkpoint becomes a model package.

The checkpoint's backbone and the chosen decoders become one ONNX graph each, in the chosen precisions, are
compared with torch on every engine of this machine, and are written with the figures to a folder NAME.argus.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from argus_edge.command import run_command
from argus_edge.dependencies import require
from argus_edge.errors import InputError, PackageError
from argus_edge.package import ModelPackage, parity_rows
from argus_edge.package.wiring import MAX_PERSONS
from argus_edge.package.writer import check_target
from argus_edge.spec import PRECISIONS, ImageSpec, Precision
from argus_edge.train.custom import add_task_option, load_task_files

if TYPE_CHECKING:
    from argus_edge.export.preview import Preview

CALIBRATION_IMAGES: Final = 128
PERSONS: Final = 8
FEW_IMAGES: Final = 64  # fewer than this get a warning


def main() -> NoReturn:
    """The console script."""
    run_command(lambda: run(sys.argv[1:]), "argus-export")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code. Raises ArgusError for anything the user can put right."""
    options = _parse(arguments)
    tasks = _tasks(options.tasks)
    load_task_files(options.task_file)
    precisions = _precisions(options.precision)
    for module in ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "rich"):
        require(module, "export")
    from argus_edge.export.calibration import folder_set, scene_set
    from argus_edge.export.components import entries_of
    from argus_edge.export.package import ExportSettings, check_tasks, export
    from argus_edge.export.preview import preview
    from argus_edge.train.model.checkpoint import SHIPPED, load_checkpoint
    from argus_edge.train.recipe import smallest_size

    checkpoint = SHIPPED.get(options.checkpoint) or Path(options.checkpoint)
    model, info = load_checkpoint(checkpoint)
    tasks = check_tasks(tasks, info)
    size = options.size or info.input_size
    smallest = smallest_size(info.variant, tasks)
    if size < smallest or size % 32:
        raise InputError(
            f"--size {size}: expected a multiple of 32 px, at least {smallest} for {', '.join(tasks)}"
        )
    out = options.out or Path(f"{info.variant}.argus")
    if out.exists() and not options.overwrite:  # before the work, not after it
        raise PackageError(f"{out} exists already; add --overwrite to replace it, or choose another --out")
    check_target(out, options.overwrite)
    persons = _persons(options.persons, options.pose)
    if options.calibration_images < 1:
        raise InputError(f"--calibration-images {options.calibration_images}: expected at least 1")
    count = options.calibration_images if "int8" in precisions else 8
    spec = ImageSpec(size, size)
    command = shlex.join(["argus-export", *arguments])
    settings = ExportSettings(tasks, precisions, out.stem, spec, command, options.pose, persons)
    entries = entries_of(info, tasks, options.pose)
    if options.dry_run:
        print(_told(out, preview(settings, entries, count, options.calibration)))
        return 0
    with _progress() as (notify, advance):
        notify(f"{count} calibration images")
        if options.calibration is None:
            calibration = scene_set(count, spec, advance)
        else:
            calibration = folder_set(options.calibration, count, spec, advance)
        found = len(calibration.images)
        if "int8" in precisions and found < FEW_IMAGES:
            print(
                f"argus-export: warning: {found} calibration images are few, {FEW_IMAGES} serve better",
                file=sys.stderr,
            )
        package = export(model, info, settings, calibration, out, options.overwrite, notify)
    print(json.dumps(package.spec.report, indent=2) if options.json else _summary(package))
    return 0


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
    add("--precision", default="fp32", help="comma-separated of fp32, fp16, int8 (default: %(default)s)")
    add("--out", type=Path, help="package folder to write (default: <variant>.argus here)")
    add("--overwrite", action="store_true", help="replace an existing package")
    add("--size", type=int, help="side of the square network input [px] (default: the checkpoint's)")
    add(
        "--calibration",
        type=Path,
        help="folder of images or a video to calibrate on (default: rendered scenes)",
    )
    add("--calibration-images", type=int, default=CALIBRATION_IMAGES, help="how many (default: %(default)s)")
    add(
        "--pose",
        choices=("roi", "crop"),
        default="roi",
        help="roi: regions of the shared features; crop: each person's crop through the backbone again",
    )
    add("--persons", type=int, help=f"most whose pose a frame gives, in roi (default: {PERSONS})")
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


def _persons(count: int | None, pose: str) -> int:
    if count is None:
        return PERSONS
    if pose == "crop":
        raise InputError("--persons is for --pose roi; with crops, every person has a pass of its own")
    if not 1 <= count <= MAX_PERSONS:
        raise InputError(f"--persons {count}: expected 1 to {MAX_PERSONS}")
    return count


def _precisions(text: str) -> tuple[Precision, ...]:
    """Highest first. Raises InputError for an unknown one."""
    wanted = [name for name in text.split(",") if name]
    unknown = [name for name in wanted if name not in PRECISIONS]
    if unknown or not wanted:
        raise InputError(
            f"--precision {text!r}: expected one or more of {', '.join(PRECISIONS)}, comma-separated"
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
    return "\n".join(lines)


if __name__ == "__main__":
    main()
