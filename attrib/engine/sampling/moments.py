"""Mean, mean square and variance of what is added row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from attrib._arguments import near
from attrib.engine.gradient.differentiate import Rows
from attrib.engine.gradient.passes import add_by_sample, by_sample
from attrib.engine.inputs import moved
from attrib.engine.sampling.perturbations import block

REDUCTIONS = ("mean", "square", "variance")


class Moments:
    """Sums of rows and of their squares, sample by sample.

    Parameters
    ----------
    n, steps : int
        Samples, and rows per sample.
    device : torch.device
        Where the sums are kept.
    first, second : bool
        Whether to keep the sum, and the sum of squares.

    Notes
    -----
    A variance is a small difference of large numbers. With both kept, the sums are therefore float64 ones of the rows'
    differences from their sample's first row, which are as small as the spread is.
    """

    def __init__(
        self, n: int, steps: int, device: torch.device, *, first: bool = True, second: bool = False
    ) -> None:
        self.n, self.steps, self.device, self._first, self._second = n, steps, device, first, second
        self._sums: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._shapes: list[torch.Size] = []
        self._pivots: list[Tensor] = []  # each sample's first row, where both sums are kept

    @classmethod
    def of(cls, reduce: str, n: int, steps: int, device: torch.device) -> Moments:
        """What a reduction by name needs.

        Raises
        ------
        ValueError
            If `reduce` is none of `REDUCTIONS`, or there is but one row to take a variance of.
        """
        if reduce not in REDUCTIONS:
            raise ValueError(
                f"`reduce` is {reduce!r}, expected one of {', '.join(REDUCTIONS)}{near(reduce, REDUCTIONS)}"
            )
        if reduce == "variance" and steps < 2:
            raise ValueError(f'`n_samples` is {steps}, expected at least 2 for `reduce="variance"`')
        return cls(n, steps, device, first=reduce != "square", second=reduce != "mean")

    def reduced(self) -> Rows:
        """Variance where both sums are kept, else the mean or the mean square."""
        if self._first and self._second:
            return self.variance()
        return self.mean() if self._first else self.square()

    def add(self, values: Rows, start: int) -> None:
        """Add rows (T, rows, ...) that begin with row `start` of `n * steps`."""
        wide = self._first and self._second
        if not (self._sums or self._squares):
            self._sums = [self._zeros(v, wide) for v in values] if self._first else []
            self._squares = [self._zeros(v, wide) for v in values] if self._second else []
            self._pivots = [self._zeros(v, False) for v in values] if wide else []
            self._shapes = [v.shape[2:] for v in values]
        if wide:
            for j, v in enumerate(values):
                self._add_differences(j, v, start)
            return
        for total, v in zip(self._sums, values, strict=False):
            add_by_sample(total, v, start, self.steps)
        for total, v in zip(self._squares, values, strict=False):
            add_by_sample(total, v.to(total.dtype).square(), start, self.steps)

    def _add_differences(self, j: int, values: Tensor, start: int) -> None:
        # the sums themselves are written to, not views held on to: under a transform of torch.func they change their kind
        pivots, sums, squares = self._pivots[j], self._sums[j], self._squares[j]
        for samples, first, rows in by_sample(_flat(values), start, self.steps):
            for n, f in _blocks(rows):
                part, at = rows[:, n, :, f], (slice(None), _within(samples, n), f)
                if first:
                    pivots[at] = part[:, :, 0].to(pivots)
                away = part - pivots[at][:, :, None].to(part.device)
                sums[at] += away.sum(2).to(self.device)
                squares[at] += away.square_().sum(2).to(self.device)

    def _zeros(self, v: Tensor, wide: bool) -> Tensor:
        dtype = torch.float64 if wide else torch.promote_types(v.dtype, torch.float32)
        shape = (v[0, 0].numel(),) if self._second and self._first else v.shape[2:]
        return torch.zeros(len(v), self.n, *shape, dtype=dtype, device=self.device)

    def _shaped(self, flat: Iterable[Tensor]) -> Rows:
        """The sums, kept (T, n, entries), in the shape of the rows."""
        return tuple(t.reshape(*t.shape[:2], *shape) for t, shape in zip(flat, self._shapes, strict=True))

    def mean(self) -> Rows:
        """Mean over the rows of each sample: (T, n, ...) per input."""
        if self._pivots:
            return self._shaped(p + s / self.steps for p, s in zip(self._pivots, self._sums, strict=True))
        return tuple(s / self.steps for s in self._sums)

    def square(self) -> Rows:
        """Mean square."""
        if self._pivots:
            return tuple(v + m * m for v, m in zip(self.variance(), self.mean(), strict=True))
        return tuple(s / self.steps for s in self._squares)

    def variance(self) -> Rows:
        """Mean square deviation from the mean."""
        pairs = zip(self._squares, self._sums, strict=True)
        return self._shaped((q / self.steps - (s / self.steps) ** 2).clamp_(min=0) for q, s in pairs)

    def standard_error(self) -> Rows:
        """Standard error of the mean; infinite with a single row, which says nothing about its error."""
        if self.steps == 1:
            return self._shaped(torch.full_like(s, torch.inf) for s in self._sums)
        return tuple((v / (self.steps - 1)).sqrt() for v in self.variance())


class Successive:
    """Sums of rows, and the standard error of their mean where successive rows are not draws of one distribution.

    Rows from strata of a path differ by their place more than by chance. The mean of squares of their differences of order d, by
    the sum of squares of its binomial coefficients (2, 6), is the variance of a row in its stratum, plus what a difference sees of the
    path: it overstates the error, by little where the path is smooth.

    Parameters
    ----------
    n, steps : int
        Samples, and rows per sample.
    device : torch.device
        Where the sums are kept.
    order : {1, 2}
        Of the differences.
    counted : callable
        Samples (a range) to (n, steps - order): which differences count, by their first row.
    """

    def __init__(
        self, n: int, steps: int, device: torch.device, order: int, counted: Callable[[range], Tensor]
    ) -> None:
        self.n, self.steps, self.device, self.order, self._counted = n, steps, device, order, counted
        self._sums: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._before: list[Tensor | None] = []  # the last rows of a sample that is not complete
        self._shapes: list[torch.Size] = []
        self._count = torch.zeros(n, dtype=torch.float64)

    def add(self, values: Rows, start: int) -> None:
        """Add rows (T, rows, ...) that begin with row `start` of `n * steps`, in this order."""
        if not self._sums:
            shape = lambda v: (len(v), self.n, v[0, 0].numel())
            zeros = lambda v: torch.zeros(shape(v), dtype=torch.float64, device=self.device)
            self._sums, self._squares = ([zeros(v) for v in values] for _ in range(2))
            self._before, self._shapes = [None] * len(values), [v.shape[2:] for v in values]
        for j, v in enumerate(values):
            row = start
            for samples, _, rows in by_sample(_flat(v), start, self.steps):
                self._add(j, samples, rows, row % self.steps)
                row += rows.shape[1] * rows.shape[2]

    def _add(self, j: int, samples: slice, rows: Tensor, step: int) -> None:
        """Add rows (T, n, rows, features) of samples, from a step on."""
        before, fresh = self._before[j], rows.shape[2]
        if step and before is not None:
            rows = torch.cat([before, rows], 2)
        at, windows = max(0, step - self.order), rows.shape[2] - self.order
        counted = self._counted(range(samples.start, samples.stop))[:, at : at + max(windows, 0)]
        mask = moved(counted, rows.device)[None, :, :, None]
        for n, f in _blocks(rows):
            part, place = rows[:, n, :, f], (slice(None), _within(samples, n), f)
            self._sums[j][place] += part[:, :, -fresh:].sum(2).to(self.device)
            if windows > 0:
                if self.order == 2:
                    difference = (part[:, :, 2:] + part[:, :, :-2]).sub_(part[:, :, 1:-1], alpha=2)
                else:
                    difference = part[:, :, 1:] - part[:, :, :-1]
                squares = difference.square_().mul_(mask[:, n])
                self._squares[j][place] += squares.sum(2).to(self.device)
        if j == 0:
            self._count[samples] += counted.sum(1)
        self._before[j] = rows[:, :, -self.order :].clone() if at + rows.shape[2] < self.steps else None

    def mean(self) -> Rows:
        """Mean over the rows of each sample: (T, n, ...) per input."""
        return self._shaped(s / self.steps for s in self._sums)

    def standard_error(self) -> Rows:
        """Standard error of the mean; infinite where there is no difference to tell it from."""
        of_difference = {1: 2, 2: 6}[self.order] * self._count.to(self.device)[None, :, None] * self.steps
        known = of_difference > 0
        return self._shaped(
            torch.where(known, (q / torch.where(known, of_difference, 1)).sqrt(), torch.inf)
            for q in self._squares
        )

    def _shaped(self, flat: Iterable[Tensor]) -> Rows:
        return tuple(t.reshape(*t.shape[:2], *shape) for t, shape in zip(flat, self._shapes, strict=True))


def _blocks(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Samples and features of rows (T, n, rows, features) to work on at a time, so that they stay in the cache."""
    t, n, r, f = rows.shape
    many = max(1, block(rows.device) // max(t * r * f, 1))
    wide = f if t * r * f <= block(rows.device) else max(64, block(rows.device) // (t * r))
    for a in range(0, n, many):
        for b in range(0, f, max(wide, 1)):
            yield slice(a, min(a + many, n)), slice(b, min(b + wide, f))


def _within(samples: slice, part: slice) -> slice:
    return slice(samples.start + part.start, samples.start + part.stop)


def _flat(values: Tensor) -> Tensor:
    """(T, rows, entries), also of samples that are single numbers."""
    return values.reshape(*values.shape[:2], -1)
