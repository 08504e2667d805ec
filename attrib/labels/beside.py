"""What goes into a model beside the inputs, `additional_forward_args`, matched to the samples by labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib.engine.model.companions import Beside, Companions, Shared
from attrib.interop.arrays import as_tensor
from attrib.labels.align import floats_in, frame_of, with_sample_dims
from attrib.labels.annotated import is_anndata
from attrib.labels.frames import is_table, labels_of
from attrib.labels.inputs import Inputs
from attrib.labels.matching import matched


def forward_args(additional: Any, inputs: Inputs, dtype: torch.dtype | None) -> Any:
    """The values in the form that the pure functions take: tensors (N, ...), or shared by all samples.

    Parameters
    ----------
    additional : tuple or mapping
        DataArrays with the sample dims, DataFrames and Series are matched by their labels, columns with the labels of an
        input's features too. Arrays without labels that are
        laid out like the samples travel with them in their order. All else goes as it is.
    inputs : Inputs
    dtype : torch.dtype, optional
        The model's: arrays of floats come in it, as the inputs do. Tensors keep the dtype that they have.

    Returns
    -------
    tuple, dict, or what it was
        Tensors with a row for each sample; all else that holds numbers is marked as shared.

    Raises
    ------
    ValueError
        For labels that are not those of the inputs.
    """
    if isinstance(additional, Beside):
        return Beside(*(forward_args(part, inputs, dtype) for part in additional))
    if isinstance(additional, Mapping):
        return {
            str(k): _value(v, inputs, dtype, f"additional_forward_args[{k!r}]") for k, v in additional.items()
        }
    if isinstance(additional, tuple | list) and not isinstance(additional, Shared):
        return tuple(
            _value(v, inputs, dtype, f"additional_forward_args[{k}]") for k, v in enumerate(additional)
        )
    return additional


def _value(value: Any, inputs: Inputs, dtype: torch.dtype | None, name: str) -> Any:
    if is_anndata(value):
        value = frame_of(value, name)
    if is_table(value):
        value = with_sample_dims(_like_features(value, inputs, name), inputs, name, numbers=True)
    if isinstance(value, xr.DataArray):
        return _by_labels(value, inputs, dtype, name)
    if not _is_array(value):
        return value
    t = as_tensor(value, name)
    t = t if isinstance(value, torch.Tensor) else floats_in(dtype, t)
    dims = len(inputs.sample_dims)
    if dims > 1 and tuple(t.shape[:dims]) == inputs.sample_shape:
        return t.reshape(-1, *t.shape[dims:])
    return t if t.ndim and len(t) == inputs.samples else Shared(t)


def _like_features(table: Any, inputs: Inputs, name: str) -> Any:
    """A table with its columns in the order of an input's features, where they have the same labels."""
    for j, x in enumerate(inputs.arrays):
        for d in inputs.core(j):
            if isinstance(table, pd.DataFrame) and d in x.indexes:
                labels, features = labels_of(table.columns, d, name), x.indexes[d]
                if labels.is_unique and features.is_unique and set(labels) == set(features):
                    return table.iloc[:, labels.get_indexer(features)]
    return table


def _is_array(value: Any) -> bool:
    """Whether a value is an array of numbers."""
    if isinstance(value, torch.Tensor):
        return value.layout == torch.strided
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub" and value.ndim > 0
    return hasattr(value, "__dlpack__") and not isinstance(value, np.generic)


def _by_labels(a: xr.DataArray, inputs: Inputs, dtype: torch.dtype | None, name: str) -> Any:
    """The tensor (N, ...) of an array with sample dims; shared, that of one without."""
    if a.ndim == 0:
        return a.item()
    samples = inputs.sample_dims
    a = matched(a, inputs.labels_of_samples, name, free=[d for d in a.dims if d not in samples])
    for j, x in enumerate(inputs.arrays):
        common = [d for d in a.dims if d in inputs.core(j) and d in a.indexes and d in x.indexes]
        if common:
            others = [d for d in a.dims if d not in common]
            a = matched(
                a.drop_vars([d for d in others if d in a.coords]),
                x,
                name,
                free=others,
                other=inputs.called(j),
            )
    core = [d for d in a.dims if d not in samples]
    if len(core) == a.ndim:
        return Shared(floats_in(dtype, as_tensor(a.data, name)))
    a = a.expand_dims([d for d in samples if d not in a.dims]).transpose(*samples, *core)
    sizes = (*inputs.sample_shape, *(a.sizes[d] for d in core))
    t = as_tensor(np.broadcast_to(a.values, sizes), name)
    return floats_in(dtype, t.reshape(-1, *t.shape[len(samples) :]))


def args_at(additional: Any, numbers: Sequence[int], inputs: Inputs) -> Any:
    """The values, in the form of the pure functions, of some samples."""
    return Companions(additional, inputs.samples).of_samples(torch.tensor(list(numbers)))
