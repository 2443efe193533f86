"""Asks what one backbone for five tasks saves over five networks, and how fast other networks are beside it.

Of a package, five tasks are answered from one frame: by its backbone once and a decoder for each, and by five
networks of the same size that have a backbone each (the same graphs, joined). Then the networks of others, in
the same run: DINOv2-S (timm), SSDlite, LR-ASPP and DeepLabV3 on MobileNetV3 (torchvision), DPT on DINOv2-S
and Mask2Former on Swin-T (transformers). These have random weights: only their speed means something. They
are without pre- and postprocessing, as ours. All run on the same engines in turn, round after round, so that
a drifting machine cancels; their int8 is made by the same recipe.

Wanted: five networks take at least 2.5 times as long, in int8 on OpenVINO. Prints tables, then one JSON line.

    argus-export --precision fp32,int8
    python benchmarks/peers.py nano.argus --graphs build/peers
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from argus_edge.command import name_list, positive_number, run_command
from argus_edge.errors import EngineError, InputError
from argus_edge.export.fuse import fuse
from argus_edge.export.precision import to_int8
from argus_edge.export.targets import CPU
from argus_edge.export.trace import trace_module
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, Engine, available_engines, default_threads, open_engine
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.timing import Times, engine_run, interleaved, noise
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, Precision

WANTED: Final = 2.5  # times as long
TASKS: Final = ("det", "seg", "depth", "pose", "cls")
SHARED: Final = "one backbone"
WIDTH: Final = 120  # of the tables
SAMPLES: Final = 4  # random images to calibrate on
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "int8")

Run = Callable[[int], object]
Open = Callable[[Path], Engine]


class Chosen(nn.Module):
    """A network of which only some answers are looked at."""

    def __init__(self, network: nn.Module, choose: Callable[[Any, Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.network, self.choose = network, choose

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image (1, 3, S, S), normalised."""
        return self.choose(self.network, image)


def dinov2() -> nn.Module:
    import timm

    network = timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=322, num_classes=0)
    return Chosen(network, lambda net, image: (net.forward_features(image),))


def ssdlite() -> nn.Module:
    from torchvision.models import detection  # type: ignore[import-untyped]

    def boxes(net: Any, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(net.head(list(net.backbone(image).values())).values())

    return Chosen(detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None), boxes)


def lraspp() -> nn.Module:
    from torchvision.models import segmentation

    network = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Chosen(network, lambda net, image: (net(image)["out"],))


def deeplabv3() -> nn.Module:
    from torchvision.models import segmentation

    network = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Chosen(network, lambda net, image: (net(image)["out"],))


