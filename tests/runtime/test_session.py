"""The runtime from end to end on a tiny package: right answers, engines alike, a clear error for the rest."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import argus_edge
from argus_edge import Frame, ModelPackage, Runtime
from argus_edge.errors import EngineError, EngineMissingError, ImageError, InputError, PackageError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.package import model_path, write_package
from argus_edge.runtime.engines import engine_status
from argus_edge.spec import TensorSpec
from tests.runtime.references.preprocess import preprocess_reference


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    status = engine_status(name)
    if not status.available:
        pytest.skip(status.reason or name)
    return name


@pytest.fixture(scope="module")
def runtime(engine: str, tiny_package: ModelPackage) -> Any:
    with Runtime(tiny_package, engine=engine, threads=1) as opened:
        yield opened


def _image(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth, so that resizing loses nothing that matters; no two sizes alike."""
    y, x = np.arange(height) / max(height, width), np.arange(width) / max(height, width)
    rows = (60 * (np.cos([7 * y, 9 * y, 4 * y]) + 1)).astype(np.uint8)
    columns = (60 * (np.sin([9 * x, 5 * x, 2 * x]) + 1)).astype(np.uint8)
    return np.ascontiguousarray((rows[:, :, None] + columns[:, None, :]).transpose(1, 2, 0))


@pytest.mark.parametrize(("height", "width"), [(2160, 4096), (48, 64), (321, 517), (64, 64)])
def test_results_are_in_the_image_s_own_frame(runtime: Runtime, height: int, width: int) -> None:
    frame = runtime(_image(height, width))
    assert (frame.image_height, frame.image_width) == (height, width)
    assert frame.seg.labels.shape == frame.depth.values.shape == (height, width)
    assert frame.depth.unit == "m"
    assert len(frame.det) > 0
    boxes = frame.det.boxes
    assert np.all((boxes >= 0) & (boxes <= [width, height, width, height]))
    assert np.all(np.diff(frame.det.scores) <= 0)


