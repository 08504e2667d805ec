"""Arithmetic, functions, comparisons and choice element by element; sums, extrema, positions and sorting along dims.

Positions and sorting work on values that do not depend on the inputs only, as no method has a rule for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrib.interop.jaxpr.interpreter import filled, refuse, translation
from attrib.interop.jaxpr.program import Step, dtype_of

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "cbrt": lambda x: x.sign() * x.abs() ** (1 / 3),
    "square": torch.square,
    "one_minus_square": lambda u: (1 - u) * (1 + u),
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erf_inv": torch.erfinv,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
    "real": torch.real,
    "imag": torch.imag,
    "conj": lambda x: x.conj(),
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": lambda u, v: u == v,
    "ne": lambda u, v: u != v,
    "lt": lambda u, v: u < v,
    "le": lambda u, v: u <= v,
    "gt": lambda u, v: u > v,
    "ge": lambda u, v: u >= v,
}
BITS: dict[str, Callable[[Any, Any], Any]] = {
    "and": lambda u, v: u & v,
    "or": lambda u, v: u | v,
    "xor": lambda u, v: u ^ v,
}
IDENTITIES = (  # of values; they matter to compilers and derivatives
    *("stop_gradient", "copy", "copy_p", "name", "reduce_precision", "sharding_constraint", "mesh_cast"),
    *("pvary", "optimization_barrier", "device_put", "reshard", "layout_constraint"),
)

BITWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "reduce_and": torch.bitwise_and,
    "reduce_or": torch.bitwise_or,
    "reduce_xor": torch.bitwise_xor,
}
RUNNING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cummax": torch.maximum,
    "cummin": torch.minimum,
    "cumprod": torch.mul,
    "cumlogsumexp": lambda u, v: torch.stack([u, v]).logsumexp(0),
}


@translation(*UNARY, numbers=True)
def unary(step: Step, x: Tensor) -> Tensor:
    """f(x)."""
    return UNARY[step.name](x)


@translation(*IDENTITIES, numbers=True)
def identity(step: Step, *values: Any) -> list[Any]:
    """x; `reduce_precision` only if x has that precision."""
    if step.name == "reduce_precision":
        bits = {"float64": (11, 52), "float32": (8, 23), "bfloat16": (8, 7), "float16": (5, 10)}
        if bits[step.takes[0].dtype.name] != (step.params["exponent_bits"], step.params["mantissa_bits"]):
            refuse(step, "it rounds to a precision that torch has no type for")
    return list(values)


@translation("add", "add_any", numbers=True)
def add(step: Step, u: Any, v: Any) -> Any:
    """u + v."""
    return u + v


@translation("sub", numbers=True)
def subtract(step: Step, u: Any, v: Any) -> Any:
    """u - v."""
    return u - v


@translation("mul", numbers=True)
def multiply(step: Step, u: Any, v: Any) -> Any:
    """u v."""
    return u * v


@translation("div", numbers=True)
def divide(step: Step, u: Any, v: Any) -> Any:
    """u / v; for integers, truncated."""
    integers = step.makes[0].dtype.kind in "iu"
    return torch.div(u, v, rounding_mode="trunc") if integers else u / v


@translation("rem")
def remainder(step: Step, u: Tensor, v: Tensor) -> Tensor:
    """The remainder of u / v, with the sign of u."""
    return torch.fmod(u, v)


@translation("polynomial", numbers=True)
def polynomial(step: Step, u: Any, *coefficients: Any) -> Any:
    """c[0] + u (c[1] + u (c[2] + ...)), by Horner's rule."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * u + c
    return total


@translation("pow", numbers=True)
def power(step: Step, u: Any, v: Any) -> Any:
    """u ^ v."""
    return torch.pow(u, v)


@translation("integer_pow")
def integer_power(step: Step, u: Tensor) -> Tensor:
    """u ^ n."""
    n = step.params["y"]
    return u * u if n == 2 else u.reciprocal() if n == -1 else u**n


