"""Two groups of images compared: clusters of entries, and p-values corrected for the number of entries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public
from attrib.labels.frames import matched, truth
from attrib.stats.contrast import CLOSE, centred, entry_labels, pooled_t, two_groups
from attrib.stats.matching import Labelled, by_labels, samples_along

CHUNK = 1 << 24  # numbers in memory at a time
LEAST = 4  # samples in a group
EXTENT, HEIGHT, STEP = 0.5, 2.0, 0.1  # exponents and step of threshold-free enhancement, as in its paper


@public
def cluster_contrast(
    a: Labelled,
    label: str | Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    dim: str = "sample",
    mask: Labelled | None = None,
    threshold: float = 0.001,
    connectivity: int | None = None,
    tfce: bool = False,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Where two groups of images differ: clusters of neighbouring entries, with p-values corrected for their number.

    ``t`` is the statistic of `attrib.stats.contrast`. A cluster is a set of neighbours whose t has one sign and magnitude
    above ``c``; ``mass = sum(|t| - c)``. Its p is the share of relabellings whose largest cluster has at least its mass.

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions with the dim `dim`; the other dims are positions, such as i, j, k, or y, x, or one of a sequence.
    label : str or array
        As in `attrib.stats.contrast`: 1 or True for positives, 0 or False for negatives; at least four of each.
    dim : str, default "sample"
        The samples; of results of attrib, whatever their dim of samples is called.
    mask : DataArray, optional
        Over the positions, matched by their labels: where to look. Default: where samples differ.
    threshold : float, default 0.001
        The p of one entry, two-sided, at which clusters are formed; c is the t of that p.
    connectivity : int, optional
        How many neighbours an entry has: 6, 18 or 26 in a volume, 4 or 8 in an image, 2 in a sequence. Default: the fewest.
    tfce : bool, default False
        Whether to compute threshold-free cluster enhancement too: ``sum over h of extent(h)^0.5 h^2 dh`` in steps of 0.1.
        Some fifty times the time of clusters.
    n_permutations : int, default 999
        Random relabellings. Where fewer exist, all of them are taken, and p-values are exact.
    seed : int, default 0
        Seed of the relabellings.

    Returns
    -------
    Dataset
        Over the positions: `difference` (unit of `a`), `t`, `p` (two-sided, one entry at a time), `p_corrected` (against the
        largest ``|t|`` of each relabelling), `cluster` (0: none), and with `tfce` also `enhanced` (signed) and `p_enhanced`.
        Along `number`, the clusters in descending order of mass: `sign`, `size` (entries), `mass`, `p_mass`, `p_size`, `peak`
        (t), and the labels of the peak, `peak_DIM`. Attributes: `positives`, `negatives`, `permutations`, `exact`,
        `threshold_t`, `connectivity`, and `note` where fewer relabellings exist than were asked for.

    Raises
    ------
    ValueError
        For groups of fewer than four, labels that are missing, entries that are not finite, a mask of another shape or
        without entries, and a connectivity that the number of dims does not have.

    Notes
    -----
    All corrected p-values control the chance of any false finding. Relabellings assume that samples are exchangeable
    under the null hypothesis. A significant cluster says that groups differ somewhere in it, not at each of its entries.
    Memory: the data inside the mask, and 16 million numbers.

    References
    ----------
    Nichols, Holmes (2002), Nonparametric permutation tests for functional neuroimaging. doi:10.1002/hbm.1058. Bullmore et
    al. (1999), Global, voxel, and cluster tests. doi:10.1109/42.750253. Smith, Nichols (2009), Threshold-free cluster
    enhancement. doi:10.1016/j.neuroimage.2008.03.061

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import cluster_contrast
    >>> values = np.random.default_rng(0).normal(size=(24, 8, 8))
    >>> values[:12, 2:5, 2:5] += 2.5
    >>> found = cluster_contrast(xr.DataArray(values, dims=("sample", "y", "x")), np.arange(24) < 12)
    >>> int(found["size"][0]), bool(found.p_mass[0] < 0.01)
    (9, True)
    """
    a = by_labels(a, "a", (dim, "position"))
    dim = samples_along(a, dim)
    if a.ndim < 2:
        raise ValueError(f"`a` has dims {a.dims}, expected {dim!r} and positions")
    if not 0 < threshold < 0.5:
        raise ValueError(f"`threshold` is {threshold}, expected a p above 0 and below 0.5")
    ordered = a.transpose(dim, ...)
    like = entry_labels(ordered, dim)
    structure, neighbours = _structure(like.ndim, connectivity)
    positive = two_groups(a, label, dim)
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < LEAST:
        raise ValueError(f"`label` has {counts[0]} positives and {counts[1]} negatives, expected at least {LEAST} of each: fewer have too few relabellings")  # fmt: skip
    inside, x = _data(ordered, like, mask, dim)
    cut = _critical_t(threshold, len(x) - 2)
    image = _Image(inside, structure, cut, tfce)
    squares = (x.astype(np.float64) ** 2).sum(0)
    t = pooled_t(positive[None].astype(x.dtype), x, squares)[0]
    observed = image.clusters(t)
    enhanced = image.enhanced(t) if tfce else None
    rows, exact = relabellings(positive, n_permutations, seed)
    null = _null(rows, x, squares, image, np.abs(t))
    count = len(null.largest)
    extra = 0 if exact else 1  # the labels as they are: among all relabellings, or beside random ones
    entries = {
        "difference": x[positive].mean(0, dtype=np.float64) - x[~positive].mean(0, dtype=np.float64),
        "t": t,
        "p": (null.exceeding + extra) / (count + extra),
        "p_corrected": _p(np.abs(t), null.largest, extra),
        "cluster": observed.number,
    }
    if enhanced is not None:
        entries |= {"enhanced": enhanced, "p_enhanced": _p(np.abs(enhanced), null.enhanced, extra)}
    result = _over_positions(entries, inside, like, a.attrs.get("units", ""))
    result = result.assign(_along_clusters(observed, t, inside, like, null, extra))
    facts: dict[str, Any] = {
        "positives": counts[0], "negatives": counts[1], "permutations": count, "exact": int(exact),
        "threshold_t": cut, "connectivity": neighbours,
    }  # fmt: skip
    if exact and count - 1 < n_permutations:
        facts["note"] = (
            f"only {count} relabellings exist, fewer than {n_permutations + 1}: p is exact, and at least {1 / count:.2g}"
        )
    return result.assign_attrs(facts)


