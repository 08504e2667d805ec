"""Mean, mean square and variance of what is added row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.gradients import add_by_sample
from attrib.engine.pullback import Rows


class Moments:
    """Sums of rows and of their squares, sample by sample.

    Parameters
    ----------
    steps : int
        Rows per sample.
    first, second : bool
        Whether to keep the sum, and the sum of squares.

    Notes
    -----
    With both kept the sums are float64: a variance is a small difference of large numbers.
    """

    def __init__(self, steps: int, *, first: bool = True, second: bool = False) -> None:
        self.steps, self._first, self._second = steps, first, second
        self._sums: list[Tensor] = []
        self._squares: list[Tensor] = []

    def add(self, values: Rows, start: int, n: int) -> None:
        """Add rows (T, rows, ...) that begin with row `start` of `n * steps`."""
        wide = self._first and self._second
        if not (self._sums or self._squares):
            self._sums = [_zeros(v, n, wide) for v in values] if self._first else []
            self._squares = [_zeros(v, n, wide) for v in values] if self._second else []
        for total, v in zip(self._sums, values, strict=False):
            add_by_sample(total, v, start, self.steps)
        for total, v in zip(self._squares, values, strict=False):
            add_by_sample(total, v.to(total.dtype) ** 2, start, self.steps)

    def mean(self) -> Rows:
        """Mean over the rows of each sample: (T, n, ...) per input."""
        return tuple(s / self.steps for s in self._sums)

    def square(self) -> Rows:
        """Mean square."""
        return tuple(s / self.steps for s in self._squares)

    def variance(self) -> Rows:
        """Mean square deviation from the mean."""
        return tuple((q - m * m).clamp_(min=0) for q, m in zip(self.square(), self.mean(), strict=True))

    def standard_error(self) -> Rows:
        """Standard error of the mean; infinite with a single row, which says nothing about its error."""
        if self.steps == 1:
            return tuple(torch.full_like(s, torch.inf) for s in self._sums)
        return tuple((v / (self.steps - 1)).sqrt() for v in self.variance())


def _zeros(v: Tensor, n: int, wide: bool) -> Tensor:
    dtype = torch.float64 if wide else torch.promote_types(v.dtype, torch.float32)
    return torch.zeros(len(v), n, *v.shape[2:], dtype=dtype, device=v.device)
