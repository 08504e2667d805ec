"""Quantiles of streams of numbers, many at once: histograms whose bins widen by powers of two, with the error they cause."""

from __future__ import annotations

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 256
_FINEST = 50  # bins are at least 2^-50 of the largest magnitude wide, so that their numbers are exact


class Histograms:
    """A histogram for each entry of each group.

    Parameters
    ----------
    state : dict of arrays
        Where the histograms live: ``counts`` (groups, entries, bins), ``exponent`` and ``base`` (groups, entries), ``lowest``
        and ``highest`` (groups, entries). They are added if they are missing.
    groups : int
    shape : tuple of int
        Of the entries.

    Notes
    -----
    Bin b of an entry holds the values in [(base + b) w, (base + b + 1) w) with w = 2^exponent, the smallest power of two for
    which the bins reach from the least to the largest value. Edges are multiples of w, so bins of width w fit into those
    of width 2w: the counts do not depend on the order of the values. Each order statistic is known up to w, which is at
    most 1/127 of the range. Memory: a kilobyte per entry and group.
    """

    def __init__(self, state: dict[str, np.ndarray], groups: int, shape: tuple[int, ...]) -> None:
        entries = int(np.prod(shape))
        self.state, self._shape = state, shape
        if "counts" not in state:
            state["counts"] = np.zeros((groups, entries, BINS), np.uint32)
            state["exponent"] = np.full((groups, entries), np.iinfo(np.int32).min, np.int32)
            state["base"] = np.zeros((groups, entries), np.int64)
            state["lowest"] = np.full((groups, entries), np.inf)
            state["highest"] = np.full((groups, entries), -np.inf)

    def add(self, group: int, values: np.ndarray) -> None:
        """Add float64 values (n, ...) to the histograms of a group."""
        values = values.reshape(len(values), -1)
        lowest = np.minimum(self.state["lowest"][group], values.min(0))
        highest = np.maximum(self.state["highest"][group], values.max(0))
        exponent = _smallest_exponent(lowest, highest)
        self._widen(group, exponent, _bin(lowest, exponent))
        self.state["lowest"][group], self.state["highest"][group] = lowest, highest
        bins = _bin(values, exponent) - self.state["base"][group]
        flat = (np.arange(values.shape[1]) * BINS + bins).ravel()
        counts = np.bincount(flat, minlength=values.shape[1] * BINS)
        self.state["counts"][group] += counts.reshape(-1, BINS).astype(np.uint32)

    def _widen(self, group: int, exponent: np.ndarray, base: np.ndarray) -> None:
        """Pour the counts into bins of other widths, from another first one on."""
        old_exponent, old_base = self.state["exponent"][group], self.state["base"][group]
        used = self.state["lowest"][group] <= self.state["highest"][group]
        changed = np.flatnonzero(used & ((exponent != old_exponent) | (base != old_base)))
        if len(changed):
            shift = np.minimum(exponent - old_exponent, 62)[changed, None].astype(np.int64)
            bins = ((old_base[changed, None] + np.arange(BINS)) >> shift) - base[changed, None]
            counts = self.state["counts"][group][changed]
            bins = np.where(counts > 0, bins, 0)
            flat = (np.arange(len(changed))[:, None] * BINS + bins).ravel()
            poured = np.bincount(flat, weights=counts.ravel(), minlength=len(changed) * BINS)
            self.state["counts"][group][changed] = poured.reshape(-1, BINS).astype(np.uint32)
        self.state["exponent"][group], self.state["base"][group] = exponent, base

    def quantiles(self, count: np.ndarray) -> np.ndarray:
        """Quantiles (groups, quantiles, ...), linear between order statistics as in NumPy; NaN where there are no samples."""
        groups = len(count)
        quantiles = np.full((groups, len(QUANTILES), int(np.prod(self._shape))), np.nan)
        for group in map(int, np.flatnonzero(count)):
            for k, q in enumerate(QUANTILES):
                rank, part = divmod(q * (count[group] - 1), 1)
                low = self._order_statistic(group, int(rank))
                high = self._order_statistic(group, min(int(rank) + 1, int(count[group]) - 1))
                quantiles[group, k] = low + part * (high - low)
        return quantiles.reshape(groups, len(QUANTILES), *self._shape)

    def _order_statistic(self, group: int, rank: int) -> np.ndarray:
        """The value number `rank` of each entry: its place in its bin, as if the values in it had equal distances."""
        counts = self.state["counts"][group]
        total = counts.cumsum(1, dtype=np.int64)
        bins = (total <= rank).sum(1)
        inside = np.take_along_axis(counts, bins[:, None], 1)[:, 0]
        before = np.take_along_axis(total, bins[:, None], 1)[:, 0] - inside
        place = self.state["base"][group] + bins + (rank - before + 0.5) / inside
        values = np.ldexp(place, self.state["exponent"][group])
        return np.clip(values, self.state["lowest"][group], self.state["highest"][group])

    def width(self, count: np.ndarray) -> np.ndarray:
        """Widths of the bins (groups, ...), which bound the errors; NaN where there are no samples."""
        exponent = np.where(count[:, None] > 0, self.state["exponent"], 0)
        widths = np.where(count[:, None] > 0, np.ldexp(1.0, exponent), np.nan)
        return widths.reshape(len(count), *self._shape)


def _bin(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    return np.floor(np.ldexp(values, -exponent)).astype(np.int64)


def _smallest_exponent(lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """The exponent of the smallest power of two of which the bins reach from the least to the largest value."""
    largest = np.maximum(np.maximum(np.abs(lowest), np.abs(highest)), np.finfo(np.float64).tiny)
    finest = np.frexp(largest)[1] - _FINEST
    spread = highest - lowest
    exponent = np.where(spread > 0, np.maximum(finest, np.frexp(spread / BINS)[1] - 1), finest).astype(
        np.int32
    )
    for _ in range(3):
        exponent += _bin(highest, exponent) - _bin(lowest, exponent) >= BINS
    return exponent
