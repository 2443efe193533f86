"""Which number format "auto" means on a machine."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from argus_edge.runtime.machine import this_machine
from argus_edge.train import precision
from argus_edge.train.precision import autocast, with_precision
from argus_edge.train.recipe import Recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (("avx2", "avx512f", "avx512_bf16"), "bf16"),
        (("avx2", "amx_bf16"), "bf16"),
        (("asimddp", "i8mm", "bf16"), "bf16"),
        (("avx2",), "fp32"),
        (("avx2", "avx512f", "avx512_vnni"), "fp32"),
        ((), "fp32"),
    ],
)
def test_auto_is_bf16_where_the_cpu_has_instructions_for_it(
    features: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = dataclasses.replace(this_machine(), features=features)
    monkeypatch.setattr(precision, "this_machine", lambda: machine)
    assert with_precision(Recipe(), CPU).precision == expected


@pytest.mark.parametrize("given", ["fp32", "bf16", "fp16"])
def test_what_is_given_is_taken(given: str) -> None:
    assert with_precision(Recipe(precision=given), CPU) == Recipe(precision=given)


@pytest.mark.parametrize(("given", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_in_the_format(given: str, dtype: torch.dtype) -> None:
    with autocast(given, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
