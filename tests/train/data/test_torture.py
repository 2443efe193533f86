from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from argus_edge.errors import DatasetError
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problem, Problems
from argus_edge.train.data.readers import open_data
from tests.train.data.sound import sound
from tests.train.data.torture import TORTURES
from tests.train.data.torture_files import Fate, Torture


@pytest.fixture(params=TORTURES, ids=lambda build: build.__name__)
def torture(request: pytest.FixtureRequest, tmp_path: Path) -> Torture:
    build: Callable[[Path], Torture] = request.param
    return build(tmp_path)


def _read(torture: Torture) -> tuple[LabelledImages, list[Example]]:
    data = open_data(torture.data, torture.split, torture.tasks)
    examples = [data[index] for index in range(len(data))]
    return data, [example for example in examples if example is not None]


def _check_whole(example: Example) -> None:
    height, width, channels = example.image.shape
    assert channels == 3
    assert example.image.dtype == np.uint8
    assert example.name.isprintable()
    for labels in (example.labels, example.parts, example.saliency, example.edges, example.depth):
        assert labels is None or labels.shape == (height, width)
    if example.anomaly is not None:
        assert example.anomaly.mask.shape == (height, width)
    for found in example.objects or ():
        x0, y0, x1, y1 = found.box
        assert x0 < min(x1, width)
        assert y0 < min(y1, height)
        assert min(x1, y1) > 0
        assert 0 <= found.area < np.inf
        assert found.mask is None or found.mask.shape == (height, width)


def _is_of(problem: Problem, fate: Fate) -> bool:
    place = re.escape(fate.where) + r"(?!\d)"  # line 2 is not line 20
    return problem.lost == fate.lost and re.search(place, problem.path) is not None


def _has_come_true(fate: Fate, examples: list[Example], problems: list[Problem]) -> bool:
    if fate.lost is None:
        return any(fate.where in example.name for example in examples)
    told = [problem for problem in problems if _is_of(problem, fate)]
    return len(told) == 1 and re.search(fate.words, told[0].what) is not None


def test_everything_is_used_or_reported_as_it_must_be(torture: Torture) -> None:
    data, examples = _read(torture)
    problems = list(data.problems)
    assert not [fate for fate in torture.fates if not _has_come_true(fate, examples, problems)]
    for example in examples:
        _check_whole(example)
    for problem in problems:
        assert str(torture.root) not in str(problem)  # paths are relative to it
        assert str(problem).isprintable()
        assert len(str(problem)) < 600


def test_counts_add_up(torture: Torture) -> None:
    data, examples = _read(torture)
    expected = Counter(fate.lost for fate in torture.fates)
    unexpected = [p for p in data.problems if not any(_is_of(p, fate) for fate in torture.fates)]
    assert not unexpected
    assert len(examples) == expected[None]
    assert data.problems.count("image") == expected["image"]
    assert data.problems.count("annotation") == expected["annotation"]
    assert len(data) + torture.not_listed == expected[None] + expected["image"]
    if torture.used_annotations is not None:
        assert sum(len(example.objects or ()) for example in examples) == torture.used_annotations


def test_reading_again_changes_nothing(torture: Torture) -> None:
    data, examples = _read(torture)
    before = list(data.problems)
    again = pickle.loads(pickle.dumps(data))
    names = [example.name for i in range(len(again)) if (example := again[i]) is not None]
    assert names == [example.name for example in examples]
    assert list(again.problems) == before


def test_strict_raises(torture: Torture) -> None:
    with pytest.raises(DatasetError, match="--strict"):  # noqa: PT012
        data = open_data(torture.data, torture.split, torture.tasks, Problems(strict=True))
        for index in range(len(data)):
            data[index]


def test_there_are_many_of_them(tmp_path: Path) -> None:
    built = [build(tmp_path) for build in TORTURES]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) >= 40
    fates: list[Fate] = [fate for torture in built for fate in torture.fates]
    assert len({fate.words for fate in fates if fate.lost}) >= 20


# --- at random ---------------------------------------------------------------------------------------------

NASTY = (
    b"NaN",
    b"1e308",
    b"-1",
    b"null",
    b"[]",
    b"99999999999999999999",
    b'""',
    b"..",
    b"\xff",
    b"\0",
    b"{}",
)


def _spoilt(content: bytes, random: np.random.Generator) -> bytes:
    """With bytes changed, cut off, missing or there twice, or a value replaced by something nasty."""
    changed, kind = bytearray(content), random.integers(8)
    first = int(random.integers(len(content)))
    last = min(len(content), first + int(random.integers(1, 20)))
    values = list(re.finditer(rb"-?[0-9]+(\.[0-9]+)?|\"[^\"]*\"", content))
    if kind == 0:
        changed[first] = random.integers(256)
    elif kind == 1:
        del changed[first:]
    elif kind == 2:
        del changed[first:last]
    elif kind == 3:
        changed[first:first] = content[first:last]
    elif values:
        start, end = values[random.integers(len(values))].span()
        changed[start:end] = NASTY[random.integers(len(NASTY))]
    return bytes(changed)


def _read_twice(images: LabelledImages) -> int:
    """The number of problems, which are the same, word by word, the second time."""
    for example in [images[index] for index in range(len(images))]:
        if example is not None:
            _check_whole(example)
    told = list(images.problems)
    for index in range(len(images)):
        images[index]
    assert list(images.problems) == told
    return len(told)


def test_spoilt_files_end_in_examples_or_a_dataset_error(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    outcomes = Counter[str]()
    for data, split, tasks in sound(tmp_path):
        root = Path(data.partition(":")[2])
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for case in range(40):
            path = files[random.integers(len(files))]
            content = path.read_bytes()
            path.write_bytes(_spoilt(content, random))
            try:
                outcomes["with problems" if _read_twice(open_data(data, split, tasks)) else "read"] += 1
            except DatasetError:
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{data}, case {case}: {path.relative_to(root)}") from error
            finally:
                path.write_bytes(content)
    assert min(outcomes.values()) > 10
