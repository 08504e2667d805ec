"""Tables of pandas and AnnData as DataArrays, and arrays brought into the order of another by the labels of their coords."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import shown

ROWS = "sample"  # the dim of a table's rows, where the caller names no other

DIMS = ("obs", "var")
BLOCK_BYTES = 64 << 20  # of dense numbers in a block of rows
COORDS_OF_RESULTS = ("prediction", "delta", "standard_error", "n_steps", "segments", "evaluations")
DIMS_OF_RESULTS = ("target", "baseline")
RESERVED = (*COORDS_OF_RESULTS, *DIMS_OF_RESULTS)


def is_table(value: Any) -> bool:
    """Whether `value` is a DataFrame or a Series."""
    return isinstance(value, pd.DataFrame | pd.Series)


def table_array(table: pd.DataFrame | pd.Series, dims: Sequence[Hashable] | None, name: str) -> xr.DataArray:
    """A table of numbers with its labels.

    Parameters
    ----------
    table : DataFrame or Series
    dims : sequence of hashable, optional
        Names of the dims of rows and columns; default `"sample"`, and the columns' name or `"dim_1"`.
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
    >>> a.dim_1.values.tolist(), a.symbol.values.tolist()
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


def numbers(name: str, values: Any, expected: str = "numbers") -> np.ndarray:
    """Real numbers as an array of float64.

    Raises
    ------
    TypeError
        For complex numbers, texts, None and whatever else is no number.
    """
    try:
        array = np.asarray(list(values) if isinstance(values, Iterator) else values)
        if array.dtype.kind in "biuf" or (array.dtype.kind == "O" and array.ndim):
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"`{name}` is {shown(values)}, expected {expected}")


def _default_dims(axes: list[pd.Index], name: str) -> tuple[Hashable, ...]:
    if len(axes) == 1:
        return (ROWS,)
    columns = "dim_1" if isinstance(axes[1], pd.MultiIndex) or axes[1].name is None else axes[1].name
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


def matched(
    a: xr.DataArray,
    x: xr.DataArray,
    name: str,
    *,
    free: Collection[Hashable] = (),
    repeated: Collection[Hashable] = (),
    other: str = "x",
) -> xr.DataArray:
    """An array whose labels stand in the order of those of `x`.

    Parameters
    ----------
    a : DataArray
        Any of the dims of `x`, in any order. Dims of size 1 without labels stand for all entries.
    x : DataArray
        The array that it belongs to. Where one of both has no labels along a dim, entries are matched by their places.
    name, other : str
        What errors call `a` and `x`.
    free : collection of str
        Dims that `x` need not have.
    repeated : collection of str
        Dims of `x` along which one entry stands for all, whatever its label.

    Returns
    -------
    DataArray
        The dims of `a`, in its order.

    Raises
    ------
    ValueError
        For dims that `x` lacks, other sizes, and labels that are missing or others: they are named.

    Examples
    --------
    >>> import xarray as xr
    >>> x = xr.DataArray([1, 2, 3], dims="gene", coords={"gene": ["INS", "GCG", "SST"]})
    >>> matched(x.isel(gene=[2, 0, 1]), x, "baselines").values
    array([1, 2, 3])
    """
    extra = [d for d in a.dims if d not in x.dims and d not in free]
    if extra:
        raise ValueError(f"`{name}` has dims {extra} that `{other}` lacks ({x.dims}); rename them")
    for d in a.dims:
        if d in free and d not in x.dims:
            continue
        labels, wanted = a.indexes.get(d), x.indexes.get(d)
        if a.sizes[d] == 1 and x.sizes[d] != 1 and (d in repeated or labels is None or wanted is None):
            continue
        if labels is not None and wanted is not None:
            if not labels.equals(wanted):
                refuse_other_labels(labels, wanted, name, d, other)
                a = a.isel({d: labels.get_indexer(wanted)})
        elif a.sizes[d] != x.sizes[d]:
            raise ValueError(
                f"`{name}` and `{other}` differ along {d!r}: {a.sizes[d]} entries and {x.sizes[d]}; select the same in both"
            )
    return a


def laid_like(a: xr.DataArray, x: xr.DataArray, name: str, other: str) -> xr.DataArray:
    """`a` in the order of the dims and labels that it shares with `x`, for pictures of both; dims of other sizes or names stay."""
    for d in set(a.dims) & set(x.dims):
        labels, wanted = a.indexes.get(d), x.indexes.get(d)
        if (
            a.sizes[d] == x.sizes[d]
            and labels is not None
            and wanted is not None
            and not labels.equals(wanted)
        ):
            refuse_other_labels(labels, wanted, name, d, other)
            a = a.isel({d: labels.get_indexer(wanted)})
    return a.transpose(*[d for d in x.dims if d in a.dims]) if set(a.dims) <= set(x.dims) else a


def truth(mask: xr.DataArray, name: str) -> xr.DataArray:
    """Booleans of a mask: what is not zero is inside, what is missing is not.

    Raises
    ------
    TypeError
        For texts and other values, each of which would be true.
    """
    if mask.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` has values of {mask.dtype}, expected booleans or numbers, zero outside")
    return mask.fillna(0).astype(bool)


def refuse_other_labels(labels: pd.Index, wanted: pd.Index, name: str, dim: Hashable, other: str) -> None:
    """Raise a ValueError that names the labels, unless both have the same ones, each once."""
    lacking, more = wanted.difference(labels, sort=False), labels.difference(wanted, sort=False)
    if len(lacking) or len(more):
        differences = [
            f"`{name}` {verb} {_listed(those)}"
            for verb, those in (("lacks", lacking), ("has", more))
            if len(those)
        ]
        raise ValueError(
            f"`{name}` and `{other}` have different labels along {dim!r}: {' and '.join(differences)}; select the same ones in both"
        )
    for index, which in ((labels, name), (wanted, other)):
        if not index.is_unique:
            raise ValueError(
                f"`{which}` has labels along {dim!r} more than once: {_listed(index[index.duplicated()].unique())}; "
                f"`{name}` and `{other}` cannot be matched by them"
            )


def text_along(a: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """The text that tells what lies along a dim without labels, such as the words of tokens, which differ between samples.

    Returns
    -------
    DataArray or None
        The coord; None where the dim has labels, and where there are no such coords or several.
    """
    texts = [c for c in a.coords.values() if dim in c.dims and c.dtype.kind in "UOT"]
    return texts[0] if dim not in a.coords and len(texts) == 1 else None


def _listed(labels: pd.Index) -> str:
    return ", ".join(map(repr, labels[:3].tolist())) + (
        f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    )
