"""What a model predicts, and what each of its ops contributes to that by DeepLIFT, with labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib import functional
from attrib._arguments import list_of
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import TargetLike, class_names
from attrib.functional.arguments import checked
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.align import args_at, baseline_tensors, floats_in, forward_args, sample_values
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.lazy import Named, bare_blocks, computed, sample_numbers


@checked
def predict(
    f: Model,
    x: Any,
    *,
    classes: Sequence[str] | None = None,
    outputs: Sequence[Hashable] | None = None,
    additional_forward_args: Any = (),
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
    additional_forward_args : tuple or mapping, default ()
        What the model takes beside `x`, as for every method.
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
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"), coords={"sample": ["a"]})
    >>> y = attrib.predict(lambda x: x * 2, x, classes=["on", "off"])
    >>> y.sel(sample="a", target="off").item()
    4.0
    """
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    dtype = dtype_of(f)
    beside = forward_args(additional_forward_args, inputs, dtype)

    def outputs_of(xs: tuple[torch.Tensor, ...], beside: Any, progress: Progress = False) -> np.ndarray:
        y = functional.predict(
            f, xs[0] if inputs.single else xs, additional_forward_args=beside,
            batch_size=batch_size, device=device, progress=progress,
        )  # fmt: skip
        return as_numpy(y)

    if inputs.lazy:
        lazy = _with_output_dims(_lazily(outputs_of, inputs, dtype, beside), inputs, classes, outputs)
        return computed(lazy) if inputs.eager else lazy
    y = outputs_of(inputs.tensors(dtype), beside, progress)
    return _with_output_dims(y.reshape(*inputs.sample_shape, *y.shape[1:]), inputs, classes, outputs)


def _with_output_dims(
    values: Any, inputs: Inputs, classes: Sequence[str] | None, outputs: Sequence[Hashable] | None
) -> xr.DataArray:
    """Outputs (*sample dims, ...), which may be Dask's, with labels."""
    shape = values.shape[len(inputs.sample_dims) :]
    names: tuple[Hashable, ...] = ("target", *(f"output_{k}" for k in range(1, len(shape))))[: len(shape)]
    if outputs is not None:
        names = tuple(list_of("outputs", outputs))
        if len(names) != len(shape) or set(names) & set(inputs.sample_dims):
            raise ValueError(
                f"`outputs` is {names}, but a sample's output has shape {shape}; name each of its dims"
            )
    labels: dict[Hashable, Any] = {
        name: c.variable
        for x in inputs.arrays
        for name, c in x.coords.items()
        if set(c.dims) <= set(inputs.sample_dims) and name not in names
    }
    if (classes := class_names(classes)) is not None:
        if not shape or len(classes) != shape[0]:
            raise ValueError(f"`classes` has {len(classes)} names, but a sample's output has shape {shape}")
        labels[names[0]] = np.asarray(classes)
    elif names[:1] == ("target",):
        labels["target"] = np.arange(shape[0])
    return xr.DataArray(values, dims=(*inputs.sample_dims, *names), coords=labels, name="prediction")


def _lazily(
    outputs_of: Callable[[tuple[torch.Tensor, ...], Any], np.ndarray],
    inputs: Inputs,
    dtype: torch.dtype | None,
    beside: Any,
) -> Any:
    """The outputs (*sample dims, ...) as a Dask array, block by block of samples; the first sample is predicted right away."""
    lead = len(inputs.sample_dims)

    def of_block(numbers: np.ndarray, *blocks: np.ndarray) -> np.ndarray:
        xs = tuple(floats_in(dtype, as_tensor(b).reshape(-1, *b.shape[lead:])) for b in blocks)
        y = outputs_of(xs, args_at(beside, numbers.ravel().tolist(), inputs))
        return y.reshape(*numbers.shape, *y.shape[1:])

    blocks = bare_blocks(inputs)
    numbers = sample_numbers(inputs, blocks)
    first = [a.isel(dict.fromkeys(inputs.sample_dims, slice(1))).values for a in (numbers, *blocks)]
    probe = of_block(*first)
    sizes = {f"output_{k}": n for k, n in enumerate(probe.shape[lead:])}
    y = xr.apply_ufunc(
        Named(of_block), numbers, *blocks,
        input_core_dims=[[], *(list(inputs.core(j)) for j in range(len(blocks)))],
        output_core_dims=[list(sizes)], dask="parallelized", output_dtypes=[probe.dtype],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    return y.transpose(*inputs.sample_dims, *sizes).data


@checked
def deep_lift_report(
    f: Model,
    x: Any,
    baselines: Any = 0.0,
    *,
    target: TargetLike = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What each op of a model did to a DeepLIFT attribution: where a surprising attribution comes from.

    Parameters
    ----------
    f : callable
        The model, as for `deep_lift`.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s); the table sums over its samples, so one sample says most.
    baselines : float, array-like, DataArray or callable, default 0.0
        What the input is compared with.
    target : int, str, tuple, sequence, callable or None
        Which score is explained.
    classes : sequence of str, optional
        Names of the outputs.
    additional_forward_args : tuple or mapping, default ()
        What the model takes beside `x`, as for every method.
    sample_dims : hashable or sequence of hashable, optional
        The batch dims of `x`.
    dims : sequence of hashable, or one per input, optional
        Names of the dims of arrays without labels.
    coords : mapping, optional
        Coords of arrays without labels.

    Returns
    -------
    Dataset
        One entry per recorded op along ``op``, in the model's order. Coords: ``name``, ``source`` (the model's line),
        ``rule``, ``shape`` (of its result). Variables, in output units: ``change``, the part of
        ``f(x) - f(baseline)`` that passes through the op; ``share``, the same as a fraction of the whole (parts in
        parallel add up to 1); ``residual``, what the op's rule loses. ``.to_dataframe()`` makes it a table.

    Raises
    ------
    NotImplementedError
        As `deep_lift`, for an op without a rule.

    Examples
    --------
    >>> import torch
    >>> from attrib import deep_lift_report
    >>> report = deep_lift_report(lambda x: torch.relu(x).sum(1) + x[:, 0], torch.tensor([[2.0, -1.0]]))
    >>> report.name.values.tolist()
    ['aten.relu.default', 'aten.sum.dim_IntList', 'aten.select.int', 'aten.add.Tensor']
    >>> report.share.values.tolist()
    [0.5, 0.5, 0.5, 1.0]
    """
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    dtype = dtype_of(f)
    tensors = inputs.tensors(dtype)
    ops = functional.op_shares(
        f,
        tensors[0] if inputs.single else tensors,
        baselines=baseline_tensors(baselines, inputs, dtype, "point"),
        target=sample_values(target, inputs, "target"),
        classes=classes,
        additional_forward_args=forward_args(additional_forward_args, inputs, dtype),
    )
    change = np.array([op.change for op in ops])
    total = change[-1] if len(ops) and change[-1] else np.nan
    numbers = {
        "change": (change, "output"),
        "share": (change / total, "1"),
        "residual": (np.array([op.residual for op in ops]), "output"),
    }
    coords_of_ops = {
        "name": [op.op for op in ops],
        "source": [op.source for op in ops],
        "rule": [op.rule for op in ops],
        "shape": ["x".join(map(str, op.shape)) for op in ops],
    }
    return xr.Dataset(
        {name: ("op", values, {"units": units}) for name, (values, units) in numbers.items()},
        {"op": np.arange(len(ops)), **{name: ("op", texts) for name, texts in coords_of_ops.items()}},
        {"method": "deep_lift", "long_name": "DeepLIFT, op by op"},
    )
