"""Ops that mix what stands at one position: normalisation, softmax and reductions over other dims than the box's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.rule import Known, Reader, Rule, Span, apply, bound, first, only_first_is_read, rule

aten = torch.ops.aten


def alone(node: Node, known: Known) -> Ref | None:
    """The local value that an op works on, where everything else is constant."""
    source = node.args[0]
    rest = [r for r in node.reads if r is not source and r != source]
    if not known.local(source) or node.reads.count(source) > 1 or any(r not in known.constants for r in rest):
        return None
    return source


@dataclass
class PerChannel(Rule):
    """A factor and a summand per channel."""

    factor: Tensor | None = None

    def behind(self, earlier: Rule) -> Rule | None:
        """The factor taken into the earlier op's weight."""
        return None if self.factor is None else earlier.scaled(self.node, self.factor)


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm(node: Node, known: Known) -> Rule | None:
    """A factor and a shift per channel."""
    source, b = alone(node, known), bound(node)
    if source is None or 1 in known.axes[source] or not only_first_is_read(node, known):
        return None
    of = {
        n: None if b[n] is None else known.constants[b[n]]
        for n in ("weight", "bias", "running_mean", "running_var")
    }
    scale = (of["running_var"].double() + b["eps"]).rsqrt()  # type: ignore[union-attr]
    scale = scale if of["weight"] is None else scale * of["weight"].double()
    shift = -scale * of["running_mean"].double()  # type: ignore[union-attr]
    shift = shift if of["bias"] is None else shift + of["bias"].double()
    shape = (1, -1, *[1] * (len(known.shape[source]) - 2))
    a, c = (t.to(of["running_var"].dtype).view(shape) for t in (scale, shift))  # type: ignore[union-attr]

    def compute(at: Reader, span: Span) -> Tensor:
        t, free = at.take(source, span)
        return t.mul_(a).add_(c) if free else torch.addcmul(c, t, a)

    return PerChannel(node, (source,), known.axes[source], compute, owns=True, factor=a.flatten())


@rule(aten.native_layer_norm)
def layer_norm(node: Node, known: Known) -> Rule | None:
    """Over the last dims, if no edit's box runs along them."""
    source, b = alone(node, known), bound(node)
    if source is None or not only_first_is_read(node, known):
        return None
    if max(known.axes[source], default=0) >= len(known.shape[source]) - len(b["normalized_shape"]):
        return None
    return _over_other_dims(node, known, source, known.axes[source])


@rule(aten._softmax, aten._log_softmax, aten.glu)
def softmax(node: Node, known: Known) -> Rule | None:
    """Over a dim that is no axis of the box."""
    source = alone(node, known)
    if source is None or _dim(bound(node)["dim"], known.shape[source]) in (0, *known.axes[source]):
        return None
    return _over_other_dims(node, known, source, known.axes[source])


@rule(aten.mean, aten.sum, aten.amax, aten.amin)
def reduction(node: Node, known: Known) -> Rule | None:
    """Over dims that are no axes of the box."""
    source, b = alone(node, known), bound(node)
    if source is None or not b.get("dim"):
        return None
    dims = reduced(b["dim"], known.shape[source])
    axes = known.axes[source]
    if 0 in dims or set(dims) & set(axes):
        return None
    kept = axes if b["keepdim"] else tuple(a - sum(d < a for d in dims) for a in axes)
    return _over_other_dims(node, known, source, kept)


@rule(aten.cat)
def joined(node: Node, known: Known) -> Rule | None:
    """Along a dim that is no axis of the box."""
    parts = node.args[0]
    if not all(known.local(p) for p in parts):
        return None
    axes, ndim = known.axes[parts[0]], len(known.shape[parts[0]])
    dim = _dim(bound(node)["dim"], known.shape[parts[0]])
    if dim in (0, *axes) or any(known.axes[p] != axes or len(known.shape[p]) != ndim for p in parts):
        return None

    def compute(at: Reader, span: Span) -> Tensor:
        return torch.cat([at.read(p, span) for p in parts], dim)

    return Rule(node, tuple(dict.fromkeys(parts)), axes, compute)


def _over_other_dims(node: Node, known: Known, source: Ref, axes: tuple[int, ...]) -> Rule:
    def compute(at: Reader, span: Span) -> Tensor:
        return first(apply(node, known, {source: at.read(source, span)}))

    return Rule(node, (source,), axes, compute)


def reduced(dims: Any, shape: tuple[int, ...]) -> list[int]:
    """Dims as numbers from 0."""
    return sorted({_dim(d, shape) for d in (dims if isinstance(dims, list | tuple) else [dims])})


def _dim(d: int, shape: tuple[int, ...]) -> int:
    return d % len(shape)
