"""Asks what an NVIDIA GPU makes of this project through torch: limits, our kernels, whole models, training.

Copy bandwidth and matrix products; GroupNorm and deformable attention by spelling, with their errors against
float64; a camera's frame resized on the CPU and on the device; det, seg and depth of nano, small and base in
CUDA graphs, on one backbone pass and on three; training in bf16 and what a step costs. Models have random
weights, which no time depends on. Wanted: our GroupNorm at 80 % of the copy bandwidth, our deformable
attention 3 times as fast as GridSample, base at 512 px in 6 ms (on an H200). A part that fails or finds no
time left says so in its row. Prints a table, then one JSON line.

    python -m benchmarks.gpu                # on a CUDA device, about ten minutes
    python -m benchmarks.gpu --smoke        # every part in tiny sizes on the CPU, kernels interpreted
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu.measure import Card, Row

STAND_INS = Path(__file__).parents[2] / "tests/runtime/fakes"  # of CUDA, on memory of the host
Part = tuple[str, "Callable[[Card], Iterator[Row]]"]


def parts(smoke: bool) -> list[Part]:
    """What is measured, in turn."""
    from argus_edge.train.model.build import BACKBONES
    from benchmarks.gpu import frames, kernels, models

    variants = ["nano"] if smoke else list(BACKBONES)
    found: list[Part] = [("copy and product", kernels.limits), ("GroupNorm", kernels.norms)]
    found += [("deformable", kernels.deformable), ("frames", frames.frames)]
    found += [(f"forward, {name}", partial(models.forwards, variant=name)) for name in variants]  # type: ignore[arg-type]
    found += [(f"training, {name}", partial(models.training, variant=name)) for name in variants]  # type: ignore[arg-type]
    return found


def rows(card: Card, chosen: list[Part], seconds: float) -> Iterator[Row]:
    """The rows of all parts; of one that fails, or that `seconds` do not suffice for, a row that says so."""
    from argus_edge.errors import first_line
    from benchmarks.gpu.measure import Row

    end = time.monotonic() + seconds
    for name, part in chosen:
        try:
            for row in part(card):
                yield row
                if time.monotonic() > end:
                    yield Row(name, "", note="cut short: no time left; give --minutes")
                    break
        except Exception as error:  # noqa: BLE001  # one part's failure must not cost the others
            yield Row(name, "", note=f"skipped: {type(error).__name__}: {first_line(error)}", reached=False)


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=100, help="of each time (default: %(default)s)")
    p.add_argument(
        "--minutes", type=float, default=10, help="after which parts are cut short (default: %(default)s)"
    )
    p.add_argument("--only", default="", help="parts whose name begins so, for example forward")
    p.add_argument(
        "--smoke", action="store_true", help="tiny sizes on the CPU: whether it runs, not how fast"
    )
    p.add_argument("--json", type=Path, help="file for the JSON line as well")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where what is wanted is reached, or with --smoke where every part ran."""
    options = parser().parse_args(argv)
    if options.smoke:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
        sys.path.insert(0, str(STAND_INS))
    import torch
    from rich.console import Console
    from rich.table import Table

    from argus_edge.runtime.machine import this_machine
    from benchmarks.gpu.measure import Card

    if not options.smoke and not torch.cuda.is_available():
        raise SystemExit(
            f"this measures a CUDA device, and torch {torch.__version__} finds none: run it where "
            f"torch.cuda.is_available(), or with --smoke to see that every part runs"
        )
    device = torch.device("cpu" if options.smoke else "cuda")
    if options.smoke:
        torch.compiler.set_stance("force_eager")
    torch.backends.cudnn.benchmark = True
    card = Card(device, options.smoke, 2 if options.smoke else options.rounds)
    name = "the CPU, no figures" if options.smoke else torch.cuda.get_device_name()
    table = Table("part", "what", "figures", "", title=f"{name}, torch {torch.__version__}")
    found: list[dict[str, Any]] = []
    good = True
    chosen = [part for part in parts(options.smoke) if part[0].startswith(options.only)]
    for row in rows(card, chosen, 60 * options.minutes):
        figures = "  ".join(f"{key} {value:.3g}" for key, value in row.figures.items())
        reached = None if options.smoke else row.reached
        told = {None: "", True: "as wanted", False: "missed"}[reached]
        table.add_row(row.part, row.what, figures, row.note or told)
        print(f"{row.part}: {row.what} {figures} {row.note}", file=sys.stderr)
        found.append(
            {"part": row.part, "what": row.what, **row.figures, "note": row.note, "reached": reached}
        )
        good &= not row.note if options.smoke else reached is not False
    Console().print(table)
    machine = {**this_machine().to_json(), "device": name, "torch": torch.__version__}
    line = json.dumps({"machine": machine, "smoke": options.smoke, "rows": found})
    if options.json:
        options.json.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
