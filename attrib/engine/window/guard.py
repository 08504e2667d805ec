"""The check that a plan computes what the model does."""

from __future__ import annotations

import torch
from torch import Tensor

CHECKED = 64  # edits
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-5}  # relative to the largest output


def some(count: int) -> Tensor:
    """The numbers of the edits to check, out of `count`: from the first to the last, evenly."""
    return torch.linspace(0, count - 1, min(CHECKED, count), dtype=torch.float64).round().long().unique()


def others(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inputs (rows, ...) unlike a sample (1, ...) nearly everywhere: reversed, moved along, and zero.

    A value of the sample that a recording took for a constant shows in them, wherever it comes from.
    """
    far = [tuple(x.shape[a] // part for a in axes) for part in (2, 3)]
    moved = [x.roll([1] * len(axes), axes), *(x.roll(by, axes) for by in far)]
    return torch.cat([x.flip(axes), *moved, torch.zeros_like(x)])


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of outputs (rows, ...), relative to the largest; infinite where one is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    off = float((found - expected).abs().max())
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
