"""Where large entries lie: regions of an attribution, the inputs that activate a filter most, and motifs of k-mers that overlap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_empty, whole_seed
from attrib._public import public
from attrib.labels.frames import matched
from attrib.stats.matching import Labelled, by_labels, rank_of

MOST = 500  # entries that are clustered

COLUMNS = ["consensus", "score", "support", "kmers"]


@public
def regions(
    a: Labelled, *, count: int | None = None, largest: int = 8, mass: float = 0.9, seed: int = 0
) -> xr.Dataset:
    """Clusters of an attribution's strongest entries, by k-means on their positions.

    Parameters
    ----------
    a : DataArray, Series, DataFrame or AnnData
        A single attribution; all of its dims are positions. Entries with NaN belong to no region.
    count : int, optional
        Number of regions; default: the number from 2 to `largest` with the best mean silhouette.
    largest : int, default 8
        Largest number to try where `count` is not given.
    mass : float, default 0.9
        The strongest entries that together hold this share of the magnitude are clustered, weighted by their magnitudes;
        at most 500 of them.
    seed : int, default 0
        Seed of the first centres.

    Returns
    -------
    Dataset
        `region`, shaped like `a`: the number of the region, -1 outside of all. Along `number`, in descending order of
        magnitude: `sum` (unit of `a`), `magnitude` (sum of the absolute values), `size` (entries), and `centre_DIM` per dim,
        in entries from the first. Attribute `silhouette`, from -1 to 1: how far apart the regions lie; NaN for fewer than
        two regions, and where each entry is a region.

    Raises
    ------
    ValueError
        If `count`, `largest` or `mass` is out of range, or `a` has infinite entries or no dims.

    Notes
    -----
    Positions are scaled to the unit cube. An attribution of zeros has no regions; there are never more regions than entries.

    References
    ----------
    Rousseeuw (1987), Silhouettes. doi:10.1016/0377-0427(87)90125-7

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import regions
    >>> regions(xr.DataArray([5.0, 4.0, 0, 0, 0, 0, -1.0, -2.0], dims="x"), mass=1.0).region.values.tolist()
    [0, 0, -1, -1, -1, -1, 1, 1]
    """
    a = by_labels(a, "a", ("position",) if rank_of(a) == 1 else ("y", "x"))
    if (count is not None and count < 1) or largest < 2 or not 0 < mass <= 1:
        raise ValueError(f"`count` is {count}, `largest` {largest}, `mass` {mass}; expected at least 1, at least 2, and a share")  # fmt: skip
    if not a.ndim or np.isinf(a.values).any():
        raise ValueError(f"`a` has {'infinite entries' if a.ndim else 'no dims'}, expected an attribution")
    values = np.nan_to_num(np.asarray(a.values, dtype=np.float64))
    size = np.abs(values).ravel()
    chosen = _strongest(size, mass)
    positions = np.stack(np.unravel_index(chosen, values.shape), 1)
    scaled = positions / np.maximum(np.array(values.shape) - 1, 1)
    labels, silhouette = _clustered(scaled, size[chosen], count, largest, whole_seed(seed) % 2**32)
    total = np.bincount(labels, size[chosen], minlength=labels.max(initial=-1) + 1)
    rank = np.argsort(np.argsort(-total, kind="stable"), kind="stable")
    labels = rank[labels] if len(labels) else labels
    number = np.full(values.size, -1)
    number[chosen] = labels
    region = a.copy(data=number.reshape(values.shape)).assign_attrs({})
    figures = _figures(labels, positions, values.ravel()[chosen], a)
    return figures.assign(region=region)[["region", *figures]].assign_attrs(silhouette=silhouette)


def _strongest(size: np.ndarray, mass: float) -> np.ndarray:
    """The largest entries, in descending order, that together hold the share `mass`."""
    order = np.argsort(-size, kind="stable")
    cumulative = np.cumsum(size[order])
    enough = int(np.searchsorted(cumulative, mass * cumulative[-1] * (1 - 1e-12))) + 1 if len(order) else 0
    chosen = order[: min(enough, MOST)]
    return chosen[size[chosen] > 0]


def _clustered(
    positions: np.ndarray, weight: np.ndarray, count: int | None, largest: int, seed: int
) -> tuple[np.ndarray, float]:
    """The number of each entry's cluster, and the mean silhouette."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    most = len(positions)
    if most <= 2 or count == 1:
        return np.zeros(most, int) if count == 1 else np.arange(most), float("nan")
    tried: list[tuple[float, np.ndarray]] = []
    for k in range(2, min(largest, most - 1) + 1) if count is None else [min(count, most)]:
        means: Any = KMeans(k, n_init=4, random_state=seed)
        labels = means.fit_predict(positions, sample_weight=weight / weight.mean())
        score = silhouette_score(positions, labels) if len(set(labels.tolist())) < most else float("nan")
        tried.append((float(score), labels))
    score, labels = max(tried, key=lambda trial: np.nan_to_num(trial[0], nan=-2.0))
    return labels, score


