"""Where images to calibrate on come from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from argus_edge.errors import InputError
from argus_edge.export.calibration import evenly, find_calibration
from argus_edge.spec import ImageSpec

SPEC = ImageSpec(96, 96)


def write(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((40, 60, 3), value, np.uint8))


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Twelve pictures of two classes; one of them is broken."""
    for index in range(12):
        write(tmp_path / "train" / "ab"[index // 6] / f"{index:02}.png", 20 * index)
    (tmp_path / "train" / "b" / "11.png").write_bytes(b"no picture")
    return tmp_path


def test_a_data_set_is_sampled_all_over(classes: Path) -> None:
    source = find_calibration(f"imagenet:{classes}@train", ("cls", "det"))
    done: list[None] = []
    found = source.read(3, SPEC, lambda: done.append(None))
    assert [int(image[0, 0, 0, 0]) for image in found.images] == [0, 20 * 6, 20]  # the last one is broken
    assert len(done) == 3
    assert found.images[0].shape == (1, 96, 96, 3)
    assert str(classes) not in found.source
    assert source.read(3, SPEC, lambda: None).sha256 == found.sha256
    assert len(source.read(300, SPEC, lambda: None).images) == 11


def test_its_labels_need_not_be_of_the_tasks(classes: Path) -> None:
    assert len(find_calibration(f"imagenet:{classes}", ("depth",)).read(2, SPEC, lambda: None).images) == 2


def test_none_is_refused(classes: Path, tmp_path: Path) -> None:
    for file in classes.rglob("*.png"):
        file.write_bytes(b"no picture")
    source = find_calibration(f"imagenet:{classes}", ("cls",))
    with pytest.raises(InputError, match="no image to calibrate on; 12 are listed, none can be used"):
        source.read(4, SPEC, lambda: None)
    with pytest.raises(InputError, match=r"expected 'scenes', LAYOUT:PATH.*there is no such file"):
        find_calibration("nowhere", ("cls",))


def test_a_folder_gives_its_first_images(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / f"{index}.png", 10 * index)
    found = find_calibration(str(tmp_path), ("cls",)).read(2, SPEC, lambda: None)
    assert [int(image[0, 0, 0, 0]) for image in found.images] == [0, 10]
    assert found.source == tmp_path.name


def test_evenly() -> None:
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(2, 4) == [0, 1]
