"""Attributions along a genome as files that other programs read: bedGraph, bigWig, and the arrays of TF-MoDISco."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._install import install_hint
from attrib._public import public
from attrib.io.place import replacing
from attrib.labels.frames import matched

AXES = ("nucleotide", "position")
MUTATIONS = "in_silico_mutagenesis"


@public
def save_bedgraph(
    a: xr.DataArray, path: str | os.PathLike[str], *, sizes: Mapping[str, int] | None = None
) -> Path:
    """Write attributions of intervals of a genome as a track: bedGraph, or bigWig by its name.

    Parameters
    ----------
    a : DataArray
        Attributions of `one_hot(read_bed(...).sequences)`: dims sample and position, and nucleotide, over which they are summed;
        coords `chrom` and `locus`.
    path : str or path
        Ends in `.bedgraph`, `.bg` or `.bdg`; or in `.bw` or `.bigwig`, written by pybigtools.
    sizes : mapping of str to int, optional
        Lengths of the chromosomes, which bigWig needs; default: up to the last base of `a`.

    Returns
    -------
    Path
        The file. Where sequences overlap, a base has the mean of their values; bases that no sequence has are left out, and so are
        bases that are NaN.

    Raises
    ------
    ValueError
        For another suffix, for arrays without `chrom` and `locus`, for dims besides these, and for gradients and mutations of all letters.
    ImportError
        For bigWig without pybigtools.

    References
    ----------
    https://genome.ucsc.edu/goldenPath/help/bedgraph.html

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from attrib.domains.sequences import one_hot
    >>> from attrib.io import save_bedgraph
    >>> x = one_hot(pd.DataFrame({"sequence": ["AC"], "chrom": ["chr1"], "start": [7], "end": [9]}))
    >>> path = save_bedgraph(x * [[0.5, 2.0]], pathlib.Path(tempfile.mkdtemp()) / "a.bedgraph")
    >>> path.read_text().splitlines()
    ['chr1\\t7\\t8\\t0.5', 'chr1\\t8\\t9\\t2.0']
    """
    final = Path(path)
    suffix = final.suffix.lower()
    if suffix not in (".bedgraph", ".bg", ".bdg", ".bw", ".bigwig"):
        raise ValueError(
            f"`path` is {path}, expected a name that ends in .bedgraph, .bg, .bdg, .bw or .bigwig"
        )
    entries = list(_entries(a))
    with replacing(final) as temporary:
        if suffix in (".bw", ".bigwig"):
            _bigwig(entries, dict(sizes or {}), temporary)
        else:
            lines = (f"{c}\t{start}\t{end}\t{float(value)!r}\n" for c, start, end, value in entries)
            temporary.write_text("".join(lines), encoding="utf-8")
    return final


def _entries(a: xr.DataArray) -> Iterator[tuple[str, int, int, float]]:
    """Chromosome, start, end and value of stretches of equal values, in order."""
    lacking = [c for c in ("chrom", "locus") if c not in a.coords]
    if lacking:
        raise ValueError(
            f"`a` lacks the coords {lacking}, which attributions of read_bed(...) sequences have"
        )
    method = str(a.attrs.get("method", ""))
    if "nucleotide" in a.dims and (method == MUTATIONS or " / " in str(a.attrs.get("units", ""))):
        raise ValueError(
            f"`a` ({method or 'a gradient'}) has a number for each letter that could stand at a position, and their sum says nothing of the one that does; "
            "pass (a * x).sum('nucleotide'), or of mutagenesis the mean loss, -a.sum('nucleotide') / 3"
        )
    summed = a.sum("nucleotide", skipna=False) if "nucleotide" in a.dims else a
    if set(summed.dims) != set(a["locus"].dims):
        more = [d for d in summed.dims if d not in a["locus"].dims]
        raise ValueError(f"`a` has the dims {more} too; pick one entry of each: a.sel({more[0]}=...)")
    values = summed.transpose(*a["locus"].dims).values.astype(float)
    locus = a["locus"].values
    chroms = np.broadcast_to(a["chrom"].values.astype(str)[..., None], locus.shape)
    inside = (locus >= 0) & np.isfinite(values)
    for chrom in sorted(set(chroms[inside].tolist())):
        here = inside & (chroms == chrom)
        places, of = np.unique(locus[here], return_inverse=True)
        means = np.bincount(of, values[here]) / np.bincount(of)
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(means) != 0)) + 1
        for first, last in zip([0, *breaks], [*breaks, len(places)], strict=True):
            yield chrom, int(places[first]), int(places[last - 1]) + 1, float(means[first])


def _bigwig(entries: list[tuple[str, int, int, float]], sizes: dict[str, int], path: Path) -> None:
    try:
        import pybigtools
    except ImportError as error:
        raise ImportError(f"bigWig needs pybigtools: {install_hint('tracks')}") from error
    for chrom, _, end, _ in entries:
        if chrom in sizes and sizes[chrom] < end:
            raise ValueError(f"`sizes` says that {chrom} has {sizes[chrom]} bases, but `a` reaches {end}")
    ends: dict[str, int] = {}
    for chrom, _, end, _ in entries:
        ends[chrom] = max(ends.get(chrom, 0), end)
    writer = pybigtools.open(str(path), "w")
    writer.write({**ends, **sizes}, iter(entries))


@public
def save_modisco(
    hypothetical: xr.DataArray, x: xr.DataArray, folder: str | os.PathLike[str]
) -> tuple[Path, Path]:
    """Write sequences and hypothetical contributions as tfmodisco-lite reads them.

    Parameters
    ----------
    hypothetical : DataArray
        Hypothetical contributions: ``attrib.deep_lift_shap(..., hypothetical=True)``; dims sample, nucleotide, position.
    x : DataArray
        The one-hot sequences, with the same labels.
    folder : path
        Where to write; it must exist.

    Returns
    -------
    (Path, Path)
        `sequences.npz` and `hypothetical.npz`, each with one array (samples, 4, positions), letters A, C, G, T:
        ``modisco motifs -s sequences.npz -a hypothetical.npz -n 2000 -o out.h5``.

    Raises
    ------
    ValueError
        For other dims, letters, or labels that differ between the two.

    References
    ----------
    Shrikumar et al. (2018), Technical note on transcription factor motif discovery from importance scores (TF-MoDISco).
    arXiv:1811.00416

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.sequences import one_hot
    >>> from attrib.io import save_modisco
    >>> x = one_hot(["ACGT", "GGGG"])
    >>> [p.name for p in save_modisco(x * 0.5, x, pathlib.Path(tempfile.mkdtemp()))]
    ['sequences.npz', 'hypothetical.npz']
    """
    arrays: dict[str, Any] = {}
    for name, a in {"hypothetical": hypothetical, "x": x}.items():
        leads = [d for d in a.dims if d not in AXES]
        if not set(AXES) <= set(a.dims) or len(leads) != 1:
            raise ValueError(
                f"`{name}` has the dims {a.dims}, expected one of samples, nucleotide and position"
            )
        if sorted(map(str, a["nucleotide"].values)) != list("ACGT"):
            raise ValueError(
                f"`{name}` has the nucleotides {a['nucleotide'].values.tolist()}, expected A, C, G, T"
            )
        arrays[name] = a.sel(nucleotide=list("ACGT")).transpose(leads[0], *AXES)
    a, b = arrays["hypothetical"], arrays["x"]
    if a.shape != b.shape:
        raise ValueError(
            f"`hypothetical` has shape {a.shape} and `x` {b.shape}; pass those of the same sequences"
        )
    a = matched(a.rename({a.dims[0]: b.dims[0]}), b, "hypothetical")
    place = Path(folder)
    paths = place / "sequences.npz", place / "hypothetical.npz"
    for path, values in zip(paths, (b.values.astype(np.int8), a.values.astype(np.float32)), strict=True):
        with replacing(path) as temporary:
            np.savez_compressed(temporary, values)
    return paths
