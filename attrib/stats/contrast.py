"""Two groups of samples compared entry by entry, and whether samples of one label have attributions alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public
from attrib.stats.matching import Labelled, by_labels, complete, samples_along, values_along

CHUNK = 1 << 22  # numbers in memory at a time
CLOSE = 1 - 1e-9  # what rounding may do to a statistic that two permutations share

ENTRIES = 1 << 18  # entries at a time


@public
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
        The samples; of results of attrib, whatever their dim of samples is called.
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
    positive = two_groups(a, label, dim)
    ordered = a.transpose(dim, ...)
    x = centred(rows_of(ordered))  # leaves the difference as it is, and rounding small
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


def centred(x: np.ndarray) -> np.ndarray:
    """Rows less their mean; exactly 0 where all are the same, which they are not less a mean that was rounded."""
    less = x - x.mean(0, dtype=np.float64)
    less[:, (x == x[0]).all(0)] = 0.0
    return less


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


@public
def consistency(
    a: Labelled,
    label: str | Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    dim: str = "sample",
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean correlation of the attributions of two samples, within each label and between labels.

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions with the dim `dim`.
    label : str or array
        A coord along `dim`, or one value per sample; a DataArray or a Series is matched by the samples' labels.
    dim : str, default "sample"
        The samples; of results of attrib, whatever their dim of samples is called.
    n_permutations : int, default 999
        Relabellings for the p-value.
    seed : int, default 0
        Their seed.

    Returns
    -------
    DataFrame
        `samples`: ``within LABEL`` for each, ``within labels``, ``between labels``, and ``within - between``; `pairs`, how
        many; `correlation`, the mean of Pearson's r; `p` of the last row, one-sided, by relabelling.

    Raises
    ------
    ValueError
        For fewer than two labels, or labels that are not one per sample.

    Notes
    -----
    Attributions without spread correlate with none: their r counts as 0. Memory: the data, and 260,000 entries of them in
    float64.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import consistency
    >>> values = np.random.default_rng(0).normal(size=(8, 50)) + np.repeat([[1.0], [0.0]], 4, 0) * np.arange(50)
    >>> table = consistency(xr.DataArray(values, dims=("sample", "gene")), ["TLE"] * 4 + ["HC"] * 4)
    >>> bool(table.correlation[1] > 0.9 and abs(table.correlation[0]) < 0.2)
    True
    """
    a = by_labels(a, "a", (dim, "feature"))
    dim = samples_along(a, dim)
    labels = values_along(label, a, dim, "label")
    if labels.shape != (a.sizes[dim],):
        raise ValueError(f"`label` has shape {labels.shape}, expected {a.sizes[dim]}, one per sample")
    names = np.unique(complete(labels, "label"))
    if len(names) < 2:
        raise ValueError(f"`label` has {len(names)} different values, expected at least two")
    r = _correlations(np.asarray(a.transpose(dim, ...).values).reshape(a.sizes[dim], -1))
    first, second = np.triu_indices(len(r), 1)
    pairs = r[first, second]
    same = labels[first] == labels[second]
    rows = [_row(f"within {n}", pairs[same & (labels[first] == n)]) for n in names]
    rows += [_row("within labels", pairs[same]), _row("between labels", pairs[~same])]
    gap = _gap(pairs, same)
    rng = np.random.default_rng([whole_seed(seed), 5])
    reached = 0
    for _ in range(n_permutations):
        order = rng.permutation(len(labels))
        reached += _gap(pairs, labels[order][first] == labels[order][second]) >= gap - 1e-12
    rows.append({"samples": "within - between", "pairs": len(pairs), "correlation": gap, "p": (1 + reached) / (1 + n_permutations)})  # fmt: skip
    return pd.DataFrame(rows, columns=["samples", "pairs", "correlation", "p"])


def _row(name: str, r: np.ndarray) -> dict[str, Any]:
    return {
        "samples": name,
        "pairs": len(r),
        "correlation": float(r.mean()) if len(r) else np.nan,
        "p": np.nan,
    }


def _gap(pairs: np.ndarray, same: np.ndarray) -> float:
    return float(pairs[same].mean() - pairs[~same].mean()) if same.any() and not same.all() else 0.0


def _correlations(x: np.ndarray) -> np.ndarray:
    """Pearson's r of each pair of rows, some columns at a time."""
    mean = x.mean(1, dtype=np.float64)[:, None]
    products = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], ENTRIES):
        part = x[:, start : start + ENTRIES] - mean
        products += part @ part.T
    size = np.where((x != x[:, :1]).any(1), np.sqrt(np.diag(products)), np.inf)
    return products / size / size[:, None]
