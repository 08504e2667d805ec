"""Convolutions: along one axis the change is spread tap by tap, else the values around it are convolved again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node, Ref
from attrib.engine.window.channels import alone
from attrib.engine.window.rule import Known, Reader, Rule, Span, bound, rule
from attrib.engine.window.sliding import Kernel, Sliding, per_dim

aten = torch.ops.aten

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
FEW_CHANNELS = 4  # of the result: then one product for all taps is faster than one for each


@rule(aten.convolution)
def convolution(node: Node, known: Known) -> Rule | None:
    """Not transposed; channels are no axis of the box."""
    source, b = alone(node, known), bound(node)
    if source is None or b["transposed"] or b["weight"] not in known.constants:
        return None
    axes, weight = known.axes[source], known.constants[b["weight"]]
    dims = weight.ndim - 2
    if 1 in axes or len(known.shape[source]) != weight.ndim or dims not in CONVOLVE:
        return None
    options = {n: per_dim(b[n], dims) for n in ("stride", "padding", "dilation")}
    kernels = tuple(
        Kernel(
            weight.shape[a], options["stride"][a - 2], options["dilation"][a - 2], options["padding"][a - 2]
        )
        for a in axes
    )
    bias = None if b["bias"] is None else known.constants[b["bias"]]
    if dims == 1 and kernels[0].stride == 1 and b["groups"] == 1:
        return _Spread(node, source, weight, kernels[0]).rule()
    padding = [0 if d + 2 in axes else p for d, p in enumerate(options["padding"])]

    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, again.need(span), 0.0)
        return CONVOLVE[dims](t, weight, bias, options["stride"], padding, options["dilation"], b["groups"])

    again = Sliding(node, (source,), axes, compute, kernels=kernels)
    return again


class _Spread:
    """A convolution along one axis with stride 1: result before plus the convolved change, one product per tap.

    Values are laid out (positions, rows, channels), so that a tap is a matrix product of contiguous memory.
    """

    def __init__(self, node: Node, source: Ref, weight: Tensor, kernel: Kernel) -> None:
        self.node, self.source, self.kernel = node, source, kernel
        self.few = weight.shape[0] <= FEW_CHANNELS
        taps = weight.permute(2, 1, 0)  # (taps, channels in, out)
        self.taps = weight.permute(2, 0, 1).reshape(-1, weight.shape[1]) if self.few else taps.contiguous()

    def rule(self) -> Rule:
        return _SpreadRule(self.node, (self.source,), (2,), self.compute, kernels=(self.kernel,))

    def compute(self, at: Reader, span: Span) -> Tensor:
        own = at.span(self.source)
        assert own is not None  # a result changes where its source does
        ((lo, hi),), first = span, own[0][0]
        change = at.change(self.source).permute(2, 0, 1).contiguous()
        shifts = []  # per tap: which positions of the change, and where the first of them goes
        for k in range(self.kernel.size):
            to = first + self.kernel.padding - k * self.kernel.dilation - lo
            shifts.append((max(0, -to), min(len(change), hi - lo - to), to))
        out = at.before(self.node.writes[0], span)
        return (self._at_once if self.few else self._one_by_one)(out, change, shifts)

    def _one_by_one(self, out: Tensor, change: Tensor, shifts: list[tuple[int, int, int]]) -> Tensor:
        """A product per tap, added in place."""
        out = out.permute(2, 0, 1).contiguous()
        for tap, (a, b, to) in zip(self.taps, shifts, strict=True):
            if a < b:
                out[a + to : b + to].view(-1, out.shape[2]).addmm_(change[a:b].view(-1, change.shape[2]), tap)
        return out.permute(1, 2, 0)

    def _at_once(self, out: Tensor, change: Tensor, shifts: list[tuple[int, int, int]]) -> Tensor:
        """One product for all taps, whose parts are added one by one, laid out (channels, positions, rows)."""
        width, rows, channels = change.shape
        out = out.permute(1, 2, 0).contiguous()
        spread = (self.taps @ change.view(-1, channels).T).view(self.kernel.size, -1, width, rows)
        for part, (a, b, to) in zip(spread, shifts, strict=True):
            if a < b:
                out[:, a + to : b + to].add_(part[:, a:b])
        return out.permute(2, 0, 1)


@dataclass
class _SpreadRule(Sliding):
    @property
    def products_by_source(self) -> bool:
        return True
