"""The check that a plan computes what the model does."""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, FURTHER, MOST = 16, 4, 64  # edits of the first sample, of each further one, of a call
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-5}  # relative to the largest output


def some(count: int, before: int) -> Tensor:
    """The numbers of the edits of a sample to check, out of `count`: from the first to the last, evenly.

    Parameters
    ----------
    count : int
    before : int
        How many edits of the samples before it have been checked.
    """
    wanted = min(FURTHER if before else FIRST, MOST - before, count)
    if wanted <= 0:
        return torch.zeros(0, dtype=torch.long)
    return torch.linspace(0, count - 1, wanted, dtype=torch.float64).round().long().unique()


def others(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inputs (rows, ...) unlike a sample (1, ...) nearly everywhere: reversed, zero, and moved along.

    A value of the sample that a recording took for a constant shows in them, wherever it comes from.
    """
    moved = [x.roll(by, axes) for by in ([1] * len(axes), [x.shape[a] // 2 for a in axes])]
    return torch.cat([x.flip(axes), torch.zeros_like(x), *moved])


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of outputs (rows, ...), relative to the largest; infinite where one is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    off = float((found - expected).detach().abs().max())
    return (
        off / max(scale, torch.finfo(expected.dtype).tiny)
        if off == off and off > 0
        else 0.0
        if off == 0
        else float("inf")
    )


def agrees(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs are equal up to rounding."""
    return difference(found, expected) <= ROUNDING.get(expected.dtype, 0.0)


def agrees_where_finite(found: Tensor, expected: Tensor) -> bool:
    """The same for those rows of the outputs that are finite as expected, if there are any."""
    rows = torch.isfinite(expected).reshape(len(expected), -1).all(1)
    return found.shape == expected.shape and (not bool(rows.any()) or agrees(found[rows], expected[rows]))
