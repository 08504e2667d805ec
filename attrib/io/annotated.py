"""AnnData in and out: its layers as DataArrays, attributions as its layers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._install import install_hint
from attrib._public import public
from attrib.labels.frames import annotated_array, refuse_other_labels
from attrib.stats.summary import sample_dims

COORDS = ("prediction", "delta", "n_steps", "segments", "evaluations")  # of results, along the samples


@public
def from_anndata(
    adata: Any, layer: str | None = None, *, dims: Sequence[Hashable] | None = None
) -> xr.DataArray:
    """The numbers of an AnnData object, of ``X`` or of a layer, as a DataArray.

    Every method takes an AnnData object as it is, and then ``X``. This function picks a layer.

    Parameters
    ----------
    adata : AnnData
        Cells by genes.
    layer : str, optional
        One of ``adata.layers``; default ``adata.X``.
    dims : sequence of str, optional
        Names of the two dims; default `"obs"` and `"var"`.

    Returns
    -------
    DataArray
        Labels are ``obs_names`` and ``var_names``; every column of ``obs`` and ``var`` is a coord. Columns of one name in
        both, and of names that results need (`prediction`, `delta`, ...), are called ``obs_NAME`` and ``var_NAME``. Sparse
        numbers are backed by Dask, where it is installed, and become dense block by block of rows.

    Raises
    ------
    ValueError
        For an object without numbers, and layers that do not exist.

    Examples
    --------
    >>> from attrib.io import from_anndata
    >>> import pytest
    >>> anndata = pytest.importorskip("anndata")
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.ones((2, 3), "float32"), layers={"counts": np.zeros((2, 3), "float32")})
    >>> from_anndata(adata, "counts").sizes["var"]
    3
    """
    return annotated_array(adata, dims, layer=layer, name="adata")


@public
def to_anndata(result: xr.DataArray, adata: Any = None, *, key: str | None = None) -> Any:
    """Attributions as layers of an AnnData object.

    Parameters
    ----------
    result : DataArray
        Attributions with the dim of the cells, that of the genes, and at most one more, `target`.
    adata : AnnData, optional
        Where to put them; its cells and genes are matched by their names. It may have more genes, which get NaN, and not
        more cells. Default: a new object without ``X``, with the coords along cells and genes as columns.
    key : str, optional
        Name of the layer; default: the method's. With several targets a layer each, called ``key:target``.

    Returns
    -------
    AnnData
        `adata` itself, with the layers, and with `prediction`, `delta` and the `target` of each cell as columns of ``obs`` (``KEY_prediction``, and
        ``KEY:TARGET_prediction`` for several targets).

    Raises
    ------
    ImportError
        Without `adata`, if anndata is not installed: ``pip install -e '.[anndata]'``.
    ValueError
        For other dims, and names of cells and genes that `adata` lacks.

    Examples
    --------
    >>> import pytest
    >>> anndata = pytest.importorskip("anndata")
    >>> import attrib, numpy as np
    >>> from attrib.io import to_anndata
    >>> adata = anndata.AnnData(np.ones((2, 3), "float32"))
    >>> to_anndata(attrib.input_x_gradient(lambda x: x.sum(1), adata), adata).layers["input_x_gradient"].tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    samples = sample_dims(result)
    genes = [d for d in result.dims if d not in (*samples, "target")]
    if not isinstance(result, xr.DataArray) or len(samples) != 1 or len(genes) != 1:
        raise ValueError(
            f"`result` has dims {result.dims}, expected one of cells, one of genes, and `target` for several targets"
        )
    cell, gene = samples[0], genes[0]
    names = {d: result.get_index(d).astype(str) for d in (cell, gene)}
    if adata is None:
        adata = _new(result, (cell, gene), (*COORDS, "target"))
    key = str(result.attrs.get("method", result.name or "attribution")) if key is None else key
    rows, columns = _places(names[cell], adata.obs_names, "obs"), _places(names[gene], adata.var_names, "var")
    for layer, a in _by_target(result, key).items():
        values = np.full(adata.shape, np.nan, dtype=a.dtype)
        values[np.ix_(rows, columns)] = a.transpose(cell, gene).values
        adata.layers[layer] = values
        for coord in COORDS:
            if coord in a.coords and a[coord].dims == (cell,):
                figures = np.full(adata.n_obs, np.nan)
                figures[rows] = a[coord].values
                adata.obs[f"{layer}_{coord}"] = figures
        if "target" in a.coords and a["target"].dims == (cell,):  # a target for each cell
            names_of_targets = pd.Series(a["target"].values, index=adata.obs_names[rows]).astype("category")
            adata.obs[f"{layer}_target"] = names_of_targets.reindex(adata.obs_names)
    return adata


def annotated_object(x: xr.DataArray) -> Any:
    """A new AnnData object of a matrix, with the coords along its two dims as columns of ``obs`` and ``var``.

    Parameters
    ----------
    x : DataArray
        Cells by genes, both with labels.

    Returns
    -------
    AnnData
        Columns of text are categories where they repeat.

    Raises
    ------
    ImportError
        If anndata is not installed, with the command that installs it.
    """
    adata = _new(x, x.dims)
    adata.X = np.asarray(x.values)
    return adata


def _by_target(result: xr.DataArray, key: str) -> Mapping[str, xr.DataArray]:
    """The layers by name."""
    if "target" not in result.dims:
        return {key: result}
    return {f"{key}:{t}": result.isel(target=k) for k, t in enumerate(result.get_index("target"))}


def _new(x: xr.DataArray, dims: Sequence[Hashable], skipped: Collection[str] = ()) -> Any:
    """An object without ``X`` of the cells and genes of `x`, with the coords along them."""
    try:
        import anndata
    except ImportError as error:
        raise ImportError(f"anndata is needed for this; install it: {install_hint('anndata')}") from error
    tables = [pd.DataFrame(index=x.get_index(d).astype(str)) for d in dims]
    for dim, table in zip(dims, tables, strict=True):
        for name, coord in x.coords.items():
            if coord.dims == (dim,) and name != dim and name not in skipped:
                column = pd.Series(coord.values, index=table.index)
                if column.dtype.kind not in "iufb":
                    column = column.astype(str)
                    column = column.astype("category") if column.nunique() < len(column) else column
                table[str(name)] = column
    return anndata.AnnData(obs=tables[0], var=tables[1])


def _places(names: pd.Index, wanted: pd.Index, which: str) -> np.ndarray:
    """The place of each name in the object.

    Raises
    ------
    ValueError
        For names that it lacks, and names that come twice.
    """
    if names.equals(wanted):
        return np.arange(len(wanted))
    refuse_other_labels(names, wanted[wanted.isin(names)], "result", which, f"adata.{which}_names")
    return wanted.get_indexer(names)
