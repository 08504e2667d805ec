"""Edits as windows take them: boxes of positions in the samples of one input, and what replaces them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from attrib.engine.inputs import moved


class Edits(Protocol):
    """A list of edits of one input, sorted by sample; each edit is one row for the model.

    Attributes
    ----------
    samples : Tensor (R,)
        The sample of each edit, ascending.
    axes : tuple of int
        The dims of the input along which an edit is a box; empty if edits have any shape.
    each : int
        Edits of a sample.
    """

    samples: Tensor
    axes: tuple[int, ...]
    each: int

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The features that the edits `r` replace in rows shaped (rows, *shape); broadcasts against the rows."""
        ...

    def content(self, r: Tensor) -> Tensor:
        """The values that replace them; broadcasts against the rows."""
        ...

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Start and stop of the boxes (rows, k) along `axes`."""
        ...


def in_boxes(
    lo: Tensor, hi: Tensor, axes: Sequence[int], shape: Sequence[int], device: torch.device
) -> Tensor:
    """The features of rows (rows, *shape) on a device that lie in boxes [lo, hi) (rows, k) along `axes`."""
    lo, hi = moved(lo, device), moved(hi, device)  # a few numbers; the mask is made where it is used
    inside = torch.ones((len(lo), *[1] * len(shape)), dtype=torch.bool, device=device)
    for k, axis in enumerate(axes):
        size = shape[axis - 1]
        position = torch.arange(size, device=device).view(
            [size if d == axis else 1 for d in range(len(shape) + 1)]
        )
        start, stop = (t[:, k].view(-1, *[1] * len(shape)) for t in (lo, hi))
        inside = inside & (position >= start) & (position < stop)
    return inside
