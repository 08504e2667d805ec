"""Motifs as MEME files. The format is a page long, so it is read and written here and needs no dependency."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from attrib.domains.motifs import meme_text, parse_meme
from attrib.io.place import replacing


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


def load_motifs(path: str | os.PathLike[str]) -> dict[str, xr.DataArray]:
    """Read the motifs of a MEME file, such as those of `save_motifs`, the MEME suite, JASPAR and HOCOMOCO.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    dict of str to DataArray
        By name, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For files that are not in the MEME format and rows that are not probabilities. The message names the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.motifs import as_motif
    >>> from attrib.io import load_motifs, save_motifs
    >>> path = save_motifs({"m": as_motif([[1], [0], [0], [0]])}, pathlib.Path(tempfile.mkdtemp()) / "a.meme")
    >>> list(load_motifs(path))
    ['m']
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file} with motifs")
    return parse_meme(file.read_text(encoding="utf-8", errors="replace"), source=file.name)
