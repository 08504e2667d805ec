"""AnnData as DataArrays: cells by genes, with the columns of obs and var as coords."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from attrib.labels.frames import as_coord, labels_of

DIMS = ("obs", "var")
BLOCK_BYTES = 64 << 20  # of dense numbers in a block of rows
COORDS_OF_RESULTS = ("prediction", "delta", "standard_error", "n_steps", "segments", "evaluations")
DIMS_OF_RESULTS = ("target", "baseline")
RESERVED = (*COORDS_OF_RESULTS, *DIMS_OF_RESULTS)


def is_anndata(value: Any) -> bool:
    """Whether `value` is an AnnData object."""
    return any(
        c.__name__ == "AnnData" and c.__module__.partition(".")[0] == "anndata" for c in type(value).__mro__
    )


def is_sparse(values: Any) -> bool:
    """Whether an array is a sparse one, of scipy or on disk."""
    return hasattr(values, "toarray") or hasattr(values, "to_memory")  # the second: anndata's, on disk


def annotated_array(
    adata: Any, dims: Sequence[Hashable] | None = None, *, layer: str | None = None, name: str = "x"
) -> xr.DataArray:
    """The numbers of an AnnData object with its labels.

    Parameters
    ----------
    adata : AnnData
    dims : sequence of str, optional
        Names of the dims of cells and genes; default `"obs"` and `"var"`.
    layer : str, optional
        One of ``adata.layers``; default ``adata.X``.
    name : str
        What errors call the object.

    Returns
    -------
    DataArray
        Dims named `dims`, whose labels are ``obs_names`` and ``var_names``; every column of ``obs`` and ``var`` is a coord.
        Columns of one name in both, and of names that results need, are called ``obs_NAME`` and ``var_NAME``. Sparse
        numbers are backed by Dask, where it is installed, and become dense block by block of rows.

    Raises
    ------
    ValueError
        For an object without numbers, layers that do not exist, and labels that come twice.
    """
    values = adata.X if layer is None else adata.layers.get(layer)
    if values is None:
        has = ", ".join(map(str, adata.layers)) or "none"
        raise ValueError(
            f"`{name}` has no numbers {'in X' if layer is None else f'in the layer {layer!r}'}; its layers: {has}"
        )
    names = DIMS if dims is None else tuple(dims)
    if len(names) != 2:
        raise ValueError(f"`dims` names {len(names)} dims {names}, but `{name}` has shape {adata.shape}")
    coords: dict[Hashable, Any] = {}
    tables = (adata.obs, adata.var)
    for dim, table in zip(names, tables, strict=True):
        coords[dim] = labels_of(table.index, dim, name)
    both = set(tables[0].columns) & set(tables[1].columns)
    for dim, table, prefix in zip(names, tables, DIMS, strict=True):
        for column in table.columns:
            clash = column in both or column in names or column in RESERVED
            coords[f"{prefix}_{column}" if clash else column] = (dim, as_coord(table[column]))
    return xr.DataArray(_dense(values), dims=names, coords=coords)


def _dense(values: Any) -> Any:
    """Dense numbers: of a sparse array a Dask array of blocks of rows, where Dask is installed."""
    if not is_sparse(values) and not hasattr(values, "file"):  # of h5py, read block by block
        return values if type(values).__module__.startswith("dask") else np.asarray(values)
    try:
        import dask.array as da
    except ImportError:
        return _rows(values, slice(None))
    if str(getattr(values, "format", "")) == "csc":  # whose rows are found by reading all of it
        values = (values.to_memory() if hasattr(values, "to_memory") else values).tocsr()
    rows, columns = values.shape
    step = max(1, BLOCK_BYTES // max(1, columns * np.dtype(values.dtype).itemsize))
    blocks = [
        da.from_delayed(
            _later(values, slice(s, min(rows, s + step))), (min(rows, s + step) - s, columns), values.dtype
        )
        for s in range(0, rows, step)
    ]
    return da.concatenate(blocks) if blocks else np.zeros(values.shape, values.dtype)


def _later(values: Any, rows: slice) -> Any:
    import dask

    return dask.delayed(_rows, traverse=False)(dask.delayed(values, traverse=False), rows)


def _rows(values: Any, rows: slice) -> np.ndarray:
    part = values[rows]
    return part.toarray() if hasattr(part, "toarray") else np.asarray(part)