def test_results_are_those_of_the_graphs(runtime: Runtime, tiny_package: ModelPackage) -> None:
    """Against onnx's own evaluator on the numpy preprocessing, which share no code with what they judge."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    image = _image(48, 64)
    tensor, _ = preprocess_reference(image, tiny_package.spec.input)
    known: dict[str, Any] = {"image": tensor}
    for component in ("backbone", "det", "seg", "depth"):
        graph = ReferenceEvaluator(onnx.load(tiny_package.model_file(component, "fp32")))
        answers = graph.run(None, {name: known[name] for name in graph.input_names})
        known.update(zip(graph.output_names, answers, strict=True))
    frame = runtime(image)
    letterbox = Letterbox(48, 64, 64, 64)
    # The two preprocessings may differ by one level in 256, which moves a feature by about 1 %.
    expected = letterbox.map_to_image(known["depth"][0], "bilinear")
    assert np.max(np.abs(frame.depth.values - expected)) <= 0.02 * np.max(expected)
    assert np.mean(frame.seg.labels == letterbox.map_to_image(known["labels"][0], "nearest")) >= 0.97
    inside = known["boxes"][0][:, 1] * 64 < letterbox.resized_height
    np.testing.assert_allclose(frame.det.scores, known["scores"][0][inside], atol=0.02)


def test_both_engines_agree(tiny_package: ModelPackage) -> None:
    frames = []
    for name in ("openvino", "onnxruntime"):
        status = engine_status(name)
        if not status.available:
            pytest.skip(status.reason or name)
        with Runtime(tiny_package, engine=name, threads=1) as runtime:
            assert runtime.engine == name
            assert runtime.engine_version == status.version
            assert runtime.why == ((f"{name}: {status.note}",) if status.note else ())
            frames.append(runtime(_image(321, 517)))
    np.testing.assert_allclose(frames[0].depth.values, frames[1].depth.values, rtol=1e-4)
    np.testing.assert_allclose(frames[0].det.boxes, frames[1].det.boxes, atol=0.05)
    np.testing.assert_array_equal(frames[0].det.classes, frames[1].det.classes)
    assert np.mean(frames[0].seg.labels == frames[1].seg.labels) > 0.999


def test_the_recorded_answers_come_out(runtime: Runtime) -> None:
    errors = runtime.golden_errors()
    assert errors is not None
    assert {"backbone.f0", "det.boxes", "seg.labels", "depth.depth"} <= errors.keys()
    assert max(errors.values()) <= 1e-5


def test_the_layout_of_the_image_in_memory_does_not_matter(runtime: Runtime) -> None:
    image = _image(50, 70)
    padded = np.zeros((60, 80, 3), np.uint8)
    padded[5:55, 5:75] = image
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    expected = runtime(image).depth.values
    for same in (np.asfortranarray(image), padded[5:55, 5:75], bgr[:, :, ::-1]):
        np.testing.assert_array_equal(runtime(same).depth.values, expected)


def test_a_frame_outlives_the_next_one_and_the_runtime(engine: str, tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, engine=engine, threads=1) as runtime:
        frame = runtime(_image(64, 64))
        kept = [frame.det.boxes.copy(), frame.seg.labels.copy(), frame.depth.values.copy()]
        runtime(255 - _image(64, 64))
    for now, then in zip([frame.det.boxes, frame.seg.labels, frame.depth.values], kept, strict=True):
        np.testing.assert_array_equal(now, then)


def test_timings_add_up(runtime: Runtime) -> None:
    timings = dict(runtime(_image(100, 100)).timings)
    stages = ["det", "det.decode", "seg", "seg.decode", "depth", "depth.decode"]
    assert list(timings) == ["preprocess", "backbone", *stages, "wait", "total"]
    assert all(value > 0 for value in timings.values())
    assert timings.pop("total") == pytest.approx(sum(timings.values()))


def test_only_the_tasks_asked_for_are_run(engine: str, tiny_package: ModelPackage) -> None:
    with Runtime(
        tiny_package, engine=engine, tasks=["depth", "det"], threads=1, score_threshold=0.5
    ) as runtime:
        assert runtime.tasks == ("depth", "det")
        frame = runtime(_image(64, 64))
    assert list(frame.results) == ["depth", "det"]
    assert np.all(frame.det.scores >= 0.5)
    with pytest.raises(TaskError, match="'seg' was not run"):
        _ = frame.seg


def test_threads_may_share_a_runtime(runtime: Runtime) -> None:
    images = [_image(40 + 8 * i, 60) for i in range(4)]
    expected = [runtime(image).depth.values for image in images]
    found: dict[int, Frame] = {}

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = runtime(images[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, values in enumerate(expected):
        np.testing.assert_array_equal(found[index].depth.values, values)


def test_a_closed_runtime_says_so(engine: str, tiny_package: ModelPackage) -> None:
    runtime = Runtime(tiny_package, engine=engine, tasks=["det"], threads=1)
    runtime.close()
    runtime.close()
    with pytest.raises(EngineError, match=r"tiny\.argus was closed"):
        runtime(_image(64, 64))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((0, 0, 3), np.uint8), "0x0x3"),
        (np.zeros((48, 64, 1), np.uint8), "48x64x1"),
        (np.zeros((48, 64), np.uint8), "48x64"),
        (np.zeros((48, 64, 3), np.float64), "float64"),
        (np.zeros((1, 48, 64, 3), np.uint8), "1x48x64x3"),
        ("picture.jpg", "str"),
        (None, "NoneType"),
    ],
    ids=["0x0", "one channel", "grey", "float64", "batch", "path", "none"],
)
def test_what_is_not_an_image_is_refused_and_the_next_frame_goes_on(
    runtime: Runtime, image: Any, told: str
) -> None:
    with pytest.raises(ImageError, match=told):
        runtime(image)
    assert runtime(_image(8, 8)).image_height == 8


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"tasks": ["pose"]}, TaskError, "'tiny' has no task 'pose'"),
        ({"tasks": ["detection"]}, TaskError, "unknown task 'detection'"),
        ({"tasks": []}, InputError, "at least one task"),
        ({"tasks": "det"}, InputError, "sequence"),
        ({"precision": "int8"}, InputError, "no precision 'int8'; it has: fp32"),
        ({"engine": "npu"}, EngineError, "unknown engine 'npu'"),
        ({"engine": "tensorrt"}, EngineMissingError, "tensorrt is not installed"),
        ({"threads": 0}, InputError, "at least 1"),
        ({"score_threshold": 2.0}, InputError, r"\[0, 1\]"),
    ],
)
def test_wrong_arguments_are_refused(
    tiny_package: ModelPackage, arguments: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        Runtime(tiny_package, **arguments)


def test_a_task_the_package_lacks_is_refused(tiny_package: ModelPackage, tmp_path: Path) -> None:
    spec = tiny_package.spec
    keep = ("backbone", "det")
    files = {model_path(name, "fp32"): tiny_package.model_file(name, "fp32") for name in keep}
    small = type(spec)(
        "small", spec.input, {"det": spec.tasks["det"]}, {name: spec.components[name] for name in keep}
    )
    package = write_package(tmp_path / "small.argus", small, files)
    with pytest.raises(TaskError, match="'small' has no task 'depth'; it has: det"):
        Runtime(package, tasks=["depth"])


def test_a_graph_that_is_not_what_the_package_says_is_found_at_opening(
    engine: str, tiny_package: ModelPackage, tmp_path: Path
) -> None:
    """The depth graph in the place of the segmenter's: every hash is right, the tensors are not."""
    spec = tiny_package.spec
    files = {model_path(name, "fp32"): tiny_package.model_file(name, "fp32") for name in spec.components}
    files[model_path("seg", "fp32")] = tiny_package.model_file("depth", "fp32")
    swapped = type(spec)("swapped", spec.input, spec.tasks, spec.components)
    package = write_package(tmp_path / "swapped.argus", swapped, files)
    with pytest.raises(PackageError, match=r"seg.*model\.onnx: gives no 'labels'"):
        Runtime(package, engine=engine, threads=1)
    with Runtime(package, engine=engine, threads=1, tasks=["det"]) as runtime:
        assert len(runtime(_image(64, 64)).det) > 0
        assert runtime.golden_errors() is None


