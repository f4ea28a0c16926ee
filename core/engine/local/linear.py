"""Matrix times rows, by the fastest kernel that this machine has and that tells the truth.

Reading the weights is what a decode step costs, arithmetic what a prefill costs: so a kernel is
good when it reads few bytes for one row and uses the wide instructions for many. `plain` is
`F.linear`; `packed` lays the same numbers out as the CPU likes to read them; int8 and int4 keep
fewer bits. Which of them is faster differs between CPUs by a factor of three, hence `probe`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

_log = logging.getLogger(__name__)
_GROUP = 64  # neighbouring weights that share a scale in int4
_SLICE = 4096  # outputs rounded at a time
_FEW = 4  # rows up to which int4 beats the packed kernel
_ROWS = (1, 8, 64)  # of the probe: a step, a step of many, a prefill
_TOLERANCE = 2e-2  # of a kernel in the same precision, relative to the norm of the result
_REFUSALS = (RuntimeError, NotImplementedError, AttributeError, TypeError)

Linear = Callable[[torch.Tensor], torch.Tensor]  # rows [n, inputs] -> [n, outputs]
Weight = torch.Tensor  # [outputs, inputs]
Bias = torch.Tensor | None


class Plain:
    """`F.linear`: any device, any dtype, the measure of all others."""

    def __init__(self, weight: Weight, bias: Bias) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:  # noqa: D102 - see Linear
        return F.linear(rows, self._weight, self._bias)


class Packed:
    """The same numbers in oneDNN's own order; the plain copy is not kept."""

    def __init__(self, weight: Weight, bias: Bias) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())  # noqa: SLF001
        self._bias = bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:  # noqa: D102 - see Linear
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            rows, self._weight, self._bias, "none", [], ""
        )
        return found


