"""Edits of an input: which features of which sample are replaced, and the values that replace them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib.engine.inputs import moved, of_samples
from attrib.engine.window.boxes import Edits, in_boxes


def edited(x: Tensor, edits: Edits, r: Tensor) -> Tensor:
    """Rows (rows, ...) after the edits `r` (rows,), from the samples `x` (rows, ...) of these edits."""
    inside = edits.inside(r.cpu(), x.shape[1:], x.device)
    return torch.where(inside, moved(edits.content(r.cpu()), x.device, x.dtype), x)


class Letters:
    """Every other letter at every position.

    Parameters
    ----------
    x : Tensor (N, letters, positions) or (N, positions, letters)
        The sequences; columns may be one-hot, zero (unknown), or anything else.
    axis, position : int
        The dims of letters and of positions.
    positions : Tensor (P,)
        Positions to edit.

    Attributes
    ----------
    samples, letters, positions : Tensor (R,)
        Sample, new letter and position of each edit.
    each : int
        Edits of a sample in which each letter is known; each unknown letter gives one more.
    """

    def __init__(self, x: Tensor, axis: int, position: int, positions: Tensor) -> None:
        self.axes: tuple[int, ...] = (position,)
        columns = x.detach().cpu().movedim((position, axis), (1, 2))[:, positions]  # (N, P, letters)
        self._one_hot = torch.eye(columns.shape[2], dtype=torch.long)
        same = (columns[:, :, None, :] == self._one_hot.to(columns.dtype)).all(3)
        self.samples, at, self.letters = (~same).nonzero().unbind(1)
        self.positions = positions[at]
        self.each = len(positions) * (columns.shape[2] - 1)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """All letters of the position."""
        return in_boxes(*self.box(r), self.axes, shape, device)

    def content(self, r: Tensor) -> Tensor:
        """One-hot letters, (rows, letters, 1) or (rows, 1, letters)."""
        return self._one_hot[self.letters[r]].unsqueeze(self.axes[0])

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The position."""
        return self.positions[r][:, None], self.positions[r][:, None] + 1


class Boxes:
    """Every box of a list in every sample.

    Parameters
    ----------
    n : int
        Number of samples.
    lo, hi : Tensor (B, k)
        Boxes [lo, hi) along `axes`.
    axes : tuple of int
        Dims of the input; along the others, all features are replaced.
    baseline : Tensor (1, ...) or (n, ...)
        The values that replace the features.
    """

    def __init__(self, n: int, lo: Tensor, hi: Tensor, axes: tuple[int, ...], baseline: Tensor) -> None:
        self.lo, self.hi, self.axes, self.baseline = lo, hi, axes, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(lo)), len(lo)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The box."""
        return in_boxes(*self.box(r), self.axes, shape, device)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return of_samples(self.baseline, self.samples[r], self.baseline.device)

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes of the edits."""
        b = r % len(self.lo)
        return self.lo[b], self.hi[b]


class Groups:
    """Every group of features in every sample.

    Parameters
    ----------
    n : int
        Number of samples.
    groups : Tensor of int
        The group of each feature, broadcast against a sample.
    numbers : Tensor (G,)
        The groups to replace.
    baseline : Tensor (1, ...) or (n, ...)
        The values that replace the features.
    """

    axes: tuple[int, ...] = ()

    def __init__(self, n: int, groups: Tensor, numbers: Tensor, baseline: Tensor) -> None:
        self.groups, self.numbers, self.baseline = groups, numbers, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(numbers)), len(numbers)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The group's features."""
        groups = moved(self.numbers[r % len(self.numbers)], device)
        return moved(self.groups, device)[None] == groups.view(-1, *[1] * self.groups.ndim)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return of_samples(self.baseline, self.samples[r], self.baseline.device)

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes along no axis, as groups have any shape."""
        none = torch.zeros(len(r), 0, dtype=torch.long)
        return none, none
