"""Writes the tables of README and docs from the files in benchmarks/results, so that no figure is typed.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`, and what is between them is
replaced; `TABLES` has the names. `--check` writes nothing and ends with 1 where something would be written.

    argus-eval nano.argus --scenes 400 --precision fp32,int8 --json > accuracy-nano-openvino.json
    python benchmarks/tables.py        # or: make tables
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from argus_edge.command import run_command
from argus_edge.errors import InputError
from argus_edge.train.metrics import TASK_METRICS

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
FILES: Final = ("README.md", "docs/benchmarks.md")
BLOCK: Final = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

# Of each task: the figure, what it is called, how many places it is shown with, and what nano is to reach.
FIGURES: Final[Mapping[str, tuple[str, str, int, str]]] = {
    "det": ("AP", "box AP", 3, "0.55"),
    "inst": ("AP", "mask AP", 3, "0.50"),
    "pan": ("PQ", "PQ", 3, "0.50"),
    "seg": ("mIoU", "mIoU", 3, "0.78"),
    "parse": ("mIoU", "mIoU", 3, "0.55"),
    "sal": ("maxF", "maxF", 3, "0.85"),
    "edge": ("odsF", "odsF", 3, "0.65"),
    "depth": ("delta1", "delta1", 3, "0.92"),
    "normal": ("mean_angle", "mean angle [deg], less is better", 1, "14"),
    "pose": ("AP", "OKS AP, regions of shared features", 3, "0.50"),
    "cls": ("top-1", "top-1", 3, "0.90"),
    "anom": ("image_AUROC", "image AUROC", 3, "0.95"),
}
ENGINES: Final = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}

Json = Mapping[str, Any]


def accuracy(results: Path) -> str:
    """Every task in every precision on every engine, from what argus-eval said; fp32 once, as they agree."""
    columns: list[tuple[str, str, Json]] = []  # precision, engine, task -> figures
    for engine in ENGINES:
        file = results / f"accuracy-nano-{engine}.json"
        if file.exists():
            found = read(file)
            columns += [(p, engine, of["metrics"]) for p, of in found["precisions"].items()]
    _, *others = columns
    reference = columns[0][2]
    head = ["task", "figure", columns[0][0], *(f"{p}, {ENGINES[engine]}" for p, engine, _ in others), "aim"]
    rows = []
    for task, (figure, title, places, aim) in FIGURES.items():
        cells = [f"{reference[task][figure]:.{places}f}"]
        for _, _, metrics in others:
            kept = TASK_METRICS[task].kept(reference[task], metrics[task])[figure]
            cells.append(f"{metrics[task][figure]:.{places}f} ({100 * kept:.1f} %)")
        rows.append([task, title, *cells, aim])
    return markdown(head, rows, text=2)


def shared(results: Path) -> str:
    """Tasks from one frame, with one backbone and with one for each, from benchmarks/peers.py."""
    found = read(results / "peers.json")
    rows = []
    for name, row in found["shared"]["networks"].items():
        rows.append([name, f"{row['p50_ms']:.0f}", f"{row['times']:.2f}"])
    return markdown(["nano, int8", "p50 [ms]", "times the shared one"], rows) + described(found)


def peers(results: Path) -> str:
    """Other networks in the same run, from benchmarks/peers.py; "-" where an engine could not load one."""
    found = read(results / "peers.json")
    columns = list(next(iter(found["peers"].values()))["p50_ms"])
    rows = []
    for name, row in found["peers"].items():
        times = (f"{ms:.0f}" if (ms := row["p50_ms"].get(column)) else "-" for column in columns)
        rows.append([name, str(row["input"]), f"{row['parameters_m']:.1f}", *times])
    titles = [f"{p}, {ENGINES[engine]} [ms]" for p, engine in (column.split(", ") for column in columns)]
    failures = "".join(f"\n{line}\n" for line in found["failures"])
    return markdown(["network", "input [px]", "parameters [M]", *titles], rows) + described(found) + failures


def limits(results: Path) -> str:
    """Achieved against attainable, from benchmarks/limits.py."""
    found = read(results / "limits.json")
    rows = []
    for engine, precisions in found["stages"].items():
        for precision, stages in precisions.items():
            for stage, row in stages.items():
                rows.append(
                    [
                        f"{stage}, {precision}, {ENGINES[engine]}",
                        f"{row['gflop']:.2f}",
                        f"{row['mb']:.1f}",
                        f"{row['attainable_ms']:.2f}",
                        f"{row['p50_ms']:.2f}",
                        f"{100 * row['of_attainable']:.0f} %",
                    ]
                )
    head = ["stage", "GFLOP", "MB", "attainable [ms]", "measured [ms]", "reached"]
    return markdown(head, rows) + described(found)


def peak(results: Path) -> str:
    """What this machine can do, from benchmarks/limits.py."""
    found = read(results / "limits.json")
    rows = [
        [f"matrix product, {precision}, {ENGINES[engine]}", f"{gflops:.0f} GFLOP/s"]
        for engine, precisions in found["peaks"].items()
        for precision, gflops in precisions.items()
    ]
    rows.append(["copy in memory, read and written", f"{found['copy_gb_s']:.1f} GB/s"])
    return markdown(["what", "peak"], rows) + described(found)


def profile(results: Path) -> str:
    """What stands between the int8 backbone and the int8 peak on OpenVINO, from benchmarks/limits.py."""
    found = read(results / "limits.json")
    row = found["stages"]["openvino"]["int8"]["backbone"]
    told = [f"{100 * row['of_peak']:.0f} % of the int8 peak, {row['p50_ms']:.0f} ms a frame"]
    if found["backbone_profile"] is not None:
        told += found["backbone_profile"]["summary"]
    return "".join(f"- {line}\n" for line in told)


TABLES: Final[Mapping[str, Callable[[Path], str]]] = {
    "accuracy": accuracy, "shared": shared, "peers": peers, "limits": limits, "peak": peak,
    "profile": profile,
}  # fmt: skip


def read(file: Path) -> Json:
    """One file of results. Raises InputError."""
    try:
        found: Json = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from error
    return found


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A table whose first `text` columns are text and whose others are numbers."""
    rule = ["---"] * text + ["---:"] * (len(head) - text)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, *rows)).replace(
        "\n", f"\n|{'|'.join(rule)}|\n", 1
    )


