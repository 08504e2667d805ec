"""Baselines and per-sample values, matched to the inputs by the names of dims and labels of coords."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.inputs import Inputs

DISTRIBUTION = "baseline"  # the dim along which a distribution of baselines lies


def baseline_tensors(baselines: Any, inputs: Inputs, dtype: torch.dtype | None, kind: str) -> Any:
    """Baselines in the form that the pure functions take.

    Parameters
    ----------
    baselines : float, array-like, DataArray, Dataset, mapping, tuple, or callable
        Arrays without labels are laid out like the inputs; DataArrays are matched by name. A callable gets the inputs
        as the caller passed them.
    inputs : Inputs
    dtype : torch.dtype, optional
        The model's.
    kind : {"point", "distribution", "any"}
        What the method takes: one baseline per sample, many along a dim called `"baseline"`, or either.

    Raises
    ------
    ValueError
        For dims the inputs lack, labels that differ, and a distribution where one baseline is expected.
    """
    if callable(baselines):
        x = inputs.original
        baselines = baselines(*x) if isinstance(x, tuple) else baselines(x)
    if isinstance(baselines, int | float):
        return baselines
    each = _per_input(baselines, inputs)
    tensors = tuple(_baseline_tensor(b, inputs, j, dtype, kind) for j, b in enumerate(each))
    return tensors[0] if inputs.single else tensors


def _per_input(baselines: Any, inputs: Inputs) -> list[Any]:
    if isinstance(baselines, xr.Dataset | Mapping):
        if inputs.names is None:
            raise ValueError("`baselines` has names, but the inputs have none; pass a tuple in their order")
        missing = [n for n in inputs.names if n not in baselines]
        if missing:
            raise ValueError(f"`baselines` lacks the inputs {missing}")
        return [baselines[n] for n in inputs.names]
    if isinstance(baselines, tuple) and not inputs.single:
        if len(baselines) != len(inputs.arrays):
            raise ValueError(f"`baselines` has {len(baselines)} entries for {len(inputs.arrays)} inputs")
        return list(baselines)
    if not inputs.single:
        raise ValueError(f"`baselines` is one array for {len(inputs.arrays)} inputs; pass one per input")
    return [baselines]


def _baseline_tensor(b: Any, inputs: Inputs, j: int, dtype: torch.dtype | None, kind: str) -> Any:
    if isinstance(b, int | float):
        return float(b)
    x = inputs.arrays[j]
    if not isinstance(b, xr.DataArray):
        t = as_tensor(b, "baselines")
        if tuple(t.shape) != x.shape or len(inputs.sample_dims) == 1:
            return t.to(dtype)  # laid out for the model: (1, ...), (N, ...), a sample, or a distribution
        b = xr.DataArray(as_numpy(t), dims=x.dims)
    many = DISTRIBUTION in b.dims
    if many and kind == "point":
        raise ValueError(
            "`baselines` has a dim 'baseline', but this method takes one baseline; pass baselines.mean('baseline')"
        )
    t = _by_name(matched(b, x), inputs, j)
    if kind == "distribution" and not many and len(t) > 1:  # one for each sample
        t = t[:, None]
    if kind == "any" and many and t.ndim == 1 + len(inputs.core(j)):  # the same for all samples
        t = t[None]
    return t.to(dtype)


def matched(b: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """A baseline whose labels stand in the order of the input's.

    Raises
    ------
    ValueError
        If it has dims that the input lacks, other sizes, or other labels.
    """
    extra = [d for d in b.dims if d not in x.dims and d != DISTRIBUTION]
    if extra:
        raise ValueError(f"`baselines` has dims {extra} that `x` lacks ({x.dims}); rename them")
    for d in b.dims:
        if d == DISTRIBUTION:
            continue
        if b.sizes[d] not in (1, x.sizes[d]):
            raise ValueError(f"`baselines` has size {b.sizes[d]} along {d!r}, `x` has {x.sizes[d]}")
        if (
            d in b.indexes
            and d in x.indexes
            and b.sizes[d] == x.sizes[d]
            and not b.indexes[d].equals(x.indexes[d])
        ):
            if set(b.indexes[d]) != set(x.indexes[d]) or not b.indexes[d].is_unique:
                raise ValueError(
                    f"`baselines` and `x` have different labels along {d!r}; select the same ones in both"
                )
            b = b.reindex({d: x.indexes[d]})
    return b


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

    Raises
    ------
    ValueError
        If a labelled array does not have exactly the sample dims, or its labels differ from the inputs'.
    """
    if isinstance(values, xr.DataArray):
        if values.ndim == 0:
            return values.item()
        if set(values.dims) != set(inputs.sample_dims):
            raise ValueError(
                f"`{name}` has dims {values.dims}, expected the sample dims {inputs.sample_dims}"
            )
        return matched(values, inputs.arrays[0]).transpose(*inputs.sample_dims).values.ravel().tolist()
    if hasattr(values, "to_numpy") and not isinstance(values, np.ndarray):  # a pandas Series
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.ndim > 0 and values.shape == inputs.sample_shape:
        return values.ravel().tolist()
    return values


def at_samples(option: Any, numbers: Sequence[int], inputs: Inputs, kind: str = "point") -> Any:
    """An option of the pure functions, cut down to some samples: lists and tensors with one entry per sample.

    Of a distribution, tensors with a dim more than the input are distributions for each sample.
    """
    if isinstance(option, list):  # of targets, each a list where it has one entry per sample
        return [[t[i] for i in numbers] if isinstance(t, list) else t for t in option]
    if isinstance(option, tuple):
        return tuple(_tensor_at(t, numbers, inputs, j, kind) for j, t in enumerate(option))
    return _tensor_at(option, numbers, inputs, 0, kind)


def _tensor_at(t: Any, numbers: Sequence[int], inputs: Inputs, j: int, kind: str) -> Any:
    point = 1 + len(
        inputs.core(j)
    )  # dims with samples in front; a distribution has that of the baselines too
    ranks = {"point": (point,), "distribution": (point + 1,), "any": (point, point + 1)}[kind]
    per_sample = isinstance(t, torch.Tensor) and t.ndim in ranks and len(t) == inputs.samples > 1
    return t[list(numbers)] if per_sample else t
