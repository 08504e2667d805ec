"""Motifs from clusters of similar seqlets, and the best alignment of two motifs or two windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._install import install_hint
from attrib._public import public
from attrib.domains.motifs.filters import letters_of, refuse_other_labels
from attrib.domains.motifs.matrix import counted_motif, matrix_of, trimmed_motif

FEW = 25  # with fewer targets, p-values depend strongly on which targets these are


class Clusters(NamedTuple):
    """Motifs of seqlets.

    Attributes
    ----------
    motifs : dict of str to DataArray
        ``"seqlets_0"`` and so on, from the largest cluster: letter frequencies of the aligned seqlets.
    contributions : dict of str to DataArray
        By the same names: mean contribution of each letter at each position, in the unit of the attribution.
    seqlets : DataFrame
        The table of seqlets, with the columns `cluster` (the motif's name, or ``""``), `strand` and `shift` (positions by
        which the seqlet's window was moved) added.
    """

    motifs: dict[str, xr.DataArray]
    contributions: dict[str, xr.DataArray]
    seqlets: pd.DataFrame


@public
def cluster_seqlets(
    seqlets: pd.DataFrame,
    contribution: xr.DataArray,
    x: xr.DataArray,
    *,
    width: int = 20,
    similarity: float = 0.6,
    smallest: int = 3,
    most: int = 2000,
    both_strands: bool = True,
    pseudocount: float = 0.0,
    bits: float = 0.25,
) -> Clusters:
    """Cluster seqlets by the similarity of their contributions, and build a motif from each cluster.

    Parameters
    ----------
    seqlets : DataFrame
        The table of `find_seqlets`.
    contribution : DataArray
        Attributions of positions: a sample dim and `position`, as passed to `find_seqlets`.
    x : DataArray
        The sequences, one-hot: the same sample dim, `nucleotide`, `position`.
    width : int, default 20
        Positions of the window around each seqlet's middle, and the largest width of a motif.
    similarity : float, default 0.6
        Clusters are merged while the mean similarity between their seqlets is at least this.
    smallest : int, default 3
        Smallest number of seqlets in a cluster. Seqlets of smaller clusters get no cluster.
    most : int, default 2000
        Number of seqlets to cluster; if there are more, the strongest are taken.
    both_strands : bool, default True
        Whether a seqlet may be turned to the other strand; False for RNA.
    pseudocount, bits
        As for `counted_motif` and `trimmed_motif`.

    Returns
    -------
    Clusters

    Raises
    ------
    ValueError
        For dims, sizes or labels that do not fit, and records that are not among the samples.

    Notes
    -----
    A window is its one-hot letters times their contributions, at the positions of its seqlet only. The similarity of two
    windows is the largest cosine over shifts of up to half the width and, with `both_strands`, over both strands. Clusters
    are those of average linkage. The seqlets of a cluster are aligned with the one that is most similar to the others.
    Seqlets of negative attribution are clustered by themselves. Memory and time grow with the square of the seqlets.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from attrib.domains.motifs import cluster_seqlets, consensus, find_seqlets
    >>> codes = np.random.default_rng(0).integers(4, size=(30, 60))
    >>> codes[:, 30:36] = [0, 2, 1, 1, 3, 0]
    >>> x = xr.DataArray(np.eye(4)[codes], dims=("sample", "position", "nucleotide"))
    >>> x = x.assign_coords(nucleotide=list("ACGT")).transpose("sample", "nucleotide", "position")
    >>> a = xr.DataArray(np.zeros((30, 60)), dims=("sample", "position"))
    >>> a[:, 30:36] = 1.0
    >>> clusters = cluster_seqlets(find_seqlets(a), a, x, bits=1.0)
    >>> {name: (consensus(m), m.sites) for name, m in clusters.motifs.items()}
    {'seqlets_0': ('AGCCTA', 30.0)}
    """
    letters, values = _letters_and_values(contribution, x)
    table = seqlets.assign(cluster="", strand="+", shift=0).reset_index(drop=True)
    if not len(seqlets):
        return Clusters({}, {}, table)
    rows = _record_numbers(seqlets, contribution)
    chosen = np.argsort(-np.abs(seqlets.z.to_numpy()), kind="stable")[:most]
    windows = _windows(seqlets, rows, letters, values, width)
    motifs: dict[str, xr.DataArray] = {}
    means: dict[str, xr.DataArray] = {}
    for members in _groups(windows.weighted[chosen], seqlets.z.to_numpy()[chosen] < 0, similarity, both_strands, smallest):  # fmt: skip
        name = f"seqlets_{len(motifs)}"
        numbers = chosen[members]
        counts, mean, shift, flipped = _merged(windows, numbers, both_strands)
        sites = float(len(numbers))
        motif = trimmed_motif(
            counted_motif(counts, name=name, pseudocount=pseudocount, sites=sites), bits=bits
        )
        motifs[name] = motif
        means[name] = motif.copy(data=mean[:, motif.position.values]).assign_attrs(sites=sites)
        table.loc[numbers, "cluster"] = name
        table.loc[numbers, "strand"] = np.where(flipped, "-", "+")
        table.loc[numbers, "shift"] = shift
    return Clusters(motifs, means, table.set_axis(seqlets.index))


class Windows(NamedTuple):
    """Windows around seqlets (window, 4, width).

    Attributes
    ----------
    weighted : array
        Letters times contributions, zero outside of the seqlet.
    letters : array
        One-hot.
    full : array
        Letters times contributions, at all positions of the window.
    """

    weighted: np.ndarray
    letters: np.ndarray
    full: np.ndarray


def _letters_and_values(contribution: xr.DataArray, x: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Letters (sample, 4, position) and contributions (sample, position); NaN as zero."""
    lead = next((d for d in contribution.dims if d != "position"), None)
    if contribution.ndim != 2 or set(x.dims) != {lead, "nucleotide", "position"}:
        raise ValueError(
            f"`contribution` has dims {contribution.dims}, `x` {x.dims}; expected (sample, position) and "
            "(sample, nucleotide, position)"
        )
    if any(x.sizes[d] != contribution.sizes[d] for d in contribution.dims):
        raise ValueError(
            f"`contribution` has sizes {dict(contribution.sizes)}, `x` {dict(x.sizes)}; expected the same"
        )
    refuse_other_labels(contribution, x, contribution.dims, "contribution")
    return letters_of(x, lead), np.nan_to_num(contribution.transpose(lead, "position").values)


def _record_numbers(seqlets: pd.DataFrame, contribution: xr.DataArray) -> np.ndarray:
    """The number of each seqlet's sample."""
    lead = next(d for d in contribution.dims if d != "position")
    labels = contribution[lead].values if lead in contribution.coords else np.arange(contribution.sizes[lead])
    number = {label: k for k, label in enumerate(labels.tolist())}
    if len(number) < len(labels):
        repeated = next(label for k, label in enumerate(labels.tolist()) if number[label] != k)
        raise ValueError(f"`contribution` has the sample {repeated!r} more than once; give each its own name")
    unknown = [r for r in seqlets.record if r not in number]
    if unknown:
        raise ValueError(f"`seqlets` has the record {unknown[0]!r}, which `contribution` lacks")
    return np.array([number[r] for r in seqlets.record])


def _windows(
    seqlets: pd.DataFrame, rows: np.ndarray, letters: np.ndarray, values: np.ndarray, width: int
) -> Windows:
    """Windows around the seqlets' middles, with zeros beyond the sequence."""
    start, end = seqlets.start.to_numpy(), seqlets.end.to_numpy()
    position = ((start + end) // 2 - width // 2)[:, None] + np.arange(width)
    inside = (position >= 0) & (position < values.shape[1])
    at = np.clip(position, 0, values.shape[1] - 1)
    cut = np.where(inside[:, None], letters[rows[:, None], :, at].transpose(0, 2, 1), 0.0)
    in_seqlet = inside & (position >= start[:, None]) & (position < end[:, None])
    weight = values[rows[:, None], at]
    full = cut * np.where(inside, weight, 0)[:, None]
    return Windows(cut * np.where(in_seqlet, weight, 0)[:, None], cut, full)


def _groups(
    windows: np.ndarray, negative: np.ndarray, similarity: float, both_strands: bool, smallest: int
) -> Iterator[np.ndarray]:
    """The members of each cluster, the largest cluster first. Each sign is clustered by itself."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    clusters: list[np.ndarray] = []
    for sign in (False, True):
        members = np.flatnonzero(negative == sign)
        if len(members) < max(smallest, 1):
            continue
        label = np.ones(len(members), int)
        if len(members) > 1:
            cosine = aligned(windows[members], both_strands).similarity
            distance = np.clip(1 - (cosine + cosine.T) / 2, 0, None)
            np.fill_diagonal(distance, 0)
            label = fcluster(
                linkage(squareform(distance, checks=False), "average"), 1 - similarity, "distance"
            )
        clusters += [members[label == k] for k in np.unique(label)]
    yield from sorted((m for m in clusters if len(m) >= smallest), key=len, reverse=True)


def _merged(
    windows: Windows, members: np.ndarray, both_strands: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Letter counts and mean contributions of a cluster aligned with its centre; each member's shift and strand."""
    fits = aligned(windows.weighted[members], both_strands)
    centre = int(fits.similarity.mean(1).argmax())
    shift, flipped = fits.shift[centre], fits.flipped[centre]
    counts, total = np.zeros(windows.letters.shape[1:]), np.zeros(windows.letters.shape[1:])
    for k, member in enumerate(members):
        for into, source in ((counts, windows.letters), (total, windows.full)):
            window = source[member][::-1, ::-1] if flipped[k] else source[member]
            into += moved(window, int(shift[k]))
    return counts, total / len(members), shift, flipped


@public
def tomtom(
    motifs: Mapping[str, xr.DataArray],
    database: Mapping[str, xr.DataArray],
    *,
    top: int | None = None,
    both_strands: bool = True,
    threads: int = 1,
) -> pd.DataFrame:
    """Match motifs to a database: the best alignment of each pair, and the probability of one as good by chance.

    Parameters
    ----------
    motifs, database : mapping of str to DataArray
        By name, dims `nucleotide` and `position`.
    top : int, optional
        Hits per motif to keep; default: all.
    both_strands : bool, default True
        Whether the other strand is tried too; False for RNA.
    threads : int, default 1
        Number of threads.

    Returns
    -------
    DataFrame
        A row per pair, ordered by motif and then by p: `motif`, `target`, `target_name`, `p`, `q` (Benjamini and
        Hochberg over all pairs), `score`, `overlap` (positions), `offset` (of the motif in the target; negative where
        it begins before), `strand` (of the target).

    Raises
    ------
    ImportError
        Without memelite: ``pip install -e '.[sequence]'``.
    ValueError
        If a mapping is empty.

    Warns
    -----
    UserWarning
        With fewer than 25 targets. Their columns are the null distribution, so the order of the hits is more reliable than
        their p-values.

    Notes
    -----
    The first call compiles memelite's code, which takes up to a minute. Later calls reuse it.

    References
    ----------
    Gupta et al. (2007), doi:10.1186/gb-2007-8-2-r24. Benjamini and Hochberg (1995),
    doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> from attrib.domains.motifs import tomtom
    >>> from attrib.io import load_motifs
    >>> database = load_motifs("JASPAR2024_CORE.meme")  # doctest: +SKIP
    >>> tomtom(load_motifs("filters.meme"), database, top=1)[["motif", "target", "q"]]  # doctest: +SKIP
    """
    from scipy.stats import false_discovery_control

    columns = ["motif", "target", "target_name", "p", "q", "score", "overlap", "offset", "strand"]
    if not database or not motifs:
        raise ValueError(f"{'`motifs`' if database else '`database`'} is empty, expected motifs by name")
    if len(database) < FEW:
        warnings.warn(
            f"the database has {len(database)} motifs; below {FEW}, TOMTOM's p-values depend strongly on which they are",
            UserWarning,
            stacklevel=2,
        )
    p, score, offset, overlap, strand = _memelite_tomtom(motifs, database, both_strands, threads)
    q = false_discovery_control(np.minimum(p, 1).ravel()).reshape(p.shape)
    names, targets = list(motifs), list(database)
    rows = []
    for i, name in enumerate(names):
        for j in np.lexsort((-score[i], p[i]))[:top]:
            target_name = database[targets[j]].attrs.get("alternative", "")
            rows.append((name, targets[j], target_name, p[i, j], q[i, j], score[i, j], int(overlap[i, j]),
                         int(offset[i, j]), "-" if strand[i, j] else "+"))  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _memelite_tomtom(
    motifs: Mapping[str, xr.DataArray], database: Mapping[str, xr.DataArray], both: bool, threads: int
) -> tuple[np.ndarray, ...]:
    """p, score, offset, overlap and strand of each pair (motif, target)."""
    try:
        import memelite
    except ImportError as error:
        raise ImportError(f"matching motifs needs memelite: {install_hint('sequence')}") from error
    queries, targets = ([matrix_of(m) for m in group.values()] for group in (motifs, database))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="tomtom was given")  # `tomtom` warns in its own words
        columns = memelite.tomtom(queries, targets, reverse_complement=both, n_jobs=threads)
    return tuple(np.asarray(v, dtype=float) for v in columns[:5])


class Alignment(NamedTuple):
    """The best alignment of each pair of windows: arrays (window, window).

    Attributes
    ----------
    similarity : array
        Cosine, from -1 to 1.
    shift : array of int
        Positions by which the second is moved to the right.
    flipped : array of bool
        Whether the second is turned to the other strand.
    """

    similarity: np.ndarray
    shift: np.ndarray
    flipped: np.ndarray


def aligned(windows: np.ndarray, both_strands: bool = True) -> Alignment:
    """The best shift, up to half the width, and strand for each pair of windows (window, 4, width)."""
    n, _, width = windows.shape
    norm = np.linalg.norm(windows.reshape(n, -1), axis=1)
    unit = windows / np.where(norm > 0, norm, 1)[:, None, None]
    best = Alignment(np.full((n, n), -np.inf), np.zeros((n, n), int), np.zeros((n, n), bool))
    for flipped, other in [(False, unit), *([(True, unit[:, ::-1, ::-1])] if both_strands else [])]:
        for shift in sorted(range(-(width // 2), width // 2 + 1), key=abs):
            cosine = unit.reshape(n, -1) @ moved(other, shift).reshape(n, -1).T
            better = cosine > best.similarity + 1e-12
            best.similarity[better] = cosine[better]
            best.shift[better] = shift
            best.flipped[better] = flipped
    return best


def moved(windows: np.ndarray, shift: int) -> np.ndarray:
    """Windows (..., width) moved to the right, filled with zeros."""
    shifted = np.zeros_like(windows)
    width = windows.shape[-1]
    shifted[..., max(0, shift) : width + min(0, shift)] = windows[..., max(0, -shift) : width - max(0, shift)]
    return shifted
