"""Baselines, per-sample values and what goes into a model beside the inputs, matched by names of dims and labels of coords."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib.engine.model.companions import Beside, Companions, Shared
from attrib.engine.target import class_names, custom, repeated
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.frames import (
    annotated_array,
    is_anndata,
    is_table,
    labels_of,
    matched,
    numbers_of,
    refuse_other_labels,
)
from attrib.labels.inputs import Inputs, flattened

DISTRIBUTION = "baseline"  # the dim along which a distribution of baselines lies


def baseline_tensors(baselines: Any, inputs: Inputs, dtype: torch.dtype | None, kind: str) -> Any:
    """Baselines in the form that the pure functions take.

    Parameters
    ----------
    baselines : float, array-like, DataArray, DataFrame, Series, Dataset, mapping, tuple, or callable
        Arrays without labels are laid out like the inputs; those with labels are matched by them. A callable gets the
        inputs as the caller passed them.
    inputs : Inputs
    dtype : torch.dtype, optional
        The model's.
    kind : {"point", "distribution", "any"}
        What the method takes: one baseline per sample; many along a dim called `"baseline"`, the rows of a table; or either.

    Raises
    ------
    ValueError
        For dims the inputs lack, labels that differ, and a distribution where one baseline is expected.
    """
    if callable(baselines):
        x = inputs.original
        baselines = baselines(*x) if isinstance(x, tuple) else baselines(x)
    if isinstance(baselines, int | float):
        return int(baselines) if isinstance(baselines, bool) else baselines
    each = _per_input(baselines, inputs)
    tensors = tuple(_baseline_tensor(b, inputs, j, dtype, kind) for j, b in enumerate(each))
    return tensors[0] if inputs.single else tensors


def numbers_in_order(values: Any, inputs: Inputs, name: str) -> Any:
    """A number for each input, by name or in the caller's order, in the order in which the model takes them; one for all as it is."""
    if isinstance(values, Mapping):
        lacking = [n for n in inputs.names or () if n not in values]
        if inputs.names is None or lacking or len(values) > len(inputs.names):
            raise ValueError(
                f"`{name}` has the names {list(values)}, expected those of the inputs, {inputs.names or 'which have none'}"
            )
        return tuple(values[n] for n in inputs.names)
    return inputs.ordered(values) if isinstance(values, tuple | list) else values


def _per_input(baselines: Any, inputs: Inputs) -> list[Any]:
    if isinstance(baselines, xr.Dataset | Mapping):
        baselines = {n: b for n, (_, b) in flattened(baselines).items()}
        if inputs.names is None:
            raise ValueError("`baselines` has names, but the inputs have none; pass a tuple in their order")
        missing = [n for n in inputs.names if n not in baselines]
        if missing:
            raise ValueError(f"`baselines` lacks the inputs {missing}")
        return [baselines[n] for n in inputs.names]
    if isinstance(baselines, tuple) and not inputs.single:
        if len(baselines) != len(inputs.arrays):
            raise ValueError(f"`baselines` has {len(baselines)} entries for {len(inputs.arrays)} inputs")
        return list(inputs.ordered(baselines))
    if not inputs.single:
        raise ValueError(f"`baselines` is one array for {len(inputs.arrays)} inputs; pass one per input")
    return [baselines]


def _baseline_tensor(b: Any, inputs: Inputs, j: int, dtype: torch.dtype | None, kind: str) -> Any:
    x = inputs.arrays[j]
    if isinstance(b, int | float):
        return int(b) if x.dtype.kind in "iub" and b == int(b) else float(b)
    if is_table(b) or is_anndata(b):
        b = table_like(b, inputs, j, "baselines", rows=DISTRIBUTION if kind == "distribution" else None)
    if not isinstance(b, xr.DataArray):
        t = as_tensor(b, "baselines")
        if tuple(t.shape) != x.shape or len(inputs.sample_dims) == 1:
            return floats_in(
                dtype, t
            )  # laid out for the model: (1, ...), (N, ...), a sample, or a distribution
        b = xr.DataArray(as_numpy(t), dims=x.dims)
    many = DISTRIBUTION in b.dims
    if many and kind == "point":
        raise ValueError(
            "`baselines` has a dim 'baseline', but this method takes one baseline; pass baselines.mean('baseline')"
        )
    b = matched(b, x, "baselines", free=(DISTRIBUTION,), repeated=inputs.sample_dims)
    t = _by_name(b, inputs, j)
    if kind == "distribution" and not many and len(t) > 1:  # one for each sample
        t = t[:, None]
    if kind == "any" and many and t.ndim == 1 + len(inputs.core(j)):  # the same for all samples
        t = t[None]
    return floats_in(dtype, t)