class _Clusters(NamedTuple):
    """Clusters of one map: the number of each entry's cluster (0: none), and sign, size and mass of each."""

    number: np.ndarray
    sign: np.ndarray
    size: np.ndarray
    mass: np.ndarray


class _Null(NamedTuple):
    """The largest of each relabelling, and how many relabellings reach each entry's ``|t|``."""

    largest: np.ndarray
    size: np.ndarray
    mass: np.ndarray
    enhanced: np.ndarray
    exceeding: np.ndarray


class _Image:
    """Entries of a mask laid out in their box, for what depends on neighbours."""

    def __init__(self, inside: np.ndarray, structure: np.ndarray, cut: float, tfce: bool) -> None:
        box = tuple(slice(w.min(), w.max() + 1) for w in np.nonzero(inside))
        self.inside, self.structure, self.cut, self.tfce = inside[box], structure, cut, tfce

    def clusters(self, t: np.ndarray) -> _Clusters:
        """The clusters of a map, in descending order of mass."""
        number = np.zeros(len(t), dtype=np.int64)
        parts: list[np.ndarray] = [np.empty((3, 0))]
        total = 0
        for sign in (1, -1):
            excess = sign * t - self.cut
            if not (excess > 0).any():
                continue
            labels, count = self._labelled(excess > 0)
            number += np.where(labels > 0, labels + total, 0)
            size = np.bincount(labels, minlength=count + 1)[1:]
            mass = np.bincount(labels, excess, minlength=count + 1)[1:]
            parts.append(np.stack([np.full(count, sign), size, mass]))
            total += count
        signs, sizes, masses = np.concatenate(parts, axis=1)
        order = np.argsort(-masses, kind="stable")
        rank = np.zeros(total + 1, dtype=np.int64)
        rank[order + 1] = np.arange(1, total + 1)
        return _Clusters(rank[number], signs[order].astype(int), sizes[order].astype(int), masses[order])

    def largest(self, t: np.ndarray) -> tuple[float, float]:
        """The largest size and mass of a map."""
        size = mass = 0.0
        for sign in (1, -1):
            excess = sign * t - self.cut
            if (excess > 0).any():
                labels, count = self._labelled(excess > 0)
                size = max(size, np.bincount(labels, minlength=count + 1)[1:].max())
                mass = max(mass, np.bincount(labels, excess, minlength=count + 1)[1:].max())
        return size, mass

    def enhanced(self, t: np.ndarray) -> np.ndarray:
        """Threshold-free enhancement of a map, with its signs."""
        total = np.zeros(len(t))
        for sign in (1, -1):
            for height in np.arange(STEP, float((sign * t).max()) + STEP * 1e-6, STEP):
                labels, _ = self._labelled(sign * t >= height)
                extent = np.bincount(labels).astype(float)
                extent[0] = 0
                total += sign * (extent**EXTENT * height**HEIGHT * STEP)[labels]
        return total

    def _labelled(self, chosen: np.ndarray) -> tuple[np.ndarray, int]:
        from scipy.ndimage import label

        image = np.zeros(self.inside.shape, dtype=bool)
        image[self.inside] = chosen
        labels, count = label(image, self.structure)
        return labels[self.inside], int(count)


