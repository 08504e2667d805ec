"""Sums, products and extrema over dims."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step, dtype_of
from attrib.interop.jaxpr.table import refuse, translation


@translation("reduce_sum")
def total(step: Step, x: Tensor) -> Tensor:
    """Sum over dims."""
    axes = step.params["axes"]
    return torch.sum(x, tuple(axes), dtype=dtype_of(step.makes[0].dtype)) if axes else x


@translation("reduce_max")
def largest(step: Step, x: Tensor) -> Tensor:
    """Largest over dims."""
    return torch.amax(x, tuple(step.params["axes"])) if step.params["axes"] else x


@translation("reduce_min")
def smallest(step: Step, x: Tensor) -> Tensor:
    """Smallest over dims."""
    return torch.amin(x, tuple(step.params["axes"])) if step.params["axes"] else x


@translation("reduce_prod")
def product(step: Step, x: Tensor) -> Tensor:
    """Product over dims."""
    for d in sorted(step.params["axes"], reverse=True):
        x = torch.prod(x, d, dtype=x.dtype)
    return x


@translation("reduce_and", "reduce_or", "reduce_xor")
def combined(step: Step, x: Tensor) -> Tensor:
    """Whether all are, any is, or an odd number of them are."""
    combine = {
        "reduce_and": torch.bitwise_and,
        "reduce_or": torch.bitwise_or,
        "reduce_xor": torch.bitwise_xor,
    }
    for d in sorted(step.params["axes"], reverse=True):
        x = _halved(combine[step.name], x, d)
    return x


def _halved(combine: Callable[[Tensor, Tensor], Tensor], x: Tensor, d: int) -> Tensor:
    """Two halves made one, until one element is left."""
    while x.shape[d] > 1:
        half = x.shape[d] // 2
        pairs = combine(x.narrow(d, 0, half), x.narrow(d, half, half))
        x = torch.cat([pairs, x.narrow(d, 2 * half, x.shape[d] - 2 * half)], d)
    return x.squeeze(d)


# FOLDED attrib/interop/jaxpr/reductions.py: """Running sums, products and extrema."""
COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cummax": torch.maximum,
    "cummin": torch.minimum,
    "cumprod": torch.mul,
    "cumlogsumexp": lambda u, v: torch.stack([u, v]).logsumexp(0),
}


@translation("cumsum")
def running_sum(step: Step, x: Tensor) -> Tensor:
    """The sum of an element and all before it, or all behind it."""
    return _in_order(step, x, lambda v, d: v.cumsum(d, dtype=v.dtype))


@translation(*COMBINE)
def running(step: Step, x: Tensor) -> Tensor:
    """The same of other operations: after round k each element knows the 2^k up to itself."""

    def scan(v: Tensor, d: int) -> Tensor:
        reach, size = 1, v.shape[d]
        while reach < size:
            met = COMBINE[step.name](v.narrow(d, reach, size - reach), v.narrow(d, 0, size - reach))
            v = torch.cat([v.narrow(d, 0, reach), met], d)
            reach *= 2
        return v

    return _in_order(step, x, scan)


def _in_order(step: Step, x: Tensor, scan: Callable[[Tensor, int], Tensor]) -> Tensor:
    d = step.params["axis"]
    return scan(x.flip(d), d).flip(d) if step.params["reverse"] else scan(x, d)


# FOLDED attrib/interop/jaxpr/reductions.py: """Positions of extrema, and sorting: of values that do not depend on the inputs, as nothing has a rule for them."""
@translation("argmax", "argmin")
def position(step: Step, x: Tensor) -> Tensor:
    """Where the largest or smallest element is, the first of several."""
    find = torch.argmax if step.name == "argmax" else torch.argmin
    (axis,) = step.params["axes"]
    if x.dtype == torch.bool and step.name == "argmax":
        return _first_true(x, axis).to(dtype_of(step.params["index_dtype"]))
    return find(x, axis).to(dtype_of(step.params["index_dtype"]))


def _first_true(x: Tensor, axis: int) -> Tensor:
    """As a chain of choices, which have a rule: that is how `jnp.select` takes its pick."""
    rows = x.unbind(axis)
    found = torch.zeros((), dtype=torch.long, device=x.device)
    for i in reversed(range(len(rows))):
        found = torch.where(rows[i], i, found)
    return found


@translation("sort")
def sort(step: Step, *xs: Tensor) -> list[Tensor]:
    """In ascending order along a dim, the others in that of the first."""
    d = step.params["dimension"]
    if len(xs) > 1 and step.params["num_keys"] > 1:
        refuse(step, "it sorts by several keys")
    keys, order = torch.sort(xs[0], dim=d, stable=True)
    return [keys, *(x.gather(d, order) for x in xs[1:])]


@translation("top_k")
def top(step: Step, x: Tensor) -> list[Tensor]:
    """The k largest of the last dim (or of `axis`), and where they are."""
    axis = step.params.get("axis", -1)
    found = torch.sort(x, dim=axis, descending=True, stable=True)
    values, places = (t.narrow(axis, 0, step.params["k"]) for t in found)
    return [values, places.to(dtype_of(step.makes[1].dtype))]
