"""Ops that slice, pad or permute: the box is shifted or its axes are renumbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node, Ref
from attrib.engine.window.channels import single_source
from attrib.engine.window.rule import Layout, Reader, Rule, Span, apply, bound, rule

aten = torch.ops.aten


@dataclass
class Shift(Rule):
    """An op whose position i of the result is position i + by of the source."""

    by: tuple[int, ...] = ()

    def reach(self, spans: Sequence[Span]) -> Span:
        """The box, shifted to the result."""
        return tuple((lo - b, hi - b) for (lo, hi), b in zip(spans[0], self.by, strict=True))

    def need(self, span: Span) -> Span:
        """The box, shifted back to the source."""
        return _back(self.by, span)


def _back(by: tuple[int, ...], span: Span) -> Span:
    return tuple((lo + b, hi + b) for (lo, hi), b in zip(span, by, strict=True))


@rule(aten.slice)
def cut(node: Node, layout: Layout) -> Rule | None:
    """A slice along an axis of the box, which is shifted, or along another dim."""
    source, b = single_source(node, layout), bound(node)
    if source is None:
        return None
    shape, axes = layout.shape[source], layout.axes[source]
    dim = b["dim"] % len(shape)
    if dim == 0:
        return None
    if dim not in axes:
        return _renumbered(node, layout, source, axes)
    start = b["start"] or 0
    start = min(shape[dim], max(0, start + shape[dim] if start < 0 else start))
    if b["step"] != 1:
        return None
    return _shifted(node, source, axes, tuple(start if a == dim else 0 for a in axes), None)


@rule(aten.constant_pad_nd)
def padded(node: Node, layout: Layout) -> Rule | None:
    """Padding by a constant, or cropping."""
    source, b = single_source(node, layout), bound(node)
    if source is None:
        return None
    ndim, axes, pad = len(layout.shape[source]), layout.axes[source], b["pad"]
    before = {ndim - 1 - k: pad[2 * k] for k in range(len(pad) // 2)}
    after = {ndim - 1 - k: pad[2 * k + 1] for k in range(len(pad) // 2)}
    if before.get(0) or after.get(0):
        return None
    others = [0 if d in axes else pad.get(d, 0) for d in reversed(range(ndim)) for pad in (before, after)]
    by, fill = tuple(-before.get(a, 0) for a in axes), float(b["value"])
    return _shifted(node, source, axes, by, fill, others if any(others) else None)


def _shifted(
    node: Node,
    source: Ref,
    axes: tuple[int, ...],
    by: tuple[int, ...],
    fill: float | None,
    pad: list[int] | None = None,
) -> Rule:
    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, _back(by, span), fill)
        return t if pad is None else F.pad(t, pad, value=fill)

    return Shift(node, (source,), axes, compute, by=by)


def _renumbered(node: Node, layout: Layout, source: Ref, axes: tuple[int, ...]) -> Rule:
    def compute(at: Reader, span: Span) -> Tensor:
        return apply(node, layout, {source: at.read(source, span)})

    return Rule(node, (source,), axes, compute)


@rule(aten.permute, aten.transpose)
def permuted(node: Node, layout: Layout) -> Rule | None:
    """A permutation of dims that leaves the batch first."""
    source, b = single_source(node, layout), bound(node)
    if source is None:
        return None
    ndim, axes = len(layout.shape[source]), layout.axes[source]
    order = [d % ndim for d in b["dims"]] if "dims" in b else list(range(ndim))
    if "dims" not in b:
        i, j = b["dim0"] % ndim, b["dim1"] % ndim
        order[i], order[j] = j, i
    if order[0] != 0:
        return None
    return _renumbered(node, layout, source, tuple(order.index(a) for a in axes))


@rule(aten.unsqueeze)
def unsqueezed(node: Node, layout: Layout) -> Rule | None:
    """A new dim; axes at or after it are renumbered."""
    source = single_source(node, layout)
    if source is None:
        return None
    dim = bound(node)["dim"] % (len(layout.shape[source]) + 1)
    if dim == 0:
        return None
    return _renumbered(node, layout, source, tuple(a + (dim <= a) for a in layout.axes[source]))


@rule(aten.squeeze, aten.select)
def squeezed(node: Node, layout: Layout) -> Rule | None:
    """A dim less; axes after it are renumbered."""
    source, b = single_source(node, layout), bound(node)
    if source is None or not isinstance(b.get("dim"), int):
        return None
    shape, axes = layout.shape[source], layout.axes[source]
    dim = b["dim"] % len(shape)
    if dim in (0, *axes) or ("index" not in b and shape[dim] != 1):
        return None
    return _renumbered(node, layout, source, tuple(a - (dim < a) for a in axes))