def floats_in(dtype: torch.dtype | None, t: torch.Tensor) -> torch.Tensor:
    """A tensor of floats in the model's dtype, if that is known; whole numbers stay what they are."""
    return t.to(dtype) if dtype is not None and t.is_floating_point() else t


def table_like(
    table: Any,
    inputs: Inputs,
    j: int,
    name: str,
    *,
    rows: Hashable | None = None,
    numbers: bool = True,
    single: bool = True,
) -> xr.DataArray:
    """A table with the dims of input `j`: a Series has one value per entry of a sample, a DataFrame rows of these.

    Parameters
    ----------
    table : DataFrame or Series
    inputs : Inputs
    j : int
        Number of the input.
    name : str
        What errors call the table.
    rows : str, optional
        Dim of the rows; default: those are the samples, matched by their labels, or one row for all of them.
    numbers : bool, default True
        Whether the values have to be numbers.
    single : bool, default True
        Whether one row alone stands for all samples.

    Raises
    ------
    ValueError
        If a sample has other than one dim.
    """
    core = inputs.core(j)
    if is_anndata(table):
        table = frame_of(table, name)
    if isinstance(table, pd.Series) and not core:
        core = inputs.sample_dims
    if len(core) != 1:
        raise ValueError(
            f"`{name}` is a {type(table).__name__}, but a sample of `{inputs.called(j)}` has the dims {core}; "
            "pass a DataArray that names them"
        )
    values = numbers_of(table, name) if numbers else table.to_numpy(dtype=object)
    if isinstance(table, pd.Series):
        return xr.DataArray(values, dims=core, coords={core[0]: labels_of(table.index, core[0], name)})
    coords = {core[0]: labels_of(table.columns, core[0], name)}
    if rows is not None:
        return xr.DataArray(values, dims=(rows, *core), coords=coords)
    if len(table) == 1 and single:
        return xr.DataArray(values[0], dims=core, coords=coords)
    (sample,) = _one_sample_dim(inputs, name)
    coords[sample] = labels_of(table.index, sample, name)
    return xr.DataArray(values, dims=(sample, *core), coords=coords)


def frame_of(adata: Any, name: str) -> pd.DataFrame:
    """The numbers of an AnnData object with its names."""
    a = annotated_array(adata, name=name)
    return pd.DataFrame(a.values, index=a.indexes["obs"], columns=a.indexes["var"])


def _one_sample_dim(inputs: Inputs, name: str) -> tuple[Hashable, ...]:
    if len(inputs.sample_dims) != 1:
        raise ValueError(
            f"`{name}` is a DataFrame, but `x` has the sample dims {inputs.sample_dims}; pass a DataArray that names them"
        )
    return inputs.sample_dims


def _by_name(b: xr.DataArray, inputs: Inputs, j: int) -> torch.Tensor:
    """(1, ...), (N, ...), (B, ...) or (N, B, ...) as the pure functions want it."""
    core, many = inputs.core(j), DISTRIBUTION in b.dims
    per_sample = any(d in b.dims for d in inputs.sample_dims)
    lead: tuple[Hashable, ...] = (
        *(inputs.sample_dims if per_sample else ()),
        *((DISTRIBUTION,) if many else ()),
    )
    x = inputs.arrays[j]
    b = b.expand_dims({d: x.sizes[d] for d in lead if d not in b.dims and d != DISTRIBUTION})
    b = b.expand_dims([d for d in core if d not in b.dims]).transpose(*lead, *core)
    t = as_tensor(b.data, "baselines")
    shape = t.shape[len(lead) :]
    if per_sample:
        return t.reshape(-1, *((b.sizes[DISTRIBUTION],) if many else ()), *shape)
    return t if many else t[None]