def test_a_decoder_that_cannot_give_its_task_is_found_at_opening(
    tiny_package: ModelPackage, tmp_path: Path
) -> None:
    spec = tiny_package.spec
    wide = TensorSpec("depth", "float32", (1, 32, 32), "NHW")
    components = dict(spec.components)
    depth = components["depth"]
    components["depth"] = type(depth)(depth.inputs, (wide,), depth.variants)
    files = {model_path(name, "fp32"): tiny_package.model_file(name, "fp32") for name in spec.components}
    package = write_package(
        tmp_path / "wide.argus", type(spec)("wide", spec.input, spec.tasks, components), files
    )
    with pytest.raises(PackageError, match="'depth' cannot give task 'depth'"):
        Runtime(package)


def test_an_edited_package_is_not_opened(tiny_package: ModelPackage, tmp_path: Path) -> None:
    copy = tmp_path / "edited.argus"
    shutil.copytree(tiny_package.path, copy)
    graph = copy / model_path("seg", "fp32")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(PackageError, match=r"seg.*model\.onnx"):
        Runtime(copy)
    with pytest.raises(PackageError, match="nothing"):
        Runtime(tmp_path / "missing.argus")


def test_the_name_at_the_top_is_this_class() -> None:
    assert argus_edge.Runtime is Runtime
