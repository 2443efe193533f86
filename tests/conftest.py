"""Fixtures for all tests: a small, complete model package with graphs of a few seeded weights; own tasks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.package import ModelPackage, golden_files, model_path, write_package
from argus_edge.spec import ComponentSpec, ImageSpec, PackageSpec, TaskEntry, TensorSpec, VariantSpec

SIDE = 64
CHANNELS = 8
CANDIDATES = 10
DET_CLASSES = ("box", "sphere", "cylinder", "cone", "person")
SEG_CLASSES = ("sky", "ground", "wall", "ceiling", *DET_CLASSES)
FEATURES = tuple(
    TensorSpec(f"f{level}", "float32", (1, CHANNELS, SIDE // stride, SIDE // stride), "NCHW")
    for level, stride in enumerate((4, 8, 16, 32))
)
BOXES = TensorSpec("boxes", "float32", (1, CANDIDATES, 4), "NKX")
SCORES = TensorSpec("scores", "float32", (1, CANDIDATES), "NK")
CLASSES = TensorSpec("classes", "int32", (1, CANDIDATES), "NK")
LABELS = TensorSpec("labels", "uint8", (1, SIDE, SIDE), "NHW")
DEPTH = TensorSpec("depth", "float32", (1, SIDE, SIDE), "NHW")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines that tests compile are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class _Graph:
    """Nodes and constants of one ONNX graph in the making; values are passed around by name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(2)

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.random.normal(0.0, 1.0, shape) / np.sqrt(np.prod(shape[1:])))

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        return self.split(op, *inputs, outputs=[output or f"v{len(self.nodes)}"], **attributes)

    def split(self, op: str, *inputs: str, outputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return outputs[0]

    def model(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
        import onnx
        from onnx import helper

        def info(tensor: TensorSpec) -> Any:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            return helper.make_tensor_value_info(tensor.name, dtype, tensor.shape)

        boundary = [*map(info, inputs)], [*map(info, outputs)]
        graph = helper.make_graph(self.nodes, "tiny", *boundary, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data


def _at_once(images: int, tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The tensors of so many images."""
    return tuple(replace(tensor, shape=(images, *tensor.shape[1:])) for tensor in tensors)


def _backbone(image: ImageSpec) -> bytes:
    g = _Graph()
    x = g.add("Transpose", g.add("Cast", "image", to=1), perm=[0, 3, 1, 2])
    x = g.add("Sub", x, g.constant(np.reshape(image.pad_color, (1, 3, 1, 1))))
    x = g.add("Div", x, g.constant(58.0))
    x = g.add("Conv", x, g.weights(CHANNELS, 3, 4, 4), strides=[4, 4])
    g.add("Tanh", x, output="f0")
    for level in (1, 2, 3):
        x = g.add("AveragePool", f"f{level - 1}", kernel_shape=[2, 2], strides=[2, 2])
        g.add("Mul", x, g.constant(1.5), output=f"f{level}")
    return g.model((image.tensor,), _at_once(image.batch, FEATURES))


def _mixed(g: _Graph, fine: str, *coarse: str) -> str:
    """The finest map plus the mean of each coarser one, so that every input matters."""
    for name in coarse:
        fine = g.add("Add", fine, g.add("GlobalAveragePool", name))
    return fine


def _det(images: int) -> bytes:
    g = _Graph()
    x = _mixed(g, "f1", "f2", "f3")
    cells = g.constant([images, -1, (SIDE // 8) ** 2], np.int64)
    logits = g.add("Reshape", g.add("Conv", x, g.weights(len(DET_CLASSES), CHANNELS, 1, 1)), cells)
    best = g.add("ReduceMax", g.add("Sigmoid", logits), g.constant([1], np.int64), keepdims=0)
    g.split("TopK", best, g.constant([CANDIDATES], np.int64), outputs=["scores", "chosen"], axis=-1)
    labels = g.add("ArgMax", logits, axis=1, keepdims=0)
    chosen = g.add("Unsqueeze", "chosen", g.constant([2], np.int64))
    g.add("Cast", g.add("GatherND", labels, chosen, batch_dims=1), to=6, output="classes")
    sizes = g.add("Sigmoid", g.add("Reshape", g.add("Conv", x, g.weights(4, CHANNELS, 1, 1)), cells))
    g.split("Split", sizes, outputs=["centre", "half"], axis=1, num_outputs=2)
    half = g.add("Mul", "half", g.constant(0.5))
    corners = g.add("Concat", g.add("Sub", "centre", half), g.add("Add", "centre", half), axis=1)
    corners = g.add("Transpose", g.add("Clip", corners, g.constant(0.0), g.constant(1.0)), perm=[0, 2, 1])
    g.add("GatherND", corners, chosen, batch_dims=1, output="boxes")
    return g.model(_at_once(images, FEATURES[1:]), _at_once(images, (BOXES, SCORES, CLASSES)))


def _dense(images: int, channels: int, op: str, output: TensorSpec) -> bytes:
    g = _Graph()
    x = g.add("Conv", _mixed(g, "f0", "f1", "f2", "f3"), g.weights(channels, CHANNELS, 1, 1))
    x = g.add("Resize", x, "", "", g.constant([images, channels, SIDE, SIDE], np.int64), mode="linear")
    if op == "ArgMax":
        g.add("Cast", g.add("ArgMax", x, axis=1, keepdims=0), to=2, output=output.name)
    else:
        g.add(op, g.add("Squeeze", x, g.constant([1], np.int64)), output=output.name)
    return g.model(_at_once(images, FEATURES), _at_once(images, (output,)))


def _answers(graphs: dict[str, bytes], image: NDArray[np.uint8]) -> dict[str, dict[str, NDArray[Any]]]:
    """What onnx's own numpy evaluator, which shares nothing with the engines, makes of `image`."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    known: dict[str, NDArray[Any]] = {"image": image}
    answers = {}
    for component, data in graphs.items():
        evaluator = ReferenceEvaluator(onnx.load_from_string(data))
        values = evaluator.run(None, {name: known[name] for name in evaluator.input_names})
        answers[component] = dict(zip(evaluator.output_names, values, strict=True))
        known.update(answers[component])
    return answers


def _graphs(image: ImageSpec) -> dict[str, bytes]:
    return {
        "backbone": _backbone(image),
        "det": _det(image.batch),
        "seg": _dense(image.batch, len(SEG_CLASSES), "ArgMax", LABELS),
        "depth": _dense(image.batch, 1, "Softplus", DEPTH),
    }


def _components(image: ImageSpec, variant: str) -> dict[str, ComponentSpec]:
    outputs = {"backbone": FEATURES, "det": (BOXES, SCORES, CLASSES), "seg": (LABELS,), "depth": (DEPTH,)}
    inputs = {"backbone": (image.tensor,), "det": _at_once(image.batch, FEATURES[1:])}
    features = _at_once(image.batch, FEATURES)
    return {
        name: ComponentSpec(
            inputs.get(name, features), _at_once(image.batch, given), {variant: VariantSpec("fp32")}
        )
        for name, given in outputs.items()
    }


def write_tiny_package(path: Path, batches: tuple[int, ...] = ()) -> ModelPackage:
    """Write a package of det, seg and depth for 64 x 64 px inputs, fp32, with a golden sample; `batches` adds
    graphs for so many images at once.
    """
    image_spec = ImageSpec(SIDE, SIDE)
    variants = {image_spec: "fp32"} | {
        replace(image_spec, batch=images): f"fp32-{images}" for images in batches
    }
    graphs = _graphs(image_spec)
    image = np.random.default_rng(1).integers(0, 256, image_spec.tensor.shape, dtype=np.uint8)
    golden, golden_data = golden_files(image, _answers(graphs, image), "fp32")
    spec = PackageSpec(
        name="tiny",
        input=image_spec,
        tasks={
            "det": TaskEntry("det", DET_CLASSES),
            "seg": TaskEntry("seg", SEG_CLASSES),
            "depth": TaskEntry("depth"),
        },
        components=_components(image_spec, "fp32"),
        golden=golden,
        report={"parity": {"fp32": {"depth": 1e-6}}},
        other_sizes={
            each: _components(each, variant) for each, variant in variants.items() if each.batch > 1
        },
    )
    models = {
        model_path(component, variant): data
        for each, variant in variants.items()
        for component, data in _graphs(each).items()
    }
    return write_package(path, spec, {**models, **golden_data})


@pytest.fixture(scope="session")
def new_graph() -> type[_Graph]:
    """What writes an ONNX graph node by node, for tests with packages of their own."""
    return _Graph


@pytest.fixture(scope="session")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A sound model package of det, seg and depth for 64 x 64 px inputs, fp32. Not to be changed: copy it."""
    return write_tiny_package(tmp_path_factory.mktemp("packages") / "tiny.argus")


@pytest.fixture(scope="session")
def tiny_batches(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """The same with graphs for two and for three images at once."""
    return write_tiny_package(tmp_path_factory.mktemp("packages") / "batches.argus", batches=(2, 3))


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Gives the script benchmarks/NAME.py as a module."""

    def load(name: str) -> ModuleType:
        file = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def forget_own_tasks() -> Iterator[Callable[[], None]]:
    """Takes what the test has loaded of tasks from outside out of all tables again; done at its end, too."""
    from argus_edge import tasks
    from argus_edge.train import custom
    from argus_edge.train.data.augment import AUGMENTATIONS
    from argus_edge.train.data.classes import SCENE_CLASSES
    from argus_edge.train.data.readers import READERS
    from argus_edge.train.data.scene_labels import CUSTOM_SCENE_LABELS
    from argus_edge.train.metrics import TASK_METRICS

    tables: tuple[dict[Any, Any], ...] = (
        tasks._custom, custom._tasks, custom._origins, custom._files,
        TASK_METRICS, AUGMENTATIONS, SCENE_CLASSES, CUSTOM_SCENE_LABELS, READERS,
    )  # fmt: skip
    before, loaded = [dict(table) for table in tables], list(custom._entry_points)

    def forget() -> None:
        for table, rows in zip(tables, before, strict=True):
            table.clear()
            table.update(rows)
        custom._entry_points[:] = loaded

    yield forget
    forget()
