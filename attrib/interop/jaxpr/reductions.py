"""Sums, products and extrema over dims."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.constants import dtype_of
from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import translation


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
