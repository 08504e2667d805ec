"""Two groups of samples compared entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._seed import whole_seed
from attrib.stats.matching import Labelled, by_labels, samples_along, values_along

CHUNK = 1 << 22  # numbers in memory at a time
CLOSE = 1 - 1e-9  # what rounding may do to a statistic that two permutations share


def contrast(
    a: Labelled,
    label: str | Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    dim: str = "sample",
    n_permutations: int = 999,
    n_bootstrap: int = 999,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Difference of two groups' means for every entry, with bootstrap intervals and permutation p-values.

    ``difference = mean over positives - mean over negatives``;
    ``t = difference / (s sqrt(1 / n1 + 1 / n0))`` with the pooled standard deviation s

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions with the dim `dim`; all other dims together are the entries. No NaN.
    label : str or array
        A coord along `dim`, or one value per sample: 1 or True for positives, 0 or False for negatives. A DataArray or
        a Series is matched by the samples' labels where both have them; it may have more samples than `a`.
    dim : str, default "sample"
        The samples.
    n_permutations : int, default 999
        Random relabellings. The smallest p-value is ``1 / (n_permutations + 1)``.
    n_bootstrap : int, default 999
        Resamplings with replacement, each group by itself.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of the permutations and the resamplings.

    Returns
    -------
    Dataset
        Over the other dims: `difference`, `lower` and `upper` (percentiles of the bootstrap) in the unit of `a`;
        `t`; `p` (two-sided, one entry at a time); `p_corrected` (step-down maxT of Westfall and Young: with a threshold on
        it, the chance of any false finding among all entries is at most the threshold). Attributes `positives` and `negatives`
        count the samples.

    Raises
    ------
    ValueError
        For labels other than 0 and 1, samples without a label, groups of fewer than two samples, and an `a` without entries
        or with entries that are not finite.

    Notes
    -----
    Permutations assume that the samples are exchangeable under the null hypothesis. Related samples, such as several sites
    of one miRNA, are not. An interval covers one entry, not all of them at once. Entries that are the same in all samples
    have t = 0 and p = 1. Memory: the data, and 4 million numbers at a time.

    References
    ----------
    Westfall, Young (1993), Resampling-based multiple testing. ISBN 978-0-471-55761-6. Ge, Dudoit, Speed (2003),
    Resampling-based multiple testing for microarray data analysis. doi:10.1007/BF02595811

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import contrast
    >>> values = np.random.default_rng(0).normal(size=(40, 3)) + np.outer(np.arange(40) < 20, [3, 0, 0])
    >>> groups = contrast(xr.DataArray(values, dims=("sample", "gene")), np.arange(40) < 20)
    >>> (groups.p_corrected < 0.05).values.tolist()
    [True, False, False]
    """
    a = by_labels(a, "a", (dim, "feature"))
    dim = samples_along(a, dim)
    if dim not in a.dims:
        raise ValueError(
            f"`a` has dims {a.dims}, expected {dim!r} among them; name the samples' dim with dim="
        )
    if min(n_permutations, n_bootstrap) < 1 or not 0 < level < 1:
        raise ValueError(f"`n_permutations` is {n_permutations}, `n_bootstrap` {n_bootstrap}, `level` {level}; expected positive numbers and a share")  # fmt: skip
    positive = two_groups(a, label, dim)
    ordered = a.transpose(dim, ...)
    x = rows_of(ordered)
    x = x - x.mean(0)  # leaves the difference as it is, and rounding small
    lower, upper = _bootstrap(x, positive, n_bootstrap, level, seed)
    t, p, corrected = _permuted(x, positive, n_permutations, seed)
    numbers = {"difference": x[positive].mean(0) - x[~positive].mean(0), "lower": lower, "upper": upper, "t": t, "p": p, "p_corrected": corrected}  # fmt: skip
    entries = _labelled(numbers, entry_labels(ordered, dim), a.attrs.get("units", ""))
    return entries.assign_attrs(positives=int(positive.sum()), negatives=int((~positive).sum()))


