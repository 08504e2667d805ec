"""The user's own data files as labelled arrays."""

from __future__ import annotations

import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from attrib._arguments import list_of
from attrib._claims import is_bare, is_consolidated, member, numbers, refuse_codecs, refuse_members
from attrib._public import public
from attrib.domains.expression.matrices import SUFFIXES, is_expression_file, read_matrix
from attrib.io import netcdf
from attrib.io.netcdf import Labelled
from attrib.io.nifti import from_nifti, is_nifti

UNREADABLE = (  # what readers raise for files that are torn or lie
    OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, AttributeError, IndexError, zipfile.BadZipFile, zlib.error, SyntaxError,
    ArithmeticError, AssertionError, NotImplementedError, struct.error, tokenize.TokenError,
)  # fmt: skip

PHONY = re.compile(r"phony_dim_\d+|unnamed_\d+|dim_\d+")


@public
def read(
    path: str | os.PathLike[str],
    *,
    dims: Sequence[str] | None = None,
    variables: Sequence[str] | str | None = None,
    lazy: bool = False,
) -> Labelled:
    """Read a model's input from a file.

    Parameters
    ----------
    path : str or path
        `.nc`, `.nc4`, `.h5`, `.zarr`, `.npy`, `.npz`, an expression matrix of `attrib.domains.expression.read_matrix` (`.gct`, `.csv`,
        `.tsv`, `.txt`, `.parquet`, `.h5ad`: dims sample, gene), or an image of `attrib.io.from_nifti`: `.nii`, `.nii.gz`, `.mgz`.
    dims : sequence of str, optional
        Of `.npy` and `.npz`, plain HDF5 and bare Zarr arrays: the names of the dims; default: `sample, dim_1, ...`, and `sample, NAME_1, ...` for several
        variables. Of labelled files: their dims in the order that the model takes. Images have sample, channel, i, j, k; without
        `channel` here, models get no channel.
    variables : sequence of str, or "all", optional
        The variables to read, in the order of the model's arguments; default: the only one.
    lazy : bool, default False
        Whether numbers of `.zarr`, netCDF and HDF5 are read only when they are needed.

    Returns
    -------
    DataArray or Dataset
        One variable, or several.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For another suffix, an unknown variable, several variables without `variables`, and dims that do not fit. The
        message names those that the file has.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from attrib.io import read
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.zeros((2, 3)))
    >>> read(path, dims=["sample", "gene"]).dims
    ('sample', 'gene')
    """
    file = Path(path)
    if is_nifti(file) or is_expression_file(file):
        reader = _image if is_nifti(file) else _expression
        return reader(file, dims, None if variables == "all" else variables)
    if file.suffix.lower() not in READERS:
        raise ValueError(
            f"data file {file} has an unknown format, expected one of {', '.join([*READERS, *SUFFIXES])}, .nii, .nii.gz"
        )
    if not file.exists():
        raise FileNotFoundError(f"there is no data file {file}")
    try:
        lazily = lazy and file.suffix.lower() in LAZY
        ds = LAZY[file.suffix.lower()](str(file)) if lazily else READERS[file.suffix.lower()](file)
    except ImportError as error:
        raise ValueError(f"reading {file.name} needs another package: {error}") from error
    except UNREADABLE as error:
        raise ValueError(f"{file} cannot be read as {file.suffix}: {error}") from error
    names = _chosen(ds, variables, file)
    prefix = dict.fromkeys(names, "dim") if len(names) == 1 else {n: n for n in names}
    arrays = {n: _with_dims(ds[n], dims, file, prefix[n]) for n in names}
    return arrays[names[0]] if len(names) == 1 else xr.Dataset(arrays, attrs=ds.attrs)


def _image(file: Path, dims: Sequence[str] | None, variables: Sequence[str] | None) -> xr.DataArray:
    """An image of a brain or the like: its first volume, if it has several."""
    if variables is not None:
        raise ValueError(f"`variables` is {', '.join(variables)}, but {file.name} is an image; leave it out")
    a = from_nifti(file, channel=dims is None or "channel" in dims)
    return a if dims is None else _with_dims(a, dims, file, "dim")


def _expression(file: Path, dims: Sequence[str] | None, variables: Sequence[str] | None) -> xr.DataArray:
    """An expression matrix, with the names of samples and genes."""
    if variables is not None:
        raise ValueError(
            f"`variables` is {', '.join(variables)}, but {file.name} is one matrix; leave it out"
        )
    a = read_matrix(file).x
    return a if dims is None else a.rename(dict(zip(a.dims, _two(dims, file), strict=True)))


def _two(dims: Sequence[str], file: Path) -> list[str]:
    if len(dims) != 2 or dims[0] == dims[1]:
        raise ValueError(f"`dims` names {', '.join(dims)}, but {file.name} has two dims: samples and genes")
    return list(dims)