def _figures(labels: np.ndarray, positions: np.ndarray, values: np.ndarray, a: xr.DataArray) -> xr.Dataset:
    """Sum, magnitude, size and centre of each region."""
    n = labels.max(initial=-1) + 1
    weight = np.abs(values)
    magnitude = np.bincount(labels, weight, minlength=n)
    unit = {"units": a.attrs.get("units", "")}
    figures: dict[str, tuple[str, np.ndarray, dict[str, Any]]] = {
        "sum": ("number", np.bincount(labels, values, minlength=n), unit),
        "magnitude": ("number", magnitude, unit),
        "size": ("number", np.bincount(labels, minlength=n), {"units": "entries"}),
    }
    for d, position in zip(a.dims, positions.T, strict=True):
        centre = np.bincount(labels, weight * position, minlength=n) / magnitude
        figures[f"centre_{d}"] = ("number", centre, {"units": "entries"})
    return xr.Dataset(figures, {"number": np.arange(n)})


@public
def strongest(activation: xr.DataArray, x: Labelled, *, count: int = 9, size: int = 15) -> xr.Dataset:
    """The samples that activate each filter most, and the patch of the input around the position of its maximum.

    Parameters
    ----------
    activation : DataArray
        Of `attrib.layer_activation`: a sample dim, `filter`, and spatial dims with coords in those of `x`.
    x : DataArray
        The input, with the same sample dim, matched by its labels, and the same spatial dims, whose coords ascend.
    count : int, default 9
        Samples per filter, at most as many as there are.
    size : int, default 15
        Side of a patch, in positions of `x`. The patch is centred at the layer's position; how much of the input the layer
        sees around it depends on the network.

    Returns
    -------
    Dataset
        Along `filter` and `rank`: `activation`, the sample's label, the coords of the position (named after the
        dims, with `_at` behind), and `patch`, NaN beyond the input's edge.

    Raises
    ------
    ValueError
        If dims do not fit, or samples differ.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import strongest
    >>> a = xr.DataArray([[[0.0, 3.0]], [[5.0, 1.0]]], dims=("sample", "filter", "x"), coords={"x": [0.5, 2.5]})
    >>> top = strongest(a, xr.DataArray([[1, 2, 3, 4], [5, 6, 7, 8]], dims=("sample", "x")), count=1, size=1)
    >>> top.sample.item(), top.x_at.item()
    (1, 0.5)
    """
    refuse_empty("activation", activation)
    x = by_labels(x, "x", (activation.dims[0], activation.dims[-1]), exact=True)
    spatial = [d for d in activation.dims if d != "filter" and d in x.dims][1:]
    lead = activation.dims[0]
    if "filter" not in activation.dims or lead not in x.dims or len(spatial) != activation.ndim - 2:
        raise ValueError(
            f"`activation` has dims {activation.dims}, expected a sample dim, filter, and dims of `x` {x.dims}"
        )
    texts = [d for d in spatial if _labels(x, d).dtype.kind not in "iuf"]
    if texts:
        raise ValueError(f"`x` has labels along {texts[0]!r} that are no numbers, expected positions")
    a = activation.transpose(lead, "filter", *spatial)
    same_samples = a.isel({d: 0 for d in a.dims if d != lead}, drop=True)
    x = matched(x, same_samples, "x", free=[d for d in x.dims if d != lead], other="activation")
    flat = a.values.reshape(*a.shape[:2], -1)
    position, peak = flat.argmax(2), flat.max(2)
    ranked = np.argsort(-peak, axis=0, kind="stable")[:count].T  # (filter, rank)
    filters = np.arange(a.sizes["filter"])[:, None]
    positions = np.unravel_index(position[ranked, filters], a.shape[2:])
    dims = ("filter", "rank")
    top = xr.Dataset(
        {"activation": (dims, peak[ranked, filters])}, coords={"filter": np.arange(len(filters))}
    )
    top[str(lead)] = (dims, _labels(x, lead)[ranked])
    for d, at in zip(spatial, positions, strict=True):
        top[f"{d}_at"] = (dims, _labels(a, d)[at])
    top["patch"] = _patches(x, lead, spatial, ranked, [top[f"{d}_at"].values for d in spatial], size)
    return top


