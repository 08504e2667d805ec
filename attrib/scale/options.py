"""Options of a method whose arrays have an entry for each sample, cut with the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib.engine.model.companions import Shared, each
from attrib.labels.align import frame_of
from attrib.labels.annotated import is_anndata
from attrib.scale.samples import Labelled

PER_SAMPLE = ("target", "targets")  # where a list, or an array with a dim, has an entry for each sample


def aligned(options: Mapping[str, Any], x: Labelled, dims: tuple) -> dict[str, Any]:
    """The options, labelled ones with the samples in the order of the inputs.

    Raises
    ------
    ValueError
        For labels along a sample dim that are not those of the inputs.
    """
    return {name: _aligned(name, value, x, dims) for name, value in options.items()}


def aligned_beside(values: Any, x: Labelled, dims: tuple) -> Any:
    """`additional_forward_args` with the samples in the order of the inputs, in the form that they have.

    Raises
    ------
    ValueError
        As `aligned`.
    """
    name = "additional_forward_args"
    return each(values, lambda v: _aligned(name, frame_of(v, name) if is_anndata(v) else v, x, dims))


def _aligned(name: str, value: Any, x: Labelled, dims: tuple) -> Any:
    if isinstance(value, pd.Series) and name in PER_SAMPLE and len(dims) == 1:
        labels = value.index if dims[0] in x.indexes and not isinstance(value.index, pd.RangeIndex) else None
        value = xr.DataArray(value.to_numpy(), dims=dims, coords={} if labels is None else {dims[0]: labels})
    if isinstance(value, Shared):
        return value
    if isinstance(value, pd.Series | pd.DataFrame) and _of_samples(value, x, dims):
        return value.loc[x.indexes[dims[0]]]
    if isinstance(value, xr.DataArray | xr.Dataset):
        for d in dims:
            if d not in value.dims:
                continue
            if value.sizes[d] not in (1, x.sizes[d]):
                raise ValueError(f"`{name}` has size {value.sizes[d]} along {d!r}, `data` has {x.sizes[d]}")
            both = d in value.indexes and d in x.indexes and value.sizes[d] == x.sizes[d]
            if both and not value.indexes[d].equals(x.indexes[d]):
                if not value.indexes[d].is_unique or set(value.indexes[d]) != set(x.indexes[d]):
                    raise ValueError(
                        f"`{name}` and `data` have different labels along {d!r}; select the same ones in both"
                    )
                value = value.reindex({d: x.indexes[d]})
        return value
    if isinstance(value, dict):
        return {k: _aligned(name, v, x, dims) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_aligned(name, v, x, dims) for v in value)
    return value


def _of_samples(table: pd.Series | pd.DataFrame, x: Labelled, dims: tuple) -> bool:
    """Whether the rows of a table are the samples, by their labels."""
    labels = x.indexes.get(dims[0]) if len(dims) == 1 else None
    return labels is not None and table.index.is_unique and set(table.index) == set(labels)


def cut_beside(values: Any, samples: slice, x: Labelled, dims: tuple) -> Any:
    """`additional_forward_args` for some samples; arrays without a row for each of all samples are marked as shared.

    Else an array of as many rows as there are samples in a block would be taken for one with a row for each.
    """

    def of_block(value: Any) -> Any:
        of_samples = _cut("additional_forward_args", value, samples, x, dims, tuple(range(1, 9)))
        if of_samples is not value or x.sizes[dims[0]] == 1:
            return of_samples
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim:
            return xr.DataArray(value, dims=[f"shared_dim_{k}" for k in range(value.ndim)])
        return Shared(value) if isinstance(value, torch.Tensor) else value

    return each(values, of_block)


def cut(
    options: Mapping[str, Any], samples: slice, x: Labelled, dims: tuple, ranks: tuple[int, ...]
) -> dict[str, Any]:
    """The options for some samples.

    Parameters
    ----------
    options : mapping
        For all samples, `aligned`.
    samples : slice
        Along the first sample dim.
    x : DataArray or Dataset
        All inputs.
    dims : tuple
        The sample dims.
    ranks : tuple of int
        Numbers of dims that an array without labels has if it has an entry for each sample; the first of them is theirs.
    """
    return {name: _cut(name, value, samples, x, dims, ranks) for name, value in options.items()}


def _cut(name: str, value: Any, samples: slice, x: Labelled, dims: tuple, ranks: tuple[int, ...]) -> Any:
    size = x.sizes[dims[0]]
    if isinstance(value, Shared):
        return value
    if isinstance(value, pd.Series | pd.DataFrame):
        return value.iloc[samples] if _of_samples(value, x, dims) else value
    if isinstance(value, xr.DataArray | xr.Dataset):
        return value.isel({dims[0]: samples}) if value.sizes.get(dims[0]) == size > 1 else value
    if isinstance(value, np.ndarray | torch.Tensor):
        rank = (len(dims),) if name in PER_SAMPLE else ranks
        return value[samples] if value.ndim in rank and len(value) == size > 1 else value
    if isinstance(value, list) and name == "target" and len(value) == size and len(dims) == 1:
        return value[samples]
    if isinstance(value, list) and name == "targets":
        return [
            _cut("target", v, samples, x, dims, ranks)
            if isinstance(v, list | np.ndarray | torch.Tensor | xr.DataArray)
            else v
            for v in value
        ]
    if isinstance(value, dict):
        return {k: _cut(name, v, samples, x, dims, ranks) for k, v in value.items()}
    if isinstance(value, tuple) and name not in PER_SAMPLE:
        return tuple(_cut(name, v, samples, x, dims, ranks) for v in value)
    return value
