"""Seqlets: spans of a sequence whose attribution is more than chance puts together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.motifs.windows import every_span, largest, taken

EULER = float(np.euler_gamma)
COLUMNS = ["record", "start", "end", "attribution", "z", "p", "q"]
FINITE = 1e-300  # the smallest p that is written


class Null(NamedTuple):
    """The Gumbel distribution of the largest |z| of a sequence without seqlets."""

    location: float
    scale: float

    def p(self, z: float) -> float:
        """Probability of a largest |z| of at least `z`."""
        return float(max(-np.expm1(-np.exp(-(abs(z) - self.location) / self.scale)), FINITE))


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
    r"""Spans of significant attribution, of any length between two limits.

    A span of :math:`l` of a sequence's :math:`L` positions with the sum :math:`S` has

    .. math:: z = \frac{S - l \mu}{\sigma \sqrt{l (L - l) / (L - 1)}}

    where :math:`\mu` and :math:`\sigma` are mean and standard deviation over the sequence: the mean and standard
    deviation of S if the same values lay in random order.

    Parameters
    ----------
    contribution : DataArray
        Attributions of positions: a sample dim and `position`. NaN at a sequence's ends is beyond it.
    shortest, longest : int, default 4 and 25
        Lengths of spans.
    level : float, default 0.05
        Spans with a larger p are left out.
    shuffles : int, default 100
        Random orders of a sequence's positions from which its null distribution is fitted.
    background : DataArray, optional
        Attributions of sequences without motifs, such as shuffled ones, of the same dims. Then the null distribution is
        that of their largest ``|z|``, one for all, with their mean and standard deviation.
    seed : int, default 0
        Of the shuffles. A sequence's result does not depend on the others, but for `q`.

    Returns
    -------
    DataFrame
        A row per seqlet, by record and then from the strongest: `record` (the sample's label), `start` and `end`
        (from 0, half-open), `attribution` (the sum), `z` (negative: less than the sequence's mean), `p`, `q`.
        Seqlets of a sequence do not overlap.

    Raises
    ------
    ValueError
        For other dims, limits that make no sense, and values between a sequence's ends that are not finite.

    Notes
    -----
    p is the probability that the sequence's values in random order have any span as strong, on either side: corrected
    for all spans of the sequence. The null distribution of the largest ``|z|`` is a Gumbel distribution fitted by moments
    to the shuffles. Strong values that belong to seqlets are in the shuffles too, so p errs on the large side. The
    strongest span is taken first, then the strongest that does not overlap it, and so on. q is Benjamini and
    Hochberg's over the spans taken and the first of each sequence that is not significant.

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
    laid = contribution.transpose(lead, "position")
    labels = _labels(laid, lead)
    _refuse_gaps(labels, laid.values, "contribution")
    shared = None if background is None else _background(background, shortest, longest)
    rows: list[tuple[Any, ...]] = []
    for label, values in zip(labels, laid.values, strict=True):
        rows += [
            (label, *found) for found in _of_one(values, shortest, longest, level, shuffles, shared, seed)
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


def _of_one(
    values: np.ndarray,
    shortest: int,
    longest: int,
    level: float,
    shuffles: int,
    shared: tuple[float, float, Null] | None,
    seed: int,
) -> Iterator[tuple[int, int, float, float, float]]:
    """Start, end, sum, z and p of a sequence's seqlets, and of the first span that is none."""
    begin, v = _between_ends(values)
    if len(v) < shortest or not v.std() > 0:
        return
    mean, spread = (v.mean(), v.std()) if shared is None else shared[:2]
    if shared is not None:
        null = shared[2]
    else:
        order = np.random.default_rng(seed).permuted(np.tile(v, (shuffles, 1)), axis=1)
        null = _fitted(largest(order, mean, spread, shortest, longest))
    for start, end, z in taken(every_span(v, mean, spread, shortest, longest)):
        p = null.p(z)
        yield begin + start, begin + end, float(v[start:end].sum()), z, p
        if p > level:
            return


def _between_ends(values: np.ndarray) -> tuple[int, np.ndarray]:
    """Where a sequence begins, and its values from the first to the last that is no NaN."""
    there = np.flatnonzero(~np.isnan(values))
    first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
    return first, values[first:last].astype(float)


def _refuse_gaps(labels: np.ndarray, rows: np.ndarray, name: str) -> None:
    for label, values in zip(labels.tolist(), rows, strict=True):
        if not np.isfinite(_between_ends(values)[1]).all():
            raise ValueError(
                f"`{name}`: {label!r} has NaN or infinite values between its ends; fill them, or leave it out"
            )


def _fitted(maxima: np.ndarray) -> Null:
    """A Gumbel distribution by moments; its scale has a floor for values that are all the same."""
    scale = max(float(maxima.std(ddof=1)) * np.sqrt(6) / np.pi, 1e-3 * float(maxima.mean()), 1e-12)
    return Null(float(maxima.mean()) - EULER * scale, scale)


def _background(background: xr.DataArray, shortest: int, longest: int) -> tuple[float, float, Null]:
    """Mean and standard deviation of the background's values, and the null of its rows."""
    lead = next((d for d in background.dims if d != "position"), None)
    if background.ndim != 2 or lead is None or background.sizes[lead] < 10:
        raise ValueError(
            f"`background` has {dict(background.sizes)}, expected a sample dim with at least 10 sequences, and position"
        )
    given = background.transpose(lead, "position")
    _refuse_gaps(_labels(given, lead), given.values, "background")
    rows = [_between_ends(v)[1] for v in given.values]
    rows = [v for v in rows if len(v) >= shortest]
    every = np.concatenate(rows)
    mean, spread = float(every.mean()), float(every.std())
    maxima = np.array([largest(v, mean, spread or 1.0, shortest, longest) for v in rows])
    return mean, spread or 1.0, _fitted(maxima)


def _with_q(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """The q-values, then without what is not significant."""
    from scipy.stats import false_discovery_control

    q = false_discovery_control(table.p.to_numpy(float)) if len(table) else np.empty(0)
    full = table.assign(q=q).astype({"start": int, "end": int, "q": float})
    return full[full.p <= level].reset_index(drop=True)
