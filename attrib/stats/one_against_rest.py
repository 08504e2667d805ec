"""Each label's samples against all others, entry by entry: moments, tests with a false discovery rate, leading entries.

Beside them stand the fold change of expression, and the known sets in which leading entries are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import list_of, refuse_unnamed
from attrib._public import public
from attrib.labels.frames import matched, numbers
from attrib.stats.matching import Labelled, by_labels, grouped
from attrib.stats.summary import sample_dims

CHUNK = 1 << 22  # numbers in memory at a time
COLUMNS = ("mean", "var", "positive", "negative", "count", "difference", "t", "p", "q")


@public
def moments_by(a: Labelled, by: Any) -> xr.Dataset:
    """Mean, variance and signs of each entry over the samples that share a label.

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions with a sample dim and one more, such as genes.
    by : str or array
        A coord along the sample dim, or one value per sample; a DataArray or a Series is matched by the samples' labels. Samples
        without a label (NaN) are left out.

    Returns
    -------
    Dataset
        Over `by` (ascending) and the other dim (called `feature` where it has the name of a result, as `var` of AnnData): `mean`, `var` (divided by n, as `attrib.cohort` has it), `positive` and
        `negative` (shares of the samples), and over `by` alone `count`.

    Raises
    ------
    ValueError
        If there is no such coord, for samples that `by` lacks, and for arrays of other dims.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import moments_by
    >>> a = xr.DataArray([[1.0], [3.0], [-2.0]], dims=("sample", "gene"), coords={"tissue": ("sample", ["a", "a", "b"])})
    >>> moments_by(a, "tissue")["mean"].values.tolist()
    [[2.0], [-2.0]]
    """
    a = by_labels(a, "a")
    a, by = grouped(a, by, sample_dims(a)[0])
    if by not in a.coords or a[by].ndim != 1 or a.ndim != 2:
        raise ValueError(f"`by` is {by!r} and `a` has dims {a.dims}, expected a coord along one of two dims")
    if by in COLUMNS:
        raise ValueError(f"`by` is {by!r}, a name that the results need; rename the coord")
    (sample,) = a[by].dims
    (entry,) = (d for d in a.dims if d != sample)
    if entry in COLUMNS:
        a, entry = a.rename({entry: "feature"}), "feature"
    labels, place = _places(a[by].values)
    values = a.transpose(sample, entry).values
    member = np.zeros((len(labels), len(place)))
    member[place[place >= 0], np.flatnonzero(place >= 0)] = 1.0
    count = member.sum(1)
    share = member / count[:, None]
    shape = len(labels), values.shape[1]
    numbers = {name: np.empty(shape) for name in ("mean", "var", "positive", "negative")}
    step = max(1, CHUNK // max(1, len(values)))
    for start in range(0, shape[1], step):
        part = slice(start, start + step)
        x = values[:, part].astype(np.float64)
        centre = x.mean(0)  # which keeps rounding small where means are large beside spreads
        mean = share @ (x - centre)
        numbers["mean"][:, part] = mean + centre
        numbers["var"][:, part] = np.maximum(share @ (x - centre) ** 2 - mean**2, 0.0)
        numbers["positive"][:, part] = (member @ (x > 0)) / count[:, None]
        numbers["negative"][:, part] = (member @ (x < 0)) / count[:, None]
    coords = {k: v for k, v in a.coords.items() if v.dims == (entry,)} | {by: labels}
    out = xr.Dataset({k: ((by, entry), v) for k, v in numbers.items()}, coords=coords)
    for name in ("mean", "var"):
        out[name].attrs = {
            "units": a.attrs.get("units", ""),
            "long_name": a.attrs.get("long_name", str(a.name or "value")),
        }
    return out.assign(count=(by, count.astype(int))).assign_attrs(
        {k: v for k, v in a.attrs.items() if isinstance(v, str)}
    )


def _places(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, names = pd.factorize(pd.Series(labels), sort=True)
    if not len(names):
        raise ValueError("no sample has a label")
    return np.asarray(names), codes


@public
def one_against_rest(moments: xr.Dataset) -> xr.Dataset:
    """Test each label's mean against that of all other samples, entry by entry.

    ``difference = mean in the label - mean over all other samples``, Welch's t

    Parameters
    ----------
    moments : Dataset
        Of `moments_by`, or with the same variables `mean`, `var` and `count` from the reductions of `attrib.cohort`.

    Returns
    -------
    Dataset
        Over the label and the entries: `difference` (unit of the attribution), `t`, `p` (two-sided), and `q`: the false
        discovery rate of Benjamini and Hochberg among the entries of one label. NaN for labels of fewer than two samples,
        or of all but one; p = 1 for entries that do not vary and do not differ.

    Raises
    ------
    ValueError
        For fewer than two labels.

    Notes
    -----
    Samples count as independent. Where donors gave several samples to one label they are not, and p is too small: average
    the samples of a donor in a label first. With few samples (`count`) Welch's t is only as good as attributions are normal.

    References
    ----------
    Welch (1947), doi:10.1093/biomet/34.1-2.28. Benjamini, Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import moments_by, one_against_rest
    >>> values = np.random.default_rng(0).normal(size=(30, 2)) + np.outer(np.arange(30) < 10, [5, 0])
    >>> a = xr.DataArray(values, dims=("sample", "gene"), coords={"tissue": ("sample", ["a"] * 10 + ["b"] * 20)})
    >>> (one_against_rest(moments_by(a, "tissue")).q.sel(tissue="a") < 0.01).values.tolist()
    [True, False]
    """
    from scipy import stats

    _refuse_incomplete(moments)
    by = moments["count"].dims[0]
    if moments.sizes[by] < 2:
        raise ValueError(f"`moments` has the label {moments[by].values.tolist()} alone, expected two or more")
    entry = next(d for d in moments["mean"].dims if d != by)
    mean, var = (moments[n].transpose(by, entry).values.astype(np.float64) for n in ("mean", "var"))
    n = _counts(moments, by, entry)
    others, rest_mean, rest_var = _rest(n, mean, var)
    with np.errstate(divide="ignore", invalid="ignore"):
        error, other = var / (n - 1), rest_var / (others - 1)  # squared standard errors
        t = (mean - rest_mean) / np.sqrt(error + other)
        freedom = (error + other) ** 2 / (error**2 / (n - 1) + other**2 / (others - 1))
        p = 2 * stats.t.sf(np.abs(t), freedom)
    still = (error + other == 0) & (n > 1) & (others > 1)
    same = still & (np.abs(mean - rest_mean) <= 1e-12 * np.maximum(np.abs(mean), np.abs(rest_mean)))
    p = np.where(same, 1.0, np.where(still, 0.0, p))
    p = np.where((n > 1) & (others > 1), p, np.nan)
    t = np.where(same, 0.0, np.where(np.isnan(p), np.nan, t))
    numbers = {"difference": mean - rest_mean, "t": t, "p": p, "q": false_discovery_rate(p)}
    out = xr.Dataset({k: ((by, entry), v) for k, v in numbers.items()}, coords=moments.coords)
    out["difference"].attrs["units"] = moments["mean"].attrs.get("units", "")
    return out


def _refuse_incomplete(moments: xr.Dataset) -> None:
    lacking = [v for v in ("mean", "var", "count") if v not in moments]
    if lacking or not moments["mean"].size:
        raise ValueError(
            f"`moments` {'lacks ' + ', '.join(lacking) if lacking else 'has no entries'}; pass what attrib.stats.moments_by gives"
        )


def _counts(moments: xr.Dataset, by: Hashable, entry: Hashable) -> np.ndarray:
    """Samples of each label (labels, 1), or of each label and entry, as the reductions of a cohort have them."""
    count = moments["count"]
    values = count.transpose(by, entry).values if entry in count.dims else count.values[:, None]
    return values.astype(np.float64)


def _rest(n: np.ndarray, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and variance of the samples of all other labels; sums are taken around the grand mean."""
    total = n.sum(0)
    centre = (n * mean).sum(0) / total
    first, second = n * (mean - centre), n * (var + (mean - centre) ** 2)
    others = total - n
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (first.sum(0) - first) / others
        spread = np.maximum((second.sum(0) - second) / others - shift**2, 0.0)
    return others, centre + shift, spread


