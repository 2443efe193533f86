"""Numbers at charts."""

from __future__ import annotations

import pytest

from argus_edge.runtime.charts import in_short


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.12344, "0.1234"),
        (12.3, "12.3"),
        (999.96, "1000"),
        (10248.3, "10248"),
        (-12345.6, "-12346"),
        (0, "0"),
    ],
)
def test_numbers_are_short_and_without_exponents(value: float, told: str) -> None:
    assert in_short(value) == told
