"""Labelled arrays as netCDF files and groups of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib.io.packing import RECORD, Labelled, pack, unpack

COMPRESSED: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True}
GROUPS = "attrib_groups"  # an attribute of a file's root: the names of its groups, a line each


def write(a: Labelled, path: Path, *, group: str | None = None, append: bool = False) -> None:
    """Write one result, compressed losslessly, as the file or as a group of it."""
    ds = pack(a)
    ds.to_netcdf(path, mode="a" if append else "w", group=group, engine="netcdf4", encoding=_encoding(ds))


def _encoding(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {
        str(k): {"_FillValue": None} | (COMPRESSED if v.ndim and v.dtype.kind in "iufb" else {})
        for k, v in ds.variables.items()
        if "_FillValue" not in v.attrs
    }


def write_rows(rows: Iterable[np.ndarray], labels: xr.DataArray, path: Path) -> None:
    """Write a result's labels, then its values along the first dim as they come."""
    import netCDF4

    ds = pack(labels)
    name = json.loads(ds.attrs[RECORD])["variable"]
    values, rest = ds[name], ds.drop_vars(name)
    rest.to_netcdf(path, engine="netcdf4", encoding=_encoding(rest))
    with netCDF4.Dataset(path, "a") as file:
        for dim in values.dims:
            if dim not in file.dimensions:
                file.createDimension(dim, values.sizes[dim])
        chunk = (1, *values.shape[1:])
        made = file.createVariable(name, values.dtype, values.dims, chunksizes=chunk, **COMPRESSED)
        made.setncatts(values.attrs)
        made.set_auto_maskandscale(False)
        for k, row in enumerate(rows):
            made[k] = row


def name_groups(path: Path, names: list[str]) -> None:
    """Note the groups at the root of the file, which is made if need be."""
    import netCDF4

    with netCDF4.Dataset(path, "a" if path.exists() else "w") as file:
        file.setncattr(GROUPS, "\n".join(names))


def group_names(path: Path) -> list[str]:
    """Groups that `write` put into the file, in order; none for a file that holds one result."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        text = getattr(file, GROUPS, "")
    return text.split("\n") if text else []


def read(path: Path, group: str | None = None) -> Labelled:
    """One result, in memory; a file that `write` did not make comes as xarray reads it."""
    with xr.open_dataset(path, group=group, engine="netcdf4", mask_and_scale=False, decode_times=False) as ds:
        if RECORD in ds.attrs:
            return unpack(ds.load())
    return xr.load_dataset(path, group=group, engine="netcdf4")


def write_all(results: Mapping[str, Labelled], path: Path) -> None:
    """Write each result as a group of its own."""
    name_groups(path, list(results))
    for name, a in results.items():
        write(a, path, group=name, append=True)


def read_all(path: Path) -> dict[str, Labelled]:
    """Every group, by name."""
    return {name: read(path, name) for name in group_names(path)}