def _data(
    ordered: xr.DataArray, like: xr.DataArray, mask: xr.DataArray | None, dim: str
) -> tuple[np.ndarray, np.ndarray]:
    """Where the mask is, and a centred row of the entries inside for each sample."""
    values = np.asarray(ordered.values)
    if mask is None:
        with np.errstate(invalid="ignore"):
            inside = values.max(0) != values.min(0)
    else:
        mask = by_labels(mask, "mask", like.dims, exact=True)
        if set(mask.dims) != set(like.dims) or any(mask.sizes[d] != like.sizes[d] for d in like.dims):
            raise ValueError(f"`mask` has sizes {dict(mask.sizes)}, expected {dict(like.sizes)}")
        mask = matched(mask, like, "mask", other="a")
        inside = np.asarray(truth(mask, "mask").transpose(*like.dims).values)
    if not inside.any():
        raise ValueError("`mask` is empty" if mask is not None else "`a` is the same in all samples; there is nothing to compare")  # fmt: skip
    x = values[:, inside]
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        names = [str(ordered[dim].values[i]) if dim in ordered.coords else str(i) for i in bad[:5]]
        raise ValueError(f"`a` has entries that are not finite in {len(bad)} samples ({', '.join(names)}); leave them out, or mask the entries")  # fmt: skip
    exact = np.float64 if x.size <= CHUNK else np.float32
    return inside, centred(x).astype(exact)


def _structure(ndim: int, connectivity: int | None) -> tuple[np.ndarray, int]:
    """The neighbourhood for a number of neighbours."""
    from scipy.ndimage import generate_binary_structure

    reach = {sum(math.comb(ndim, k) * 2**k for k in range(1, r + 1)): r for r in range(1, ndim + 1)}
    chosen = min(reach) if connectivity is None else connectivity
    if chosen not in reach:
        raise ValueError(f"`connectivity` is {connectivity}, expected {' or '.join(map(str, reach))} for {ndim} dims of positions")  # fmt: skip
    return generate_binary_structure(ndim, reach[chosen]), chosen


