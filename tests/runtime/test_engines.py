"""Both engines do the same with the same file, and say clearly when they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from argus_edge.errors import EngineError, InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import (
    ENGINES,
    available_engines,
    choose_engine,
    default_threads,
    engine_status,
    open_engine,
)

BUILT = ("openvino", "onnxruntime")


@pytest.fixture(params=BUILT)
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    status = engine_status(name)
    if not status.available:
        pytest.skip(status.reason or name)
    return name


def _image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)


def test_gives_the_recorded_answers(engine_name: str, tiny_package: ModelPackage) -> None:
    golden = tiny_package.golden()
    assert golden is not None
    engine = open_engine(
        engine_name, tiny_package.model_file("backbone", "fp32"), threads=1, precision="fp32"
    )
    outputs = engine.run({"image": golden.image})
    assert outputs.keys() == golden.outputs["backbone"].keys()
    for name, expected in golden.outputs["backbone"].items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)
    engine.close()


def test_reads_its_inputs_and_leaves_them_alone(engine_name: str, tiny_package: ModelPackage) -> None:
    engine = open_engine(
        engine_name, tiny_package.model_file("backbone", "fp32"), threads=1, precision="fp32"
    )
    first, second = _image(1), _image(2)
    kept = first.copy()
    once = engine.run({"image": first})["f0"].copy()
    assert not np.array_equal(engine.run({"image": second})["f0"], once)
    np.testing.assert_array_equal(engine.run({"image": first})["f0"], once)
    np.testing.assert_array_equal(first, kept)


def test_sixteen_bit_float_stays_near(engine_name: str, tiny_package: ModelPackage) -> None:
    """For fp16 packages an engine may compute in bfloat16: 8 bits of mantissa, so about 1 % of the range."""
    model = tiny_package.model_file("backbone", "fp32")
    exact = open_engine(engine_name, model, threads=1, precision="fp32").run({"image": _image()})["f3"].copy()
    short = open_engine(engine_name, model, threads=1, precision="fp16").run({"image": _image()})["f3"]
    assert short.dtype == np.float32
    assert float(np.max(np.abs(exact - short))) <= 0.02 * float(np.max(np.abs(exact)))


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"picture": np.zeros((1, 64, 64, 3), np.uint8)},
        {"image": np.zeros((1, 64, 65, 3), np.uint8)},
        {"image": np.zeros((64, 64, 3), np.uint8)},
    ],
    ids=["none", "other name", "other size", "no batch"],
)
def test_wrong_inputs_are_refused(
    engine_name: str, tiny_package: ModelPackage, inputs: dict[str, np.ndarray]
) -> None:
    model = tiny_package.model_file("backbone", "fp32")
    engine = open_engine(engine_name, model, threads=1, precision="fp32")
    with pytest.raises(EngineError, match="backbone"):
        engine.run(inputs)
    assert engine.run({"image": _image()})["f0"].shape == (1, 8, 16, 16)


@pytest.mark.parametrize("content", [b"", b"not a graph", None], ids=["empty", "text", "missing"])
def test_an_unreadable_file_is_one_clear_error(
    engine_name: str, tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.onnx: .* cannot load it") as error:
        open_engine(engine_name, model, threads=1, precision="fp32")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is not None


def test_damaged_graphs_open_or_are_one_clear_error(engine_name: str, tiny_package: ModelPackage) -> None:
    """Bytes changed, cut off and moved; in a process of its own, which a crash would end."""
    model = tiny_package.model_file("backbone", "fp32")
    command = [sys.executable, str(Path(__file__).with_name("damaged_graphs.py")), engine_name, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["opened"] + told["refused"] == 60
    assert told["refused"] > 20


def test_a_closed_engine_says_so(engine_name: str, tiny_package: ModelPackage) -> None:
    engine = open_engine(engine_name, tiny_package.model_file("det", "fp32"), threads=1, precision="fp32")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({})


def test_every_engine_is_there_or_says_what_to_do() -> None:
    statuses = available_engines()
    assert [status.name for status in statuses] == list(ENGINES)
    for status in statuses:
        assert bool(status.version) == status.available
        assert bool(status.reason) != status.available


def test_auto_tells_why_the_ones_before_were_not_taken() -> None:
    status, why = choose_engine("auto")
    told = ENGINES[: ENGINES.index(status.name) + (status.note is not None)]
    assert [line.partition(":")[0] for line in why] == list(told)


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(EngineError, match="unknown engine 'coreml'; expected auto, tensorrt"):
        choose_engine("coreml")
    with pytest.raises(InputError, match="at least 1"):
        open_engine("openvino", Path("x.onnx"), threads=0, precision="fp32")
    assert default_threads() >= 1


WITHOUT_ENGINES = """
import sys
for name in ("tensorrt", "openvino", "onnxruntime"):
    sys.modules[name] = None  # as if they were not installed
from argus_edge.errors import EngineMissingError
from argus_edge.runtime.engines import choose_engine
for name in ("tensorrt", "cuda", "openvino", "onnxruntime", "auto"):
    try:
        choose_engine(name)
    except EngineMissingError as error:
        print(error)
"""


def test_a_missing_library_is_told_with_its_pip_line() -> None:
    lines = subprocess.run(
        [sys.executable, "-c", WITHOUT_ENGINES], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for line, engine in zip(lines, ENGINES, strict=False):
        assert f"pip install 'argus-edge[{engine}]'" in line
    assert "pip install 'argus-edge[openvino]' or pip install 'argus-edge[onnxruntime]'" in lines[4]


NO_NETWORK = """
import os, sys, threading
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print(f"network: {event} {arguments}", file=sys.stderr, flush=True)
        os._exit(1)  # in whichever thread
sys.addaudithook(refuse)
import numpy
from argus_edge.runtime.session import Runtime
with Runtime(sys.argv[1], engine=sys.argv[2], threads=1, cache=False) as runtime:
    runtime(numpy.zeros((30, 40, 3), numpy.uint8))
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
"""


def test_nothing_reaches_for_the_network(engine_name: str, tiny_package: ModelPackage) -> None:
    command = [sys.executable, "-c", NO_NETWORK, str(tiny_package.path), engine_name]
    done = subprocess.run(command, capture_output=True, text=True)  # a thread would be one that reports
    assert done.returncode == 0, done.stderr


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from argus_edge.runtime.engines import open_engine
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
opened = [open_engine(sys.argv[1], Path(sys.argv[2]), threads=1, precision="fp32") for _ in range(2)]
while opened:
    opened.pop(0).close()  # in the order in which they were opened
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_handled_after_engines_were_closed(engine_name: str, tiny_package: ModelPackage) -> None:
    """OpenVINO replaces the stack of signal handlers: with a Core for each engine this was a crash."""
    file = tiny_package.model_file("backbone", "fp32")
    command = [sys.executable, "-c", SIGNALLED, engine_name, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
