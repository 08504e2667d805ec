"""Kernels that slide along the axes of a box: convolutions, and max and average pools.

Along one axis, with stride 1, the change is convolved and added to the result without edits; else the values that the
changed results read are convolved again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node, Ref
from attrib.engine.window.aggregations import convolvable, product
from attrib.engine.window.pointwise import single_source
from attrib.engine.window.rule import Layout, Reader, Rule, Span, bound, only_first_is_read, rule

aten = torch.ops.aten

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
FEW_RESULTS = 4  # channels: up to here the products are added along the rows, which are longer
FEW_SOURCES = 16  # channels: below, a product per tap that is added in place moves the least memory
WIDE = 4  # changed positions per tap from which padding by zeros costs little
MOST_PRODUCTS = 2 << 20  # elements in the products of all taps: more leave the cache


class Kernel(NamedTuple):
    """A kernel along one axis: result i reads i * stride - padding + k * dilation for k < size."""

    size: int
    stride: int
    dilation: int
    padding: int

    @property
    def extent(self) -> int:
        """Distance from the first to the last position that a result reads."""
        return (self.size - 1) * self.dilation


@dataclass
class Sliding(Rule):
    """An op whose result reads its source through a kernel along each axis."""

    kernels: tuple[Kernel, ...] = ()

    def reach(self, spans: Sequence[Span]) -> Span:
        """The results that read a changed position."""
        return tuple(
            (-((k.extent - lo - k.padding) // k.stride), (hi - 1 + k.padding) // k.stride + 1)
            for (lo, hi), k in zip(spans[0], self.kernels, strict=True)
        )

    def need(self, span: Span) -> Span:
        """The positions that the results read."""
        return under(self.kernels, span)

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the kernels."""
        return tuple(k.stride for k in self.kernels)


def under(kernels: Sequence[Kernel], span: Span) -> Span:
    """The positions that the results over a span read."""
    return tuple(
        (lo * k.stride - k.padding, (hi - 1) * k.stride - k.padding + k.extent + 1)
        for (lo, hi), k in zip(span, kernels, strict=True)
    )


def per_dim(value: Any, dims: int) -> list[int]:
    """An option of a convolution or pool as one number per spatial dim."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


@rule(aten.convolution)
def convolution(node: Node, layout: Layout) -> Rule | None:
    """A convolution that is not transposed, if channels are no axis of the box."""
    source, b = single_source(node, layout), bound(node)
    if source is None or b["transposed"] or b["weight"] not in layout.constants:
        return None
    axes, weight = layout.axes[source], layout.constants[b["weight"]]
    dims = weight.ndim - 2
    if 1 in axes or len(layout.shape[source]) != weight.ndim or dims not in CONVOLVE:
        return None
    options = {n: per_dim(b[n], dims) for n in ("stride", "padding", "dilation")}
    of_dims = zip(weight.shape[2:], options["stride"], options["dilation"], options["padding"], strict=True)
    of_dim = [Kernel(*k) for k in of_dims]
    kernels = tuple(of_dim[a - 2] for a in axes)
    bias = None if b["bias"] is None else layout.constants[b["bias"]]
    if dims == 1 and kernels[0].stride == 1 and b["groups"] == 1:
        return Spread.of(node, source, weight, kernels[0])
    padding = [0 if d + 2 in axes else p for d, p in enumerate(options["padding"])]

    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, under(kernels, span), 0.0)
        return CONVOLVE[dims](t, weight, bias, options["stride"], padding, options["dilation"], b["groups"])

    return Sliding(node, (source,), axes, compute, owns=True, kernels=kernels)


@dataclass
class Spread(Sliding):
    """A convolution along one axis with stride 1: the result without edits plus the convolved change."""

    weight: Tensor | None = None

    @staticmethod
    def of(node: Node, source: Ref, weight: Tensor, kernel: Kernel, priced: Node | None = None) -> Spread:
        """The rule of an op whose change is the convolution of the source's change."""
        compute = _Taps(node, source, weight, kernel).compute
        return Spread(
            node, (source,), (2,), compute, owns=True, priced=priced, kernels=(kernel,), weight=weight
        )

    def scaled(self, node: Node, factor: Tensor) -> Spread:
        """One rule for this op and `node`, which multiplies its result by a factor per channel and adds a constant."""
        assert self.weight is not None
        weight = self.weight * factor.view(-1, 1, 1)
        return Spread.of(node, self.sources[0], weight, self.kernels[0], self.priced or self.node)

    @property
    def products_by_source(self) -> bool:
        """Positions that do not change need no products."""
        return True


