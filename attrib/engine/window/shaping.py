"""Ops that move, cut or pad: the box moves along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node, Ref
from attrib.engine.window.channels import alone
from attrib.engine.window.rule import Known, Reader, Rule, Span, apply, bound, rule

aten = torch.ops.aten


@dataclass
class Shift(Rule):
    """Position i of the result is position i + by of the source."""

    by: tuple[int, ...] = ()

    def reach(self, spans: Sequence[Span]) -> Span:
        """The box, moved."""
        return tuple((lo - b, hi - b) for (lo, hi), b in zip(spans[0], self.by, strict=True))

    def need(self, span: Span) -> Span:
        """And back."""
        return _back(self.by, span)


def _back(by: tuple[int, ...], span: Span) -> Span:
    return tuple((lo + b, hi + b) for (lo, hi), b in zip(span, by, strict=True))


@rule(aten.slice)
def cut(node: Node, known: Known) -> Rule | None:
    """Along an axis: the box moves; along another dim: it stays."""
    source, b = alone(node, known), bound(node)
    if source is None:
        return None
    shape, axes = known.shape[source], known.axes[source]
    dim = b["dim"] % len(shape)
    if dim == 0:
        return None
    if dim not in axes:
        return _elsewhere(node, known, source, axes)
    start = b["start"] or 0
    start = min(shape[dim], max(0, start + shape[dim] if start < 0 else start))
    if b["step"] != 1:
        return None
    return _moved(node, source, axes, tuple(start if a == dim else 0 for a in axes), None)


@rule(aten.constant_pad_nd)
def padded(node: Node, known: Known) -> Rule | None:
    """With a constant, or cut off."""
    source, b = alone(node, known), bound(node)
    if source is None:
        return None
    ndim, axes, pad = len(known.shape[source]), known.axes[source], b["pad"]
    before = {ndim - 1 - k: pad[2 * k] for k in range(len(pad) // 2)}
    after = {ndim - 1 - k: pad[2 * k + 1] for k in range(len(pad) // 2)}
    if before.get(0) or after.get(0):
        return None
    rest = [0 if d in axes else pad.get(d, 0) for d in reversed(range(ndim)) for pad in (before, after)]
    by, fill = tuple(-before.get(a, 0) for a in axes), float(b["value"])
    return _moved(node, source, axes, by, fill, rest if any(rest) else None)


def _moved(
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


def _elsewhere(node: Node, known: Known, source: Ref, axes: tuple[int, ...]) -> Rule:
    def compute(at: Reader, span: Span) -> Tensor:
        return apply(node, known, {source: at.read(source, span)})

    return Rule(node, (source,), axes, compute)


@rule(aten.permute, aten.transpose)
def permuted(node: Node, known: Known) -> Rule | None:
    """If the batch keeps its place."""
    source, b = alone(node, known), bound(node)
    if source is None:
        return None
    ndim, axes = len(known.shape[source]), known.axes[source]
    order = [d % ndim for d in b["dims"]] if "dims" in b else list(range(ndim))
    if "dims" not in b:
        i, j = b["dim0"] % ndim, b["dim1"] % ndim
        order[i], order[j] = j, i
    if order[0] != 0:
        return None
    return _elsewhere(node, known, source, tuple(order.index(a) for a in axes))


@rule(aten.unsqueeze)
def unsqueezed(node: Node, known: Known) -> Rule | None:
    """Axes behind the new dim move on."""
    source = alone(node, known)
    if source is None:
        return None
    dim = bound(node)["dim"] % (len(known.shape[source]) + 1)
    if dim == 0:
        return None
    return _elsewhere(node, known, source, tuple(a + (dim <= a) for a in known.axes[source]))


@rule(aten.squeeze, aten.select)
def squeezed(node: Node, known: Known) -> Rule | None:
    """Axes behind the dim that goes move up."""
    source, b = alone(node, known), bound(node)
    if source is None or not isinstance(b.get("dim"), int):
        return None
    shape, axes = known.shape[source], known.axes[source]
    dim = b["dim"] % len(shape)
    if dim in (0, *axes) or ("index" not in b and shape[dim] != 1):
        return None
    return _elsewhere(node, known, source, tuple(a - (dim < a) for a in axes))
