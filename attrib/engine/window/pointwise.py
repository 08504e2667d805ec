"""Ops that work on every element by itself: a box stays as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.rule import FLAT, LOCAL, MERGED, Known, Reader, Rule, Span, apply, rule

aten = torch.ops.aten

UNARY = (
    *(aten.relu, aten.sigmoid, aten.tanh, aten.gelu, aten.silu, aten.elu, aten.leaky_relu, aten.softplus),
    *(aten.hardtanh, aten.hardswish, aten.hardsigmoid, aten.mish, aten.threshold),
    *(
        aten.exp,
        aten.expm1,
        aten.log,
        aten.log1p,
        aten.log2,
        aten.log10,
        aten.sqrt,
        aten.rsqrt,
        aten.abs,
        aten.neg,
    ),
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
def pointwise(node: Node, known: Known) -> Rule | None:
    """Local operands of one shape and form; constants that are the same at all positions."""
    sources = tuple(dict.fromkeys(r for r in node.reads if r in known.form))
    like = sources[0]
    shape, axes, form = known.shape[like], known.axes[like], known.form[like]
    if any((known.shape[r], known.axes[r], known.form[r]) != (shape, axes, form) for r in sources):
        return None
    constants = [r for r in node.reads if r not in known.form]
    if any(
        r not in known.constants or not _same_everywhere(known.constants[r], shape, axes) for r in constants
    ):
        return None
    if form != LOCAL and any(known.constants[r].numel() > 1 for r in constants):
        return None  # laid out for the flattened value
    if len(node.writes) > 1 or (form == LOCAL and known.shape[node.writes[0]] != shape):
        return None

    in_place = IN_PLACE.get(node.op.overloadpacket)
    if node.op is aten.add.Tensor and len(sources) == len(node.args) == 2 and not node.kwargs:
        return Rule(node, sources, axes, _Sum(node, *sources).compute, form, shape, True)

    def compute(at: Reader, span: Span) -> Tensor:
        if node.op.overloadpacket is aten.clone:
            return at.read(like, span)
        if in_place is not None:
            t, free = at.take(like, span)
            return in_place(t) if free else apply(node, known, {like: t})
        return apply(node, known, {r: at.read(r, span) for r in sources})

    owns = node.op.overloadpacket is not aten.clone
    return Rule(node, sources, axes, compute, form, shape, owns)


class _Sum:
    """A residual sum: what one operand is without the edits, and its change, are added to the other's memory."""

    def __init__(self, node: Node, first: Ref, second: Ref) -> None:
        self.node, self.operands = node, (first, second)

    def compute(self, at: Reader, span: Span) -> Tensor:
        for other, own in (self.operands, self.operands[::-1]):
            inner = at.span(other)
            if at.span(own) == span and inner is not None and _inside(inner, span):
                t, free = at.take(own, span)
                if free:
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


def _same_everywhere(constant: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether a constant is the same for all rows and along the axes of a value of this shape."""
    offset = len(shape) - constant.ndim
    if offset < 0:
        return False
    return all(constant.shape[d - offset] == 1 for d in (0, *axes) if d >= offset)


@rule(aten.addmm, aten.mm)
def linear_on_last_dim(node: Node, known: Known) -> Rule | None:
    """A linear layer on the last dim, which PyTorch applies to a matrix of all rows and positions."""
    *bias, source, weight = node.args[:3]
    if node.kwargs or len(node.args) > 3 or not known.local(source, MERGED):
        return None
    if any(type(r) is not Ref or r not in known.constants for r in (*bias, weight)):
        return None
    shape, axes = known.shape[source], known.axes[source]
    if len(shape) - 1 in axes or any(known.constants[b].ndim > 1 for b in bias):
        return None
    w = known.constants[weight]

    def compute(at: Reader, span: Span) -> Tensor:
        y = at.read(source, span) @ w
        return y + known.constants[bias[0]] if bias else y

    return Rule(node, (source,), axes, compute, MERGED, (*shape[:-1], w.shape[1]))


@rule(aten.bmm)
def batched_linear_on_last_dim(node: Node, known: Known) -> Rule | None:
    """The same where PyTorch repeats the weight for each sample."""
    source, weight = node.args
    if not known.local(source) or weight not in known.constants or len(known.constants[weight]) != 1:
        return None
    axes, w = known.axes[source], known.constants[weight][0]
    if 2 in axes:
        return None

    def compute(at: Reader, span: Span) -> Tensor:
        return at.read(source, span) @ w

    return Rule(node, (source,), axes, compute)


@rule(aten.view, aten._unsafe_view, aten.reshape)
def reshaped(node: Node, known: Known) -> Rule | None:
    """Flattened after the batch, merged but for the last dim, and back."""
    source = node.args[0]
    shape, out = known.shape[source], known.shape[node.writes[0]]
    axes, form = known.axes[source], known.form[source]

    def compute(at: Reader, span: Span) -> Tensor:
        return at.read(source, span)

    if form == LOCAL and len(out) == 2 and out[0] == 1 and len(shape) > 2:
        return Rule(node, (source,), axes, compute, FLAT, shape)
    if (
        form == LOCAL
        and len(out) == 2
        and len(shape) > 2
        and out[1] == shape[-1]
        and len(shape) - 1 not in axes
    ):
        return Rule(node, (source,), axes, compute, MERGED, shape)
    if out == shape and (form in (LOCAL, MERGED) or len(shape) == 2):
        return Rule(node, (source,), axes, compute, LOCAL, shape)
    return None
