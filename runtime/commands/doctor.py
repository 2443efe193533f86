"""argus-doctor: what this machine has for running model packages, and what it lacks.

    argus-doctor                  # versions, CPU, engines and why the others are missing
    argus-doctor nano.argus       # the same, and how near every engine comes to its recorded answers

Nothing is changed and nothing leaves the machine. Exit code 0: model packages can be run here; 1: they
cannot, for want of an engine or of the extension; 2: the package is unsound, or an engine fails on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import argus_edge
from argus_edge.command import run_command
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import available_engines, unsuited
from argus_edge.runtime.machine import LIBRARIES, installed_version, this_machine


def main() -> NoReturn:
    """The command: see `run`."""
    run_command(lambda: run(sys.argv[1:]), "argus-doctor")


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code; raises ArgusError for bad input."""
    arguments = _parser().parse_args(argv)
    facts = examine(arguments.package)
    print(json.dumps(facts, indent=2) if arguments.json else _page(facts))
    return 0 if facts["ready"] else 1


def examine(package: Path | None) -> dict[str, Any]:
    """Return all findings, as a dict that json.dumps accepts. Raises PackageError for an unsound package."""
    facts: dict[str, Any] = {
        "argus_edge": argus_edge.__version__,
        "machine": this_machine().to_json(),
        "extension": _extension_problem() or "loads",
        "libraries": {name: version for name in LIBRARIES if (version := installed_version(name))},
        "engines": [asdict(status) for status in available_engines()],
    }
    facts["ready"] = facts["extension"] == "loads" and any(each["available"] for each in facts["engines"])
    if package is not None:
        facts["package"] = _examine_package(ModelPackage.open(package), facts["engines"])
    return facts


def _extension_problem() -> str | None:
    """Why the compiled extension cannot be used; None when it can."""
    try:
        import_module("argus_edge.runtime._native")
    except ImportError as error:
        return f"does not load ({error}); install argus-edge again, on a machine with a C++ compiler"
    return None


def _examine_package(package: ModelPackage, engines: list[dict[str, Any]]) -> dict[str, Any]:
    from argus_edge.runtime.session import Runtime  # needs the extension, which may be what is missing here

    golden = package.spec.golden
    errors = {}
    for engine in engines:
        serves = engine["available"] and not unsuited(engine["name"], package.spec.target)
        if golden is not None and serves:
            with Runtime(package, engine=engine["name"], precision=golden.precision) as runtime:
                errors[engine["name"]] = runtime.golden_errors()
    return {
        "name": package.spec.name,
        "sha256": package.sha256,
        "tasks": list(package.spec.tasks),
        "precisions": list(package.spec.precisions),
        "golden_errors": errors,
    }


def _page(facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    lines = [
        f"argus_edge   {facts['argus_edge']}, Python {machine['python']}",
        f"machine      {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"instructions {', '.join(machine['features']) or 'unknown'}",
        f"extension    {facts['extension']}",
        "libraries    " + ", ".join(f"{name} {version}" for name, version in facts["libraries"].items()),
        "engines",
    ]
    for engine in facts["engines"]:
        state = engine["version"] if engine["available"] else f"missing: {engine['reason']}"
        lines.append(f"  {engine['name']:<12} {state}")
        if engine["note"]:
            lines.append(f"  {'':<12} {engine['note']}")
    lines.append(f"ready        {'yes' if facts['ready'] else 'no'}")
    if "package" in facts:
        package = facts["package"]
        lines += [
            f"package      {package['name']}, sha256 {package['sha256']}",
            f"             {', '.join(package['tasks'])}; {', '.join(package['precisions'])}",
            "  greatest difference from its recorded answers, as a share of the greatest value:"
            if package["golden_errors"]
            else "  it has no recorded answers to compare with",
        ]
        for engine, errors in package["golden_errors"].items():
            if errors:
                worst = max(errors, key=errors.__getitem__)
                lines.append(f"  {engine:<12} {errors[worst]:.1e} ({worst})")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="argus-doctor", description="Tell what this machine has for running model packages."
    )
    parser.add_argument(
        "package",
        type=Path,
        nargs="?",
        metavar="PACKAGE",
        help="also check this package on every engine here",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON on stdout")
    return parser


if __name__ == "__main__":
    main()
