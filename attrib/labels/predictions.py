"""What a model predicts, with labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.model import Model, dtype_of
from attrib.functional import prediction
from attrib.labels.blocks import each_block
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
    if inputs.lazy:
        again = partial(predict, f, classes=classes, outputs=outputs, batch_size=batch_size, device=device)
        return _lazily(inputs, again)
    tensors = inputs.tensors(dtype_of(f))
    y = prediction.predict(
        f, tensors[0] if inputs.single else tensors, batch_size=batch_size, device=device, progress=progress
    )
    return _wrapped(y.cpu().numpy(), inputs, classes, outputs)


def _wrapped(
    values: np.ndarray, inputs: Inputs, classes: Sequence[str] | None, outputs: Sequence[Hashable] | None
) -> xr.DataArray:
    own = values.shape[1:]
    names: tuple[Hashable, ...] = ("target", *(f"output_{k}" for k in range(1, len(own))))[: len(own)]
    if outputs is not None:
        names = tuple(outputs)
        if len(names) != len(own) or set(names) & set(inputs.sample_dims):
            raise ValueError(
                f"`outputs` is {names}, but a sample's output has shape {own}; name each of its dims"
            )
    dims = (*inputs.sample_dims, *names)
    labels: dict[Hashable, Any] = {
        k: c.variable
        for a in inputs.arrays
        for k, c in a.coords.items()
        if set(c.dims) <= set(inputs.sample_dims)
    }
    if classes is not None:
        if not own or len(classes) != own[0]:
            raise ValueError(f"`classes` has {len(classes)} names, but a sample's output has shape {own}")
        labels[names[0]] = np.asarray([str(c) for c in classes])
    elif names[:1] == ("target",):
        labels["target"] = np.arange(own[0])
    labels = {k: v for k, v in labels.items() if k != "target" or "target" in names}
    return xr.DataArray(
        values.reshape(*inputs.sample_shape, *own), dims=dims, coords=labels, name="prediction"
    )


def _lazily(inputs: Inputs, call: Callable[..., xr.DataArray]) -> xr.DataArray:
    if not inputs.single or len(inputs.sample_dims) != 1:
        raise ValueError(
            "`x` is backed by Dask: predict takes one such input with one sample dim; call x.compute()"
        )
    (dim,) = inputs.sample_dims
    ours = partial(call, sample_dims=dim)
    return each_block(ours, inputs, ours(inputs.arrays[0].isel({dim: slice(1)}).compute()))