class Int8:
    """Weights of 8 bits with a scale per output, rows rounded to 8 bits with a scale each.

    Each row has its own scale, so what stands beside it in a batch changes nothing. The rows are
    shifted to be unsigned because that is what the CPU's byte instructions multiply.
    """

    def __init__(self, weight: Weight, bias: Bias) -> None:
        scale = weight.abs().amax(1).float().clamp_(min=1e-12) / 127
        eighth = torch.empty(weight.shape, dtype=torch.int8)
        for at in range(0, len(weight), _SLICE):  # a vocabulary head in fp32 would be 600 MB
            some = slice(at, at + _SLICE)
            eighth[some] = (weight[some] / scale[some, None]).round_()
        self._weight = torch.ops.onednn.qlinear_prepack(eighth, None)
        self._scale, self._bias = scale, bias
        self._zero = torch.zeros(len(scale), dtype=torch.long)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:  # noqa: D102 - see Linear
        exact = rows.float()
        step = exact.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(127)
        bytes_ = (exact / step).add_(128.5).to(torch.uint8)  # + 0.5: the cast cuts off
        found: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(bytes_, 1.0, 128, self._weight, self._scale, self._zero, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        found.mul_(step)
        if self._bias is not None:
            found += self._bias
        return found.to(rows.dtype)


class Int4:
    """Weights of 4 bits, a scale and a shift for every 64, for few rows; `many` for the others."""

    def __init__(self, weight: Weight, bias: Bias, many: Linear) -> None:
        outputs, inputs = weight.shape
        groups = weight.view(outputs, inputs // _GROUP, _GROUP)
        low, high = (edge.float() for edge in groups.aminmax(dim=-1, keepdim=True))
        scale = ((high - low) / 15).clamp_(min=1e-12)
        fourth = torch.empty(weight.shape, dtype=torch.int32)
        for at in range(0, outputs, _SLICE):
            some = slice(at, at + _SLICE)
            steps = ((groups[some] - low[some]) / scale[some]).round_().clamp_(0, 15)
            fourth[some] = steps.view(-1, inputs)
        self._weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(fourth, 1)  # noqa: SLF001
        shift = low + 8 * scale  # the kernel counts from the middle
        self._scale = torch.cat((scale, shift), -1).transpose(0, 1).to(torch.bfloat16).contiguous()
        self._bias, self._many = bias, many

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:  # noqa: D102 - see Linear
        if len(rows) > _FEW:
            return self._many(rows)
        found: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(  # noqa: SLF001
            rows, self._weight, _GROUP, self._scale
        )
        return found if self._bias is None else found + self._bias


@dataclass(kw_only=True, slots=True)
class Kernels:
    """What a precision comes to on this machine."""

    precision: str  # fp32, bf16, int8 or int4
    packed: bool  # whether the plain part is laid out anew
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    deviations: list[float] = field(default_factory=list)  # of each int8 or int4 matrix

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and of the KV."""
        return torch.float32 if self.precision == "fp32" else torch.bfloat16

    @property
    def words(self) -> str:
        """What to tell the operator."""
        how = f"{self.precision}{' packed' if self.packed else ''} on {self.device.type}"
        if not self.deviations:
            return how
        mean = sum(self.deviations) / len(self.deviations)
        return f"{how}, off by {mean:.1%} on average and {max(self.deviations):.1%} at worst"

    def linear(self, weight: Weight, bias: Bias = None) -> Linear:
        """Lay one matrix out. The given tensors need not be kept."""
        exact = weight.to(self.device, self.dtype)
        bias = None if bias is None else bias.to(self.device, self.dtype)
        if self.precision == "int8":
            return self._measured(Int8(weight, bias), exact, bias)
        whole: Linear = Packed(exact, bias) if self.packed else Plain(exact, bias)
        if self.precision == "int4" and weight.shape[1] % _GROUP == weight.shape[0] % 16 == 0:
            return self._measured(Int4(weight, bias, whole), exact, bias)
        return whole

    def _measured(self, made: Linear, weight: Weight, bias: Bias) -> Linear:
        """Note how far a coarser kernel is off, on a few rows of chance."""
        chance = torch.Generator().manual_seed(len(self.deviations))
        rows = torch.randn(2, weight.shape[1], generator=chance).to(weight.dtype)
        rows = torch.cat((rows, rows.abs()))  # all of one sign: where narrow sums would overflow
        true = F.linear(rows, weight, bias).float()
        self.deviations.append(float((made(rows).float() - true).norm() / true.norm()))
        return made


def choose(precision: str, device: torch.device, shape: tuple[int, int]) -> Kernels:
    """Return the kernels for `precision` on this machine, `auto` the fastest that loses nothing.

    `shape` is (outputs, inputs) of a matrix of the model, tried out here. Off the CPU there is
    nothing to lay out: plain, in bf16 unless fp32 is asked for.
    """
    if device.type != "cpu":
        if precision in ("int8", "int4"):
            _log.warning("model.precision %s is for the CPU: bf16 on %s", precision, device.type)
        return Kernels(
            precision="fp32" if precision == "fp32" else "bf16", packed=False, device=device
        )
    wanted = {"auto": ("fp32", "bf16"), "int8": (), "int4": ("bf16",)}.get(precision, (precision,))
    seconds = {name: probe(name, shape) for name in wanted}
    best = precision
    if precision == "auto":
        best = min(seconds, key=lambda name: min(seconds[name]))
    plain, packed = seconds.get("bf16" if best == "int4" else best, (0.0, 0.0))
    return Kernels(precision=best, packed=packed < plain)


def probe(precision: str, shape: tuple[int, int]) -> tuple[float, float]:
    """Return seconds that (plain, packed) take for 1, 8 and 64 rows; infinite where not to trust.

    Costs about a tenth of a second. The packed kernel is one of torch's private operations: it
    counts only where it runs and agrees with `F.linear`.
    """
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    chance = torch.Generator().manual_seed(0)
    exact = torch.randn(shape, generator=chance)
    rows = [torch.randn(n, shape[1], generator=chance).to(dtype) for n in _ROWS]
    plain = Plain(exact.to(dtype), None)
    spent = sum(_seconds(plain, some) for some in rows)
    try:
        packed = Packed(exact.to(dtype), None)
        for some in rows:
            true = F.linear(some.float(), exact)
            off = float((packed(some).float() - true).norm() / true.norm())
            if not off < _TOLERANCE:
                _log.warning("the packed %s kernel is off by %.2g: not used", precision, off)
                return spent, float("inf")
        return spent, sum(_seconds(packed, some) for some in rows)
    except _REFUSALS:
        return spent, float("inf")


def _seconds(linear: Linear, rows: torch.Tensor) -> float:
    """Return the best of a few tries."""
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        linear(rows)
        best = min(best, time.perf_counter() - began)
    return best
