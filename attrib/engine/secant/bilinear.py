"""Products: u1 v1 - u0 v0 = mean(v) (u1 - u0) + mean(u) (v1 - v0), exactly, for any op linear in each of two arguments.

No rule reads the numbers of a change `dv`, so the heavy ops do not compute them: forward passes on the difference of the
values, which the rule has computed, and backward is the transpose. There are two classes for that, because torch.func
needs a `setup_context`, which costs a tenth of a millisecond a call without a transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.graph import transformed
from attrib.engine.secant.pair import NoRule, Pair, at0, at1, rule, values

aten = torch.ops.aten


def mean(value: Any) -> Any:
    """The mean of the values at the baseline and at the input; a constant unchanged."""
    return value.mean if isinstance(value, Pair) else value


@rule(aten.mul, aten.dot, aten.mv)
def product(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(u v) = mean(v) du + mean(u) dv."""
    u, v = args
    v0, v1 = values(op, args, kwargs)
    times = op if op in (aten.dot.default, aten.mv.default) else torch.mul
    if u is v:
        return Pair(v0, v1, times(2 * mean(u), u.dv))
    terms = [times(u.dv, mean(v))] if isinstance(u, Pair) else []
    terms += [times(mean(u), v.dv)] if isinstance(v, Pair) else []
    return Pair(v0, v1, sum(terms[1:], terms[0]))


@rule(aten.mm, aten.bmm)
def matmul(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(u @ v) = du @ mean(v) + mean(u) @ dv."""
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    return Pair(v0, v1, _matmul_change(args[0], args[1], change), change)


@rule(aten.addmm, aten.baddbmm)
def matmul_add(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(beta c + alpha u @ v) = beta dc + alpha (du @ mean(v) + mean(u) @ dv)."""
    c, u, v = args
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)
    terms = []
    if isinstance(u, Pair) or isinstance(v, Pair):
        dv = _matmul_change(u, v, change)
        terms.append(dv if alpha == 1 else alpha * dv)
    if isinstance(c, Pair):
        terms.append((beta * c.dv).expand_as(v1))
    return Pair(v0, v1, sum(terms[1:], terms[0]), change)


def _matmul_change(u: Any, v: Any, change: Tensor) -> Tensor:
    terms = [linear_change(u.dv, change, _times_transposed, mean(v))] if isinstance(u, Pair) else []
    terms += [linear_change(v.dv, change, _transposed_times, mean(u))] if isinstance(v, Pair) else []
    return sum(terms[1:], terms[0])


@rule(aten.convolution)
def convolution(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d conv(u, w, b) = conv(du, mean(w)) + conv(mean(u), dw) + db."""
    u, w, bias, *options = args
    v0, v1 = values(op, args, kwargs)
    change = v1 - v0
    terms = []
    if isinstance(u, Pair):
        terms.append(linear_change(u.dv, change, partial(_deconvolved, options), u.dv, mean(w)))
    if isinstance(w, Pair):
        terms.append(op(mean(u), w.dv, None, *options))
    if isinstance(bias, Pair):
        terms.append(bias.dv.view(-1, *[1] * (v0.ndim - 2)).expand_as(v1))
    return Pair(v0, v1, sum(terms[1:], terms[0]), change)


@rule(aten.div.Tensor, aten.div.Scalar, aten.reciprocal)
def quotient(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(u / v) = mean(1/v) du + mean(u) d(1/v), where 1/v1 - 1/v0 = -(v1 - v0) / (v0 v1)."""
    u: Any = args[0] if len(args) == 2 else 1.0
    v: Any = args[-1]
    v0, v1 = values(op, args, kwargs)
    if not isinstance(v, Pair):
        return Pair(v0, v1, u.dv / v)
    dv = -mean(u) / (v.v0 * v.v1) * v.dv
    if isinstance(u, Pair):
        dv = dv + (1 / v.v0 + 1 / v.v1) / 2 * u.dv
    return Pair(v0, v1, dv)


@rule(aten.linalg_solve_triangular)
def triangular_system(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """a y = b: the mean over both ends of the solution for db - da y, as of a quotient; da has the entries that the op reads."""
    a, b = args
    v0, v1 = values(op, args, kwargs)
    left, upper, unit = kwargs.get("left", True), kwargs["upper"], kwargs.get("unitriangular", False)

    def solved(matrix: Any, y: Tensor) -> Tensor:
        right = b.dv if isinstance(b, Pair) else torch.zeros_like(v1)
        if isinstance(a, Pair):
            da = a.dv.triu(int(unit)) if upper else a.dv.tril(-int(unit))
            right = right - (da @ y if left else y @ da)
        return op(matrix, right, **kwargs)

    return Pair(v0, v1, (solved(at0(a), v1) + solved(at1(a), v0)) / 2)


@rule(aten.div.Tensor_mode, aten.div.Scalar_mode, aten.remainder, aten.fmod, aten.floor_divide)
def rounded_quotient(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """No rule: a rounded quotient of two changing numbers has no secant; `(u / v).floor()` has one."""
    raise NoRule("it rounds a quotient; write (u / v).floor() or .trunc()")


# ---------------------------------------------------------------------- changes of which only the transpose is run


def _times_transposed(g: Tensor, w: Tensor) -> Tensor:
    return g @ w.mT


def _transposed_times(g: Tensor, w: Tensor) -> Tensor:
    return w.mT @ g


def _deconvolved(options: Sequence[Any], g: Tensor, dv: Tensor, w: Tensor) -> Tensor:
    return aten.convolution_backward(g, dv, w, None, *options, [True, False, False])[0]


def linear_change(dv: Tensor, change: Tensor, transpose: Callable[..., Tensor], *needed: Tensor) -> Tensor:
    """A linear function of `dv` whose value is `change` and whose transpose is ``transpose(g, *needed)``."""
    return linear_changes((dv,), (change,), transpose, *needed)[0]


def linear_changes(
    dvs: tuple[Tensor, ...], changes: tuple[Tensor, ...], transpose: Callable[..., Any], *needed: Tensor
) -> tuple[Tensor, ...]:
    """Linear functions of all `dvs`: their values are `changes`, their transpose ``transpose(*gs, *needed)``."""
    function = _LinearChangesOfFunc if transformed() else _LinearChanges
    return function.apply(transpose, len(dvs), len(changes), *dvs, *changes, *needed)


class _LinearChanges(torch.autograd.Function):
    """dvs -> changes; backward is ``transpose(*gs, *needed)``."""

    @staticmethod
    def forward(
        ctx: Any, transpose: Callable[..., Any], inputs: int, outputs: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Pass on the values."""
        _LinearChangesOfFunc.setup_context(ctx, (transpose, inputs, outputs, *tensors), ())
        return tuple(t.view_as(t) for t in tensors[inputs : inputs + outputs])

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Tensor | None, ...]:
        """Apply the transpose."""
        multipliers = ctx.transpose(*gs, *ctx.saved_tensors)
        multipliers = multipliers if isinstance(multipliers, tuple) else (multipliers,)
        return None, None, None, *multipliers, *[None] * (len(gs) + len(ctx.saved_tensors))


class _LinearChangesOfFunc(torch.autograd.Function):
    """`_LinearChanges` for torch.func."""

    generate_vmap_rule = True
    backward = _LinearChanges.backward

    @staticmethod
    def forward(
        transpose: Callable[..., Any], inputs: int, outputs: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Pass on the values."""
        return tuple(t.view_as(t) for t in tensors[inputs : inputs + outputs])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Save the tensors that the transpose needs."""
        ctx.transpose, count, outputs, *tensors = inputs
        ctx.save_for_backward(*tensors[count + outputs :])
