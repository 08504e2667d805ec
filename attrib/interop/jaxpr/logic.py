"""Comparisons, logic and choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import filled, translation

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


@translation(*COMPARISONS, numbers=True)
def comparison(step: Step, u: Any, v: Any) -> Any:
    """U == v and its kin."""
    return COMPARISONS[step.name](u, v)


@translation(*BITS, numbers=True)
def conjunction(step: Step, u: Any, v: Any) -> Any:
    """U and v, u or v, u xor v; of whole numbers bit by bit."""
    return BITS[step.name](u, v)


@translation("not")
def negation(step: Step, u: Tensor) -> Tensor:
    """Not u."""
    return ~u


@translation("is_finite")
def finite(step: Step, x: Tensor) -> Tensor:
    """Neither infinite nor NaN."""
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
    chosen = cases[-1]
    for i in reversed(range(len(cases) - 1)):
        chosen = torch.where(which == i, cases[i], chosen)
    return chosen