def described(found: Json) -> str:
    """The line below a table that says where and how."""
    machine = found["machine"]
    engines = ", ".join(f"{ENGINES[name]} {version}" for name, version in found["engines"].items())
    cores = f"{found['threads']} of {machine['cores']} cores ({', '.join(machine['features'])})"
    noises = "".join(f" But {sentence}." for sentence in found["noise"])
    return f"\n{machine['cpu']}, {cores}, {engines}, medians of {found['rounds']} rounds in turn.{noises}\n"


def filled(text: str, results: Path) -> str:
    """A file's text with its tables made anew. Raises InputError for a table that nobody knows."""

    def fill(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise InputError(f"table {match[2]!r} is unknown; expected one of {', '.join(TABLES)}")
        return match[1] + TABLES[match[2]](results) + match[3]

    return BLOCK.sub(fill, text)


def changed(root: Path, results: Path) -> Iterator[tuple[Path, str]]:
    """The files that are not as the results have it, and how they should be."""
    for name in FILES:
        text = (root / name).read_text(encoding="utf-8")
        if (new := filled(text, results)) != text:
            yield root / name, new


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true", help="write nothing; 1 where something would be written")
    options = p.parse_args(argv)
    late = list(changed(ROOT, RESULTS))
    for path, text in late:
        print(f"{path.relative_to(ROOT)}: {'out of date' if options.check else 'written'}")
        if not options.check:
            path.write_text(text, encoding="utf-8")
    return 1 if late and options.check else 0


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "tables")
