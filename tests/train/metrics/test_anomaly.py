"""AUROC against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from argus_edge.errors import InputError
from argus_edge.results import AnomalyMap
from argus_edge.train.metrics import AnomalyAUROC, AnomalyTruth
from argus_edge.train.metrics.anomaly import auroc

KINDS = ("leather", "screw")


def anomaly(maps: NDArray[np.float64], scores: NDArray[np.float64] | tuple[float, ...]) -> AnomalyMap:
    return AnomalyMap(np.asarray(maps, np.float32), np.asarray(scores, np.float32), KINDS)


def measure(*images: tuple[AnomalyMap, AnomalyTruth]) -> dict[str, float]:
    metric = AnomalyAUROC(KINDS)
    for found, true in images:
        metric.update(found, true)
    return metric.result()


@pytest.mark.parametrize("digits", [1, 7], ids=["many ties", "few ties"])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_equal_scikit_learn(seed: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    true = random.random(5000) < 0.1
    scores = (random.normal(size=5000) + true).round(digits).astype(np.float32)
    assert auroc(scores[true], scores[~true]) == pytest.approx(roc_auc_score(true, scores), abs=1e-9)


def test_ranks_by_hand() -> None:
    # Of six pairs four are in order, one is tied.
    assert auroc(np.array([3, 1]), np.array([0, 1, 2])) == (4 + 0.5) / 6
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5


def test_each_category_is_measured_with_its_own_map() -> None:
    random = np.random.default_rng(0)
    images, rows = [], []
    for index in range(40):
        kind, mask = index % 2, (random.random((6, 7)) < 0.2) & (index % 4 < 2)
        maps, scores = random.normal(size=(2, 6, 7)) + mask * 0.7, random.normal(size=2) + mask.any()
        images.append((anomaly(maps, scores), AnomalyTruth(KINDS[kind], mask)))
        rows.append((kind, mask, maps[kind].astype(np.float32), np.float32(scores[kind])))
    figures = measure(*images)
    for kind, name in enumerate(KINDS):
        own = [row for row in rows if row[0] == kind]
        by_image = roc_auc_score([row[1].any() for row in own], [row[3] for row in own])
        by_pixel = roc_auc_score(np.ravel([row[1] for row in own]), np.ravel([row[2] for row in own]))
        assert figures[f"image_AUROC/{name}"] == pytest.approx(by_image, abs=1e-9)
        assert figures[f"pixel_AUROC/{name}"] == pytest.approx(by_pixel, abs=1e-9)
    for figure in ("image_AUROC", "pixel_AUROC"):
        assert figures[figure] == pytest.approx(np.mean([figures[f"{figure}/{k}"] for k in KINDS]))
    assert (figures["images"], figures["pixels"]) == (40, 40 * 42)


def test_the_models_categories_may_be_others_in_another_order() -> None:
    random = np.random.default_rng(1)
    images = []
    for index in range(12):
        mask = (random.random((4, 5)) < 0.3) & (index % 4 < 2)
        images.append((random.normal(size=(2, 4, 5)), random.normal(size=2), KINDS[index % 2], mask))
    expected = measure(*((anomaly(m, s), AnomalyTruth(k, t)) for m, s, k, t in images))
    metric = AnomalyAUROC(("leather", "screw", "never"))
    for maps, scores, kind, mask in images:
        maps, scores = np.stack([maps[1], 0 * maps[0], maps[0]]), np.array([scores[1], 0, scores[0]])
        found = AnomalyMap(maps.astype(np.float32), scores.astype(np.float32), ("screw", "zipper", "leather"))
        metric.update(found, AnomalyTruth(kind, mask))
    assert metric.result() == expected
    nut = AnomalyAUROC(("nut",))
    with pytest.raises(InputError, match="category is 'nut' but the model's are leather, screw; evaluate it"):
        nut.update(anomaly(np.zeros((2, 1, 2)), (0, 0)), AnomalyTruth("nut", np.zeros((1, 2))))


def test_asking_between_images_changes_nothing() -> None:
    random = np.random.default_rng(2)
    rows = [(anomaly(random.normal(size=(2, 3, 4)), (0.1 * i, 0)), i % 2) for i in range(6)]
    images = [(found, AnomalyTruth("leather", np.eye(3, 4) * bad)) for found, bad in rows]
    metric = AnomalyAUROC(KINDS)
    for found, true in images:
        metric.update(found, true)
        metric.result()
    assert metric.result() == measure(*images)


def test_a_category_without_both_kinds_is_left_out() -> None:
    good, bad = np.zeros((1, 2), bool), np.array([[True, False]])
    maps = np.array([[[0.9, 0.1]], [[0.0, 0.0]]])
    figures = measure((anomaly(maps, (1, 0)), AnomalyTruth("leather", bad)))
    assert figures == {"pixel_AUROC": 1, "pixel_AUROC/leather": 1, "images": 1, "pixels": 2}
    both = [(anomaly(maps, (s, 0)), AnomalyTruth("leather", m)) for s, m in ((0.2, good), (0.7, bad))]
    assert measure(*both)["image_AUROC"] == 1
    assert measure(both[0]) == {"images": 1, "pixels": 2}


def test_what_does_not_fit_is_refused() -> None:
    maps = np.zeros((2, 1, 2))
    with pytest.raises(InputError, match="no anomaly category 'nut'; there are: leather, screw"):
        measure((anomaly(maps, (0, 0)), AnomalyTruth("nut", np.zeros((1, 2)))))
    with pytest.raises(InputError, match=r"\(1, 2\) but the truth \(2, 2\)"):
        measure((anomaly(maps, (0, 0)), AnomalyTruth("screw", np.zeros((2, 2)))))
    with pytest.raises(InputError, match="category 'screw' holds NaN"):
        measure((anomaly(maps, (0, np.nan)), AnomalyTruth("screw", np.zeros((1, 2)))))
