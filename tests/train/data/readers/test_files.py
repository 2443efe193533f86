from __future__ import annotations

import os
from pathlib import Path

import pytest

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import (
    choose_split,
    folders_in,
    image_names_in,
    images_by_stem,
    inside,
    read_names,
    read_text,
    require_paths,
    unique_names,
)


@pytest.mark.parametrize("name", ["a.jpg", "b/a.jpg", "..a.jpg", "a..b", "a\\b.jpg"])
def test_names_that_stay_inside(name: str) -> None:
    assert inside(Path("/data"), name) == Path("/data") / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "../a.jpg", "b/../../a.jpg", "/etc/passwd", "C:\\a.jpg", "\\\\host\\a", "b\\..\\..\\a", "a\0b"],
)
def test_names_that_lead_out(name: str) -> None:
    assert inside(Path("/data"), name) is None


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    assert shown(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert shown("café.jpg") == "café.jpg"


def test_every_missing_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(
        DatasetError, match=r"missing for X: labels, names\.txt; expected layout: all of them"
    ):
        require_paths("X", tmp_path, ("images", "labels", "names.txt"), "all of them")


def test_splits_go_by_several_names() -> None:
    groups = (("val", "valid"), ("train", "training"))
    assert choose_split("X", Path("d"), "val", ["train", "valid"], groups) == "valid"
    assert choose_split("X", Path("d"), "fold3", ["train", "fold3"], groups) == "fold3"
    with pytest.raises(DatasetError, match="d: X has no split 'test'; there: train, valid"):
        choose_split("X", Path("d"), "test", ["train", "valid"], groups)


def test_hidden_files_and_other_kinds_are_left_out(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "._a.jpg", "notes.txt", "B.jpg"):
        (tmp_path / name).touch()
    for name in ("folder.jpg", ".hidden", "z"):
        (tmp_path / name).mkdir()
    assert image_names_in(tmp_path) == ["B.jpg", "a.jpg", "b.PNG"]
    assert [path.name for path in folders_in(tmp_path)] == ["folder.jpg", "z"]


def test_two_files_of_one_stem_are_a_problem(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    problems = Problems()
    found = images_by_stem(tmp_path / "in", tmp_path, problems)
    assert {stem: path.name for stem, path in found.items()} == {"a": "a.jpg", "b": "b.png"}
    assert [str(p) for p in problems] == ["in/a.png: same name as a.jpg; expected one image of a name"]


def test_texts_are_bounded_and_utf8(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfsky\r\nroad \n\n")
    assert read_names(path) == ("sky", "road")
    with pytest.raises(DatasetError, match="at most 5 bytes"):
        read_text(path, 5)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_text(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_text(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "message"), [("", "got"), ("a\n\nb", "none of them empty"), ("a\nb\na", "a are")]
)
def test_names_of_classes_are_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_names(path)


def test_shared_synonyms_get_their_keys() -> None:
    texts = {"n1": "tench, Tinca tinca", "n2": "crane", "n3": "crane, machine", "n4": ""}
    assert unique_names(texts) == ("tench", "crane (n2)", "crane (n3)", "n4")
