"""Edits of an input: which features of which sample are replaced, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot


class Edits(Protocol):
    """A list of edits of one input, sample by sample; edit r makes one row for the model.

    Attributes
    ----------
    samples : Tensor (R,)
        The sample each edit belongs to, ascending.
    axes : tuple of int
        The dims of the input along which an edit is a box; none where edits have any shape.
    each : int
        Edits of a sample.
    """

    samples: Tensor
    axes: tuple[int, ...]
    each: int

    def inside(self, r: Tensor, shape: Sequence[int]) -> Tensor:
        """Which features of rows shaped (rows, *shape) the edits `r` replace; broadcasts against the rows."""
        ...

    def content(self, r: Tensor) -> Tensor:
        """What they are replaced by; broadcasts against the rows."""
        ...

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """First and last but one position (rows, k) along `axes`."""
        ...


def edited(x: Tensor, edits: Edits, r: Tensor) -> Tensor:
    """Rows `x` (rows, ...) of the samples that edits `r` (rows,) belong to, with the edits made."""
    return torch.where(
        edits.inside(r.cpu(), x.shape[1:]).to(x.device), edits.content(r.cpu()).to(x.device, x.dtype), x
    )


def between(lo: Tensor, hi: Tensor, axes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Which features of rows (rows, *shape) lie in boxes [lo, hi) (rows, k) along `axes`."""
    found = torch.ones((len(lo), *[1] * len(shape)), dtype=torch.bool)
    for k, axis in enumerate(axes):
        along = [1] * (len(shape) + 1)
        along[axis] = shape[axis - 1]
        place = torch.arange(shape[axis - 1]).view(along)
        first, stop = (t[:, k].view(-1, *[1] * len(shape)) for t in (lo, hi))
        found = found & (place >= first) & (place < stop)
    return found


class Letters:
    """Every letter at every position, except where it stands already.

    Parameters
    ----------
    x : Tensor (N, letters, positions) or (N, positions, letters)
        The sequences; columns may be one-hot, zero (unknown), or anything else.
    axis, position : int
        The dims of letters and of positions.
    positions : Tensor (P,)
        Where to edit.

    Attributes
    ----------
    samples, letters, positions : Tensor (R,)
        Sample, new letter and position of each edit.
    each : int
        Edits of a sample where every letter is known; one more for each that is not.
    """

    def __init__(self, x: Tensor, axis: int, position: int, positions: Tensor) -> None:
        self.axes: tuple[int, ...] = (position,)
        columns = x.detach().cpu().movedim((position, axis), (1, 2))[:, positions]  # (N, P, letters)
        self.count = columns.shape[2]
        same = (columns[:, :, None, :] == torch.eye(self.count, dtype=columns.dtype)).all(3)
        self.samples, at, self.letters = (~same).nonzero().unbind(1)
        self.positions = positions[at]
        self.each = len(positions) * (self.count - 1)

    def inside(self, r: Tensor, shape: Sequence[int]) -> Tensor:
        """The whole column."""
        return between(*self.box(r), self.axes, shape)

    def content(self, r: Tensor) -> Tensor:
        """One-hot letters, (rows, letters, 1) or (rows, 1, letters)."""
        return one_hot(self.letters[r], self.count).unsqueeze(self.axes[0])

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The column's position."""
        return self.positions[r][:, None], self.positions[r][:, None] + 1


class Boxes:
    """Every box of a list, in every sample.

    Parameters
    ----------
    n : int
        Samples.
    lo, hi : Tensor (B, k)
        Boxes [lo, hi) along `axes`.
    axes : tuple of int
        Dims of the input; the others are replaced in full.
    baseline : Tensor (1, ...) or (n, ...)
        What is put there.
    """

    def __init__(self, n: int, lo: Tensor, hi: Tensor, axes: tuple[int, ...], baseline: Tensor) -> None:
        self.lo, self.hi, self.axes, self.baseline = lo, hi, axes, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(lo)), len(lo)

    def inside(self, r: Tensor, shape: Sequence[int]) -> Tensor:
        """The box."""
        return between(*self.box(r), self.axes, shape)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return self.baseline if len(self.baseline) == 1 else self.baseline[self.samples[r]]

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The edits' boxes."""
        b = r % len(self.lo)
        return self.lo[b], self.hi[b]


class Groups:
    """Every group of features, in every sample.

    Parameters
    ----------
    n : int
        Samples.
    groups : Tensor of int
        The group of each feature, broadcast against a sample.
    numbers : Tensor (G,)
        The groups to replace.
    baseline : Tensor (1, ...) or (n, ...)
        What is put there.
    """

    axes: tuple[int, ...] = ()

    def __init__(self, n: int, groups: Tensor, numbers: Tensor, baseline: Tensor) -> None:
        self.groups, self.numbers, self.baseline = groups, numbers, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(numbers)), len(numbers)

    def inside(self, r: Tensor, shape: Sequence[int]) -> Tensor:
        """The group's features."""
        wanted = self.numbers[r % len(self.numbers)]
        return self.groups[None] == wanted.view(-1, *[1] * self.groups.ndim)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return self.baseline if len(self.baseline) == 1 else self.baseline[self.samples[r]]

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """None: groups have any shape."""
        none = torch.zeros(len(r), 0, dtype=torch.long)
        return none, none
