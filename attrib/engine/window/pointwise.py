"""Ops whose box is that of their sources, shifted or with other axes: on single elements, over channels, slices, reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node, Ref
from attrib.engine.window.rule import (
    FLAT,
    LOCAL,
    MERGED,
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

UNARY = (
    *(aten.relu, aten.sigmoid, aten.tanh, aten.gelu, aten.silu, aten.elu, aten.leaky_relu, aten.softplus),
    *(aten.hardtanh, aten.hardswish, aten.hardsigmoid, aten.mish, aten.threshold),
    *(aten.exp, aten.expm1, aten.log, aten.log1p, aten.log2, aten.log10),
    *(aten.sqrt, aten.rsqrt, aten.abs, aten.neg),
    *(aten.sin, aten.cos, aten.atan, aten.erf, aten.sign, aten.round, aten.floor, aten.ceil, aten.reciprocal),
    *(aten.clamp, aten.clamp_min, aten.clamp_max, aten.relu6, aten.softshrink, aten.hardshrink, aten.logit),
    *(aten._to_copy, aten.clone, aten.square),
)
SEVERAL = (
    *(aten.add, aten.sub, aten.rsub, aten.mul, aten.div, aten.pow, aten.maximum, aten.minimum, aten.lerp),
    *(aten.where, aten.eq, aten.ne, aten.gt, aten.ge, aten.lt, aten.le, aten.logical_and, aten.logical_or),
    *(aten.logical_not, aten.addcmul, aten.addcdiv, aten.fmax, aten.fmin),
)
IN_PLACE = {
    aten.relu: torch.relu_,
    aten.sigmoid: torch.sigmoid_,
    aten.tanh: torch.tanh_,
    aten.exp: torch.exp_,
}


@rule(*UNARY, *SEVERAL)
def pointwise(node: Node, layout: Layout) -> Rule | None:
    """An op on local values of one shape and form, and constants, which may differ from position to position."""
    sources = tuple(dict.fromkeys(r for r in node.reads if r in layout.form))
    like = sources[0]
    shape, axes, form = layout.shape[like], layout.axes[like], layout.form[like]
    if any((layout.shape[r], layout.axes[r], layout.form[r]) != (shape, axes, form) for r in sources):
        return None
    constants = [r for r in node.reads if r not in layout.form]
    if any(r not in layout.constants or not _fits(layout.constants[r], shape) for r in constants):
        return None
    if form != LOCAL and any(layout.constants[r].numel() > 1 for r in constants):
        return None  # its shape is that of the flattened value
    if len(node.writes) > 1 or (form == LOCAL and layout.shape[node.writes[0]] != shape):
        return None

    placed = {
        r: layout.constants[r] for r in constants if not _same_everywhere(layout.constants[r], shape, axes)
    }
    in_place = IN_PLACE.get(node.op.overloadpacket)
    if node.op is aten.add.Tensor and len(sources) == len(node.args) == 2 and not node.kwargs:
        return Rule(node, sources, axes, _Sum(node, *sources).compute, form, shape, True)

    def compute(at: Reader, span: Span) -> Tensor:
        if node.op.overloadpacket is aten.clone:
            return at.read(like, span)
        if in_place is not None:
            t, writable = at.take(like, span)
            return in_place(t) if writable else apply(node, layout, {like: t})
        values = {r: at.read(r, span) for r in sources}
        return apply(node, layout, values | {r: at.constant(t, like, span) for r, t in placed.items()})

    owns = node.op.overloadpacket is not aten.clone
    return Rule(node, sources, axes, compute, form, shape, owns)


class _Sum:
    """A residual sum: one operand, as its value without edits plus its change, is added in the memory of the other."""

    def __init__(self, node: Node, first: Ref, second: Ref) -> None:
        self.node, self.operands = node, (first, second)

    def compute(self, at: Reader, span: Span) -> Tensor:
        for other, target in (self.operands, self.operands[::-1]):
            inner = at.span(other)
            if at.span(target) == span and inner is not None and _inside(inner, span):
                t, writable = at.take(target, span)
                if writable:
                    return self._added(at, t, other, inner, span)
        first, second = (at.read(r, span) for r in self.operands)
        return first + second

    def _added(self, at: Reader, t: Tensor, other: Ref, inner: Span, span: Span) -> Tensor:
        at.add_before(other, span, t)
        part = t
        for axis, (a, b), (lo, _) in zip(at.axes(other), inner, span, strict=True):
            part = part.narrow(axis, a - lo, b - a)
        part.add_(at.change(other))
        return t


def _inside(inner: Span, outer: Span) -> bool:
    return all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(inner, outer, strict=True))


def _fits(constant: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a constant is broadcast to a value of this shape, and is equal for all rows."""
    offset = len(shape) - constant.ndim
    same = offset > 0 or (offset == 0 and constant.shape[0] == 1)
    return same and all(n in (1, m) for n, m in zip(constant.shape, shape[offset:], strict=True))


def _same_everywhere(constant: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether a constant is equal along the axes of a value of this shape."""
    offset = len(shape) - constant.ndim
    return all(constant.shape[d - offset] == 1 for d in axes if d >= offset)


@rule(aten.addmm, aten.mm)
def linear_on_last_dim(node: Node, layout: Layout) -> Rule | None:
    """A linear layer on the last dim, which PyTorch applies to a matrix of all rows and positions."""
    *bias, source, weight = node.args[:3]
    if node.kwargs or len(node.args) > 3 or not layout.local(source, MERGED):
        return None
    if any(type(r) is not Ref or r not in layout.constants for r in (*bias, weight)):
        return None
    shape, axes = layout.shape[source], layout.axes[source]
    if len(shape) - 1 in axes or any(layout.constants[b].ndim > 1 for b in bias):
        return None
    w = layout.constants[weight]

    def compute(at: Reader, span: Span) -> Tensor:
        y = at.read(source, span) @ w
        return y + layout.constants[bias[0]] if bias else y

    return Rule(node, (source,), axes, compute, MERGED, (*shape[:-1], w.shape[1]))


@rule(aten.bmm)
def batched_linear_on_last_dim(node: Node, layout: Layout) -> Rule | None:
    """A linear layer on the last dim whose weight PyTorch repeats for each sample."""
    source, weight = node.args
    if not layout.local(source) or weight not in layout.constants or len(layout.constants[weight]) != 1:
        return None
    axes, w = layout.axes[source], layout.constants[weight][0]
    if 2 in axes:
        return None

    def compute(at: Reader, span: Span) -> Tensor:
        return at.read(source, span) @ w

    return Rule(node, (source,), axes, compute)


@rule(aten.view, aten._unsafe_view, aten.reshape)
def reshaped(node: Node, layout: Layout) -> Rule | None:
    """A reshape that flattens the dims after the batch, or all dims but the last, or undoes one of these."""
    source = node.args[0]
    shape, out = layout.shape[source], layout.shape[node.writes[0]]
    axes, form = layout.axes[source], layout.form[source]

    def compute(at: Reader, span: Span) -> Tensor:
        return at.read(source, span)

    if form == LOCAL and len(out) == 2 and out[0] == 1 and len(shape) > 2:
        return Rule(node, (source,), axes, compute, FLAT, shape)
    rows_of_last = len(out) == 2 < len(shape) and out[1] == shape[-1]
    if form == LOCAL and rows_of_last and len(shape) - 1 not in axes:
        return Rule(node, (source,), axes, compute, MERGED, shape)
    if out == shape and (form in (LOCAL, MERGED) or len(shape) == 2):
        return Rule(node, (source,), axes, compute, LOCAL, shape)
    return None


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