def dpt() -> nn.Module:
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation

    small: dict[str, Any] = {
        "hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "patch_size": 14,
        "image_size": 322,
        "out_features": ["stage3", "stage6", "stage9", "stage12"], "reshape_hidden_states": False,
    }  # fmt: skip
    config = DPTConfig(
        backbone_config=Dinov2Config(**small), neck_hidden_sizes=[48, 96, 192, 384], fusion_hidden_size=64,
        reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    return Chosen(DPTForDepthEstimation(config), lambda net, image: (net(image).predicted_depth,))


def mask2former() -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    def segments(net: Any, image: Tensor) -> tuple[Tensor, ...]:
        answer = net(image)
        return answer.class_queries_logits, answer.masks_queries_logits

    return Chosen(Mask2FormerForUniversalSegmentation(Mask2FormerConfig()), segments)


PEERS: Final[Mapping[str, tuple[int, Callable[[], nn.Module]]]] = {
    "DINOv2-S/14 backbone (timm)": (322, dinov2),
    "SSDlite MobileNetV3, boxes (torchvision)": (320, ssdlite),
    "LR-ASPP MobileNetV3, labels (torchvision)": (320, lraspp),
    "DeepLabV3 MobileNetV3, labels (torchvision)": (320, deeplabv3),
    "DPT DINOv2-S/14, depth (transformers)": (322, dpt),
    "Mask2Former Swin-T, segments (transformers)": (320, mask2former),
}
"""Name -> side of the input [px], and the network with random weights."""


def peer_graphs(name: str, folder: Path) -> tuple[dict[Precision, Path], float]:
    """The graph of a peer in both precisions, made where `folder` does not hold it; its parameters [M]."""
    side, build = PEERS[name]
    files: dict[Precision, Path] = {p: folder / f"{build.__name__}.{p}.onnx" for p in PRECISIONS}
    torch.manual_seed(0)
    network = build().eval()
    if not files["int8"].exists():  # the last to be written
        image = torch.zeros(1, 3, side, side)
        with torch.no_grad():
            answers = {f"y{i}": answer for i, answer in enumerate(network(image))}
        layouts = {answer: "x" * tensor.ndim for answer, tensor in answers.items()}
        graph = CPU.spell(trace_module(name, network, {IMAGE_TENSOR: image}, answers, layouts).model)
        random = np.random.default_rng(0)
        samples = [random.normal(size=image.shape).astype(np.float32) for _ in range(SAMPLES)]
        onnx.save(graph, files["fp32"])
        onnx.save(to_int8(graph, [{IMAGE_TENSOR: sample} for sample in samples]), files["int8"])
    return files, sum(p.numel() for p in network.parameters()) / 1e6


def our_inputs(package: ModelPackage) -> dict[str, Array]:
    """The recorded input, and the persons that pose looks at. Raises InputError for a package without."""
    golden = package.golden()
    if golden is None:
        raise InputError(f"{package.path}: holds no golden sample to run on; export it again")
    persons = {package.spec.extra_inputs[name].name: values for name, values in golden.inputs.items()}
    return {IMAGE_TENSOR: golden.image, **persons}


def shared_run(package: ModelPackage, tasks: Sequence[str], precision: Precision, opened: Open) -> Run:
    """One frame through the backbone, then through the decoder of each task."""
    inputs, spec = our_inputs(package), package.spec
    components = dict.fromkeys(spec.tasks[task].component for task in tasks)
    backbone = opened(package.model_file(BACKBONE, precision))
    decoders = [(spec.components[c], opened(package.model_file(c, precision))) for c in components]

    def run(_: int) -> None:
        known = {**inputs, **backbone.run({IMAGE_TENSOR: inputs[IMAGE_TENSOR]})}
        for component, decoder in decoders:
            decoder.run({tensor.name: known[tensor.name] for tensor in component.inputs})

    return run


def alone_runs(
    package: ModelPackage, tasks: Sequence[str], precision: Precision, opened: Open, folder: Path
) -> dict[str, Run]:
    """One frame through a network of its own for each task: backbone and decoder as one graph."""
    runs: dict[str, Run] = {}
    for task in tasks:
        component = package.spec.tasks[task].component
        parts = {c: onnx.load(package.model_file(c, precision)) for c in (BACKBONE, component)}
        joined = fuse(parts)
        onnx.save(joined, file := folder / f"{task}.onnx")
        names = {value.name for value in joined.graph.input}
        inputs = {name: value for name, value in our_inputs(package).items() if name in names}
        runs[task] = engine_run(opened(file), inputs)
    return runs


def opener(stack: ExitStack, engine: str, precision: Precision, threads: int) -> Open:
    """Opens graphs, to be closed with `stack`."""

    def opened(file: Path) -> Engine:
        return stack.enter_context(closing(open_engine(engine, file, threads=threads, precision=precision)))

    return opened


def measure_shared(
    package: ModelPackage, tasks: Sequence[str], engine: str, threads: int, rounds: int
) -> dict[str, Times]:
    """SHARED, and each task -> time of each frame [ms], in int8."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        opened = opener(stack, engine, "int8", threads)
        runs = {SHARED: shared_run(package, tasks, "int8", opened)}
        runs |= alone_runs(package, tasks, "int8", opened, Path(folder))
        return interleaved(runs, rounds)


def measure_peers(
    package: ModelPackage,
    tasks: Sequence[str],
    engines: Sequence[str],
    threads: int,
    rounds: int,
    folder: Path,
) -> tuple[dict[str, dict[str, Any]], dict[str, Times], list[str]]:
    """Name -> input, parameters and median times, ours first; all times; what an engine could not load."""
    ours = f"{package.spec.name}: {', '.join(tasks)}"
    parameters = _parameters(package, tasks, package.spec.precisions[0])
    first: dict[str, Any] = {"input": package.spec.input.height, "parameters_m": parameters, "p50_ms": {}}
    found = {ours: first}
    runs: dict[str, Run] = {}
    failures = []
    with ExitStack() as stack:
        columns = {
            f"{precision}, {engine}": (precision, opener(stack, engine, precision, threads))
            for engine in engines
            for precision in PRECISIONS
        }
        for column, (precision, opened) in columns.items():
            runs[f"{ours} in {column}"] = shared_run(package, tasks, precision, opened)
        for name, (side, _) in PEERS.items():
            files, parameters = peer_graphs(name, folder)
            found[name] = {"input": side, "parameters_m": parameters, "p50_ms": {}}
            image = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
            for column, (precision, opened) in columns.items():
                try:
                    runs[f"{name} in {column}"] = engine_run(opened(files[precision]), {IMAGE_TENSOR: image})
                except EngineError as error:  # noqa: PERF203 - loading takes seconds
                    failures.append(str(error))
        times = interleaved(runs, rounds)
    for key, each in times.items():
        name, _, column = key.partition(" in ")
        found[name]["p50_ms"][column] = round(float(np.median(each)), 2)
    return found, times, failures


def _parameters(package: ModelPackage, tasks: Sequence[str], precision: Precision) -> float:
    """Of the graphs that answer `tasks` [M]."""
    components = {BACKBONE, *(package.spec.tasks[task].component for task in tasks)}
    graphs = [onnx.load(package.model_file(component, precision)).graph for component in components]
    return sum(int(np.prod(tensor.dims)) for graph in graphs for tensor in graph.initializer) / 1e6


def shared_rows(times: Mapping[str, Times]) -> dict[str, Any]:
    """Network -> median time and how many times that of the shared one, from pairs of the same round."""
    alone = {task: each for task, each in times.items() if task != SHARED}
    together = {SHARED: times[SHARED], f"{len(alone)} networks": np.sum(list(alone.values()), axis=0)}
    rows = {**{f"{task} alone": each for task, each in alone.items()}, **together}
    return {
        name: {
            "p50_ms": round(float(np.median(each)), 2),
            "times": round(float(np.median(each / times[SHARED])), 3),
        }
        for name, each in rows.items()
    }


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus in fp32 and int8")
    p.add_argument("--tasks", type=name_list, default=TASKS, help=f"(default: {','.join(TASKS)})")
    p.add_argument("--rounds", type=positive_number, default=20, help="(default: %(default)s)")
    p.add_argument("--threads", type=positive_number, default=default_threads(), help="(default: every core)")
    p.add_argument("--graphs", type=Path, metavar="DIR",
                   help="keeps the peers' graphs, which take minutes to make")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where five networks take as much longer as wanted."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    if not set(PRECISIONS) <= set(package.spec.precisions):
        raise InputError(
            f"{options.package}: expected fp32 and int8, has {', '.join(package.spec.precisions)}"
        )
    engines = {s.name: s.version for s in available_engines() if s.available and s.name != "tensorrt"}
    engine = next(iter(engines))
    times = measure_shared(package, options.tasks, engine, options.threads, options.rounds)
    shared = shared_rows(times)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.graphs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        peers, more, failures = measure_peers(
            package, options.tasks, list(engines), options.threads, options.rounds, folder
        )
    noisy = noise({**times, **more})
    if not options.json:
        print_tables(engine, shared, peers, [*failures, *([noisy] if noisy else [])])
    found = {
        "machine": this_machine().to_json(),
        "package": {"name": package.spec.name, "sha256": package.sha256},
        "tasks": list(options.tasks),
        "engines": engines,
        "threads": options.threads,
        "rounds": options.rounds,
        "noise": [noisy] if noisy else [],
        "shared": {"engine": engine, "precision": "int8", "networks": shared},
        "peers": peers,
        "failures": failures,
    }
    print(json.dumps(found))
    return 0 if shared[f"{len(options.tasks)} networks"]["times"] >= WANTED else 1


def print_tables(
    engine: str, shared: Mapping[str, Any], peers: Mapping[str, Any], notes: Sequence[str]
) -> None:
    console = Console(highlight=False, width=WIDTH)
    table = Table("network", r"p50 \[ms]", "times the shared one", title=f"int8 on {engine}")
    for name, row in shared.items():
        table.add_row(name, f"{row['p50_ms']:.1f}", f"{row['times']:.2f}")
    console.print(table)
    columns = list(next(iter(peers.values()))["p50_ms"])
    table = Table("network", r"input \[px]", "parameters [M]", *(f"{column} \\[ms]" for column in columns))
    for name, row in peers.items():
        numbers = (f"{ms:.1f}" if (ms := row["p50_ms"].get(column)) else "-" for column in columns)
        table.add_row(name, str(row["input"]), f"{row['parameters_m']:.1f}", *numbers)
    console.print(table)
    for line in notes:
        console.print(line, markup=False)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "peers")