@public
def false_discovery_rate(p: np.ndarray) -> np.ndarray:
    """q-values of Benjamini and Hochberg along the last axis.

    Parameters
    ----------
    p : array (..., tests)
        p-values; a row with NaN stays NaN.

    Returns
    -------
    array (..., tests)

    Examples
    --------
    >>> import numpy as np
    >>> from attrib.stats import false_discovery_rate
    >>> false_discovery_rate(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    from scipy import stats

    rows = np.atleast_2d(numbers("p", p))
    q = np.full_like(rows, np.nan)
    finite = np.isfinite(rows).all(-1)
    if finite.any() and rows.shape[-1]:
        q[finite] = stats.false_discovery_control(np.clip(rows[finite], 0, 1), axis=-1)
    return q.reshape(np.shape(p))


@public
def top(
    moments: xr.Dataset,
    n: int = 20,
    *,
    tests: xr.Dataset | None = None,
    beside: Mapping[str, xr.DataArray] | None = None,
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The entries of largest mean magnitude of each label, as a table.

    Parameters
    ----------
    moments : Dataset
        Of `moments_by`.
    n : int, default 20
        Entries per label.
    tests : Dataset, optional
        Of `one_against_rest`: adds the columns `difference` and `q`.
    beside : mapping of str to DataArray, optional
        More columns, over the label and the entries, matched by both, such as the log2 fold change.
    labels : mapping of str to str, optional
        Coords along the entries that become columns, and the columns' names: ``{"symbol": "symbol"}``.

    Returns
    -------
    DataFrame
        Columns: the label; `rank` from 1; the entry; those of `labels`; `mean`, `sd` (of the samples, n - 1) and `se` in the unit of
        the attribution; `same_sign`, the share of samples with the sign of the mean; `specificity`, the share of this label in
        the sum of all labels' mean magnitudes (1: only here; 1 / number of labels: everywhere alike); `samples`.

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import moments_by, top
    >>> a = xr.DataArray(
    ...     [[2.0, 0.5], [0.0, -1.0]], dims=("sample", "gene"), coords={"gene": ["INS", "ALB"], "tissue": ("sample", ["a", "b"])}
    ... )
    >>> top(moments_by(a, "tissue"), 1)[["tissue", "gene", "mean", "specificity"]].values.tolist()
    [['a', 'INS', 2.0, 1.0], ['b', 'ALB', -1.0, 0.6666666666666666]]
    """
    if n < 1:
        raise ValueError(f"`n` is {n}, expected at least 1")
    _refuse_incomplete(moments)
    by = moments["count"].dims[0]
    entry = next(d for d in moments["mean"].dims if d != by)
    mean = moments["mean"].transpose(by, entry).values
    order = np.argsort(-np.abs(mean), axis=1, kind="stable")[:, :n]
    k = order.shape[1]
    rows = np.repeat(np.arange(len(mean)), k)
    at = order.reshape(-1)
    of_moments = moments["mean"]
    take = lambda v, name="beside": (
        matched(v, of_moments, name, other="moments").transpose(by, entry).values[rows, at]
    )
    counts = np.broadcast_to(_counts(moments, by, entry), mean.shape)
    count = counts[rows, at].astype(int)
    finite = np.abs(mean).sum(0)[at]
    table: dict[Hashable, np.ndarray] = {
        by: moments[by].values[rows],
        "rank": np.tile(np.arange(1, k + 1), len(mean)),
    }
    table[entry] = moments[entry].values[at] if entry in moments.coords else at
    table |= {column: moments[c].values[at] for c, column in (labels or {}).items() if c in moments.coords}
    table["mean"] = mean[rows, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        table["sd"] = np.where(
            count > 1, np.sqrt(take(moments["var"]) * count / np.maximum(count - 1, 1)), np.nan
        )
        table["se"] = table["sd"] / np.sqrt(count)
        table["specificity"] = np.where(finite > 0, np.abs(mean[rows, at]) / finite, np.nan)
    if {"positive", "negative"} <= set(moments):
        table["same_sign"] = np.where(
            table["mean"] >= 0, take(moments["positive"]), take(moments["negative"])
        )
    if tests is not None:
        table |= {c: take(tests[c], "tests") for c in ("difference", "q")}
    table |= {c: take(v) for c, v in (beside or {}).items()}
    return pd.DataFrame(table | {"samples": count})


@public
def overlap(table: pd.DataFrame, by: str, entry: str = "gene") -> xr.DataArray:
    """How many of their leading entries two labels share.

    Parameters
    ----------
    table : DataFrame
        Of `top`.
    by, entry : str
        Its columns of labels and entries.

    Returns
    -------
    DataArray
        Counts over `by` and ``other``; the diagonal holds the numbers of entries.

    Raises
    ------
    ValueError
        For columns that the table lacks.

    Examples
    --------
    >>> import pandas as pd
    >>> from attrib.stats import overlap
    >>> overlap(pd.DataFrame({"tissue": ["a", "a", "b"], "gene": ["INS", "ALB", "ALB"]}), "tissue").values.tolist()
    [[2, 1], [1, 1]]
    """
    for argument, column in (("by", by), ("entry", entry)):
        refuse_unnamed(argument, [column], table.columns)
    inside = pd.crosstab(table[by], table[entry]).clip(upper=1)
    counts = inside.to_numpy() @ inside.to_numpy().T
    names = inside.index.to_numpy()
    return xr.DataArray(counts, dims=(by, "other"), coords={by: names, "other": names}, name="shared entries")


@public
def fold_change(x: Labelled, by: Any, *, pseudocount: float = 1.0) -> xr.Dataset:
    """Mean expression of each label's samples, and its log2 fold change against all other samples.

    ``log2((mean in the label + c) / (mean over all other samples + c))``

    Parameters
    ----------
    x : DataArray, DataFrame or AnnData
        Expression (samples, genes), not logarithms.
    by : str or array
        As in `attrib.stats.moments_by`.
    pseudocount : float, default 1.0
        c, in the unit of `x`.

    Returns
    -------
    Dataset
        Over `by` and the genes: `mean_expression` in the unit of `x`, and `log2_fold_change`.

    Raises
    ------
    ValueError
        For fewer than two labels, and a `pseudocount` that is not positive. Means below ``-pseudocount`` give NaN.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import fold_change
    >>> x = xr.DataArray([[7.0], [1.0], [1.0]], dims=("sample", "gene"), coords={"tissue": ("sample", ["a", "b", "b"])})
    >>> fold_change(x, "tissue").log2_fold_change.values.tolist()
    [[2.0], [-2.0]]
    """
    if not pseudocount > 0:
        raise ValueError(f"`pseudocount` is {pseudocount}, expected a positive number")
    moments = moments_by(x, by)
    by = moments["count"].dims[0]
    if moments.sizes[by] < 2:
        raise ValueError(f"`by` has the label {moments[by].values.tolist()} alone, expected two or more")
    mean, n = moments["mean"], moments["count"]
    elsewhere = ((mean * n).sum(by) - mean * n) / (n.sum() - n)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = xr.DataArray(np.log2(mean + pseudocount) - np.log2(elsewhere + pseudocount))
    return xr.Dataset({"mean_expression": mean, "log2_fold_change": change.transpose(*mean.dims)})


@public
def enrichment(
    chosen: Mapping[str, Sequence[str]],
    sets: Mapping[str, Iterable[str]],
    background: Iterable[str],
    *,
    least: int = 2,
) -> pd.DataFrame:
    """Hypergeometric test of each label's leading genes against gene sets.

    ``p = P(X >= overlap)``, X hypergeometric: `chosen` genes drawn from the background, of which `size` are in the set

    Parameters
    ----------
    chosen : mapping of str to sequence of str
        Leading genes of each label.
    sets : mapping of str to iterable of str
        Gene sets, such as those of a .gmt file.
    background : iterable of str
        All genes that could have been chosen: those of the model. Genes of the sets that are not among them are left out.
    least : int, default 2
        Sets with fewer genes in the background are left out.

    Returns
    -------
    DataFrame
        Columns `label`, `set`, `overlap`, `size` (of the set in the background), `chosen`, `background`, `expected`, `p`, `q` (false
        discovery rate of Benjamini and Hochberg over the sets of one label), `genes` (the overlap, with spaces); by label and p.

    Raises
    ------
    ValueError
        For leading genes outside the background, and if no set has genes in it, with examples of both names.

    References
    ----------
    Rivals et al. (2007), Enrichment or depletion of a GO category within a class of genes: which test?
    doi:10.1093/bioinformatics/btl633

    Examples
    --------
    >>> from attrib.stats import enrichment
    >>> genes = [f"g{k}" for k in range(100)]
    >>> table = enrichment({"liver": genes[:5]}, {"near": genes[:4], "far": genes[50:90]}, genes)
    >>> table[["set", "overlap"]].values.tolist(), bool(table.p[0] < 1e-5)
    ([['near', 4], ['far', 0]], True)
    """
    from scipy.stats import hypergeom

    if not chosen:
        raise ValueError("`chosen` is empty, expected the leading genes of at least one label")
    genes = pd.Index(list_of("background", background)).unique()
    sets = {name: list_of(f"sets[{name!r}]", members) for name, members in sets.items()}
    chosen = {label: list_of(f"chosen[{label!r}]", members) for label, members in chosen.items()}
    inside = {name: genes.intersection(pd.Index(members).unique()) for name, members in sets.items()}
    tested = {name: members for name, members in inside.items() if len(members) >= least}
    if not tested:
        some = [g for members in sets.values() for g in members][:3]
        raise ValueError(
            f"`sets` has no set with {least} genes of the background; its genes are called {', '.join(some)}, those of the "
            f"background {', '.join(map(str, genes[:3]))}"
        )
    tables = []
    for label, members in chosen.items():
        leading = pd.Index(members).unique()
        outside = leading[~leading.isin(genes)]
        if len(outside):
            raise ValueError(f"`chosen` has {outside[0]!r} for {label}, which is not in the background")
        shared = {name: [g for g in leading if g in members] for name, members in tested.items()}
        size = np.array([len(m) for m in tested.values()])
        hits = np.array([len(s) for s in shared.values()])
        p = hypergeom.sf(hits - 1, len(genes), size, len(leading))
        table = pd.DataFrame(
            {
                "label": label,
                "set": list(tested),
                "overlap": hits,
                "size": size,
                "chosen": len(leading),
                "background": len(genes),
            }
        )
        table = table.assign(
            expected=size * len(leading) / len(genes),
            p=p,
            q=false_discovery_rate(p),
            genes=[" ".join(s) for s in shared.values()],
        )
        tables.append(table.sort_values("p", kind="stable"))
    return pd.concat(tables, ignore_index=True)
