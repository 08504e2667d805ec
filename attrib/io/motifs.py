"""Motifs as MEME files. The format is a page long, so it is read and written here and needs no dependency."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._public import public
from attrib.domains.motifs import MotifReading, as_motif, meme_text, read_motifs, trimmed_motif
from attrib.domains.sequences.tables import text_of
from attrib.io.place import replacing


@public
def save_motifs(
    motifs: Mapping[str, xr.DataArray],
    path: str | os.PathLike[str],
    *,
    background: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
) -> Path:
    """Write motifs as a MEME file, version 4, whole or not at all.

    Parameters
    ----------
    motifs : mapping of str to DataArray
        Names, which have no spaces, and motifs: dims `nucleotide` and `position`, columns that sum to 1.
    path : str or path
        The file; its folder must exist.
    background : sequence of 4 floats, default a quarter each
        Probabilities of A, C, G, T where there is no motif.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For names that the format cannot hold.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.motifs import as_motif
    >>> from attrib.io import load_motifs, save_motifs
    >>> m = as_motif([[0.7], [0.1], [0.1], [0.1]], name="m", sites=20)
    >>> load_motifs(save_motifs({"m": m}, pathlib.Path(tempfile.mkdtemp()) / "a.meme"))["m"].identical(m)
    True
    """
    text = meme_text(motifs, background=background)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


@public
def load_motifs(path: str | os.PathLike[str]) -> dict[str, xr.DataArray]:
    """Read the motifs of a file: MEME (of `save_motifs`, the MEME suite, HOCOMOCO), JASPAR, TRANSFAC or HOMER.

    Parameters
    ----------
    path : str or path
        The file, plain or gzip.

    Returns
    -------
    dict of str to DataArray
        By name, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For files of another format, and if no motif can be read.

    Warns
    -----
    UserWarning
        Naming the motifs that were left out or renamed; `motif_reading` gives them as a table.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.motifs import as_motif
    >>> from attrib.io import load_motifs, save_motifs
    >>> path = save_motifs({"m": as_motif([[1], [0], [0], [0]])}, pathlib.Path(tempfile.mkdtemp()) / "a.meme")
    >>> list(load_motifs(path))
    ['m']
    """
    reading = motif_reading(path)
    if len(reading.problems):
        first = "; ".join(
            f"line {p.line}, {p.record}: {p.problem}" for p in reading.problems.head(3).itertuples()
        )
        more = f"; and {len(reading.problems) - 3} more" if len(reading.problems) > 3 else ""
        warnings.warn(f"{Path(path).name}: {first}{more}", stacklevel=2)
    return reading.motifs


@public
def motif_reading(path: str | os.PathLike[str]) -> MotifReading:
    """Read the motifs of a file, and the problems of those that are left out or renamed.

    Parameters
    ----------
    path : str or path
        As for `load_motifs`.

    Returns
    -------
    MotifReading
        `motifs` by name, and `problems`: a table of `record`, `line`, `problem` and `kept`.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `load_motifs`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.io import motif_reading
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.jaspar"
    >>> _ = path.write_text(">M1\\nA [1]\\nC [0]\\nG [0]\\nT [0]\\n>M2\\nA [1]\\n")
    >>> motif_reading(path).problems.record.tolist()
    ['M2']
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file} with motifs")
    with text_of(file) as opened:
        return read_motifs(opened.read(), source=file.name)


@public
def load_modisco(path: str | os.PathLike[str]) -> dict[str, xr.DataArray]:
    """Read the motifs that TF-MoDISco found.

    Parameters
    ----------
    path : path
        The HDF5 file of tfmodisco-lite.

    Returns
    -------
    dict of str to DataArray
        `pos_0`, ... and `neg_0`, ...: the letters' frequencies in the seqlets of each pattern, as `as_motif` gives them, without
        ends of less than a quarter of a bit; attrs `sites` (seqlets) and `contribution` (their mean sum over the motif, in
        output units).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no file of TF-MoDISco.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import netCDF4
    >>> from attrib.domains.motifs import consensus
    >>> from attrib.io import load_modisco
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.h5"
    >>> with netCDF4.Dataset(path, "w") as file:
    ...     pattern = file.createGroup("pos_patterns/pattern_0")
    ...     seqlets = file.createGroup("pos_patterns/pattern_0/seqlets")
    ...     sizes = [file.createDimension(name, n) for name, n in (("position", 3), ("letter", 4), ("one", 1))]
    ...     for name in ("sequence", "contrib_scores"):
    ...         pattern.createVariable(name, "f4", ("position", "letter"))[:] = [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    ...     seqlets.createVariable("n_seqlets", "i4", ("one",))[:] = 20
    >>> motif = load_modisco(path)["pos_0"]
    >>> consensus(motif), motif.sites, motif.contribution
    ('ATG', 20, 3.0)
    """
    import netCDF4

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with netCDF4.Dataset(path) as file:
            patterns = {
                f"{sign}_{name.removeprefix('pattern_')}": pattern
                for sign in ("pos", "neg")
                if f"{sign}_patterns" in file.groups
                for name, pattern in file[f"{sign}_patterns"].groups.items()
            }
            return {name: _pattern(name, patterns[name]) for name in sorted(patterns, key=_place)}
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no file of TF-MoDISco that can be read: {error}") from error


def _place(name: str) -> tuple[bool, int]:
    sign, _, number = name.partition("_")
    return sign == "neg", int(number)


def _pattern(name: str, pattern: Any) -> xr.DataArray:
    """A pattern's motif, trimmed."""
    letters, contributions = (np.asarray(pattern[k][:], float) for k in ("sequence", "contrib_scores"))
    motif = trimmed_motif(as_motif(letters.T, name=name, sites=int(pattern["seqlets"]["n_seqlets"][0])))
    inside = contributions[motif["position"].values]
    return motif.assign_coords(position=range(motif.sizes["position"])).assign_attrs(
        contribution=float(inside.sum())
    )
