"""What the gate measures, ranks and times, on the graphs of the tiny package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from argus_edge.errors import ParityError, TaskError
from argus_edge.export.calibration import CalibrationSet
from argus_edge.export.components import Plan
from argus_edge.export.engines import Graphs, opened
from argus_edge.export.evaluation import find_evaluation
from argus_edge.export.judge import GAIN, Judge, fastest
from argus_edge.export.precision import to_int8
from argus_edge.export.quantisation import quantise
from argus_edge.export.sensitivity import layers_of
from argus_edge.export.trial import AGREEMENT_FACTOR, Trial
from argus_edge.package import gate_lines
from argus_edge.runtime.timing import FEWEST, interleaved
from argus_edge.train.evaluation_sets import EvaluationSet

TASKS = ("det", "seg", "depth")
ENGINE = "onnxruntime"


@pytest.fixture(scope="module")
def fp32(tiny_plan: Plan) -> Graphs:
    return {name: graph.model for name, graph in tiny_plan.graphs.items()}


@pytest.fixture(scope="module")
def images(tiny_plan: Plan) -> CalibrationSet:
    """Smooth pictures: of noise the tiny networks make nothing that a lower precision would keep."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 1, 8, 8, 3), np.uint8)
    return CalibrationSet("noise", tuple(c.repeat(8, axis=1).repeat(8, axis=2) for c in coarse))