@public
def opened(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a file of labelled arrays whose numbers are read when they are needed.

    Parameters
    ----------
    path : str or path
        `.zarr` (a folder, or an address such as ``"s3://bucket/x.zarr"``), `.nc`, `.nc4` or `.h5`.

    Returns
    -------
    Dataset
        All variables. A DataArray without a name is called `x`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For another suffix, and for a file that cannot be read or holds several results.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import opened, save
    >>> path = save(xr.DataArray([1.0, 2.0], dims="gene", name="rna"), pathlib.Path(tempfile.mkdtemp()) / "x.nc")
    >>> opened(path).rna.sum().item()
    3.0
    """
    address = os.fspath(path)
    file = Path(address)
    if file.suffix.lower() not in LAZY:
        raise ValueError(f"data file {address} has an unknown format, expected one of {', '.join(LAZY)}")
    if "://" not in address and not file.exists():
        raise FileNotFoundError(f"there is no data file {address}")
    try:
        return LAZY[file.suffix.lower()](address)
    except UNREADABLE as error:
        raise ValueError(f"{address} cannot be read as {file.suffix}: {error}") from error


def _chosen(ds: xr.Dataset, variables: Sequence[str] | str | None, file: Path) -> list[str]:
    names = [str(n) for n in ds.data_vars]
    if variables == "all" and names:
        return names
    if variables is not None:
        variables = list_of("variables", variables)
        missing = [v for v in variables if v not in names]
        if missing:
            raise ValueError(
                f"`variables`: {file.name} has no variable {missing[0]!r}, it has: {', '.join(names) or 'none'}"
            )
        if len(set(variables)) < len(variables) or not variables:
            raise ValueError(f"`variables` is {', '.join(variables) or 'empty'}, expected different names")
        return list(variables)
    if not names:
        raise ValueError(f"{file.name} has no variables")
    if len(names) != 1:
        raise ValueError(
            f"{file.name} has {len(names)} variables ({', '.join(names)}); pass `variables`, the model's inputs "
            "in the order of its arguments"
        )
    return names


def _with_dims(a: xr.DataArray, dims: Sequence[str] | None, file: Path, prefix: str) -> xr.DataArray:
    """The array with its dims named, or put in order; dims of plain HDF5 and Zarr have no names, or some that a library made up."""
    no_names = file.suffix.lower() in (".npy", ".npz")
    unnamed = [d for d in a.dims if no_names or PHONY.fullmatch(str(d))]
    if not a.ndim:
        raise ValueError(f"{a.name} in {file.name} is a single number, expected at least one dim")
    if dims is None:
        return a.rename({d: f"{prefix}_{i}" if i else "sample" for i, d in enumerate(a.dims) if d in unnamed})
    if len(dims) != a.ndim:
        raise ValueError(
            f"`dims` names {len(dims)} dims ({', '.join(dims)}), but {a.name} in {file.name} has {a.ndim}: shape {a.shape}"
        )
    if len(set(dims)) != len(dims):
        raise ValueError(f"`dims` has the same name twice: {', '.join(dims)}")
    if set(dims) == {str(d) for d in a.dims}:
        return a.transpose(*dims)
    new = [d for d in dims if d in unnamed or d not in a.dims]
    if len(new) != len(unnamed):
        raise ValueError(
            f"`dims` is {', '.join(dims)}, but {a.name} in {file.name} has the dims {', '.join(map(str, a.dims))}; "
            "give these names in the order that the model takes"
        )
    return a.rename(dict(zip(unnamed, new, strict=True))).transpose(*dims)


def _netcdf(file: Path) -> xr.Dataset:
    return _one_result(file, netcdf.read)


def _opened_netcdf(address: str) -> xr.Dataset:
    return _one_result(Path(address), netcdf.opened)


def _one_result(file: Path, reader: Callable[[Path], Labelled]) -> xr.Dataset:
    if netcdf.group_names(file):
        raise ValueError("it holds several results of attrib; pass a file with the model's input")
    content = reader(file)
    return content if isinstance(content, xr.Dataset) else content.to_dataset(name=content.name or "x")


def _zarr(file: Path) -> xr.Dataset:
    return _opened_zarr(str(file)).load()


def _opened_zarr(address: str) -> xr.Dataset:
    if "://" in address:
        group = xr.backends.ZarrStore.open_group(address, mode="r", consolidated=None)
        refuse_codecs(group.members)
        content = xr.open_dataset(group, chunks=None)
        if not content.variables:
            # Zarr 3.1.0 leaves out what it cannot read, such as codecs that it does not know
            raise ValueError("it holds no array that Zarr can read")
        return content
    store = Path(address)
    refuse_codecs(store)
    if is_bare(store):
        return _bare_zarr(store)
    return netcdf.with_text(xr.open_zarr(address, chunks=None, consolidated=is_consolidated(store)))


def _bare_zarr(store: Path) -> xr.Dataset:
    """Arrays of Zarr without names of their dims: one array, or those of a group."""
    import zarr

    opened = zarr.open(str(store), mode="r")
    arrays = {"x": opened} if isinstance(opened, zarr.Array) else dict(opened.arrays())
    return xr.Dataset(
        {
            n: xr.DataArray(
                np.asarray(v[...]),
                dims=[f"unnamed_{k}" if len(arrays) == 1 else f"{n}_{k}" for k in range(v.ndim)],
            )
            for n, v in arrays.items()
        }
    )


def _npy(file: Path) -> xr.Dataset:
    return xr.Dataset({"x": _unlabelled("x", numbers(file))})


def _npz(file: Path) -> xr.Dataset:
    refuse_members(file)
    with np.load(file, allow_pickle=False) as arrays:
        return xr.Dataset({k: _unlabelled(k, member(arrays, k)) for k in arrays.files})


def _unlabelled(name: str, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=[f"{name}_{i}" for i in range(values.ndim)])


READERS: dict[str, Callable[[Path], xr.Dataset]] = {
    ".nc": _netcdf, ".nc4": _netcdf, ".h5": _netcdf, ".zarr": _zarr, ".npy": _npy, ".npz": _npz,
}  # fmt: skip
LAZY: dict[str, Callable[[str], xr.Dataset]] = {
    ".zarr": _opened_zarr, ".nc": _opened_netcdf, ".nc4": _opened_netcdf, ".h5": _opened_netcdf,
}  # fmt: skip