def rows_of(ordered: xr.DataArray) -> np.ndarray:
    """A row per sample."""
    if not ordered.size:
        raise ValueError(f"`a` has no entries, its sizes are {dict(ordered.sizes)}")
    x = np.asarray(ordered.values, dtype=np.float64).reshape(len(ordered), -1)
    if not np.isfinite(x).all():
        raise ValueError("`a` has entries that are not finite; select those that all samples have")
    return x


def entry_labels(a: xr.DataArray, dim: str) -> xr.DataArray:
    """The labels of an entry: one sample without the coords along `dim`."""
    return a.isel({dim: 0}, drop=True).drop_vars(
        [c for c, v in a.coords.items() if dim in v.dims], errors="ignore"
    )


def _labelled(numbers: dict[str, np.ndarray], like: xr.DataArray, units: str) -> xr.Dataset:
    """A Dataset of numbers per entry, with the labels of `like`."""
    entries = xr.Dataset(
        {k: like.copy(data=v.reshape(like.shape)).assign_attrs({}) for k, v in numbers.items()}
    )
    for name in ("difference", "lower", "upper"):
        entries[name].attrs["units"] = units
    return entries


def two_groups(a: xr.DataArray, label: Any, dim: str) -> np.ndarray:
    """Which samples are positives, for `label` as in `contrast`."""
    values = values_along(label, a, dim, "label")
    if values.shape != (a.sizes[dim],) or not set(np.unique(values)) <= {0, 1}:
        raise ValueError(f"`label` has {values.shape} values {np.unique(values)[:4].tolist()}, expected {a.sizes[dim]} of 0 and 1")  # fmt: skip
    positive = values.astype(bool)
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < 2:
        raise ValueError(
            f"`label` has {counts[0]} positives and {counts[1]} negatives, expected at least two of each"
        )
    return positive


def _bootstrap(
    x: np.ndarray, positive: np.ndarray, count: int, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the difference over resamplings, some entries at a time."""
    rng = np.random.default_rng([whole_seed(seed), 1])
    weights = np.zeros((count, len(x)))
    for group, sign in ((positive, 1), (~positive, -1)):
        n = int(group.sum())
        weights[:, group] = sign * rng.multinomial(n, np.full(n, 1 / n), size=count) / n
    ends = (1 - level) / 2, (1 + level) / 2
    step = max(1, CHUNK // count)
    parts = [np.quantile(weights @ x[:, s : s + step], ends, axis=0) for s in range(0, x.shape[1], step)]
    lower, upper = np.concatenate(parts, axis=1)
    return lower, upper


def _permuted(
    x: np.ndarray, positive: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t, p-values, and step-down p-values: each entry against the largest statistic among the entries of no larger |t|."""
    rng = np.random.default_rng([whole_seed(seed), 2])
    squares = (x**2).sum(0)
    t = pooled_t(positive[None].astype(float), x, squares)[0]
    order = np.argsort(-np.abs(t), kind="stable")
    seen = np.abs(t[order])
    least = np.where(seen > 0, seen * CLOSE, 0.0)
    single, largest = np.zeros(len(t)), np.zeros(len(t))
    step = max(1, CHUNK // max(1, x.shape[1]))
    for start in range(0, count, step):
        rows = np.tile(positive.astype(float), (min(step, count - start), 1))
        permuted = np.abs(pooled_t(rng.permuted(rows, axis=1), x, squares)[:, order])
        single += (permuted >= least).sum(0)
        largest += (np.maximum.accumulate(permuted[:, ::-1], axis=1)[:, ::-1] >= least).sum(0)
    p, corrected = np.empty(len(t)), np.empty(len(t))
    p[order] = (1 + single) / (1 + count)
    corrected[order] = np.maximum.accumulate((1 + largest) / (1 + count))
    return t, p, corrected


def pooled_t(chosen: np.ndarray, x: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Pooled t of each relabelling (rows, entries); x is centred, so the chosen samples' sums are enough."""
    n, n1 = x.shape[0], chosen[0].sum()
    n0 = n - n1
    difference = (chosen @ x) * (1 / n1 + 1 / n0)
    within = squares - difference**2 * n1 * n0 / n
    exact = within <= 1e-12 * squares  # the groups are two values
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference * np.sqrt(n1 * n0 / n * (n - 2) / np.where(exact, 0.0, within))
    return np.where(squares > 0, t, 0.0)
