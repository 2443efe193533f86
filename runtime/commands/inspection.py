"""argus-inspect: what a model package holds, after everything in it has been verified.

    argus-inspect nano.argus            # tasks, graphs, tensors, sizes, precisions, figures
    argus-inspect nano.argus --json     # the same for programs

Nothing in the package is executed, and no engine is needed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from argus_edge.command import run_command
from argus_edge.package import ModelPackage, failure_lines, gate_lines, model_path, parity_rows
from argus_edge.spec import ComponentSpec, TensorSpec, VariantSpec

MOST_CLASSES: Final = 8  # names that are written out
MIB: Final = 2**20


def main() -> NoReturn:
    """The command: see `run`."""
    run_command(lambda: run(sys.argv[1:]), "argus-inspect")


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code; raises PackageError for a package that
    is not as the format has it, or whose files are not those that were written.
    """
    arguments = _parser().parse_args(argv)
    facts = describe(ModelPackage.open(arguments.package))
    print(json.dumps(facts, indent=2) if arguments.json else _page(facts))
    return 0


def describe(package: ModelPackage) -> dict[str, Any]:
    """What the package holds, as a dict that json.dumps accepts."""
    spec = package.spec
    return {
        "path": str(package.path),
        "name": spec.name,
        "sha256": package.sha256,
        "files": len(package.files) + 1,
        "bytes": sum(entry.size for entry in package.files.values()),
        "input": {
            "height": spec.input.height, "width": spec.input.width, "dtype": spec.input.dtype,
            "layout": spec.input.layout, "color": spec.input.color, "resize": spec.input.resize,
            "placement": spec.input.placement, "pad_color": list(spec.input.pad_color),
        },
        "tasks": {
            task: {
                "component": entry.component,
                "backbone": entry.backbone,
                "kind": entry.row(task).kind,
                "classes": list(entry.classes),
                "custom": entry.custom is not None,
            }
            for task, entry in spec.tasks.items()
        },
        "components": _components(package),
        "other_sizes": {
            image.size: {
                "height": image.height,
                "width": image.width,
                "batch": image.batch,
                "precisions": list(of_size.spec.precisions),
                "components": _components(of_size),
            }
            for image in spec.other_sizes
            for of_size in [package.at(image.height, image.width, image.batch)]
        },
        "precisions": list(spec.precisions),
        "golden": None if spec.golden is None else spec.golden.precision,
        "report": dict(spec.report),
    }  # fmt: skip


def _components(package: ModelPackage) -> dict[str, Any]:
    return {name: _component(package, name, part) for name, part in package.spec.components.items()}


def _component(package: ModelPackage, name: str, component: ComponentSpec) -> dict[str, Any]:
    return {
        "inputs": [_tensor(tensor) for tensor in component.inputs],
        "outputs": [_tensor(tensor) for tensor in component.outputs],
        "variants": {
            variant: _variant(package, model_path(name, variant, each.file), each)
            for variant, each in component.variants.items()
        },
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {
        "name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "layout": tensor.layout,
    }  # fmt: skip


def _variant(package: ModelPackage, file: str, variant: VariantSpec) -> dict[str, Any]:
    facts = {"file": file, "bytes": package.files[file].size, "precision": variant.precision}
    if variant.quantization is not None:
        facts["quantization"] = {
            "recipe": variant.quantization.recipe,
            "calibration_images": variant.quantization.calibration_images,
            "calibration_sha256": variant.quantization.calibration_sha256,
        }
    return facts


def _page(facts: Mapping[str, Any]) -> str:
    image = facts["input"]
    lines = [
        f"{facts['path']}  {facts['name']}",
        f"verified    {facts['files']} files, {facts['bytes'] / MIB:.1f} MiB, sha256 {facts['sha256']}",
        f"input       {image['width']} x {image['height']} px, {image['dtype']} {image['layout']} "
        f"{image['color']}, {image['resize']}, {image['placement']}, padded with {image['pad_color']}",
        f"precisions  {', '.join(facts['precisions'])}",
        "tasks",
        *(f"  {task:10}{_task(entry)}" for task, entry in facts["tasks"].items()),
        "graphs",
        *_graphs(facts["components"]),
    ]
    for of_size in facts["other_sizes"].values():
        images = f"{of_size['batch']} images of " if of_size["batch"] > 1 else ""
        sides = f"{of_size['width']} x {of_size['height']} px"
        lines += [
            f"graphs at {images}{sides}: {', '.join(of_size['precisions'])}",
            *_graphs(of_size["components"]),
        ]
    return "\n".join([*lines, *_report(facts["report"])])


def _graphs(components: Mapping[str, Any]) -> Iterator[str]:
    for name, component in components.items():
        yield f"  {name}"
        yield from (f"    reads   {_shape(tensor)}" for tensor in component["inputs"])
        yield from (f"    gives   {_shape(tensor)}" for tensor in component["outputs"])
        yield from (f"    {variant:8}{_graph(each)}" for variant, each in component["variants"].items())


def _task(entry: Mapping[str, Any]) -> str:
    names = entry["classes"]
    shown = ", ".join(names[:MOST_CLASSES]) + (", ..." if len(names) > MOST_CLASSES else "")
    of = f"; {len(names)} names: {shown}" if names else ""
    own = "; a task from outside" if entry["custom"] else ""
    reads = f" on {entry['backbone']}" if entry["backbone"] != "backbone" else ""
    return f"{entry['kind']} by {entry['component']}{reads}{of}{own}"


def _shape(tensor: Mapping[str, Any]) -> str:
    return f"{tensor['name']:14}{tensor['dtype']:9}{tuple(tensor['shape'])!s:22}{tensor['layout']}"


def _graph(variant: Mapping[str, Any]) -> str:
    size = f"{variant['bytes'] / MIB:8.2f} MiB  {variant['file']}"
    recipe = variant.get("quantization")
    if recipe is None:
        return size
    return (
        f"{size}  {recipe['recipe']}, {recipe['calibration_images']} images, "
        f"sha256 {recipe['calibration_sha256'][:12]}..."
    )


def _report(report: Mapping[str, Any]) -> Iterator[str]:
    """What export measured, as far as this version knows it."""
    if isinstance(report.get("command"), str) and report["command"]:
        yield f"made by     {report['command']}"
    if isinstance(report.get("tools"), dict):
        yield "with        " + ", ".join(f"{name} {version}" for name, version in report["tools"].items())
    rows = list(parity_rows(report))
    if rows:
        yield f"  {'against torch':16}{'engine':14}{'worst output':24}{'error':>10}{'SQNR [dB]':>12}"
    for (precision, engine), outputs in _grouped(rows).items():
        output, error, sqnr = max(outputs, key=lambda row: row[1])
        yield f"  {precision:16}{engine:14}{output:24}{error:>10.1e}{'' if sqnr is None else sqnr:>12}"
    yield from gate_lines(report)
    yield from (f"failed      {failure}" for failure in failure_lines(report))


def _grouped(
    rows: Sequence[tuple[str, str, str, float, float | None]],
) -> dict[tuple[str, str], list[tuple[str, float, float | None]]]:
    groups: dict[tuple[str, str], list[tuple[str, float, float | None]]] = {}
    for precision, engine, output, error, sqnr in rows:
        groups.setdefault((precision, engine), []).append((output, error, sqnr))
    return groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="argus-inspect", description="Verify a model package and print what it holds."
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON on stdout")
    return parser


if __name__ == "__main__":
    main()
