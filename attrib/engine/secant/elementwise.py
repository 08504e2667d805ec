"""Functions of one number: the secant (f(v1) - f(v0)) / (v1 - v0), or the slope where v0 and v1 are equal.

Roots, powers and logarithms have closed forms of the secant that do not cancel. A bool is a number that steps from 0 to
1, so that comparisons, logic and choice have secants too and hand-written activations are explained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.func import vjp

from attrib.engine.graph import transformed
from attrib.engine.secant.bilinear import product
from attrib.engine.secant.pair import NoRule, Pair, at0, at1, change_of, difference, rule, values

aten = torch.ops.aten


def ratio(numerator: Tensor, denominator: Tensor, at_zero: Tensor | float) -> Tensor:
    """``numerator / denominator``, and `at_zero` where the denominator is zero or NaN (as -inf minus -inf is)."""
    nonzero = denominator.abs() > 0
    return torch.where(nonzero, divided(numerator, denominator, nonzero), at_zero)


def divided(numerator: Tensor, denominator: Tensor, where: Tensor) -> Tensor:
    """A quotient of which only the part `where` is used.

    The other values are arbitrary, but must not be NaN where a transform differentiates them: NaN times zero is NaN.
    """
    return numerator / (torch.where(where, denominator, 1) if transformed() else denominator)


def smallest_change(dtype: torch.dtype) -> float:
    """Below this change d of the argument, the slope at the midpoint is more accurate than the secant.

    The error d^2 f'''/24 of that slope is then below eps / d, the rounding error of the secant.
    """
    return (24 * torch.finfo(dtype).eps) ** (1 / 3)


def slope(op: OpOverload, x: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """The derivative of an op at x; of whole numbers, which change in steps or not at all, none."""
    if not x.is_floating_point():
        return torch.zeros_like(x)
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
    aten.heaviside.default: lambda x, at_zero: torch.zeros_like(x),
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
    *(aten.sign, aten.sgn, aten.round, aten.floor, aten.ceil, aten.trunc, aten.frac),
    *(aten.hardshrink, aten.softshrink, aten.heaviside),
)
def kinked(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The secant of a function of straight pieces, for any change: the slope may be that of the next piece."""
    x, *options = args
    _check_real(x)
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Pair(v0, v1, kinked_slope(op, x, change, options, kwargs) * x.dv, change)


def kinked_slope(
    op: OpOverload, x: Pair, change: Tensor, options: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
) -> Tensor:
    """The secant of a function of straight pieces that changes by `change`."""
    at = x.v1.to(x.dv.dtype) if x.is_discrete else x.v1
    return ratio(change, x.change, slope(op, at, options, kwargs or {}))


@rule(
    *(aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.softplus, aten.mish, aten.elu, aten.hardswish),
    *(aten.exp, aten.exp2, aten.expm1, aten.erf, aten.erfc, aten.sin, aten.cos, aten.atan, aten.asinh),
    *(aten.sinh, aten.cosh, aten.tan, aten.asin, aten.acos, aten.acosh, aten.atanh, aten.lgamma, aten.erfinv),
)
def smooth(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The secant; for a small change the slope at the midpoint, unless two formulas meet between v0 and v1."""
    x, *options = args
    _check_real(x)
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Pair(v0, v1, smooth_slope(op, x, change, options, kwargs) * x.dv, change)


def smooth_slope(
    op: OpOverload, x: Pair, change: Tensor, options: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
) -> Tensor:
    """The secant of a smooth function that changes by `change`."""
    d = x.change
    large = d.abs() >= smallest_change(d.dtype)
    for bend in BENDS[op](*options) if op in BENDS else ():
        large = large | ((x.v0 > bend) != (x.v1 > bend))
    return torch.where(large, divided(change, d, large), slope(op, x.mean, options, kwargs or {}))


def _check_real(x: Any) -> None:
    if not isinstance(x, Pair):
        raise NoRule("its option depends on the inputs")
    if x.v0.is_complex():
        raise NoRule("it is not differentiable in a complex number; write it with real and imaginary parts")


@rule(aten._prelu_kernel)
def prelu(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """relu(v) - w relu(-v)."""
    x, w = args
    if isinstance(w, Pair):
        raise NoRule("its slope depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Pair(v0, v1, ratio(change, x.change, torch.where(x.v1 > 0, 1, w)) * x.dv, change)


@rule(aten.nan_to_num)
def cleaned(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d nan_to_num(v) = dv where v is finite at both ends; NaN and infinity become constants."""
    x = args[0]
    return Pair(*values(op, args, kwargs), torch.where(x.v0.isfinite() & x.v1.isfinite(), x.dv, 0))


@rule(aten.sqrt)
def square_root(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """sqrt(v1) - sqrt(v0) = (v1 - v0) / (sqrt(v0) + sqrt(v1)); zero where both are zero."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, ratio(torch.ones_like(v0), v0 + v1, 0.0) * x.dv)


@rule(aten.rsqrt)
def reciprocal_root(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """With w = 1/sqrt(v): w1 - w0 = -(w0 w1)^2 / (w0 + w1) (v1 - v0)."""
    (x,) = args
    w0, w1 = values(op, args, kwargs)
    return Pair(w0, w1, -((w0 * w1) ** 2) / (w0 + w1) * x.dv)


LOG_BASE = {aten.log2.default: math.log(2), aten.log10.default: math.log(10)}


@rule(aten.log, aten.log1p, aten.log2, aten.log10)
def logarithm(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """log v1 - log v0 = log1p((v1 - v0) / v0); the left side is used where the change is large."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    start = x.v0 + 1 if op is aten.log1p.default else x.v0
    near = x.change.abs() < start / 2
    logs = torch.where(
        near, torch.log1p(torch.where(near, x.change / start, 0)), (v1 - v0) * LOG_BASE.get(op, 1.0)
    )
    return Pair(v0, v1, ratio(logs, x.change, 1 / start) / LOG_BASE.get(op, 1.0) * x.dv)


@rule(aten.pow.Tensor_Scalar)
def power(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """v1^2 - v0^2 = (v0 + v1) dv; v1^3 - v0^3 = (v0^2 + v0 v1 + v1^2) dv; for other exponents the secant."""
    x, n = args
    v0, v1 = values(op, args, kwargs)
    if n == 2:
        return Pair(v0, v1, product(aten.mul.Tensor, [x, x], {}).dv)
    if n == 3:
        return Pair(v0, v1, (x.v0**2 + x.v0 * x.v1 + x.v1**2) * x.dv)
    if n == 0.5:
        return square_root(aten.sqrt.default, [x], {})
    change, d = v1 - v0, x.change
    large = (d.abs() >= smallest_change(d.dtype) * x.mean.abs()) & (d != 0)
    m = torch.where(large, change / torch.where(large, d, 1), n * torch.where(large, 1, x.mean) ** (n - 1))
    return Pair(v0, v1, m * x.dv, change)


@rule(aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne)
def comparison(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The secant of the step: its change over the change of u - v."""
    margin = difference(*args)
    v0, v1 = values(op, args, kwargs)
    dtype = margin.dv.dtype
    return Pair(v0, v1, ratio(v1.to(dtype) - v0.to(dtype), margin.change, 0.0) * margin.dv)


@rule(aten.logical_not, aten.bitwise_not)
def negation(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(not u) = -du."""
    _check_bool(args)
    return Pair(*values(op, args, kwargs), -args[0].dv)


@rule(aten.bitwise_and, aten.logical_and)
def conjunction(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """u and v = u v."""
    _check_bool(args)
    return Pair(*values(op, args, kwargs), product(aten.mul.Tensor, args, {}).dv)


@rule(aten.bitwise_or, aten.logical_or)
def disjunction(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """u or v = u + v - u v."""
    _check_bool(args)
    both = product(aten.mul.Tensor, args, {})
    return Pair(*values(op, args, kwargs), change_of(args[0]) + change_of(args[1]) - both.dv)


@rule(aten.bitwise_xor, aten.logical_xor)
def exclusion(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """u xor v = u + v - 2 u v."""
    _check_bool(args)
    both = product(aten.mul.Tensor, args, {})
    return Pair(*values(op, args, kwargs), change_of(args[0]) + change_of(args[1]) - 2 * both.dv)


@rule(aten.where.self)
def choice(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d where(c, u, v) is the change of the selected argument; where c changes, that of v + c (u - v).

    Entries selected at neither input are masked before the product: they may be infinite, as in a guard against infinity. What
    is selected at one input alone is far away where it is infinite, as in a mask before a softmax.
    """
    c, u, v = args
    if not isinstance(c, Pair):
        v0, v1 = values(op, args, kwargs)
        return Pair(v0, v1, op(c, change_of(u), change_of(v)).to(v0.dtype))
    constant = c.v0 == c.v1
    if transformed() or not all(bool(t.isfinite().all()) for end in (at0, at1) for t in end([u, v])):
        u, v = _far(u, constant), _far(v, constant)
        args = [c, u, v]
    v0, v1 = values(op, args, kwargs)
    excess = difference(u, v)
    jump = Pair(*(torch.where(constant, 0, t) for t in (excess.v0, excess.v1, excess.dv)))
    change = product(aten.mul.Tensor, [c, jump], {}).dv + change_of(v)
    return Pair(v0, v1, torch.where(constant, op(c.v1, change_of(u), change_of(v)), change))


def _far(t: Tensor | Pair, constant: Tensor) -> Tensor | Pair:
    """Far away in place of infinite, but where nothing changes; no exponential tells the two apart."""
    if isinstance(t, Pair):
        return Pair(_far(t.v0, constant), _far(t.v1, constant), t.dv)  # type: ignore[arg-type]
    far = min(1e5, torch.finfo(t.dtype).max / 4) if t.is_floating_point() else 0.0
    return torch.where(constant, t, t.nan_to_num(torch.nan, far, -far))


@rule(aten.isnan, aten.isinf)
def never(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d isnan(v) = 0: finite values pass the test at both ends."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, torch.zeros_like(args[0].dv))


def _check_bool(args: Sequence[Any]) -> None:
    for a in args:
        if (a.v0 if isinstance(a, Pair) else a).dtype != torch.bool:
            raise NoRule("it works on the bits of numbers that depend on the inputs")
