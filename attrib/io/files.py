"""Saving and loading results; the suffix says how."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import netcdf, tables
from attrib.io.attrs import decode, encode
from attrib.io.netcdf import Labelled, pack, unpack
from attrib.io.place import replacing

Savable: TypeAlias = xr.DataArray | xr.Dataset | Mapping[str, Labelled] | pd.DataFrame


def save(a: Savable, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file, whole or not at all.

    Parameters
    ----------
    a : DataArray, Dataset, mapping of these, or DataFrame
        What to write. Lazy (Dask) arrays are computed. A mapping becomes one group per entry (`.nc` only; names may
        be paths such as `"all/saliency"`). A DataFrame goes to `.csv`.
    path : str or path
        `.nc` (or `.nc4`): everything, lossless, compressed. `.npy`: the numbers of one DataArray, and its dims, coords
        and attrs in a `.json` of the same name. `.csv`: the table of `attrib.stats.summary`, a row per target and
        sample.

    Returns
    -------
    Path
        The file, so that ``load(save(a, path))`` works.

    Raises
    ------
    ValueError
        For another suffix, or a dim or coord name that a file cannot keep.
    TypeError
        For values that a file cannot keep, naming the coord or attribute and the fix.

    Notes
    -----
    The file is written under a temporary name in the same folder and then renamed: an error or Ctrl-C leaves nothing
    half-written and keeps what was there. ``load(save(a, path)).identical(a)`` holds for `.nc` and `.npy`: text,
    times, booleans, categories, MultiIndexes and attributes that netCDF lacks (None, booleans, dicts, nested lists)
    come back as they were.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import load, save
    >>> a = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"), coords={"gene": ["INS", "GCG"]}, name="attribution")
    >>> load(save(a, pathlib.Path(tempfile.mkdtemp()) / "a.nc")).identical(a)
    True
    """
    final = Path(path)
    writer = _chosen(final, WRITERS)
    computed = _computed(a)
    with replacing(final) as temporary:
        writer(computed, temporary, final)
    return final


