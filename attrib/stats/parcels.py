"""Attributions by region of an atlas: shares, two groups of samples compared, left against right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public
from attrib.labels.frames import matched
from attrib.stats.contrast import centred, pooled_t, two_groups
from attrib.stats.matching import Labelled, by_labels, rank_of, samples_along

SIDES = (  # of names of pairs: the left one's, and the right one's
    (re.compile(r"[ _.-]\(?(l|lh|left)\)?$", re.I), re.compile(r"[ _.-]\(?(r|rh|right)\)?$", re.I)),
    (re.compile(r"^(l|lh|left)[ _.-]", re.I), re.compile(r"^(r|rh|right)[ _.-]", re.I)),
)


@public
def region_shares(
    a: Labelled, atlas: Labelled, names: Mapping[int, str] | None = None, *, dim: str = "sample"
) -> xr.Dataset:
    """How much of each attribution lies in each region.

    ``share = sum of |a| in the region / sum of |a| everywhere``; ``density = share / (entries of the region / all entries)``

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions.
    atlas : DataArray, Series or DataFrame
        Whole numbers over the positions, matched by their labels; 0 is no region. With the dim of the samples too, each has its own parcellation.
    names : mapping of int to str, optional
        Name of each number; default: the numbers.
    dim : str, default "sample"
        The samples; of results of attrib, whatever their dim of samples is called.

    Returns
    -------
    Dataset
        Over the other dims of `a` and `region`: `sum` and `absolute_sum` (unit of `a`), `share`, `density` (1: as much as its
        size lets expect), `rank` (1: the largest share; equal ones have the mean of their ranks) and `size` in entries, each sample's own. Where all of `a` is 0,
        shares are 0. Regions without entries
        in a sample have NaN density. Coord `number` along `region`: the atlas' own.

    Raises
    ------
    ValueError
        For an atlas of other dims, sizes or labels, or without regions, for numbers without a name, and names that come twice.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import region_shares
    >>> a = xr.DataArray([[3.0, 1.0, -4.0, 0.0]], dims=("sample", "x"))
    >>> region_shares(a, xr.DataArray([1, 1, 2, 0], dims="x"), {1: "amygdala", 2: "hippocampus"}).share.values
    array([[0.5, 0.5]])
    """
    from scipy.stats import rankdata

    a = by_labels(a, "a", (dim, "feature"))
    dim = samples_along(a, dim, required=False)
    if dim not in (*a.dims, "sample"):
        raise ValueError(f"`dim` is {dim!r}, expected one of {a.dims}: the samples' dim")
    atlas = by_labels(atlas, "atlas", a.dims[-rank_of(atlas) :], exact=True)
    extra = [d for d in atlas.dims if d not in a.dims]
    wrong = [d for d in atlas.dims if d in a.dims and atlas.sizes[d] != a.sizes[d]]
    if extra or wrong or not atlas.ndim:
        raise ValueError(f"`atlas` has sizes {dict(atlas.sizes)}, expected dims of `a` ({dict(a.sizes)})")
    atlas = matched(atlas, a, "atlas", other="a")
    numbers = np.unique(atlas.values)
    numbers = numbers[numbers != 0].astype(int)
    labels = _region_names(numbers, names)
    heads = [d for d in a.dims if d not in atlas.dims]
    sample = [d for d in atlas.dims if d == dim]
    positions = [d for d in atlas.dims if d not in sample]
    ordered = a.transpose(*sample, *heads, *positions)
    flat = np.asarray(ordered.values, dtype=np.float64).reshape(
        *ordered.shape[: len(sample) + len(heads)], -1
    )
    where = np.asarray(atlas.transpose(*sample, *positions).values).reshape(
        *[atlas.sizes[d] for d in sample], -1
    )
    where = where.reshape(*where.shape[:-1], *[1] * len(heads), where.shape[-1])
    place = np.searchsorted(numbers, where)
    place = np.where(where == 0, len(numbers), place)
    sums, sizes = _summed(flat, place, len(numbers))
    absolute, _ = _summed(np.abs(flat), place, len(numbers))
    total = np.abs(flat).sum(-1, keepdims=True)
    share = absolute / np.where(total > 0, total, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = share / np.where(sizes > 0, sizes / flat.shape[-1], np.nan)
    rank = rankdata(-share, axis=-1)
    dims = (*sample, *heads, "region")
    figures = {
        "sum": sums,
        "absolute_sum": absolute,
        "share": share,
        "density": density,
        "rank": rank,
        "size": sizes,
    }
    labels_kept = {k: c for k, c in a.coords.items() if set(c.dims) <= {*sample, *heads}}
    result = xr.Dataset({k: (dims, v) for k, v in figures.items()}, coords=labels_kept).assign_coords(
        region=labels, number=("region", numbers)
    )
    for name in ("sum", "absolute_sum"):
        result[name].attrs["units"] = a.attrs.get("units", "")
    return result


@public
def region_contrast(
    values: Labelled,
    label: str | Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    dim: str = "sample",
    level: float = 0.95,
    n_permutations: int = 9999,
    n_bootstrap: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """Two groups compared region by region: difference of means, interval, and p-values corrected by Holm's method.

    Parameters
    ----------
    values : DataArray
        One number per sample and region, such as `share` of `attrib.stats.region_shares`: `dim` and one more dim.
    label : str or array
        As in `attrib.stats.contrast`; at least three of each.
    dim : str, default "sample"
        The samples; of results of attrib, whatever their dim of samples is called.
    level : float, default 0.95
        Coverage of each interval.
    n_permutations, n_bootstrap : int
        Random relabellings, and resamplings of each group.
    seed : int, default 0
        Of both.

    Returns
    -------
    DataFrame
        A row per region, in ascending order of p: its label; `positives` and `negatives`, the groups' means; `difference`,
        `lower`, `upper` (studentised bootstrap); `t`; `p` (two-sided, by relabelling) and `p_holm`. Regions with NaN in a
        sample have NaN, and are not counted among the tests.

    Raises
    ------
    ValueError
        For other dims, labels as in `attrib.stats.contrast`, and groups of fewer than three.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 65-70. Efron,
    Tibshirani (1993), An introduction to the bootstrap, chapter 12. ISBN 978-0-412-04231-7

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import region_contrast
    >>> shares = np.random.default_rng(0).normal(0.2, 0.02, (20, 2)) + np.outer(np.arange(20) < 10, [0.1, 0.0])
    >>> table = region_contrast(
    ...     xr.DataArray(shares, dims=("sample", "region"), coords={"region": ["Hippocampus_L", "Amygdala_L"]}),
    ...     np.arange(20) < 10,
    ... )
    >>> table.region[table.p_holm < 0.05].tolist()
    ['Hippocampus_L']
    """
    values = by_labels(values, "values", (dim, "region"))
    dim = samples_along(values, dim, required=False)
    if dim not in values.dims or values.ndim != 2:
        raise ValueError(f"`values` has dims {values.dims}, expected {dim!r} and one more")
    (other,) = (d for d in values.dims if d != dim)
    positive = two_groups(values, label, dim)
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < 3:
        raise ValueError(f"`label` has {counts[0]} positives and {counts[1]} negatives, expected at least three of each")  # fmt: skip
    x = np.asarray(values.transpose(dim, other).values, dtype=np.float64)
    complete = np.isfinite(x).all(0)
    names = values[other].values if other in values.coords else np.arange(values.sizes[other])
    columns = {c: np.full(x.shape[1], np.nan) for c in ("positives", "negatives", "difference", "lower", "upper", "t", "p", "p_holm")}  # fmt: skip
    if complete.any():
        y = x[:, complete]
        columns["positives"][complete], columns["negatives"][complete] = (
            y[positive].mean(0),
            y[~positive].mean(0),
        )
        columns["difference"] = columns["positives"] - columns["negatives"]
        columns["lower"][complete], columns["upper"][complete] = studentised(
            y, positive, n_bootstrap, level, seed
        )
        columns["t"][complete], columns["p"][complete] = _permuted(y, positive, n_permutations, seed)
        columns["p_holm"][complete] = holm(columns["p"][complete])
    table = pd.DataFrame({str(other): names, **columns})
    return table.sort_values(["p", "t"], key=lambda c: -c.abs() if c.name == "t" else c, kind="stable").reset_index(drop=True)  # fmt: skip


@public
def lateralisation(values: Labelled) -> xr.DataArray:
    """Left against right, for each pair of regions: ``(left - right) / (left + right)``, from -1 to 1.

    Parameters
    ----------
    values : DataArray
        Numbers that are not negative along `region`, such as `share` or `density` of `attrib.stats.region_shares`. Pairs are
        found by names: ``Hippocampus_L`` and ``Hippocampus_R``, ``Left-Amygdala`` and ``Right-Amygdala``, and the like.

    Returns
    -------
    DataArray
        With `region` replaced by `pair`, the names without their sides; empty along it where there are no pairs. NaN where both
        are zero.

    Raises
    ------
    ValueError
        Without the dim and labels `region`.

    References
    ----------
    Seghier (2008), Laterality index in functional MRI: methodological issues. doi:10.1016/j.mri.2007.10.010

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import lateralisation
    >>> shares = xr.DataArray([0.3, 0.1, 0.6], dims="region", coords={"region": ["Amygdala_L", "Amygdala_R", "Stem"]})
    >>> lateralisation(shares).to_series().round(6).to_dict()
    {'Amygdala': 0.5}
    """
    values = by_labels(
        values, "values", ("region",) if rank_of(values) == 1 else ("sample", "region"), exact=True
    )
    if "region" not in values.coords or "region" not in values.dims:
        raise ValueError(f"`values` has dims {values.dims}, expected 'region' with its labels")
    pairs = pairs_of([str(r) for r in values["region"].values])
    left = values.isel(region=[p[0] for p in pairs.values()]).drop_vars(["region", "number"], errors="ignore")
    right = values.isel(region=[p[1] for p in pairs.values()]).drop_vars(
        ["region", "number"], errors="ignore"
    )
    total = left + right
    index = ((left - right) / total.where(total > 0)).rename(region="pair")
    return (
        index.assign_coords(pair=np.array(list(pairs), dtype=str))
        .rename("lateralisation")
        .assign_attrs(units="1")
    )


def pairs_of(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The places of left and right of each pair, by the name without its side."""
    pairs: dict[str, tuple[int, int]] = {}
    places = {name: n for n, name in enumerate(names)}
    folded = {name.lower(): n for name, n in places.items()}
    for lefts, rights in SIDES:
        stems = {rights.sub("", name).lower(): n for name, n in places.items() if rights.search(name)}
        for name, n in places.items():
            match = lefts.search(name)
            if match and lefts.sub("", name).lower() in stems and name.lower() in folded:
                pairs.setdefault(lefts.sub("", name), (n, stems[lefts.sub("", name).lower()]))
    return pairs


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected by Holm's step-down method: the chance of any false finding is at most the level.

    Parameters
    ----------
    p : array

    Returns
    -------
    array

    Examples
    --------
    >>> import numpy as np
    >>> from attrib.stats.parcels import holm
    >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def studentised(
    x: np.ndarray, positive: np.ndarray, count: int, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Studentised bootstrap intervals of the difference of two groups' means, a column at a time.

    Each resampling's difference is divided by its own standard error, so that small groups are covered too; percentiles
    of the differences themselves are too narrow.
    """
    rng = np.random.default_rng([whole_seed(seed), 4])
    difference, variance = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    again, spread = np.zeros((count, x.shape[1])), np.zeros((count, x.shape[1]))
    for group, sign in ((positive, 1), (~positive, -1)):
        y, n = x[group] - x[group].mean(0), int(group.sum())
        weights = rng.multinomial(n, np.full(n, 1 / n), size=count) / n
        means = weights @ y
        again += sign * means
        spread += np.maximum(weights @ y**2 - means**2, 0) / (n - 1)
        difference += sign * x[group].mean(0)
        variance += y.var(0) / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = np.where(spread > 1e-12 * variance, again / np.sqrt(spread), np.sign(again) * np.inf)
    pivots = np.nan_to_num(pivots, nan=0.0, posinf=1e6, neginf=-1e6)
    low, high = np.quantile(pivots, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return difference - high * np.sqrt(variance), difference - low * np.sqrt(variance)


def _permuted(x: np.ndarray, positive: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """t and two-sided p of each column."""
    from attrib.stats.clusters import relabellings

    x = centred(x)
    squares = (x**2).sum(0)
    t = pooled_t(positive[None].astype(float), x, squares)[0]
    rows, exact = relabellings(positive, count, seed)
    permuted = np.abs(pooled_t(np.array(list(rows)).astype(float), x, squares))
    extra = 0 if exact else 1
    reached = (permuted >= np.abs(t) * (1 - 1e-9)).sum(0)
    return t, (reached + extra) / (len(permuted) + extra)


def _summed(values: np.ndarray, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes (..., regions) of values (..., entries), whose last place is that of no region."""
    lead = values.shape[:-1]
    rows = values.reshape(-1, values.shape[-1])
    places = np.broadcast_to(place, values.shape).reshape(rows.shape)
    sums = np.stack(
        [np.bincount(p, r, minlength=count + 1)[:count] for p, r in zip(places, rows, strict=True)]
    )
    sizes = np.stack([np.bincount(p, minlength=count + 1)[:count] for p in places])
    return sums.reshape(*lead, count), sizes.reshape(*lead, count)


def _region_names(numbers: np.ndarray, names: Mapping[int, str] | None) -> np.ndarray:
    """The names in the order of the numbers."""
    if not len(numbers):
        raise ValueError("`atlas` has no regions: all of it is 0")
    if names is None:
        return np.array([str(n) for n in numbers])
    nameless = [int(n) for n in numbers if int(n) not in names]
    if nameless:
        raise ValueError(
            f"`names` has none for {len(nameless)} regions of `atlas`: {', '.join(map(str, nameless[:8]))}"
        )
    labels = [str(names[int(n)]) for n in numbers]
    twice = next((n for n in labels if labels.count(n) > 1), None)
    if twice is not None:
        raise ValueError(f"`names` has {twice!r} more than once; regions could not be told apart")
    return np.array(labels)
