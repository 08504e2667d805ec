"""Tables as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import netcdf
from attrib.io.place import replacing
from attrib.stats import summary


def write(a: pd.DataFrame | xr.DataArray | xr.Dataset | Mapping, path: Path) -> None:
    """The table, or the summary of a result."""
    table = a if isinstance(a, pd.DataFrame) else summary(a)
    table.to_csv(path, index=False, lineterminator="\n")


def read(path: Path) -> pd.DataFrame:
    """The table."""
    return pd.read_csv(path)


# FOLDED attrib/io/tables.py: """Results larger than memory, written row by row."""
def save_rows(rows: Iterable[np.ndarray], labels: xr.DataArray, path: str | os.PathLike[str]) -> Path:
    """Write an array to a netCDF file as its rows come; one of them is in memory at a time.

    Parameters
    ----------
    rows : iterable of array
        The entries along the first dim, in order, each of shape ``labels.shape[1:]``.
    labels : DataArray
        The result's dims, coords, name, attrs and dtype. Its values are not looked at, so they need no memory:
        ``np.broadcast_to(np.float32(0), shape)``.
    path : str or path
        Ends in `.nc` or `.nc4`.

    Returns
    -------
    Path
        The file; `attrib.io.load` reads it like one that `save` wrote.

    Raises
    ------
    ValueError
        For another suffix, and for rows of another shape or number.
    TypeError
        For text, flags and float16: use `save`.

    Notes
    -----
    Whole or not at all, as `save`. Every row is compressed by itself, so that one is read without the others.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> from attrib.io import load, save_rows
    >>> labels = xr.DataArray(np.broadcast_to(0.0, (2, 3)), dims=("image", "x"), coords={"image": ["a", "b"]}, name="map")
    >>> path = save_rows((np.full(3, k) for k in range(2)), labels, pathlib.Path(tempfile.mkdtemp()) / "maps.nc")
    >>> load(path).sel(image="b").values
    array([1., 1., 1.])
    """
    final = Path(path)
    if final.suffix.lower() not in (".nc", ".nc4"):
        raise ValueError(f"`path` is {path}, expected a name that ends in .nc or .nc4")
    if labels.dtype.kind not in "iuf" or labels.dtype == np.float16:
        raise TypeError(f"`labels` is of dtype {labels.dtype}, expected integers, float32 or float64")
    with replacing(final) as temporary:
        netcdf.write_rows(_checked(rows, labels), labels, temporary)
    return final


def _checked(rows: Iterable[np.ndarray], labels: xr.DataArray) -> Iterable[np.ndarray]:
    count = 0
    for count, row in enumerate(rows, 1):
        if row.shape != labels.shape[1:] or count > len(labels):
            raise ValueError(
                f"`rows` gives {row.shape} as number {count}, expected {len(labels)} of {labels.shape[1:]} to match `labels`"
            )
        yield row
    if count != len(labels):
        raise ValueError(f"`rows` ends after {count}, expected {len(labels)} to match `labels`")
