"""What a model predicts, with labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.contents import Model, dtype_of
from attrib.functional import prediction
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.inputs import Inputs, labelled_inputs


def predict(
    f: Model,
    x: Any,
    *,
    classes: Sequence[str] | None = None,
    outputs: Sequence[Hashable] | None = None,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> xr.DataArray:
    """Outputs of the model, with labels.

    Parameters
    ----------
    f : callable
        The model, see `attrib.functional.predict`.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    classes : sequence of str, optional
        Names along the first dim of the outputs.
    outputs : sequence of hashable, optional
        Names of the dims of a sample's output; default `"target"`, `"output_1"`, ...
    sample_dims, dims, coords
        As for every method.
    batch_size : int or "auto", default "auto"
        Rows per model call.
    device : torch.device or str, optional
        Where to run; default: where the model's parameters are.
    progress : bool or callable, default False
        True shows a bar.

    Returns
    -------
    DataArray
        Called `prediction`: the sample dims with their coords, then those of the outputs. Lazy for an input backed by Dask.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.predict`; also for names that do not fit the outputs.

    Examples
    --------
    >>> import torch
    >>> import attrib
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"), coords={"sample": ["a"]})
    >>> y = attrib.predict(lambda x: x * 2, x, classes=["on", "off"])
    >>> y.sel(sample="a", target="off").item()
    4.0
    """
    inputs = labelled_inputs(x, sample_dims, dims, coords)
    dtype = dtype_of(f)

    def ask(xs: tuple[torch.Tensor, ...], progress: Progress = False) -> np.ndarray:
        given = xs[0] if inputs.single else xs
        y = prediction.predict(f, given, batch_size=batch_size, device=device, progress=progress)
        return as_numpy(y)

    if inputs.lazy:
        return _wrapped(_lazily(ask, inputs, dtype), inputs, classes, outputs)
    y = ask(inputs.tensors(dtype), progress)
    return _wrapped(y.reshape(*inputs.sample_shape, *y.shape[1:]), inputs, classes, outputs)


def _wrapped(
    values: Any, inputs: Inputs, classes: Sequence[str] | None, outputs: Sequence[Hashable] | None
) -> xr.DataArray:
    """Outputs (*sample dims, ...), which may be Dask's, with labels."""
    own = values.shape[len(inputs.sample_dims) :]
    names: tuple[Hashable, ...] = ("target", *(f"output_{k}" for k in range(1, len(own))))[: len(own)]
    if outputs is not None:
        names = tuple(outputs)
        if len(names) != len(own) or set(names) & set(inputs.sample_dims):
            raise ValueError(
                f"`outputs` is {names}, but a sample's output has shape {own}; name each of its dims"
            )
    dims = (*inputs.sample_dims, *names)
    labels = {k: v for k, v in _of_samples(inputs).items() if k not in names}
    if classes is not None:
        if not own or len(classes) != own[0]:
            raise ValueError(f"`classes` has {len(classes)} names, but a sample's output has shape {own}")
        labels[names[0]] = np.asarray([str(c) for c in classes])
    elif names[:1] == ("target",):
        labels["target"] = np.arange(own[0])
    return xr.DataArray(values, dims=dims, coords=labels, name="prediction")


def _of_samples(inputs: Inputs) -> dict[Hashable, Any]:
    """The coords that lie along the samples."""
    along = set(inputs.sample_dims)
    return {k: c.variable for a in inputs.arrays for k, c in a.coords.items() if set(c.dims) <= along}


def _lazily(
    ask: Callable[[tuple[torch.Tensor, ...]], np.ndarray], inputs: Inputs, dtype: torch.dtype | None
) -> Any:
    """The outputs (*sample dims, ...) as a Dask array, block by block of samples; the first sample is asked right away."""
    lead = len(inputs.sample_dims)

    def block(*blocks: np.ndarray) -> np.ndarray:
        xs = (as_tensor(b).reshape(-1, *b.shape[lead:]) for b in blocks)
        y = ask(tuple(x.to(dtype) if dtype is not None and x.is_floating_point() else x for x in xs))
        return y.reshape(*blocks[0].shape[:lead], *y.shape[1:])

    core = [list(inputs.core(j)) for j in range(len(inputs.arrays))]
    bare = [
        a.drop_vars(list(a.coords)).transpose(*inputs.sample_dims, *c).chunk(dict.fromkeys(c, -1))
        for a, c in zip(inputs.arrays, core, strict=True)
    ]
    first = block(*(a.isel(dict.fromkeys(inputs.sample_dims, slice(1))).values for a in bare))
    sizes = {f"output_{k}": n for k, n in enumerate(first.shape[lead:])}
    found = xr.apply_ufunc(
        block, *bare, input_core_dims=core, output_core_dims=[list(sizes)], dask="parallelized",
        output_dtypes=[first.dtype], dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    return found.transpose(*inputs.sample_dims, *sizes).data
