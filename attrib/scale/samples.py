"""The samples of a cohort, cut into blocks: a file that each process opens for itself, or labelled arrays."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from attrib.engine.model.companions import Shared, each, values_of
from attrib.io import opened
from attrib.labels import labelled_inputs
from attrib.labels.annotated import annotated_array, is_anndata
from attrib.labels.frames import is_table, table_array

BLOCK_BYTES = (
    16 << 20
)  # of inputs in an automatic block: workers stay small, and compute much longer than they read
MOST_SAMPLES = 256
INPUT = "attrib_input"  # the name of an input that came without one
PLAIN = (
    bool,
    int,
    float,
    str,
    tuple,
    list,
    dict,
    np.ndarray,
    torch.Tensor,
)  # what a closure holds and a digest can tell apart
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # another one in each process
Labelled = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Source:
    """Inputs of a model, and what else it takes, as variables of one Dataset.

    Attributes
    ----------
    path : str or None
        The file. Its arrays are opened in each process anew.
    arrays : Dataset or None
        The arrays, where they come from no file.
    inputs : tuple of str
        Variables that are explained, in the order of the model's arguments.
    single : bool
        Whether the model gets one input by itself.
    arguments : tuple, mapping or Beside
        `additional_forward_args`: names of variables, and other values.
    dims : tuple
        The sample dims. Blocks are cut along the first of them.
    """

    path: str | None
    arrays: xr.Dataset | None
    inputs: tuple[str, ...]
    single: bool
    arguments: Any
    dims: tuple[Hashable, ...]

    def opened(self) -> Source:
        """The same, its arrays opened in this process."""
        return (
            self
            if self.path is None or self.arrays is not None
            else replace(self, arrays=_without_levels(opened(self.path)))
        )

    def shipped(self) -> Source:
        """The same, for another process: without arrays. Blocks of arrays that come from no file are sent one by one."""
        return replace(self, arrays=None)

    @property
    def dataset(self) -> xr.Dataset:
        """The variables that are used."""
        assert self.arrays is not None
        return self.arrays[[*self.inputs, *_names(self.arguments, self.arrays)]]

    @property
    def size(self) -> int:
        """Number of samples along the dim that is cut."""
        return self.dataset.sizes[self.dims[0]]

    def block(self, start: int, stop: int) -> xr.Dataset:
        """Some samples, not yet read."""
        return self.dataset.isel({self.dims[0]: slice(start, stop)})

    def explained(self, ds: xr.Dataset) -> Labelled:
        """The inputs among the variables of some samples, as methods take them."""
        return ds[self.inputs[0]] if self.single else ds[list(self.inputs)]

    def additional(self, ds: xr.Dataset) -> Any:
        """`additional_forward_args` of some samples."""
        return each(self.arguments, lambda v: ds[v] if _is_name(v, ds) else v)


def source(
    data: Any,
    inputs: str | Sequence[str] | None,
    arguments: Any,
    sample_dims: Hashable | Sequence[Hashable] | None,
) -> Source:
    """The inputs and arguments among the arrays of a file, a DataArray or a Dataset.

    Raises
    ------
    TypeError
        For data of another kind.
    ValueError
        For variables that do not exist, and inputs that do not fit each other.
    """
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    if path is not None:
        arrays = opened(path)
        path = path if "://" in path else str(Path(path).resolve())
    elif is_table(data) or is_anndata(data):
        a = annotated_array(data, name="data") if is_anndata(data) else table_array(data, None, "data")
        arrays = a.to_dataset(name=INPUT, promote_attrs=False)
    elif isinstance(data, xr.DataArray):
        arrays = data.to_dataset(name=INPUT, promote_attrs=False)
    elif isinstance(data, xr.Dataset):
        arrays = data
    else:
        raise TypeError(
            f"`data` is a {type(data).__name__}, expected the path of a Zarr or netCDF file, a DataArray, a Dataset, a DataFrame or AnnData"
        )
    if isinstance(arguments, str | Shared) or not isinstance(arguments, tuple | list | Mapping):
        raise TypeError(
            f"`additional_forward_args` is {arguments!r}, expected a tuple or a mapping: ({arguments!r},)"
            if isinstance(arguments, str)
            else f"`additional_forward_args` is a {type(arguments).__name__}, expected a tuple of values or a mapping; for one "
            "value pass (value,)"
        )
    others = _names(arguments, arrays)
    names = (
        [inputs]
        if isinstance(inputs, str)
        else [str(n) for n in arrays.data_vars if n not in others]
        if inputs is None
        else list(inputs)
    )
    missing = [n for n in names if n not in arrays.data_vars]
    if missing or not names:
        raise ValueError(
            f"`inputs` has {missing or 'no names'}, but `data` has the variables {', '.join(map(str, arrays.data_vars))}"
        )
    samples = Source(path, _without_levels(arrays), tuple(names), len(names) == 1, arguments, ())
    samples = replace(
        samples, dims=labelled_inputs(samples.explained(samples.dataset), sample_dims).sample_dims
    )
    if not samples.dims or not samples.size:
        raise ValueError(f"`data` has no samples along {samples.dims or 'any dim'}")
    apart = [n for n in others if samples.dims[0] not in arrays[n].dims]
    if apart:
        raise ValueError(
            f"`additional_forward_args` names {apart}, which lack the sample dim {samples.dims[0]!r}; pass the values"
        )
    return samples


def _names(arguments: Any, ds: xr.Dataset) -> list[str]:
    return [v for v in values_of(arguments) if _is_name(v, ds)]


def _is_name(value: Any, ds: xr.Dataset) -> bool:
    return isinstance(value, str) and value in ds.data_vars


def _without_levels(ds: xr.Dataset) -> xr.Dataset:
    """MultiIndexes as plain coords, which a Zarr store can hold."""
    several = [d for d in ds.dims if isinstance(ds.indexes.get(d), pd.MultiIndex)]
    return ds.reset_index(several) if several else ds


def block_size(samples: Source, block: int | str) -> int:
    """Samples in a block; `"auto"` fits the bytes of a sample and the chunks of the file.

    Raises
    ------
    ValueError
        If it is neither a positive int nor "auto".
    """
    if block != "auto":
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ValueError(f'`block` is {block!r}, expected a positive int or "auto"')
        return min(block, samples.size)
    ds, dim = samples.dataset, samples.dims[0]
    nbytes = sum(v.nbytes for v in ds.data_vars.values() if dim in v.dims) // samples.size
    most = min(samples.size, MOST_SAMPLES, max(1, BLOCK_BYTES // max(nbytes, 1)))
    first = ds[samples.inputs[0]]
    chunk = dict(
        zip(first.dims, first.encoding.get("chunks") or first.encoding.get("chunksizes") or (), strict=False)
    ).get(dim)
    if first.chunks is not None:
        chunk = first.variable.chunksizes[dim][0]
    if not chunk or chunk >= samples.size:
        return most
    if chunk <= most:
        return most // chunk * chunk
    return next(chunk // k for k in range(-(-chunk // most), chunk + 1) if chunk % k == 0)


def is_lazy(ds: xr.Dataset) -> bool:
    """Whether Dask computes any of its arrays; `ds.chunks` refuses arrays that are cut differently."""
    return any(v.chunks is not None for v in ds.variables.values())


def loaded(ds: xr.Dataset) -> xr.Dataset:
    """A block in memory, read by this thread alone."""
    if not is_lazy(ds):
        return ds.load()
    import dask

    with dask.config.set(scheduler="synchronous"):
        return ds.compute()


def checksum(ds: xr.Dataset) -> int:
    """Of the values of a block."""
    crc = 0
    for name in ds.data_vars:
        values = np.ascontiguousarray(ds[name].values)
        crc = zlib.crc32(
            values.view(np.uint8).data
            if values.dtype.kind in "biuf" and values.size
            else repr(values).encode(),
            crc,
        )
    return crc


def labels_digest(samples: Source) -> str:
    """Of all that names the samples and their entries: variables, dims, sizes, dtypes, coords."""
    ds = samples.dataset
    parts: list[Any] = [
        [(str(k), v.dims, v.shape, str(v.dtype)) for k, v in ds.data_vars.items()],
        samples.dims,
    ]
    parts += [(str(k), digest_of(v.variable)) for k, v in ds.coords.items()]
    return digest_of(parts)


def stamp(path: str | None) -> str | None:
    """Of the names, sizes and times of the files that `path` consists of; None where it cannot tell."""
    if path is None or "://" in path:
        return None
    root = Path(path)
    files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
    return digest_of([(str(f.relative_to(root)), f.stat().st_size, f.stat().st_mtime_ns) for f in files])


def digest_of(value: Any) -> str:
    """A short digest of an option: of the values of arrays, and of the code of functions."""
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()[:16]


def _feed(sha256: Any, value: Any) -> None:
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        value = sorted(((str(k), v) for k, v in value.items()), key=lambda entry: entry[0])
    if isinstance(value, list | tuple):
        sha256.update(f"{len(value)}[".encode())
        for entry in value:
            _feed(sha256, entry)
    elif isinstance(value, xr.Dataset):
        _feed(sha256, {str(k): v for k, v in value.variables.items()})
    elif isinstance(value, xr.DataArray):
        _feed(sha256, [value.variable, {str(k): v.variable for k, v in value.coords.items()}])
    elif isinstance(value, xr.Variable):
        _feed(sha256, [value.dims, value.values])
    elif isinstance(value, pd.Series | pd.DataFrame | pd.Index):
        _feed(sha256, [np.asarray(value), list(map(str, getattr(value, "index", ())))])
    elif isinstance(value, torch.Tensor):
        _feed(
            sha256,
            value.detach().cpu().float().numpy()
            if value.dtype == torch.bfloat16
            else value.detach().cpu().numpy(),
        )
    elif isinstance(value, np.ndarray):
        sha256.update(f"{value.dtype.kind}{value.shape}".encode())
        sha256.update(
            repr(value.tolist()).encode()
            if value.dtype.kind in "OUST"
            else np.ascontiguousarray(value).tobytes()
        )
    elif isinstance(value, nn.Module):
        _feed(sha256, [repr(value), list(value.state_dict().values())])
    elif callable(value) and hasattr(value, "func"):  # functools.partial
        _feed(sha256, [value.func, list(value.args), dict(value.keywords)])
    elif callable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        sha256.update(f"{getattr(value, '__module__', '')}.{name}".encode())
        if hasattr(value, "__code__"):
            _feed_code(sha256, value.__code__)
            _feed(
                sha256,
                [c.cell_contents for c in value.__closure__ or () if isinstance(c.cell_contents, PLAIN)],
            )
    elif isinstance(value, set | frozenset):
        _feed(sha256, sorted(map(repr, value)))
    else:
        sha256.update(f"{type(value).__name__}:{ADDRESS.sub('', repr(value))}".encode())


def _feed_code(sha256: Any, code: Any) -> None:
    """What a function does, by names, constants and instructions; the same in every process."""
    sha256.update(code.co_code)
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            _feed_code(sha256, constant)
        else:
            _feed(sha256, constant)
    _feed(sha256, code.co_names)
