"""Tables of pandas as DataArrays: index and columns become coords."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

ROWS = "sample"  # the dim of a table's rows, where the caller names no other


def is_table(value: Any) -> bool:
    """Whether `value` is a DataFrame or a Series."""
    return isinstance(value, pd.DataFrame | pd.Series)


def table_array(table: pd.DataFrame | pd.Series, dims: Sequence[Hashable] | None, name: str) -> xr.DataArray:
    """A table of numbers with its labels.

    Parameters
    ----------
    table : DataFrame or Series
    dims : sequence of hashable, optional
        Names of the dims of rows and columns; default `"sample"`, and the columns' name or `"feature"`.
    name : str
        What errors call the table.

    Returns
    -------
    DataArray
        Labels of several levels are joined by " / ", and each level is a coord of its own.

    Raises
    ------
    TypeError
        For columns that are no numbers; they are named.
    ValueError
        For columns called like the rows, and for missing labels.

    Examples
    --------
    >>> import pandas as pd
    >>> genes = pd.MultiIndex.from_arrays([["E1", "E2"], ["INS", "GCG"]], names=["id", "symbol"])
    >>> a = table_array(pd.DataFrame([[1.0, 2.0]], index=["cell 1"], columns=genes), None, "x")
    >>> a.feature.values.tolist(), a.symbol.values.tolist()
    (['E1 / INS', 'E2 / GCG'], ['INS', 'GCG'])
    """
    axes = [table.index] if isinstance(table, pd.Series) else [table.index, table.columns]
    names = tuple(dims) if dims is not None else _default_dims(axes, name)
    if len(names) != len(axes):
        raise ValueError(f"`dims` names {len(names)} dims {names}, but `{name}` has shape {table.shape}")
    coords: dict[Hashable, Any] = {}
    for axis, dim in zip(axes, names, strict=True):
        coords |= _coords(axis, dim, [*names, *coords], name)
    return xr.DataArray(numbers_of(table, name), dims=names, coords=coords)


def numbers_of(table: pd.DataFrame | pd.Series, name: str) -> np.ndarray:
    """The values of a table as an array of numbers.

    Raises
    ------
    TypeError
        For columns that are no numbers.
    """
    dtypes = table.dtypes if isinstance(table, pd.DataFrame) else pd.Series([table.dtype], index=[table.name])
    others = [d for d in dtypes.unique() if getattr(d, "kind", "O") not in "fiub"]
    if others and isinstance(table, pd.Series):
        raise TypeError(f"`{name}` is a Series of {table.dtype}, expected numbers; encode its values")
    if others:
        wrong = [str(c) for c in dtypes.index[dtypes.isin(others)][:5]]
        raise TypeError(f"`{name}` has columns that are no numbers: {', '.join(wrong)}; drop or encode them")
    values = table.to_numpy()
    return (
        values if values.dtype.kind in "fiub" else table.to_numpy(np.float64, na_value=np.nan)
    )  # nullable dtypes


def _default_dims(axes: list[pd.Index], name: str) -> tuple[Hashable, ...]:
    if len(axes) == 1:
        return (ROWS,)
    columns = "feature" if isinstance(axes[1], pd.MultiIndex) or axes[1].name is None else axes[1].name
    if columns == ROWS:
        raise ValueError(
            f"`{name}` has columns called {ROWS!r}, which is the name of the dim of its rows; pass "
            f"{name}.rename_axis(columns='feature'), or dims=('{ROWS}', 'feature')"
        )
    return (ROWS, columns)


def _coords(axis: pd.Index, dim: Hashable, taken: list[Hashable], name: str) -> dict[Hashable, Any]:
    """The coords along one dim of a table."""
    coords: dict[Hashable, Any] = {dim: labels_of(axis, dim, name)}
    if isinstance(axis, pd.MultiIndex):
        for k, level in enumerate(axis.names):
            called = f"{dim}_level_{k}" if level is None or level in taken else level
            coords[called] = (dim, as_coord(axis.get_level_values(k)))
    return coords


def labels_of(axis: pd.Index, dim: Hashable, name: str) -> pd.Index:
    """The labels of a table's rows or columns as the index of a dim.

    Raises
    ------
    ValueError
        If labels are missing.
    """
    if isinstance(axis, pd.MultiIndex):
        return pd.Index([" / ".join(map(str, label)) for label in axis], dtype=object)
    missing = np.flatnonzero(axis.isna())
    if len(missing):
        raise ValueError(
            f"`{name}` has no label for {len(missing)} of {len(axis)} entries along {dim!r} "
            f"(numbers {', '.join(map(str, missing[:5]))}); name or drop them"
        )
    if pd.api.types.infer_dtype(axis, skipna=False) == "string":
        return pd.Index(axis.to_numpy(dtype=object), dtype=object)  # arrays of text take xarray long to index
    return pd.Index(as_coord(axis))


def as_coord(values: Any) -> np.ndarray:
    """A column as values of a coord that every file can keep: text as NumPy strings, "" where it is missing."""
    column = pd.Series(values)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.dtype.kind in "mM":
        return column.to_numpy()
    if column.dtype.kind in "fiub":
        missing = column.hasnans and column.dtype.kind != "f"
        return column.to_numpy(
            dtype=np.float64 if missing else getattr(column.dtype, "numpy_dtype", column.dtype)
        )
    text = column.to_numpy(dtype=object)
    return np.where(column.isna(), "", text).astype(str)
