"""The loader: the same data for the same seed and step, whoever reads it; broken images are told of."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch

from argus_edge.errors import DatasetError, InputError, TaskError
from argus_edge.train.batches import Batch, collate
from argus_edge.train.data.augment import Augmentation, make_training_sample
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.problems import Problems
from argus_edge.train.loader import ExampleSamples, Steps, load_steps
from argus_edge.train.metrics import AnomalyTruth, TaskMetric
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Phase

SIZE: Final = (32, 48)
SIDE: Final = 64
PLAIN: Final = Augmentation("fit", flip=0.0)


@pytest.fixture(autouse=True)
def _workers_find_this_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start afresh, with the paths of this process, and import what they are given."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])


class Numbered:
    """Pictures whose level is their number; some are broken."""

    title = "numbered pictures"
    tasks: tuple[str, ...] = ("det", "inst", "seg", "pose", "anom")
    classes: Mapping[str, tuple[str, ...]] = {"det": ("a",), "seg": ("a",), "anom": ("wood", "metal")}
    metrics: Mapping[str, TaskMetric] = {}

    def __init__(self, count: int, broken: frozenset[int] = frozenset(), strict: bool = False) -> None:
        self.count, self.broken = count, broken
        self.problems = Problems(strict)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example | None:
        if not 0 <= index < self.count:
            raise IndexError(index)
        if index in self.broken:
            self.problems.add(f"{index}.jpg", "not a whole picture", "image")
            return None
        mask = np.zeros((40, 60), np.bool_)
        mask[10:30, 20:50] = True
        keypoints = np.tile(np.array([30, 20, 2], np.float32), (17, 1))
        return Example(
            f"{index}.jpg",
            np.full((40, 60, 3), index, np.uint8),
            (LabelledObject(0, (20, 10, 50, 30), 600, False, mask, keypoints),),
            labels=mask.astype(np.uint8),
            anomaly=AnomalyTruth("metal" if index % 2 else "wood", np.zeros((40, 60), np.uint8)),
        )


def samples_of(images: LabelledImages, *tasks: str, settings: Augmentation | None = PLAIN) -> ExampleSamples:
    return ExampleSamples(images, tasks or ("det", "seg"), seed=3, settings=settings)


def load_batches(
    samples: ExampleSamples, batch: int, steps: range, workers: int = 0, place: Place | None = None
) -> Iterator[Batch]:
    """The batches of a run that learns from one data set."""
    items = Steps(None, [(samples, [Phase(steps.stop, SIDE, batch)])], place)
    for batches in load_steps(items, steps, workers):
        (one,) = batches
        yield one


def levels(batches: list[Batch]) -> list[list[int]]:
    """Which pictures each batch has."""
    return [batch.image[:, 5, 5, 0].tolist() for batch in batches]


def same(first: Batch, second: Batch) -> bool:
    return torch.equal(first.image, second.image) and all(
        torch.equal(a.boxes, b.boxes)
        for a, b in zip(first.targets["det"], second.targets["det"], strict=True)
    )


def test_an_epoch_has_every_picture_once_and_the_next_another_order() -> None:
    batches = list(load_batches(samples_of(Numbered(12)), 4, range(6)))
    seen = levels(batches)
    first, second = ([n for pictures in part for n in pictures] for part in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert batches[0].targets["seg"].shape == (4, SIDE, SIDE)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_same(workers: int) -> None:
    """In workers or not, from the start or from the middle, augmented as before."""
    whole = list(load_batches(samples_of(Numbered(7), settings=None), 3, range(5)))
    rest = list(load_batches(samples_of(Numbered(7), settings=None), 3, range(2, 5), workers))
    assert len(rest) == 3
    assert all(same(a, b) for a, b in zip(whole[2:], rest, strict=True))
    assert not same(whole[0], whole[1])


def test_a_run_that_fails_ends_with_its_workers() -> None:
    """They do not heed SIGTERM, and a traceback keeps what would end them otherwise."""
    script = (
        "from tests.train.test_loader import Numbered, load_batches, samples_of\n"
        "batches = load_batches(samples_of(Numbered(8)), 2, range(4), workers=1)\n"
        "for batch in batches:\n"
        "    raise ValueError('of the run')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (1, ["ValueError: of the run"])


def test_the_same_picture_looks_different_in_another_epoch_stream_or_run() -> None:
    images = Numbered(1)
    drawn = [
        ExampleSamples(images, ("det",), seed, None, stream).draw(position, SIZE).sample
        for seed, stream, position in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    ]
    boxes = {sample.image.tobytes() + sample.boxes.tobytes() for sample in drawn if sample is not None}
    assert len(boxes) == 4


@pytest.mark.parametrize("broken", [frozenset[int](), frozenset({2})])
def test_fixed_views_come_in_turn(broken: frozenset[int]) -> None:
    """Also where an image takes the place of a broken one: its view is its own."""
    samples = ExampleSamples(Numbered(5, broken), ("det", "seg"), 3, None, views=2)
    epochs = []
    for epoch in range(4):
        drawn = [samples.draw(5 * epoch + i, SIZE).sample for i in range(5)]
        epochs.append({s.name: s.image.tobytes() + s.boxes.tobytes() for s in drawn if s is not None})
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3]
    assert all(epochs[0][name] != look for name, look in epochs[1].items())
    assert len(epochs[0]) == 5 - len(broken)


def test_without_fixed_views_chance_is_as_it_was() -> None:
    """Runs of earlier versions are resumed: (seed, stream, epoch, place) gives the same views."""
    images = Numbered(5)
    samples = ExampleSamples(images, ("det", "seg"), 3, None, stream=1)
    for position in (0, 8):
        epoch, place = divmod(position, 5)
        index = int(np.random.default_rng((3, 1, epoch)).permutation(5)[place])
        rng, example = np.random.default_rng((3, 1, epoch, place)), images[index]
        assert example is not None
        expected = make_training_sample(example, SIZE, rng, ("det", "seg"))
        found = samples.draw(position, SIZE).sample
        assert found is not None
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_processes_share_a_batch() -> None:
    whole = levels(list(load_batches(samples_of(Numbered(9)), 4, range(3))))
    shares = [
        levels(list(load_batches(samples_of(Numbered(9)), 4, range(3), place=Place(r, 2)))) for r in (0, 1)
    ]
    for step, pictures in enumerate(whole):
        assert pictures[::2] == shares[0][step]
        assert pictures[1::2] == shares[1][step]
    with pytest.raises(InputError, match=r"4 processes need phases of at least 8 images, got .*batch=4"):
        list(load_batches(samples_of(Numbered(9)), 4, range(1), place=Place(0, 4)))


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_and_told_of(workers: int) -> None:
    images = Numbered(8, broken=frozenset({2, 5, 6}))
    found = levels(list(load_batches(samples_of(images), 4, range(4), workers)))
    assert {n for pictures in found for n in pictures} == {0, 1, 3, 4, 7}
    assert [len(pictures) for pictures in found] == [4, 4, 4, 4]
    assert sorted(problem.path for problem in images.problems) == ["2.jpg", "5.jpg", "6.jpg"]
    again = Numbered(8, broken=frozenset({2, 5, 6}))
    assert levels(list(load_batches(samples_of(again), 4, range(4)))) == found


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_gone_on_with_is_a_data_set_error(workers: int) -> None:
    nothing = Numbered(3, broken=frozenset(range(3)))
    with pytest.raises(DatasetError, match=r"^numbered pictures: not one of its 3 images can be used$"):
        list(load_batches(samples_of(nothing), 2, range(2), workers))
    assert len(nothing.problems) == 3
    strict = Numbered(3, broken=frozenset({1}), strict=True)
    with pytest.raises(DatasetError, match=r"^1\.jpg: not a whole picture; leave out"):
        list(load_batches(samples_of(strict), 3, range(2), workers))


def test_a_picture_too_long_for_the_runtime_is_a_problem() -> None:
    class Long(Numbered):
        def __getitem__(self, index: int) -> Example | None:
            example = super().__getitem__(index)
            if index != 1 or example is None:
                return example
            return replace(
                example, image=np.zeros((1, 20_000, 3), np.uint8), labels=np.zeros((1, 20_000), np.uint8)
            )

    images = Long(3)
    assert {
        n for pictures in levels(list(load_batches(samples_of(images), 3, range(2)))) for n in pictures
    } == {0, 2}
    (problem,) = images.problems
    assert problem.path == "1.jpg"
    assert problem.lost == "image"
    assert "16384" in problem.what


def test_masks_people_and_categories_reach_the_batch() -> None:
    samples = samples_of(Numbered(4), "inst", "pose", "anom")
    drawn = [samples.draw(position, SIZE).sample for position in range(4)]
    batch = collate(samples.tasks, [sample for sample in drawn if sample is not None])
    numbers = batch.image[:, 5, 5, 0]
    assert torch.equal(batch.targets["anom"], (numbers % 2).long())
    for target in batch.targets["inst"]:
        assert target.masks is not None
        assert target.masks.shape == (1, *SIZE)
        ((rows, columns),) = [target.masks[0].nonzero().unbind(1)]
        assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (8, 24, 16, 40)
    pose = batch.targets["pose"]
    assert len(pose.known) == 4
    assert (pose.weights == 1).all()
    # A region is 24 x 16 of an input of 48 x 32, before it is made inexact: half of each side.
    sides = pose.persons[:, 0, 2:] - pose.persons[:, 0, :2]
    assert (sides > 0.25).all()
    assert (sides < 0.75).all()
    assert torch.allclose(sides[:, 0], sides[:, 1], atol=1e-5)


def test_what_is_asked_for_must_be_there() -> None:
    with pytest.raises(TaskError, match="tells about det, inst, seg, pose, anom; asked for was depth"):
        samples_of(Numbered(3), "seg", "depth")
    with pytest.raises(TaskError, match="asked for was no task at all"):
        ExampleSamples(Numbered(3), (), 0)
    with pytest.raises(InputError, match="has no images"):
        samples_of(Numbered(0))


def test_samples_can_be_handed_to_another_process() -> None:
    samples = samples_of(Numbered(3))
    there = pickle.loads(pickle.dumps(samples))
    first, second = (each.draw(1, SIZE).sample for each in (samples, there))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.image, second.image)


class Told(Numbered):
    """Says nothing of the labels of two of its pictures."""

    def __getitem__(self, index: int) -> Example | None:
        example = super().__getitem__(index)
        return replace(example, labels=None) if example is not None and index in (1, 3) else example


def test_a_picture_without_a_task_s_label_is_passed_over_and_is_no_problem() -> None:
    images = Told(6)
    found = levels(list(load_batches(samples_of(images, "seg"), 3, range(4))))
    assert {n for pictures in found for n in pictures} == {0, 2, 4, 5}
    assert not len(images.problems)


def test_each_task_has_its_own_sizes_batches_and_order() -> None:
    first, second = (ExampleSamples(Numbered(9), (t,), 0, PLAIN, s) for s, t in enumerate(("seg", "det")))
    items = Steps(None, [(first, [Phase(2, 64, 2), Phase(1, 96, 4)]), (second, [Phase(3, 32, 3)])])
    steps = list(load_steps(items, range(3)))
    assert [[tuple(b.image.shape[:2]) for b in step] for step in steps] == [
        [(2, 64), (3, 32)], [(2, 64), (3, 32)], [(4, 96), (3, 32)],
    ]  # fmt: skip
    assert [list(b.targets) for b in steps[0]] == [["seg"], ["det"]]
    assert levels([b for step in steps for b in step[:1]]) != levels([b for step in steps for b in step[1:]])


@pytest.mark.parametrize("workers", [0, 1])
def test_problems_are_noted_with_their_data_set(workers: int) -> None:
    broken = [Numbered(4, broken=frozenset({2})), Numbered(4, broken=frozenset({1, 3}))]
    sets = [(ExampleSamples(images, ("seg",), 0, PLAIN), [Phase(2, 64, 4)]) for images in broken]
    list(load_steps(Steps(None, sets), range(2), workers))
    assert [sorted(p.path for p in images.problems) for images in broken] == [["2.jpg"], ["1.jpg", "3.jpg"]]


def test_a_batch_may_come_in_parts() -> None:
    samples = samples_of(Numbered(9))
    (whole,) = list(load_steps(Steps(None, [(samples, [Phase(1, 64, 8)])]), range(1)))
    (parts,) = list(load_steps(Steps(None, [(samples, [Phase(1, 64, 8)])], parts=2), range(1)))
    assert [(len(b.image), b.share) for b in (*whole, *parts)] == [(8, 1.0), (4, 0.5), (4, 0.5)]
    assert torch.equal(whole[0].image, torch.cat([b.image for b in parts]))
    with pytest.raises(InputError, match="accumulate 4 parts need phases of at least 8 images"):
        Steps(None, [(samples, [Phase(1, 64, 4)])], parts=4)
