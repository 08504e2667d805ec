"""Ops that mix the channels of one position: normalisation, softmax and reductions over dims that are no axis of the box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.rule import (
    Layout,
    Reader,
    Rule,
    Span,
    apply,
    bound,
    first,
    only_first_is_read,
    rule,
)

aten = torch.ops.aten


def single_source(node: Node, layout: Layout) -> Ref | None:
    """The local value that an op reads, if it reads one and constants only."""
    source = node.args[0]
    if not layout.local(source) or node.reads.count(source) > 1:
        return None
    return source if all(r == source or r in layout.constants for r in node.reads) else None


@dataclass
class PerChannel(Rule):
    """An op that multiplies by a factor per channel and adds a number per channel."""

    factor: Tensor | None = None

    def behind(self, earlier: Rule) -> Rule | None:
        """The earlier op with the factor in its weight."""
        return None if self.factor is None else earlier.scaled(self.node, self.factor)


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm(node: Node, layout: Layout) -> Rule | None:
    """Batch norm: a factor and a shift per channel."""
    source, b = single_source(node, layout), bound(node)
    if source is None or not only_first_is_read(node, layout):
        return None
    mean, variance = layout.constants[b["running_mean"]], layout.constants[b["running_var"]]
    scale = (variance.double() + b["eps"]).rsqrt()
    scale = scale if b["weight"] is None else scale * layout.constants[b["weight"]].double()
    shift = -scale * mean.double()
    shift = shift if b["bias"] is None else shift + layout.constants[b["bias"]].double()
    shape = (1, -1, *[1] * (len(layout.shape[source]) - 2))
    a, c = (t.to(variance.dtype).view(shape) for t in (scale, shift))
    if 1 in layout.axes[source]:  # the edits are of channels, such as genes

        def at_channels(at: Reader, span: Span) -> Tensor:
            factor, number = (at.constant(t, source, span) for t in (a, c))
            return torch.addcmul(number, at.read(source, span), factor)

        return Rule(node, (source,), layout.axes[source], at_channels, owns=True)

    def compute(at: Reader, span: Span) -> Tensor:
        t, writable = at.take(source, span)
        return t.mul_(a).add_(c) if writable else torch.addcmul(c, t, a)

    return PerChannel(node, (source,), layout.axes[source], compute, owns=True, factor=a.flatten())


@rule(aten.native_layer_norm)
def layer_norm(node: Node, layout: Layout) -> Rule | None:
    """Layer norm, if no axis of the box is among the last dims."""
    source, b = single_source(node, layout), bound(node)
    if source is None or not only_first_is_read(node, layout):
        return None
    if max(layout.axes[source], default=0) >= len(layout.shape[source]) - len(b["normalized_shape"]):
        return None
    return _over_other_dims(node, layout, source, layout.axes[source])


@rule(aten._softmax, aten._log_softmax, aten.glu)
def softmax(node: Node, layout: Layout) -> Rule | None:
    """Softmax and gated linear units over a dim that is no axis of the box."""
    source = single_source(node, layout)
    if source is None or _dim(bound(node)["dim"], layout.shape[source]) in (0, *layout.axes[source]):
        return None
    return _over_other_dims(node, layout, source, layout.axes[source])


@rule(aten.mean, aten.sum, aten.amax, aten.amin)
def reduction(node: Node, layout: Layout) -> Rule | None:
    """A reduction over dims that are no axes of the box."""
    source, b = single_source(node, layout), bound(node)
    if source is None or not b.get("dim"):
        return None
    dims = reduced(b["dim"], layout.shape[source])
    axes = layout.axes[source]
    if 0 in dims or set(dims) & set(axes):
        return None
    if not b["keepdim"]:
        axes = tuple(a - sum(d < a for d in dims) for a in axes)
    return _over_other_dims(node, layout, source, axes)


@rule(aten.cat)
def joined(node: Node, layout: Layout) -> Rule | None:
    """A concatenation along a dim that is no axis of the box."""
    parts = node.args[0]
    if not all(layout.local(p) for p in parts):
        return None
    axes, ndim = layout.axes[parts[0]], len(layout.shape[parts[0]])
    dim = _dim(bound(node)["dim"], layout.shape[parts[0]])
    if dim in (0, *axes) or any(layout.axes[p] != axes or len(layout.shape[p]) != ndim for p in parts):
        return None

    def compute(at: Reader, span: Span) -> Tensor:
        return torch.cat([at.read(p, span) for p in parts], dim)

    return Rule(node, tuple(dict.fromkeys(parts)), axes, compute)


def _over_other_dims(node: Node, layout: Layout, source: Ref, axes: tuple[int, ...]) -> Rule:
    def compute(at: Reader, span: Span) -> Tensor:
        return first(apply(node, layout, {source: at.read(source, span)}))

    return Rule(node, (source,), axes, compute)


def reduced(dims: Any, shape: tuple[int, ...]) -> list[int]:
    """The dims of a reduction, counted from 0."""
    return sorted({_dim(d, shape) for d in (dims if isinstance(dims, list | tuple) else [dims])})


def _dim(d: int, shape: tuple[int, ...]) -> int:
    return d % len(shape)
