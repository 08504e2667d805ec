"""Functions of one number: the secant (f(v1) - f(v0)) / (v1 - v0), and the slope where the two are one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.func import vjp

from attrib.engine.graph import transformed
from attrib.engine.secant.rules import rule
from attrib.engine.secant.twin import NoRule, Twin, values

aten = torch.ops.aten


def ratio(numerator: Tensor, denominator: Tensor, at_zero: Tensor | float) -> Tensor:
    """``numerator / denominator``, and `at_zero` where the denominator is zero or NaN (as -inf minus -inf is)."""
    nonzero = denominator.abs() > 0
    return torch.where(nonzero, divided(numerator, denominator, nonzero), at_zero)


def divided(numerator: Tensor, denominator: Tensor, where: Tensor) -> Tensor:
    """A quotient of which only the part `where` is used.

    Elsewhere it may be anything, but not NaN if it is going to be differentiated: NaN times zero is NaN.
    """
    return numerator / (torch.where(where, denominator, 1) if transformed() else denominator)


def slope(op: OpOverload, x: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """The derivative of an op at x."""
    if op in SLOPES:
        return SLOPES[op](x, *args, **kwargs)
    return vjp(lambda t: op(t, *args, **kwargs), x)[1](torch.ones_like(x))[0]


def _sigmoid_slope(x: Tensor) -> Tensor:
    s = x.sigmoid()
    return s * (1 - s)


def _silu_slope(x: Tensor) -> Tensor:
    s = x.sigmoid()
    return s * (1 + x * (1 - s))


SLOPES: dict[OpOverload, Callable[..., Tensor]] = {
    aten.relu.default: lambda x: x > 0,
    aten.exp.default: torch.exp,
    aten.sigmoid.default: _sigmoid_slope,
    aten.silu.default: _silu_slope,
    aten.tanh.default: lambda x: 1 - x.tanh() ** 2,
    aten.hardsigmoid.default: lambda x: ((x > -3) & (x < 3)).to(x.dtype) / 6,
    aten.gelu.default: lambda x, **options: aten.gelu_backward(torch.ones_like(x), x, **options),
}

BENDS: dict[OpOverload, Callable[..., tuple[float, ...]]] = {
    aten.elu.default: lambda *options: (0.0,),
    aten.hardswish.default: lambda: (-3.0, 3.0),
    aten.softplus.default: lambda beta=1.0, threshold=20.0: (threshold / beta,),
}


@rule(
    *(aten.relu, aten.relu6, aten.leaky_relu, aten.threshold, aten.hardtanh, aten.clamp.default),
    *(aten.clamp_min.default, aten.clamp_max.default, aten.hardsigmoid),
    *(aten.abs, aten.sign, aten.sgn, aten.round, aten.floor, aten.ceil, aten.trunc, aten.frac),
    *(aten.hardshrink, aten.softshrink, aten.heaviside),
)
def kinked(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """Made of straight pieces: the secant for any change at all, as the slope may be that of the next piece."""
    x, *rest = args
    _real(x)
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Twin(v0, v1, ratio(change, x.change, slope(op, x.v1, rest, kwargs)) * x.dv, change)


@rule(
    *(aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.softplus, aten.mish, aten.elu, aten.hardswish),
    *(aten.exp, aten.exp2, aten.expm1, aten.erf, aten.erfc, aten.sin, aten.cos, aten.atan, aten.asinh),
    *(aten.sinh, aten.cosh, aten.tan, aten.asin, aten.acos, aten.acosh, aten.atanh, aten.lgamma, aten.erfinv),
)
def smooth(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """The secant; for a small change the slope at the midpoint, whose error d^2 f'''/24 is below rounding over d.

    Not across a point where two formulas meet: there the secant holds for any change.
    """
    x, *rest = args
    _real(x)
    v0, v1 = values(op, args, kwargs)
    change, d = v1 - v0, x.change
    large = d.abs() >= (24 * torch.finfo(d.dtype).eps) ** (1 / 3)
    for bend in BENDS[op](*rest) if op in BENDS else ():
        large = large | ((x.v0 > bend) != (x.v1 > bend))
    m = torch.where(large, divided(change, d, large), slope(op, x.mean, rest, kwargs))
    return Twin(v0, v1, m * x.dv, change)


def _real(x: Any) -> None:
    if not isinstance(x, Twin):
        raise NoRule("its option depends on the inputs")
    if x.v0.is_complex():
        raise NoRule("it is not differentiable in a complex number; write it with real and imaginary parts")


@rule(aten._prelu_kernel)
def prelu(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """relu(v) - w relu(-v)."""
    x, w = args
    if isinstance(w, Twin):
        raise NoRule("its slope depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Twin(v0, v1, ratio(change, x.change, torch.where(x.v1 > 0, 1, w)) * x.dv, change)


@rule(aten.nan_to_num)
def cleaned(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """The identity of numbers; NaN and infinity become constants."""
    x = args[0]
    return Twin(*values(op, args, kwargs), torch.where(x.v0.isfinite() & x.v1.isfinite(), x.dv, 0))
