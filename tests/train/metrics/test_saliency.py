"""maxF in its protocols, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import fbeta_score

from argus_edge.errors import InputError
from argus_edge.results import DenseMap
from argus_edge.train.metrics import ATRC, INVPT, MTI_NET, SOD, SaliencyMetrics, SaliencyProtocol

Maps = tuple[NDArray[np.float32], NDArray[np.int64]]


def measure(*images: Maps, protocol: SaliencyProtocol = ATRC) -> dict[str, float]:
    metric = SaliencyMetrics(protocol)
    for predicted, true in images:
        metric.update(DenseMap(predicted, ""), true)
    return metric.result()


def maps(predicted: list[float], true: list[int]) -> Maps:
    return np.array([predicted], np.float32), np.array([true])


def random_set(seed: int) -> list[Maps]:
    random = np.random.default_rng(seed)
    images = []
    for _ in range(5):
        true = random.choice([0, 1, 255], (9, 11), p=[0.6, 0.3, 0.1])
        predicted = np.clip((true == 1) * 0.4 + random.random(true.shape) * 0.7, 0, 1).astype(np.float32)
        images.append((predicted, true))
    return images


@pytest.mark.parametrize("protocol", [ATRC, INVPT], ids=["ATRC", "InvPT"])
@pytest.mark.parametrize("seed", range(3))
def test_pooled_counts_equal_scikit_learn(protocol: SaliencyProtocol, seed: int) -> None:
    images = random_set(seed)
    predicted, true = (np.concatenate([image[i].ravel() for image in images]) for i in (0, 1))
    predicted, true = predicted[true != 255].astype(np.float64), true[true != 255]
    if protocol.squash:
        predicted = 1 / (1 + np.exp(-predicted))
    scores = [
        fbeta_score(true, predicted >= i / 20, beta=np.sqrt(0.3), zero_division=0.0) for i in range(1, 20)
    ]
    figures = measure(*images, protocol=protocol)
    assert 0.5 < figures["maxF"] < 0.99
    assert figures["maxF"] == pytest.approx(max(scores), abs=1e-9)
    assert figures["threshold"] == pytest.approx((1 + np.argmax(scores)) / 20)
    assert figures["pixels"] == true.size


@pytest.mark.parametrize("seed", range(3))
def test_means_over_images_equal_a_plain_computation(seed: int) -> None:
    images = random_set(seed)
    for protocol, thresholds, strict in (
        (MTI_NET, np.linspace(0.2, 0.9, 15), True),
        (SOD, np.arange(256) / 255, False),
    ):
        best = 0.0
        for threshold in thresholds:
            rates = []
            for predicted, true in images:
                kept, truth = predicted[true != 255].astype(np.float64), true[true != 255]
                above = kept > threshold if strict else kept >= threshold
                matched = (above & (truth == 1)).sum()
                rates.append([matched / max(above.sum(), 1), matched / truth.sum()])
            precision, recall = np.mean(rates, axis=0)
            weight = protocol.beta_squared
            best = max(best, (1 + weight) * precision * recall / max(weight * precision + recall, 1e-12))
        assert measure(*images, protocol=protocol)["maxF"] == pytest.approx(best, abs=1e-9)


def test_by_hand() -> None:
    figures = measure(maps([0.7, 0.9, 0.6, 0.1], [1, 0, 1, 0]))
    # From 0.15 to 0.60 three pixels are above, two of them right: P = 2/3, R = 1.
    assert (figures["precision"], figures["recall"]) == pytest.approx((2 / 3, 1))
    assert figures["maxF"] == pytest.approx(1.3 * (2 / 3) / (0.3 * 2 / 3 + 1))
    assert figures["threshold"] == pytest.approx(0.15)


def test_protocols_differ_as_stated() -> None:
    small, large = maps([1, 0], [1, 0]), maps([1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0])
    assert measure(small, large)["precision"] == pytest.approx(2 / 4)
    per_image = measure(small, large, protocol=MTI_NET)
    assert per_image["precision"] == pytest.approx((1 + 1 / 3) / 2)
    assert per_image["maxF"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    # Squashed probabilities lie between 0.5 and 0.73: 0.1 and 0.2 can no longer be told from 0.
    assert measure(maps([0.1, 0, 0, 0], [1, 0, 0, 0]), protocol=INVPT)["precision"] == pytest.approx(1 / 4)
    assert measure(maps([0.1, 0, 0, 0], [1, 0, 0, 0]))["precision"] == 1
    # On a threshold of MTI-Net is not above it.
    assert (
        measure(maps([0.2, 0], [1, 0]), protocol=MTI_NET)["recall"] == 1
    )  # 0.2 in single precision is above
    assert measure(maps([0.125, 0], [1, 0]), protocol=MTI_NET)["maxF"] == 0


def test_without_a_salient_pixel_only_counts_remain() -> None:
    assert measure(maps([0.9, 0.1], [0, 255])) == {"images": 1, "pixels": 1}
    # Such images lower the precision of pooled counts, and are left out of means over images.
    empty, good = maps([0.9, 0.9], [0, 0]), maps([0.8, 0.1], [1, 0])
    assert measure(good, empty)["precision"] == pytest.approx(1 / 3)
    assert measure(good, empty, protocol=SOD)["maxF"] == 1


def test_bad_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(1, 2\) but the truth \(1, 1\)"):
        measure((np.zeros((1, 2), np.float32), np.zeros((1, 1), int)))
    with pytest.raises(InputError, match="must be 0, 1 or 255, got"):
        measure(maps([0.1, 0.2], [0, 7]))


def test_the_protocol_says_every_choice() -> None:
    assert SaliencyMetrics().protocol == (
        "maxF as ATRC: beta^2 0.3, 19 thresholds in [0.05, 0.95], counts pooled"
    )
    assert SaliencyMetrics(INVPT).protocol.endswith("counts pooled, on sigmoid(probability)")
    assert "beta^2 1, 15 thresholds in [0.2, 0.9], mean precision" in SaliencyMetrics(MTI_NET).protocol
