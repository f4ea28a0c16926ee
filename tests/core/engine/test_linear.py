"""Kernels: what they may be off by, and what is chosen where one cannot be trusted."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from core.engine.local import linear
from core.engine.local.linear import Int4, Int8, Kernels, Packed, Plain, choose, probe

CPU = torch.device("cpu")


def matrix(outputs: int = 96, inputs: int = 128, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) * 0.05


def rows(count: int, inputs: int = 128) -> torch.Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(count))


def off(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found.float() - true).norm() / true.norm())


@pytest.mark.parametrize("count", [1, 3, 17, 64])
@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 96)])
@pytest.mark.parametrize(
    ("precision", "packed", "tolerance"),
    [
        ("fp32", False, 1e-6),
        ("fp32", True, 1e-5),
        ("bf16", False, 1e-2),
        ("bf16", True, 1e-2),
        ("int8", False, 2e-2),
        ("int4", True, 0.15),
    ],
)
def test_every_kernel_tells_the_truth(
    precision: str,
    packed: bool,  # noqa: FBT001
    tolerance: float,
    bias: torch.Tensor | None,
    count: int,
) -> None:
    kernels = Kernels(precision=precision, packed=packed)
    made = kernels.linear(matrix(), bias)
    found = made(rows(count).to(kernels.dtype))
    assert found.dtype == kernels.dtype
    assert off(found, F.linear(rows(count), matrix(), bias)) < tolerance


def test_in_int8_a_row_does_not_feel_its_neighbours() -> None:
    made = Int8(matrix(), None)
    quiet, loud = rows(1), 1000 * rows(1)
    alone = made(quiet)
    assert torch.equal(made(torch.cat((quiet, loud)))[:1], alone)


def test_int8_takes_a_row_and_a_column_of_zeros() -> None:
    weight = matrix()
    weight[5] = 0
    found = Int8(weight, None)(torch.cat((rows(1), torch.zeros(1, 128))))
    assert found.isfinite().all()
    assert float(found[0, 5].abs()) == 0
    assert float(found[1].abs().max()) == 0


def test_int8_is_the_same_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Int8(matrix(), None)(rows(4))
    monkeypatch.setattr(linear, "_SLICE", 7)
    assert torch.equal(Int8(matrix(), None)(rows(4)), whole)
    four = Int4(matrix(96), None, Plain(matrix(), None))(rows(2).bfloat16())
    monkeypatch.setattr(linear, "_SLICE", 4096)
    assert torch.equal(Int4(matrix(96), None, Plain(matrix(), None))(rows(2).bfloat16()), four)


def test_a_coarse_kernel_says_by_how_much_it_is_off() -> None:
    for precision, least, most in (("int8", 0.001, 0.03), ("int4", 0.03, 0.2)):
        kernels = Kernels(precision=precision, packed=True)
        for seed in range(3):
            kernels.linear(matrix(seed=seed))
        assert len(kernels.deviations) == 3
        assert least < max(kernels.deviations) < most
        assert "off by " in kernels.words
    assert Kernels(precision="bf16", packed=True).words == "bf16 packed on cpu"


def test_auto_takes_what_is_faster_here() -> None:
    found = choose("auto", CPU, (512, 256))
    spent = {name: min(probe(name, (512, 256))) for name in ("fp32", "bf16")}
    if max(spent.values()) > 2 * min(spent.values()):  # closer than that, either may win
        assert found.precision == min(spent, key=lambda name: spent[name])
    assert found.precision in ("fp32", "bf16")


def test_a_kernel_that_lies_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    true = Packed.__call__
    monkeypatch.setattr(Packed, "__call__", lambda self, rows: true(self, rows) * 1.1)
    assert not choose("bf16", CPU, (64, 64)).packed
    assert "packed bf16 kernel is off" in caplog.text


def test_a_kernel_that_torch_no_longer_has_costs_speed_and_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> None:
        raise AttributeError("_reorder_linear_weight")

    monkeypatch.setattr(Packed, "__init__", gone)
    for precision in ("auto", "fp32", "bf16"):
        found = choose(precision, CPU, (64, 64))
        assert not found.packed
        assert off(found.linear(matrix())(rows(3).to(found.dtype)), rows(3) @ matrix().T) < 1e-2


def test_off_the_cpu_nothing_is_packed(caplog: pytest.LogCaptureFixture) -> None:
    meta = torch.device("meta")
    assert choose("auto", meta, (8, 8)).dtype == torch.bfloat16
    assert choose("fp32", meta, (8, 8)).dtype == torch.float32
    assert choose("int8", meta, (8, 8)).precision == "bf16"
    assert "int8 is for the CPU" in caplog.text


@pytest.mark.parametrize("rows_in_batch", [1, 95])
def test_the_head_is_asked_without_a_copy_of_it(rows_in_batch: int) -> None:
    """An index into the rows, not a slice of a batch: torch copies the head for a slice."""
    head = torch.randn(40_000, 256).bfloat16()
    hidden = torch.randn(1, rows_in_batch, 256).bfloat16()

    def seconds(picked: torch.Tensor) -> float:
        began = time.thread_time()
        F.linear(picked, head)
        return time.thread_time() - began

    torch.set_num_threads(1)
    with torch.inference_mode():
        pairs = [
            (
                seconds(hidden[0][torch.tensor([rows_in_batch - 1])]),
                seconds(torch.randn(1, 256).bfloat16()),
            )
            for _ in range(9)
        ]
    ours, weights_alone = map(min, zip(*pairs, strict=True))
    assert ours < 5 * weights_alone + 0.002
