"""Quality of attributions without a truth: how far two agree, how concentrated one is, and where its mass lies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from attrib._arguments import refuse_unnamed
from attrib._public import public
from attrib.labels.frames import matched, truth
from attrib.stats.matching import Labelled, by_labels, rank_of, samples_along

MASS, POINTING = "doi:10.1016/j.inffus.2021.11.008", "doi:10.1007/s11263-017-1059-x"
POSITIONS = ("z", "y", "x", "position")  # dims of positions, where the caller names none


@public
def agreement(
    results: Mapping[str, Labelled], *, dim: str | None = "sample", top: float | None = None
) -> xr.DataArray:
    """Rank correlation of each pair of methods, or the overlap of their largest entries, averaged over the samples.

    Parameters
    ----------
    results : mapping of str to DataArray, DataFrame or AnnData
        Attributions of the same samples by method, all of one shape. Where they have labels, entries are matched by them,
        in any order.
    dim : str or None, default "sample"
        The samples; of results of attrib, whatever their dim of samples is called (`obs`, `cell`). None where each result is a
        single attribution.
    top : float, optional
        Instead of the correlation: the share of the `top` largest entries (a fraction, such as 0.1) that two methods have in
        common; that of two random orders is `top`. Entries that are equal at the limit, such as zeros, count in part, as if they were drawn.

    Returns
    -------
    DataArray (method, other)
        Mean of Spearman's correlation (or the overlap) over the samples in which both attributions vary; 1 on the diagonal, NaN where there
        are no such samples. Coord `count` (method, other): the number of these samples. Select as ``.sel({"method": "saliency"})``:
        `method` is a keyword of xarray's own `sel`.

    Raises
    ------
    ValueError
        If shapes or labels differ, there are no results, or `top` is no fraction.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import agreement
    >>> a = xr.DataArray([[1.0, 2.0, 3.0]], dims=("sample", "x"))
    >>> agreement({"one": a, "other": -a}).values.tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    if not results:
        raise ValueError("`results` is empty, expected at least one")
    if top is not None and not 0 < top < 1:
        raise ValueError(f"`top` is {top}, expected a fraction between 0 and 1")
    names = list(results)
    first = by_labels(
        results[names[0]], f"results[{names[0]!r}]", ("feature",) if dim is None else (dim, "feature")
    )
    dim = None if dim is None else samples_along(first, dim, required=False)
    results = {
        n: first if n == names[0] else by_labels(a, f"results[{n!r}]", first.dims, exact=True)
        for n, a in results.items()
    }
    ordered = [a.expand_dims("sample") if dim is None else _along(n, a, dim) for n, a in results.items()]
    ordered = [ordered[0], *(_like(ordered[0], a, n) for a, n in zip(ordered[1:], names[1:], strict=True))]
    mean, count = np.eye(len(names)), np.full((len(names), len(names)), len(ordered[0]))
    for i, j in combinations(range(len(names)), 2):
        pairs = zip(ordered[i], ordered[j], strict=True)
        correlations = np.array(
            [rank_correlation(a, b) if top is None else _overlap(a, b, top) for a, b in pairs]
        )
        defined = correlations[np.isfinite(correlations)]
        mean[i, j] = mean[j, i] = defined.mean() if len(defined) else np.nan
        count[i, j] = count[j, i] = len(defined)
    coords = {"method": names, "other": names, "count": (("method", "other"), count)}
    what = "mean rank correlation" if top is None else f"mean overlap of the largest {top:.0%}"
    attrs = {"units": "1", "long_name": what}
    return xr.DataArray(mean, dims=("method", "other"), coords=coords, name="agreement", attrs=attrs)


@public
def entropy(a: Labelled, dims: Sequence[str] = ("y", "x")) -> xr.DataArray:
    """Entropy of an attribution's magnitudes over its positions, as a share of the largest possible.

    ``- sum(p log p) / log(positions)``, ``p = |a| / sum |a|``

    Parameters
    ----------
    a : DataArray, DataFrame, Series or AnnData
        Attributions, with any other dims; a position with NaN is left out.
    dims : sequence of str, default ("y", "x")
        The dims of the positions.

    Returns
    -------
    DataArray
        Over the other dims. 0: one position has everything; 1: all have the same. NaN where all are zero.

    Raises
    ------
    ValueError
        For dims that `a` lacks.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import entropy
    >>> entropy(xr.DataArray([[1.0, 1.0], [1.0, 1.0]], dims=("y", "x"))).item()
    1.0
    """
    a = by_labels(a, "a", dims[-1:] if rank_of(a) == 1 else ("sample", *dims[-1:]))
    refuse_unnamed("dims", dims, a.dims)
    dims = list(dict.fromkeys(dims))
    size = abs(a).fillna(0)
    p = size / size.sum(dims).where(lambda s: s > 0)
    nats = -(p * np.log(p.where(p > 0, 1.0))).sum(dims, skipna=False)
    share = nats / np.log(a.notnull().sum(dims))
    share.attrs = {"units": "1", "long_name": "entropy of the positions' shares"}
    return share.rename("entropy")


