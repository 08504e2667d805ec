"""Seqlets: spans of a sequence with more attribution than chance would place there."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public

EULER = float(np.euler_gamma)
COLUMNS = ["record", "start", "end", "attribution", "z", "p", "q"]
FINITE = 1e-300  # the smallest p that is reported


class Null(NamedTuple):
    """The Gumbel distribution of the largest |z| of a sequence without seqlets."""

    location: float
    scale: float

    def p(self, z: float) -> float:
        """Probability of a largest |z| of at least `z`."""
        return float(max(-np.expm1(-np.exp(-(abs(z) - self.location) / self.scale)), FINITE))


@public
def find_seqlets(
    contribution: xr.DataArray,
    *,
    shortest: int = 4,
    longest: int = 25,
    level: float = 0.05,
    shuffles: int = 100,
    background: xr.DataArray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Find spans of significant attribution, of any length between two limits.

    A span of :math:`l` of a sequence's :math:`L` positions with the sum :math:`S` has

    .. math:: z = \frac{S - l \mu}{\sigma \sqrt{l (L - l) / (L - 1)}}

    where :math:`\mu` and :math:`\sigma` are mean and standard deviation of the sequence's values. So z has mean 0 and
    variance 1 if the same values lie in random order.

    Parameters
    ----------
    contribution : DataArray
        Attributions of positions: a sample dim and `position`. NaN at the ends marks positions beyond the sequence.
    shortest, longest : int, default 4 and 25
        Limits of a span's length.
    level : float, default 0.05
        Largest p of a seqlet.
    shuffles : int, default 100
        Number of random orders of a sequence's positions, from which its null distribution is fitted.
    background : DataArray, optional
        Attributions of sequences without motifs, such as shuffled ones, of the same dims. If passed, all sequences share one
        null distribution: that of the background's largest ``|z|``, with the background's mean and standard deviation.
    seed : int, default 0
        Seed of the shuffles. Only `q` depends on the other sequences.

    Returns
    -------
    DataFrame
        A row per seqlet, ordered by record and then by strength: `record` (the sample's label), `start` and `end`
        (from 0, half-open), `attribution` (the sum), `z` (negative below the sequence's mean), `p`, `q`. Seqlets of a
        sequence do not overlap.

    Raises
    ------
    ValueError
        For other dims, options out of range, and values between a sequence's ends that are not finite.

    Notes
    -----
    p is the probability that the sequence's values in random order contain any span with as large a ``|z|``. So it is
    corrected for all spans of the sequence. The null distribution of the largest ``|z|`` is a Gumbel distribution, fitted by
    moments to the shuffles. The shuffles contain the strong values of seqlets, so p is rather too large. The strongest span
    is selected first, then the strongest that does not overlap it, and so on. q is that of Benjamini and Hochberg, over the
    selected spans and the first span of each sequence that is not significant.

    References
    ----------
    Scan statistics: Glaz, Naus and Wallenstein (2001), doi:10.1007/978-1-4757-3460-7. Benjamini and Hochberg (1995),
    doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from attrib.domains.motifs import find_seqlets
    >>> values = np.random.default_rng(0).normal(size=(1, 60))
    >>> values[0, 20:28] += 5
    >>> find_seqlets(xr.DataArray(values, dims=("sample", "position")))[["start", "end"]].values.tolist()
    [[20, 28]]
    """
    _check(contribution, shortest, longest, level, shuffles)
    lead = next(d for d in contribution.dims if d != "position")
    ordered = contribution.transpose(lead, "position")
    labels = _labels(ordered, lead)
    _refuse_gaps(labels, ordered.values, "contribution")
    shared = None if background is None else _background(background, shortest, longest)
    rows: list[tuple[Any, ...]] = []
    for label, values in zip(labels, ordered.values, strict=True):
        rows += [
            (label, *span) for span in _seqlets_of(values, shortest, longest, level, shuffles, shared, seed)
        ]
    return _with_q(pd.DataFrame(rows, columns=COLUMNS[:-1]), level)


def _labels(a: xr.DataArray, lead: Hashable) -> np.ndarray:
    return a[lead].values if lead in a.coords else np.arange(a.sizes[lead])


def _check(contribution: xr.DataArray, shortest: int, longest: int, level: float, shuffles: int) -> None:
    if contribution.ndim != 2 or "position" not in contribution.dims:
        raise ValueError(
            f"`contribution` has dims {contribution.dims}, expected a sample dim and position; add up the letters: "
            "a.sum('nucleotide')"
        )
    if not 1 <= shortest <= longest or not 0 < level <= 1 or shuffles < 10:
        raise ValueError(
            f"`shortest` is {shortest}, `longest` {longest}, `level` {level}, `shuffles` {shuffles}; expected "
            "1 <= shortest <= longest, a level in (0, 1], at least 10 shuffles"
        )