def _labels(a: xr.DataArray, dim: Hashable) -> np.ndarray:
    return a[dim].values if dim in a.coords else np.arange(a.sizes[dim])


def _patches(
    x: xr.DataArray,
    lead: Hashable,
    spatial: list[Hashable],
    ranked: np.ndarray,
    at: list[np.ndarray],
    size: int,
) -> xr.DataArray:
    """The input around `at` in each ranked sample; half-way positions are rounded up."""
    others = [d for d in x.dims if d != lead and d not in spatial]
    values = x.transpose(lead, *others, *spatial).values.astype(float)
    padded = np.pad(
        values, [(0, 0)] * (1 + len(others)) + [(size, size)] * len(spatial), constant_values=np.nan
    )
    centres = [np.interp(p, _labels(x, d), np.arange(x.sizes[d])) for p, d in zip(at, spatial, strict=True)]
    starts = [np.floor(p + 0.5).astype(int) - size // 2 + size for p in centres]
    cut = [
        padded[(sample, ..., *(slice(s[where], s[where] + size) for s in starts))]
        for where, sample in np.ndenumerate(ranked)
    ]
    window = [f"{d}_offset" for d in spatial]
    return xr.DataArray(
        np.stack(cut).reshape(*ranked.shape, *cut[0].shape),
        dims=("filter", "rank", *others, *window),
        coords={d: x[d].values for d in others if d in x.coords},
    )


@public
def assemble(
    scores: Labelled, *, top: int = 20, overlap: int | None = None, sequences: Sequence[str] | None = None
) -> pd.DataFrame:
    """Join the k-mers of the largest scores where they overlap.

    The k-mer of the largest score begins a motif. The k-mer that overlaps an end by the most letters, and by at least
    `overlap`, extends it; among equals the one of the larger score. When none is left that overlaps, the best of the
    remaining k-mers begins the next motif.

    Parameters
    ----------
    scores : DataArray (kmer,) or Series
        Scores, such as a mean attribution, with the k-mers as labels. Only positive scores are used: pass `-scores` for
        motifs that lower the score.
    top : int, default 20
        How many k-mers to use.
    overlap : int, optional
        Letters, 1 to k - 1; default: all but two, at least one.
    sequences : sequence of str, optional
        Sequences in which the k-mers are counted.

    Returns
    -------
    DataFrame
        A row per motif, the largest score first: `consensus`; `score`, the sum over its k-mers; `support`, their
        number; `kmers`, joined by commas. With `sequences`: `sequences`, the number of those that contain at least one of
        the k-mers, and `whole`, the number of those that contain the full consensus.

    Raises
    ------
    ValueError
        If `scores` has another dim, k-mers of different lengths or infinite entries, or `top` or `overlap` is out of range.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import assemble
    >>> a = xr.DataArray([5.0, 4.0, 3.0, 1.0], dims="kmer", coords={"kmer": ["TACC", "CTAC", "ACCT", "GGGG"]})
    >>> assemble(a, sequences=["GCTACCTG", "TTTACCAA"])[["consensus", "score", "support", "sequences", "whole"]]
      consensus  score  support  sequences  whole
    0    CTACCT   12.0        3          2      1
    1      GGGG    1.0        1          0      0
    """
    scores = by_labels(scores, "scores", ("kmer",), exact=True)
    words = _words(scores)
    k = len(words[0])
    least = max(1, k - 2) if overlap is None else overlap
    if top < 1 or not 1 <= least <= max(1, k - 1):
        raise ValueError(
            f"`top` is {top}, `overlap` {overlap}; expected at least 1, and 1 to {max(1, k - 1)}"
        )
    left = _largest(scores, words, top)
    rows = []
    while left:
        text, used = _motif(left, least)
        rows.append(_row(text, used, sequences))
    columns = COLUMNS if sequences is None else [*COLUMNS, "sequences", "whole"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _largest(scores: xr.DataArray, words: Sequence[str], top: int) -> dict[str, float]:
    """The k-mers of the largest scores above 0, the largest first."""
    values = np.nan_to_num(np.asarray(scores.values, dtype=np.float64), posinf=np.inf)
    if np.isinf(values).any():
        raise ValueError("`scores` has infinite entries, expected numbers")
    order = np.argsort(-values, kind="stable")[:top]
    return {words[i]: float(values[i]) for i in order if values[i] > 0}


def _words(scores: xr.DataArray) -> list[str]:
    if scores.dims != ("kmer",) or "kmer" not in scores.coords or not scores.size:
        raise ValueError(f"`scores` has dims {scores.dims}, expected kmer alone, with labels")
    words = [str(w) for w in scores["kmer"].values]
    if len({len(w) for w in words}) > 1 or len(set(words)) < len(words):
        raise ValueError(
            "`scores` has k-mers of different lengths, or one twice; expected each once, of one length"
        )
    return words


def _motif(left: dict[str, float], least: int) -> tuple[str, dict[str, float]]:
    """One motif that begins with the best word. Its words are removed from `left`."""
    word = next(iter(left))
    used = {word: left.pop(word)}
    text = word
    while True:
        joined = _joined(text, left, least)
        if joined is None:
            return text, used
        text, word = joined
        used[word] = left.pop(word)


def _joined(text: str, left: dict[str, float], least: int) -> tuple[str, str] | None:
    """The text, extended by the first word of the longest overlap, and that word. A word inside the text overlaps fully."""
    for word in left:
        if word in text:
            return text, word
    for letters in range(len(next(iter(left), "")) - 1, least - 1, -1):
        for word in left:
            if text.endswith(word[:letters]):
                return text + word[letters:], word
            if text.startswith(word[-letters:]):
                return word[:-letters] + text, word
    return None


def _row(text: str, used: dict[str, float], sequences: Sequence[str] | None) -> dict:
    row = {"consensus": text, "score": sum(used.values()), "support": len(used), "kmers": ",".join(used)}
    if sequences is None:
        return row
    texts, consensus, words = [_as_dna(s) for s in sequences], _as_dna(text), [_as_dna(w) for w in used]
    matched = sum(any(word in s for word in words) for s in texts)
    return row | {"sequences": matched, "whole": sum(consensus in s for s in texts)}


def _as_dna(text: str) -> str:
    return text.upper().replace("U", "T")