def _critical_t(p: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(p / 2, freedom))


def relabellings(positive: np.ndarray, count: int, seed: int) -> tuple[Iterator[np.ndarray], bool]:
    """Rows of relabelled positives, and whether they are all that exist."""
    n, n1 = len(positive), int(positive.sum())
    if math.comb(n, n1) <= count + 1:
        return (_members(n, chosen) for chosen in itertools.combinations(range(n), n1)), True
    rng = np.random.default_rng([whole_seed(seed), 3])
    return (rng.permutation(positive) for _ in range(count)), False


def _members(n: int, chosen: Sequence[int]) -> np.ndarray:
    row = np.zeros(n, dtype=bool)
    row[list(chosen)] = True
    return row


def _null(
    rows: Iterator[np.ndarray], x: np.ndarray, squares: np.ndarray, image: _Image, seen: np.ndarray
) -> _Null:
    """What the relabellings give, some at a time."""
    largest: list[float] = []
    sizes: list[float] = []
    masses: list[float] = []
    enhanced: list[float] = []
    exceeding = np.zeros(x.shape[1], dtype=np.int64)
    least = np.where(seen > 0, seen * CLOSE, 0.0)
    step = max(1, CHUNK // (4 * max(1, x.shape[1])))
    while block := list(itertools.islice(rows, step)):
        maps = pooled_t(np.array(block).astype(x.dtype), x, squares)
        for t in maps:
            size, mass = image.largest(t)
            sizes.append(size)
            masses.append(mass)
            if image.tfce:
                enhanced.append(float(np.abs(image.enhanced(t)).max()))
        np.abs(maps, out=maps)
        largest += maps.max(1).tolist()
        exceeding += (maps >= least).sum(0)
    return _Null(np.array(largest), np.array(sizes), np.array(masses), np.array(enhanced), exceeding)


def _p(values: np.ndarray, null: np.ndarray, extra: int) -> np.ndarray:
    """Share of the null distribution that reaches each value."""
    above = len(null) - np.searchsorted(np.sort(null), values * CLOSE, side="left")
    return (above + extra) / (len(null) + extra)


def _over_positions(
    entries: dict[str, np.ndarray], inside: np.ndarray, like: xr.DataArray, units: str
) -> xr.Dataset:
    """Numbers per entry as arrays over all positions; NaN, and cluster 0, outside of the mask."""
    arrays = {}
    for name, values in entries.items():
        laid_out = np.zeros(inside.shape, int) if name == "cluster" else np.full(inside.shape, np.nan)
        laid_out[inside] = values
        arrays[name] = like.copy(data=laid_out).assign_attrs({"units": units} if name == "difference" else {})
    return xr.Dataset(arrays)


def _along_clusters(
    clusters: _Clusters, t: np.ndarray, inside: np.ndarray, like: xr.DataArray, null: _Null, extra: int
) -> dict[str, Any]:
    """A value per cluster."""
    count = len(clusters.mass)
    places = np.argwhere(inside)
    peaks = np.zeros(count, dtype=int)
    order = np.lexsort((-np.abs(t), clusters.number))
    numbers, first = np.unique(clusters.number[order], return_index=True)
    peaks[numbers[numbers > 0] - 1] = order[first[numbers > 0]]
    columns: dict[str, Any] = {
        "sign": clusters.sign,
        "size": clusters.size,
        "mass": clusters.mass,
        "p_mass": _p(clusters.mass, null.mass, extra),
        "p_size": _p(clusters.size.astype(float), null.size, extra),
        "peak": t[peaks] if count else np.empty(0),
    }
    for n, d in enumerate(like.dims):
        labels = like[d].values if d in like.coords else np.arange(like.sizes[d])
        columns[f"peak_{d}"] = labels[places[peaks, n]]
    return {k: ("number", v) for k, v in columns.items()} | {"number": np.arange(1, count + 1)}
