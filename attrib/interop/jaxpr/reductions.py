"""Sums, products and extrema over dims, running ones along a dim, positions of extrema, and sorting.

Positions and sorting work on values that do not depend on the inputs only, as no method has a rule for them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step, dtype_of
from attrib.interop.jaxpr.table import refuse, translation

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
def logic(step: Step, x: Tensor) -> Tensor:
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