@translation("max", numbers=True)
def maximum(step: Step, u: Any, v: Any) -> Any:
    """The larger of two; with a number, a clamp."""
    if isinstance(u, Tensor) and isinstance(v, Tensor):
        return torch.maximum(u, v)
    x, bound = (u, v) if isinstance(u, Tensor) else (v, u)
    if bound == -math.inf:
        return x
    return torch.relu(x) if bound == 0 and x.dtype != torch.bool else torch.clamp_min(x, bound)


@translation("min", numbers=True)
def minimum(step: Step, u: Any, v: Any) -> Any:
    """The smaller of two."""
    if isinstance(u, Tensor) and isinstance(v, Tensor):
        return torch.minimum(u, v)
    x, bound = (u, v) if isinstance(u, Tensor) else (v, u)
    return x if bound == math.inf else torch.clamp_max(x, bound)


@translation("clamp", numbers=True)
def clamp(step: Step, low: Any, x: Any, high: Any) -> Any:
    """min(max(x, low), high)."""
    return minimum(step, maximum(step, x, low), high)


@translation("atan2", numbers=True)
def angle(step: Step, u: Any, v: Any) -> Any:
    """The angle of the point (v, u)."""
    return torch.atan2(*_tensors(u, v))


@translation("complex")
def complex_number(step: Step, u: Tensor, v: Tensor) -> Tensor:
    """u + i v."""
    return torch.complex(u, v)


@translation("round", numbers=True)
def rounded(step: Step, x: Any) -> Any:
    """The nearest integer; halves go to the even one, or away from zero."""
    to_even = int(step.params["rounding_method"]) == 1
    return torch.round(x) if to_even else x.sign() * torch.floor(x.abs() + 0.5)


@translation("convert_element_type", numbers=True)
def convert(step: Step, x: Any) -> Any:
    """x in another dtype."""
    return x.to(dtype_of(step.params["new_dtype"]))


@translation(*COMPARISONS, numbers=True)
def comparison(step: Step, u: Any, v: Any) -> Any:
    """u == v, u < v and the like."""
    return COMPARISONS[step.name](u, v)


@translation(*BITS, numbers=True)
def logic(step: Step, u: Any, v: Any) -> Any:
    """u and v, u or v, u xor v; for integers bit by bit."""
    return BITS[step.name](u, v)


@translation("not")
def negation(step: Step, u: Tensor) -> Tensor:
    """not u."""
    return ~u


@translation("is_finite")
def finite(step: Step, x: Tensor) -> Tensor:
    """Whether x is neither infinite nor NaN."""
    return ~(x.isinf() | x.isnan())


@translation("select_n", numbers=True)
def select(step: Step, which: Any, *cases: Any) -> Any:
    """cases[which], element by element."""
    if not isinstance(which, Tensor):
        return cases[int(which)]
    if not any(isinstance(c, Tensor) for c in cases):
        cases = tuple(filled(c, step.makes[0]._replace(shape=()), step.device) for c in cases)
    if which.dtype == torch.bool:
        return torch.where(which, cases[1], cases[0])
    selected = cases[-1]
    for i in reversed(range(len(cases) - 1)):
        selected = torch.where(which == i, cases[i], selected)
    return selected


def _tensors(u: Any, v: Any) -> tuple[Tensor, Tensor]:
    like = u if isinstance(u, Tensor) else v
    return tuple(t if isinstance(t, Tensor) else torch.full_like(like, t) for t in (u, v))  # type: ignore[return-value]


@translation("reduce_sum")
def total(step: Step, x: Tensor) -> Tensor:
    """The sum over dims."""
    axes = step.params["axes"]
    return torch.sum(x, tuple(axes), dtype=dtype_of(step.makes[0].dtype)) if axes else x


@translation("reduce_max")
def largest(step: Step, x: Tensor) -> Tensor:
    """The largest over dims."""
    return torch.amax(x, tuple(step.params["axes"])) if step.params["axes"] else x