def load(path: str | os.PathLike[str], group: str | None = None) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path
        `.nc`, `.nc4`, `.npy` (with its `.json`) or `.csv`.
    group : str, optional
        One entry of a file with several, such as a method of `attributions.nc`.

    Returns
    -------
    DataArray, Dataset, dict of these, or DataFrame
        What was saved, in memory: a dict for a file with several results, a DataFrame for `.csv`. A netCDF file of
        other origin comes as xarray reads it, as a Dataset.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If the file has no such group, naming those it has.
    ValueError
        For another suffix.

    Examples
    --------
    >>> import attrib, tempfile, xarray as xr
    >>> a = xr.DataArray([1.0, 2.0], dims="gene", coords={"gene": ["INS", "GCG"]}, name="attribution")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     attrib.load(attrib.save(a, f"{folder}/a.nc")).identical(a)
    True
    """
    file = Path(path)
    reader = _chosen(file, READERS)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if group is not None and reader is not _load_netcdf:
        raise ValueError(f"`group` is {group!r}, but {file.name} holds one table or array; leave it out")
    return reader(file, group)


def _computed(a: Savable) -> Savable:
    if isinstance(a, xr.DataArray | xr.Dataset):
        return a.compute()
    if isinstance(a, pd.DataFrame):
        return a
    if isinstance(a, Mapping) and all(isinstance(v, xr.DataArray | xr.Dataset) for v in a.values()):
        return {str(k): v.compute() for k, v in a.items()}
    raise TypeError(
        f"`a` is a {type(a).__name__}, expected a DataArray, a Dataset, a mapping of these, or a DataFrame; "
        "results of several inputs without names go in as a mapping: {'u': a[0], 'v': a[1]}"
    )


def _save_netcdf(a: Savable, temporary: Path, final: Path) -> None:
    if isinstance(a, xr.DataArray | xr.Dataset):
        netcdf.write(a, temporary)
    elif isinstance(a, pd.DataFrame):
        raise TypeError(
            f"a DataFrame cannot go to {final.name}; save it as .csv, or as .nc with a.to_xarray()"
        )
    else:
        netcdf.write_all(a, temporary)


def _save_npy(a: Savable, temporary: Path, final: Path) -> None:
    if not isinstance(a, xr.DataArray):
        raise TypeError(f"`a` is a {type(a).__name__}, but .npy holds one DataArray; save it as .nc")
    _write_npy(a, temporary, final)


def _save_csv(a: Savable, temporary: Path, final: Path) -> None:
    tables.write(a, temporary)


def _load_netcdf(file: Path, group: str | None) -> Any:
    names = netcdf.group_names(file)
    if group is None:
        return netcdf.read_all(file) if names else netcdf.read(file)
    if group not in names:
        raise KeyError(f"{file.name} has no group {group!r}, it has: {', '.join(names) or 'none'}")
    return netcdf.read(file, group)


def _load_npy(file: Path, group: str | None) -> Any:
    return _read_npy(file)


def _load_csv(file: Path, group: str | None) -> Any:
    return tables.read(file)


WRITERS: dict[str, Callable[[Any, Path, Path], None]] = {
    ".nc": _save_netcdf, ".nc4": _save_netcdf, ".npy": _save_npy, ".csv": _save_csv,
}  # fmt: skip
READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".nc": _load_netcdf, ".nc4": _load_netcdf, ".npy": _load_npy, ".csv": _load_csv,
}  # fmt: skip


def _chosen(path: Path, choices: Mapping[str, Any]) -> Any:
    if path.suffix.lower() not in choices:
        raise ValueError(f"`path` is {path}, expected a name that ends in one of {', '.join(choices)}")
    return choices[path.suffix.lower()]


# FOLDED attrib/io/files.py: """One DataArray as a .npy of its numbers and a .json of its labels."""
def _write_npy(a: xr.DataArray, temporary: Path, final: Path) -> None:
    """Numbers to `temporary`; labels to the .json beside `final`."""
    if a.dtype.kind not in "biufcMm":
        raise TypeError(f"`a` holds {a.dtype}, but .npy holds numbers; save it as .nc")
    np.save(temporary, np.asarray(a.values), allow_pickle=False)
    labels = pack(a.coords.to_dataset().assign_attrs(a.attrs))
    text = json.dumps({
        "name": encode(a.name, "the name"),
        "dims": list(a.dims),
        "attrs": dict(_json(labels.attrs)),
        "coords": {k: {"dims": list(v.dims), "attrs": dict(_json(v.attrs)), "values": encode(v.values, str(k))}
                   for k, v in labels.variables.items()},
    }, indent=1)  # fmt: skip
    with replacing(final.with_suffix(".json")) as file:
        file.write_text(text, encoding="utf-8")


def _json(attrs: dict) -> list[tuple[str, object]]:
    return [(k, encode(v, k)) for k, v in attrs.items()]


def _read_npy(file: Path) -> xr.DataArray:
    """The array with its labels."""
    beside = file.with_suffix(".json")
    if not beside.is_file():
        raise FileNotFoundError(
            f"{file.name} has no labels: {beside.name} is missing; read the numbers with numpy.load"
        )
    found = json.loads(beside.read_text(encoding="utf-8"))
    variables = {
        k: xr.Variable(v["dims"], decode(v["values"]), {n: decode(x) for n, x in v["attrs"].items()})
        for k, v in found["coords"].items()
    }
    coords = xr.Coordinates(variables, indexes={})
    labels = unpack(xr.Dataset(coords=coords, attrs={k: decode(v) for k, v in found["attrs"].items()}))
    values = np.load(file, allow_pickle=False)
    return xr.DataArray(
        values, coords=labels.coords, dims=found["dims"], name=decode(found["name"]), attrs=labels.attrs
    )
