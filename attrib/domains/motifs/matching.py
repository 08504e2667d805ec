"""The best alignment of two motifs, by TOMTOM against a database, and of two windows, by their cosine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._install import install_hint
from attrib.domains.motifs.matrix import matrix_of

FEW = 25  # with fewer targets, p-values depend strongly on which targets these are


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