def sample_values(values: Any, inputs: Inputs, name: str) -> Any:
    """A per-sample argument as a list in the order of the stacked samples; anything else as it is.

    An array with labels may lack sample dims: a target of each subject is that of all its slices.

    Raises
    ------
    ValueError
        If an array with labels has other dims, or its labels differ from the inputs'.
    """
    if isinstance(values, pd.Series | pd.DataFrame):
        values = with_sample_dims(values, inputs, name, numbers=False)
    if isinstance(values, xr.DataArray):
        if values.ndim == 0:
            return values.item()
        if not set(values.dims) <= set(inputs.sample_dims):
            raise ValueError(
                f"`{name}` has dims {values.dims}, expected the sample dims {inputs.sample_dims}"
            )
        sizes = zip(inputs.sample_dims, inputs.sample_shape, strict=True)
        ordered = matched(values, inputs.labels_of_samples, name)
        ordered = ordered.expand_dims({d: size for d, size in sizes if d not in values.dims})
        ordered = ordered.transpose(*inputs.sample_dims)
        if ordered.shape != inputs.sample_shape:
            raise ValueError(
                f"`{name}` has the sizes {dict(ordered.sizes)}, expected one value per sample: {inputs.sample_shape}"
            )
        return ordered.values.ravel().tolist()
    if hasattr(values, "to_numpy") and not isinstance(values, np.ndarray):  # a pandas Index or array
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.ndim > 0 and values.shape == inputs.sample_shape:
        return values.ravel().tolist()
    return values


def refuse_coord_as_target(target: Any, classes: Any, inputs: Inputs) -> None:
    """Refuse the name of a coord of the samples, such as a column of `obs`, that is no class: what is meant is its values."""
    if not isinstance(target, str) or target == "predicted" or target in (class_names(classes) or ()):
        return
    if any(target in a.coords and set(a[target].dims) <= set(inputs.sample_dims) for a in inputs.arrays):
        values = f"adata.obs[{target!r}]" if inputs.eager else f"x[{target!r}]"
        raise ValueError(
            f"`target` is {target!r}, a coord of the samples and no class; pass its values, target={values}, and `classes`"
        )


def with_sample_dims(
    table: pd.Series | pd.DataFrame, inputs: Inputs, name: str, numbers: bool
) -> xr.DataArray:
    """A table whose rows are samples, with the sample dims; where there are several, a level of the index for each, or the index is named like one."""
    dims: tuple[Hashable, ...] = inputs.sample_dims
    values = numbers_of(table, name) if numbers else table.to_numpy(dtype=object)
    columns: tuple[Hashable, ...] = ("column",) * (values.ndim - 1)
    index = table.index
    if len(dims) == 1 or index.name in dims:  # where there are several, those of the one that is named
        rows = dims[0] if len(dims) == 1 else index.name
        return xr.DataArray(values, dims=(rows, *columns), coords={rows: labels_of(index, rows, name)})
    if not isinstance(index, pd.MultiIndex) or index.nlevels != len(dims):
        raise ValueError(
            f"`{name}` is a {type(table).__name__}, but `x` has the sample dims {dims}; give its index one level for each, "
            "or the name of one"
        )
    if set(index.names) == set(dims):
        index = index.reorder_levels(list(dims))
    like = inputs.labels_of_samples
    wanted = pd.MultiIndex.from_product([like.get_index(d) for d in dims])
    if not index.equals(wanted):
        refuse_other_labels(index, wanted, name, dims, "x")
        values = values[index.get_indexer(wanted)]
    return xr.DataArray(
        values.reshape(*inputs.sample_shape, *values.shape[1:]), dims=(*dims, *columns), coords=like.coords
    )


def at_samples(option: Any, numbers: Sequence[int], inputs: Inputs, kind: str = "point") -> Any:
    """An option of the pure functions, cut down to some samples: lists and tensors with one entry per sample.

    Of a distribution, tensors with a dim more than the input are distributions for each sample.
    """
    if isinstance(option, list):  # of targets
        return [_target_at(t, numbers) for t in option]
    if isinstance(option, tuple):
        return tuple(_tensor_at(t, numbers, inputs, j, kind) for j, t in enumerate(option))
    return _tensor_at(option, numbers, inputs, 0, kind)


def _target_at(target: Any, numbers: Sequence[int]) -> Any:
    """A list has an entry for each sample; a function of output and samples gets their numbers among all samples."""
    if isinstance(target, list):
        return [target[i] for i in numbers]
    return repeated(custom(target), torch.tensor(list(numbers))) if callable(target) else target


def _tensor_at(t: Any, numbers: Sequence[int], inputs: Inputs, j: int, kind: str) -> Any:
    point = 1 + len(inputs.core(j))  # the samples in front; of a distribution the baselines too
    ranks = {"point": (point,), "distribution": (point + 1,), "any": (point, point + 1)}[kind]
    per_sample = isinstance(t, torch.Tensor) and t.ndim in ranks and len(t) == inputs.samples > 1
    return t[list(numbers)] if per_sample else t


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