class _Tap(NamedTuple):
    """One tap adds positions [a, b) of the change to positions [a + to, b + to) of the result."""

    number: int
    a: int
    b: int
    to: int


class _Taps:
    """The convolution of a change, tap by tap or at once."""

    def __init__(self, node: Node, source: Ref, weight: Tensor, kernel: Kernel) -> None:
        self.node, self.source, self.kernel = node, source, kernel
        self.out, self.channels, _ = weight.shape
        self.weight = weight.unsqueeze(2)

    @cached_property
    def by_tap(self) -> Tensor:
        """The weight as (taps, channels in, channels out)."""
        return self.weight[:, :, 0].permute(2, 1, 0).contiguous()

    @cached_property
    def flat(self) -> Tensor:
        """The weight as (taps x channels out, channels in)."""
        return self.weight[:, :, 0].permute(2, 0, 1).reshape(-1, self.channels)

    def compute(self, at: Reader, span: Span) -> Tensor:
        changed = at.span(self.source)
        assert changed is not None  # a result changes where its source does
        change = at.change(self.source)
        (lo, hi), (first, stop) = span[0], changed[0]
        wide = stop - first >= WIDE * self.kernel.size
        if self.out > FEW_RESULTS and self.channels >= FEW_SOURCES and convolvable(change) and wide:
            return at.add_before(self.node.writes[0], span, self._convolved(change, first, lo, hi))
        out, taps = at.before(self.node.writes[0], span), self._taps(first, stop - first, lo, hi)
        if self.out <= FEW_RESULTS:
            return self._along_rows(out, change, taps)
        if self.channels < FEW_SOURCES or not convolvable(change):
            return self._one_by_one(out, change, taps)
        return self._at_once(out, change, taps)

    def _taps(self, first: int, width: int, lo: int, hi: int) -> list[_Tap]:
        k = self.kernel
        to = [first + k.padding - j * k.dilation - lo for j in range(k.size)]
        taps = (_Tap(j, max(0, -t), min(width, hi - lo - t), t) for j, t in enumerate(to))
        return [tap for tap in taps if tap.a < tap.b]

    def _convolved(self, change: Tensor, first: int, lo: int, hi: int) -> Tensor:
        """The change, padded by zeros, convolved in one call."""
        start, stop = (
            lo - self.kernel.padding,
            hi - self.kernel.padding + self.kernel.extent,
        )  # positions that are read
        a, b = max(first, start), min(first + change.shape[2], stop)
        zeros = max(a - start, stop - b)
        lines = change[:, :, a - first : b - first].permute(0, 2, 1).contiguous().permute(0, 2, 1)
        dilation = (1, self.kernel.dilation)
        convolved = F.conv2d(lines.unsqueeze(2), self.weight, padding=(0, zeros), dilation=dilation)
        return convolved.squeeze(2).narrow(2, zeros - (a - start), hi - lo)

    def _at_once(self, out: Tensor, change: Tensor, taps: list[_Tap]) -> Tensor:
        """One product for all taps; memory is (rows, positions, channels)."""
        lines = change.permute(0, 2, 1).contiguous()
        width = lines.shape[1]
        pieces = -(-len(lines) * width * len(self.flat) // MOST_PRODUCTS)
        rows = -(-len(lines) // pieces)
        for part, results in zip(lines.split(rows), out.permute(0, 2, 1).split(rows), strict=True):
            products = product(part.reshape(-1, self.channels), self.flat)
            products = products.view(len(part), width, self.kernel.size, -1)
            for j, a, b, to in taps:
                results[:, a + to : b + to].add_(products[:, a:b, j])
        return out

    def _one_by_one(self, out: Tensor, change: Tensor, taps: list[_Tap]) -> Tensor:
        """One product per tap, added in place; memory is (positions, rows, channels)."""
        lines = change.permute(2, 0, 1).contiguous()
        out = out.permute(2, 0, 1).contiguous()
        for j, a, b, to in taps:
            out[a + to : b + to].view(-1, self.out).addmm_(
                lines[a:b].reshape(-1, self.channels), self.by_tap[j]
            )
        return out.permute(1, 2, 0)

    def _along_rows(self, out: Tensor, change: Tensor, taps: list[_Tap]) -> Tensor:
        """One product for all taps and some positions at a time; memory is (channels, positions, rows)."""
        lines = change.permute(2, 0, 1).contiguous()
        out = out.permute(1, 2, 0).contiguous()
        size = max(1, MOST_PRODUCTS // (lines.shape[1] * len(self.flat)))
        for first in range(0, len(lines), size):
            part = lines[first : first + size]
            products = product(self.flat, part.reshape(-1, self.channels))
            products = products.view(self.kernel.size, -1, *part.shape[:2])
            for j, a, b, to in taps:
                a, b = max(a, first), min(b, first + len(part))
                if a < b:
                    out[:, a + to : b + to].add_(products[j, :, a - first : b - first])
        return out.permute(2, 0, 1)


IDENTITY = Kernel(size=1, stride=1, dilation=1, padding=0)


@rule(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices)
def max_pool(node: Node, layout: Layout) -> Rule | None:
    """The largest value under the kernel; padding counts as minus infinity."""
    if not only_first_is_read(node, layout):
        return None
    return _pool(node, layout, torch.maximum, -math.inf, lambda size: 1.0)


@rule(aten.avg_pool2d, aten.avg_pool3d)
def average_pool(node: Node, layout: Layout) -> Rule | None:
    """The mean under the kernel; padding counts as zero."""
    b = bound(node)
    if b["divisor_override"] is not None or (any(per_dim(b["padding"], 1)) and not b["count_include_pad"]):
        return None
    return _pool(node, layout, torch.add, 0.0, lambda size: 1.0 / size)


def _pool(
    node: Node,
    layout: Layout,
    join: Callable[[Tensor, Tensor], Tensor],
    fill: float,
    factor: Callable[[int], float],
) -> Rule | None:
    source, b = single_source(node, layout), bound(node)
    if source is None or 1 in layout.axes[source]:
        return None
    shape, out, axes = layout.shape[source], layout.shape[node.writes[0]], layout.axes[source]
    dims = 2 if node.op.overloadpacket in (aten.max_pool2d_with_indices, aten.avg_pool2d) else 3
    first = len(shape) - dims
    sizes = per_dim(b["kernel_size"], dims)
    strides = per_dim(b["stride"] or b["kernel_size"], dims)
    paddings, dilations = per_dim(b["padding"], dims), per_dim(b.get("dilation", 1), dims)
    kernels = [Kernel(*k) for k in zip(sizes, strides, dilations, paddings, strict=True)]
    for d, k in enumerate(kernels, first):
        floored = (shape[d] + 2 * k.padding - k.extent - 1) // k.stride + 1  # ceil_mode has more
        if out[d] != floored:
            return None
    if any(a < first for a in axes):
        return None
    sliding = tuple(kernels[a - first] for a in axes)
    in_full = [(d, k) for d, k in enumerate(kernels, first) if d not in axes and k != IDENTITY]
    scale = math.prod(factor(k.size) for k in kernels)
    owns = any(k.size > 1 for k in sliding)

    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, under(sliding, span), fill)
        for axis, k, (lo, hi) in zip(axes, sliding, span, strict=True):
            t = _along(t, axis, k, hi - lo, join)
        for d, k in in_full:
            t = F.pad(t, (0, 0) * (t.ndim - 1 - d) + (k.padding, k.padding), value=fill)
            t = _along(t, d, k, out[d], join)
        return t if scale == 1.0 else t * scale

    return Sliding(node, (source,), axes, compute, owns=owns, kernels=sliding)


def _along(t: Tensor, axis: int, k: Kernel, count: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The strided slices of `t` under the taps of a kernel, joined."""
    taps = []
    for j in range(k.size):
        at = j * k.dilation
        index = [slice(None)] * t.ndim
        index[axis] = slice(at, at + (count - 1) * k.stride + 1, k.stride)
        taps.append(t[tuple(index)])
    return functools.reduce(join, taps)