@public
def mass_inside(a: Labelled, mask: Labelled, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Share of an attribution's positive mass that lies inside a mask, and the share that chance would put there.

    ``sum over the mask of max(a, 0) / sum of max(a, 0)``

    Parameters
    ----------
    a : DataArray, DataFrame, Series or AnnData
        Attributions, with any other dims; a position with NaN is left out.
    mask : DataArray, Series or DataFrame
        True or nonzero inside; some or all dims of `a`, matched by their labels where both have them.
    dims : sequence of hashable, optional
        The dims of the positions; default: those of "z", "y", "x" and "position" that `a` has, else all dims of the mask but
        "sample".

    Returns
    -------
    DataArray
        Over the other dims, from 0 to 1; NaN where no value is positive. Coord `chance`: the mask's share of the positions,
        which is what an attribution without a preference has inside. Without a unit.

    Raises
    ------
    ValueError
        If the mask has dims that `a` lacks, other sizes or other labels, or there are no dims of positions.

    References
    ----------
    Arras, Osman, Samek (2022), CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations.
    doi:10.1016/j.inffus.2021.11.008

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import mass_inside
    >>> a = xr.DataArray([[1.0, 3.0]], dims=("y", "x"))
    >>> inside = mass_inside(a, a > 2)
    >>> inside.item(), inside.chance.item()
    (0.75, 0.5)
    """
    a = by_labels(a, "a", ("position",) if rank_of(a) == 1 else ("sample", "position"))
    inside, dims = _inside(a, mask, dims)
    up = a.clip(min=0).fillna(0)
    total = up.sum(dims)
    share = up.where(inside, 0.0).sum(dims) / total.where(total > 0)
    chance = _chance(a, inside, dims)
    return _share("mass_inside", "share of the positive mass inside the mask", share, chance, MASS)


@public
def pointing_game(
    a: Labelled,
    mask: Labelled,
    dims: Sequence[Hashable] | None = None,
    *,
    tolerance: float = 0.0,
) -> xr.DataArray:
    """Whether the largest attribution lies inside a mask, and how often chance would put it there.

    Parameters
    ----------
    a : DataArray, DataFrame, Series or AnnData
        Attributions, with any other dims; a position with NaN is left out.
    mask : DataArray, Series or DataFrame
        True or nonzero inside; some or all dims of `a`, matched by their labels where both have them.
    dims : sequence of hashable, optional
        The dims of the positions, as for `mass_inside`.
    tolerance : float, default 0
        How far from the mask, in positions, still counts as inside.

    Returns
    -------
    DataArray
        Over the other dims: 1 where the largest value lies inside, 0 where not, NaN where there is no largest: all values are
        equal, or all are NaN. Of several equal values the first counts. Its mean over samples is the score of the pointing game.
        Coord `chance`: the share of positions inside.

    Raises
    ------
    ValueError
        As `mass_inside`.

    References
    ----------
    Zhang, Bargal, Lin, Brandt, Shen, Sclaroff (2018), Top-down neural attention by excitation backprop.
    doi:10.1007/s11263-017-1059-x

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import pointing_game
    >>> a = xr.DataArray([[1.0, 3.0], [4.0, 0.0]], dims=("sample", "x"))
    >>> hits = pointing_game(a, xr.DataArray([False, True], dims="x"))
    >>> hits.values.tolist(), hits.chance.item()
    ([1.0, 0.0], 0.5)
    """
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` is {tolerance}, expected a number of at least 0")
    a = by_labels(a, "a", ("position",) if rank_of(a) == 1 else ("sample", "position"))
    inside, dims = _inside(a, mask, dims)
    if tolerance > 0:
        inside = xr.apply_ufunc(
            _widened, inside, tolerance, input_core_dims=[dims, []], output_core_dims=[dims], vectorize=True
        )
    positions = {"position of all": list(dims)}
    values = a.compute().stack(positions)
    varies = values.max("position of all") > values.min("position of all")
    largest = values.fillna(-np.inf).argmax("position of all")
    hits = inside.broadcast_like(a).transpose(*a.dims).stack(positions).isel({"position of all": largest})
    hits = hits.drop_vars([*dims, "position of all"], errors="ignore")
    hits = hits.astype(float).where(varies)
    what = "whether the largest value is inside the mask"
    return _share("pointing_game", what, hits, _chance(a, inside, dims), POINTING)


def _share(name: str, what: str, share: xr.DataArray, chance: xr.DataArray, source: str) -> xr.DataArray:
    """A measure beside that of chance, with its unit and its source."""
    share.attrs = {"units": "1", "long_name": what, "references": source}
    chance.attrs = {"units": "1", "long_name": "share of the positions inside the mask"}
    return share.rename(name).assign_coords(chance=chance)


def _inside(
    a: xr.DataArray, mask: Labelled, dims: Sequence[Hashable] | None
) -> tuple[xr.DataArray, list[Hashable]]:
    """The mask as booleans, and the dims of the positions."""
    mask = by_labels(mask, "mask", a.dims[-rank_of(mask) :], exact=True)
    mask = matched(mask.drop_vars([c for c in mask.coords if c not in mask.indexes]), a, "mask", other="a")
    mask = mask.drop_vars(list(mask.coords)).isel({d: 0 for d in mask.dims if mask.sizes[d] != a.sizes[d]})
    if dims is None:
        dims = [d for d in POSITIONS if d in a.dims] or [d for d in mask.dims if d != "sample"]
    lacking = [d for d in dims if d not in a.dims]
    if lacking or not dims:
        raise ValueError(f"`dims` is {list(dims)}, expected some of {a.dims}: the dims of the positions")
    return truth(mask, "mask"), list(dims)


def _chance(a: xr.DataArray, inside: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Share of the positions that lie inside; the same for all attributions unless the mask or NaN differ among them."""
    if bool(a.notnull().all()):
        lacking = {d: a.sizes[d] for d in dims if d not in inside.dims}
        return inside.expand_dims(lacking).mean(dims)
    valid = a.notnull()
    return inside.where(valid, False).sum(dims) / valid.sum(dims)


def _widened(inside: np.ndarray, tolerance: float) -> np.ndarray:
    """A mask with all positions that are at most so far from it."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~inside) <= tolerance if inside.any() else inside


@public
def rank_correlation(a: Labelled, b: Labelled) -> float:
    """Spearman's correlation of two attributions over the positions that are finite in both.

    Parameters
    ----------
    a, b : DataArray, Series, DataFrame or AnnData
        Attributions of the same shape. Where they have the same dims, entries are matched by their labels; those of pandas always.

    Returns
    -------
    float
        From -1 to 1; NaN where one is constant.

    Raises
    ------
    ValueError
        If the shapes or the labels differ.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import rank_correlation
    >>> rank_correlation(xr.DataArray([1.0, 2.0, 3.0]), xr.DataArray([1.0, 20.0, 3000.0]))
    1.0
    """
    from scipy.stats import rankdata

    if isinstance(b, xr.DataArray):
        a = by_labels(a, "a", b.dims, exact=True)
    a = by_labels(a, "a")
    b = by_labels(b, "b", a.dims, exact=True)
    if dict(a.sizes) == dict(b.sizes):
        b = matched(b, a, "b", other="a").transpose(*a.dims)
    if a.shape != b.shape:
        raise ValueError(f"`a` has shape {a.shape}, `b` has {b.shape}; expected the same")
    both = np.isfinite(a.values) & np.isfinite(b.values)
    r, s = (rankdata(t.values[both]) for t in (a, b))
    r, s = r - r.mean(), s - s.mean()
    scale = np.sqrt((r @ r) * (s @ s))
    return round(float(r @ s / scale), 12) if scale > 0 else float("nan")


def _along(name: str, a: xr.DataArray, dim: str) -> xr.DataArray:
    if dim not in a.dims:
        raise ValueError(
            f"`results[{name!r}]` has dims {a.dims}, expected {dim!r} among them; or pass dim=None"
        )
    return a.transpose(dim, ...)


def _like(first: xr.DataArray, a: xr.DataArray, name: str) -> xr.DataArray:
    """The attribution with its entries in the order of the first."""
    if dict(a.sizes) != dict(first.sizes):
        raise ValueError(
            f"`results[{name!r}]` has {dict(a.sizes)}, expected {dict(first.sizes)} as the first"
        )
    return matched(a, first, f"results[{name!r}]", other="the first result").transpose(*first.dims)


def _overlap(a: xr.DataArray, b: xr.DataArray, top: float) -> float:
    """Share of the largest entries that two attributions have in common; NaN where one is constant."""
    both = np.isfinite(a.values) & np.isfinite(b.values)
    values = [t.values[both] for t in (a, b)]
    if any(len(v) == 0 or v.min() == v.max() for v in values):
        return float("nan")
    size = max(1, round(top * len(values[0])))
    first, second = (_among_largest(v, size) for v in values)
    return float(first @ second) / size


def _among_largest(values: np.ndarray, size: int) -> np.ndarray:
    """1 for the largest entries; those that are equal at the limit share the places that are left."""
    limit = np.partition(values, -size)[-size]
    above, at = values > limit, values == limit
    return above + at * ((size - above.sum()) / at.sum())