def _seqlets_of(
    values: np.ndarray,
    shortest: int,
    longest: int,
    level: float,
    shuffles: int,
    shared: tuple[float, float, Null] | None,
    seed: int,
) -> Iterator[tuple[int, int, float, float, float]]:
    """Start, end, sum, z and p of a sequence's seqlets, and of the first span that is not significant."""
    begin, v = _between_ends(values)
    if len(v) < shortest or not np.ptp(v) > 0:
        return
    mean, spread = (v.mean(), v.std()) if shared is None else shared[:2]
    if shared is not None:
        null = shared[2]
    else:
        order = np.random.default_rng(whole_seed(seed)).permuted(np.tile(v, (shuffles, 1)), axis=1)
        null = _fitted(_largest_z(order, mean, spread, shortest, longest))
    for start, end, z in _without_overlap(_every_span(v, mean, spread, shortest, longest)):
        p = null.p(z)
        yield begin + start, begin + end, float(v[start:end].sum()), z, p
        if p > level:
            return


def _between_ends(values: np.ndarray) -> tuple[int, np.ndarray]:
    """The first position of a sequence, and its values from the first to the last that is not NaN."""
    defined = np.flatnonzero(~np.isnan(values))
    first, last = (int(defined[0]), int(defined[-1]) + 1) if len(defined) else (0, 0)
    return first, values[first:last].astype(float)


def _refuse_gaps(labels: np.ndarray, rows: np.ndarray, name: str) -> None:
    for label, values in zip(labels.tolist(), rows, strict=True):
        if not np.isfinite(_between_ends(values)[1]).all():
            raise ValueError(
                f"`{name}`: {label!r} has NaN or infinite values between its ends; fill them, or leave it out"
            )


def _fitted(maxima: np.ndarray) -> Null:
    """A Gumbel distribution fitted by moments. Its scale has a floor, for maxima that are all the same."""
    scale = max(float(maxima.std(ddof=1)) * np.sqrt(6) / np.pi, 1e-3 * float(maxima.mean()), 1e-12)
    return Null(float(maxima.mean()) - EULER * scale, scale)


def _background(background: xr.DataArray, shortest: int, longest: int) -> tuple[float, float, Null]:
    """Mean and standard deviation of the background's values, and the null distribution of its rows."""
    lead = next((d for d in background.dims if d != "position"), None)
    if background.ndim != 2 or lead is None or background.sizes[lead] < 10:
        raise ValueError(
            f"`background` has {dict(background.sizes)}, expected a sample dim with at least 10 sequences, and position"
        )
    ordered = background.transpose(lead, "position")
    _refuse_gaps(_labels(ordered, lead), ordered.values, "background")
    rows = [_between_ends(v)[1] for v in ordered.values]
    rows = [v for v in rows if len(v) >= shortest]
    every = np.concatenate(rows)
    mean, spread = float(every.mean()), float(every.std())
    maxima = np.array([_largest_z(v, mean, spread or 1.0, shortest, longest) for v in rows])
    return mean, spread or 1.0, _fitted(maxima)


def _with_q(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """The table with q, without spans that are not significant."""
    from scipy.stats import false_discovery_control

    q = false_discovery_control(table.p.to_numpy(float)) if len(table) else np.empty(0)
    full = table.assign(q=q).astype({"start": int, "end": int, "q": float})
    return full[full.p <= level].reset_index(drop=True)


class Spans(NamedTuple):
    """Spans of a sequence, a row each.

    Attributes
    ----------
    start, end : array (spans,)
        Half-open.
    z : array (spans,)
    """

    start: np.ndarray
    end: np.ndarray
    z: np.ndarray


def _z(sums: np.ndarray, length: int, size: int, mean: float, spread: float) -> np.ndarray:
    """z of spans with these sums; 0 for a span of the full sequence, whose sum does not vary."""
    deviation = spread * np.sqrt(length * (size - length) / max(size - 1, 1))
    return (sums - length * mean) / deviation if deviation > 0 else np.zeros_like(sums)


def _by_length(
    v: np.ndarray, mean: float, spread: float, shortest: int, longest: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Each length, and z of the spans of that length (..., starts)."""
    size = v.shape[-1]
    sums = np.concatenate([np.zeros((*v.shape[:-1], 1)), np.cumsum(v, -1)], -1)
    for length in range(shortest, min(longest, size) + 1):
        yield length, _z(sums[..., length:] - sums[..., :-length], length, size, mean, spread)


def _largest_z(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> np.ndarray:
    """The largest |z| of each row."""
    return np.max([np.abs(z).max(-1) for _, z in _by_length(v, mean, spread, shortest, longest)], axis=0)


def _every_span(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> Spans:
    """All spans of a sequence."""
    parts = [
        (np.arange(len(z)), np.arange(len(z)) + length, z)
        for length, z in _by_length(v, mean, spread, shortest, longest)
    ]
    return Spans(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _without_overlap(spans: Spans) -> Iterator[tuple[int, int, float]]:
    """The strongest span, then the strongest of those that do not overlap it, and so on."""
    free = np.ones(len(spans.z), bool)
    strength = np.abs(spans.z)
    while free.any():
        best = int(np.where(free, strength, -1).argmax())
        start, end = int(spans.start[best]), int(spans.end[best])
        yield start, end, float(spans.z[best])
        free &= (spans.end <= start) | (spans.start >= end)
