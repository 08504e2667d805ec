"""Ops on single elements, linear layers on the last dim, and reshapes: the box of the result is that of the sources."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.rule import FLAT, LOCAL, MERGED, Layout, Reader, Rule, Span, apply, rule

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