@translation("reduce_min")
def smallest(step: Step, x: Tensor) -> Tensor:
    """The smallest over dims."""
    return torch.amin(x, tuple(step.params["axes"])) if step.params["axes"] else x


@translation("reduce_prod")
def product(step: Step, x: Tensor) -> Tensor:
    """The product over dims."""
    for d in sorted(step.params["axes"], reverse=True):
        x = torch.prod(x, d, dtype=x.dtype)
    return x


@translation("reduce_and", "reduce_or", "reduce_xor")
def logic_over_dims(step: Step, x: Tensor) -> Tensor:
    """Logic over dims: whether all, any, or an odd number of elements are true."""
    for d in sorted(step.params["axes"], reverse=True):
        x = _halved(BITWISE[step.name], x, d)
    return x


def _halved(combine: Callable[[Tensor, Tensor], Tensor], x: Tensor, d: int) -> Tensor:
    """Combine the two halves of a dim until one element is left."""
    while x.shape[d] > 1:
        half = x.shape[d] // 2
        pairs = combine(x.narrow(d, 0, half), x.narrow(d, half, half))
        x = torch.cat([pairs, x.narrow(d, 2 * half, x.shape[d] - 2 * half)], d)
    return x.squeeze(d)


@translation("cumsum")
def running_sum(step: Step, x: Tensor) -> Tensor:
    """The sum of each element and all before it, or all after it."""
    return _in_order(step, x, lambda v, d: v.cumsum(d, dtype=v.dtype))


@translation(*RUNNING)
def running(step: Step, x: Tensor) -> Tensor:
    """A running operation: after round k each element combines the 2^k elements up to itself."""

    def scan(v: Tensor, d: int) -> Tensor:
        reach, size = 1, v.shape[d]
        while reach < size:
            combined = RUNNING[step.name](v.narrow(d, reach, size - reach), v.narrow(d, 0, size - reach))
            v = torch.cat([v.narrow(d, 0, reach), combined], d)
            reach *= 2
        return v

    return _in_order(step, x, scan)


def _in_order(step: Step, x: Tensor, scan: Callable[[Tensor, int], Tensor]) -> Tensor:
    d = step.params["axis"]
    return scan(x.flip(d), d).flip(d) if step.params["reverse"] else scan(x, d)


@translation("argmax", "argmin")
def position(step: Step, x: Tensor) -> Tensor:
    """The position of the largest or smallest element, the first of several."""
    find = torch.argmax if step.name == "argmax" else torch.argmin
    (axis,) = step.params["axes"]
    if x.dtype == torch.bool and step.name == "argmax":
        return _first_true(x, axis).to(dtype_of(step.params["index_dtype"]))
    return find(x, axis).to(dtype_of(step.params["index_dtype"]))


def _first_true(x: Tensor, axis: int) -> Tensor:
    """The first true position, as a chain of choices, which have a rule; `jnp.select` uses it."""
    rows = x.unbind(axis)
    first = torch.zeros((), dtype=torch.long, device=x.device)
    for i in reversed(range(len(rows))):
        first = torch.where(rows[i], i, first)
    return first


@translation("sort")
def sort(step: Step, *xs: Tensor) -> list[Tensor]:
    """The first array in ascending order along a dim, the others in the order of the first."""
    d = step.params["dimension"]
    if len(xs) > 1 and step.params["num_keys"] > 1:
        refuse(step, "it sorts by several keys")
    keys, order = torch.sort(xs[0], dim=d, stable=True)
    return [keys, *(x.gather(d, order) for x in xs[1:])]


@translation("top_k")
def top(step: Step, x: Tensor) -> list[Tensor]:
    """The k largest along the last dim (or `axis`), and their positions."""
    axis = step.params.get("axis", -1)
    ordered = torch.sort(x, dim=axis, descending=True, stable=True)
    values, positions = (t.narrow(axis, 0, step.params["k"]) for t in ordered)
    return [values, positions.to(dtype_of(step.makes[1].dtype))]