@pytest.fixture(scope="module")
def int8(
    tiny_plan: Plan, fp32: Graphs, images: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> Graphs:
    return quantise(
        tiny_plan, fp32, images, to_int8, ENGINE, tmp_path_factory.mktemp("features"), lambda _: None
    )


def trial_of(
    tiny_plan: Plan,
    fp32: Graphs,
    images: CalibrationSet,
    folder: Path,
    max_drop: float,
    sets: Sequence[EvaluationSet] = (),
) -> Trial:
    return Trial(tiny_plan, fp32, images.images, sets, ["onnxruntime"], max_drop, folder)


def test_features_beyond_memory_are_kept_in_files(
    tiny_plan: Plan,
    fp32: Graphs,
    images: CalibrationSet,
    int8: Graphs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("argus_edge.export.quantisation.IN_MEMORY", 0)
    again = quantise(tiny_plan, fp32, images, to_int8, ENGINE, tmp_path, lambda _: None)
    assert len(list(tmp_path.glob("features-*"))) == 4  # F0 to F3
    assert {name: graph.SerializeToString() for name, graph in again.items()} == {
        name: graph.SerializeToString() for name, graph in int8.items()
    }


def test_weights_of_seven_bits_stay_in_half_the_range(
    tiny_plan: Plan, fp32: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    most = []
    for bits in (7, 8):
        graphs = quantise(
            tiny_plan, fp32, images, partial(to_int8, weight_bits=bits), ENGINE, tmp_path, lambda _: None
        )
        weights = [
            onnx.numpy_helper.to_array(tensor)
            for graph in graphs.values()
            for tensor in graph.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
        ]
        assert weights
        most.append(max(int(np.abs(values.astype(int)).max()) for values in weights))
    assert most == [64, 127]


def test_a_graph_that_is_open_leaves_no_file_when_interrupted(fp32: Graphs, tmp_path: Path) -> None:
    def interrupted() -> None:
        with opened("onnxruntime", fp32["seg"], "fp32", tmp_path):
            assert list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_without_labels_losses_are_distances_from_fp32(
    tiny_plan: Plan, fp32: Graphs, int8: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    trial = trial_of(tiny_plan, fp32, images, tmp_path, 0.01)
    same = trial.measure("fp32", fp32)
    assert {task: loss.loss for task, loss in same.items()} == dict.fromkeys(TASKS, 0)
    found = trial.measure("int8", int8)
    for loss in found.values():
        assert 0 < loss.loss < 0.5
        assert loss.limit == AGREEMENT_FACTOR * 0.01
        assert loss.fp32 is None
        assert loss.engine == "onnxruntime"
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".onnx"]


def test_with_labels_losses_are_shares_of_the_figure(
    tiny_plan: Plan, fp32: Graphs, int8: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    classes = {task: entry.classes for task, entry in tiny_plan.entries.items()}
    sets = find_evaluation(["scenes"], classes, 2, tmp_path / "scenes")
    assert [each.tasks for each in sets] == [TASKS]
    trial = trial_of(tiny_plan, fp32, images, tmp_path, 0.01, sets)
    found = trial.measure("int8", int8)
    seg = found["seg"]
    assert (seg.figure, seg.limit) == ("mIoU", 0.01)
    assert seg.fp32 is not None
    assert seg.value is not None
    assert seg.loss == pytest.approx(1 - seg.value / seg.fp32)
    assert found["det"].fp32 is None  # its AP is 0 in fp32 too: nothing to lose a share of
    assert trial.measure("int8", int8) == found  # scenes can be read again
    with pytest.raises(TaskError, match="those before it tell about all tasks"):
        find_evaluation(["scenes", "scenes"], classes, 2, tmp_path / "scenes")


def test_layers_are_returned_until_nothing_is_lost(
    tiny_plan: Plan, fp32: Graphs, int8: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    trial = trial_of(tiny_plan, fp32, images, tmp_path, 0.0)
    judge = Judge(tiny_plan, (), (), (), (), tmp_path)
    kept = judge.hold_gate(trial, {"fp32": fp32, "int8": int8}, give_up=False)
    assert list(kept) == ["fp32", "int8"]
    assert all(loss.loss == 0 for loss in trial.measure("int8", kept["int8"]).values())
    row = judge.gate["int8"]
    assert isinstance(row, dict)
    returned = row["returned_to_float"]
    assert isinstance(returned, list)
    assert 1 < len(returned) <= len(layers_of(int8))
    ratios = row["time_ratio"]
    assert isinstance(ratios, dict)
    assert set(ratios) == {str(each).partition(":")[0] for each in returned}
    text = "\n".join(gate_lines({"gate": dict(judge.gate)}))
    assert f"{len(returned)} layers returned to float" in text


def test_a_precision_that_cannot_keep_the_gate(
    tiny_plan: Plan, fp32: Graphs, int8: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    """int8 graphs in the place of fp16, of which no layer can be returned."""
    trial = trial_of(tiny_plan, fp32, images, tmp_path, 0.0)
    judge = Judge(tiny_plan, (), (), (), (), tmp_path)
    with pytest.raises(ParityError, match=r"fp16: det \(.*differs from fp32 by .*; no package was written"):
        judge.hold_gate(trial, {"fp16": int8}, give_up=False)
    assert judge.hold_gate(trial, {"fp32": fp32, "fp16": int8}, give_up=True) == {"fp32": fp32}
    assert not judge.failures
    keeping = Judge(tiny_plan, (), (), (), (), tmp_path, keep_failed=True)
    assert list(keeping.hold_gate(trial, {"fp16": int8}, give_up=False)) == ["fp16"]
    assert len(keeping.failures) == 1


def test_the_fastest_precision_stays_beside_fp32(
    tiny_plan: Plan, fp32: Graphs, int8: Graphs, images: CalibrationSet, tmp_path: Path
) -> None:
    judge = Judge(tiny_plan, (), (), (), (), tmp_path)
    kept = judge.choose(trial_of(tiny_plan, fp32, images, tmp_path, 1.0), {"fp32": fp32, "int8": int8})
    assert judge.choice["precision"] in kept
    assert "fp32" in kept
    assert set(judge.choice["frame_ms"]) == {"fp32", "int8"}  # type: ignore[arg-type]


def test_a_lower_precision_must_gain() -> None:
    one = np.ones(4)
    assert fastest({"fp32": one, "fp16": one * (1 - GAIN / 2), "int8": one}) == "fp32"
    assert fastest({"fp32": one, "fp16": one * 0.8, "int8": one * 0.79}) == "fp16"
    assert fastest({"fp32": one, "fp16": one * 0.8, "int8": one * 0.5}) == "int8"


def test_turns_are_interleaved() -> None:
    turns: list[tuple[str, int]] = []
    runs = {name: lambda number, name=name: turns.append((name, number)) for name in "ab"}
    times = interleaved(runs, 2)
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}
    assert turns == [*[("a", 0), ("b", 0), ("b", 0), ("a", 0)], *[("a", 0), ("b", 0), ("b", 1), ("a", 1)]]
    turns.clear()
    assert len(interleaved(runs, 9, within=0)["a"]) == FEWEST
    assert len(turns) == 2 * (1 + FEWEST)
    assert len(interleaved(runs, 2, within=0)["a"]) == 2
    assert len(interleaved(runs, 9, within=60)["a"]) == 9
