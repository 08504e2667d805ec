"""Maps, activations and filters of a layer as DataArrays: spatial dims and coords of the input, at its resolution or the layer's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib import functional
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Layer
from attrib.engine.layers.image_form import Reshape
from attrib.engine.model.parameters import Model, dtype_of
from attrib.functional.arguments import checked
from attrib.functional.explanation import Explanation
from attrib.functional.layer_maps import Outputs, outputs
from attrib.interop.arrays import as_numpy
from attrib.labels.align import forward_args
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.results import Facts, plain, sample_coords

LAYER, CALL, FILTER = "layer", "call", "filter"
SPATIAL = {1: ("position",), 2: ("y", "x"), 3: ("z", "y", "x")}


@checked
def layer_activation(
    f: Model,
    x: Any,
    *,
    layer: Layer = "auto",
    call: int | None = None,
    reshape: Reshape | None = None,
    onto: int | str = 0,
    additional_forward_args: Any = (),
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> xr.DataArray:
    """Output of a layer, with labels.

    Parameters
    ----------
    f : callable
        The model, see `attrib.functional.layer_activation`.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    layer : str or torch.nn.Module, default "auto"
        A dotted name, the module itself, or `"auto"`: the last layer whose positions are the input's and count for the
        output.
    call : int, optional
        Which call, from 0, of a layer that the model calls several times.
    reshape : callable, optional
        Your own image form: a function of the layer's output that gives (N, C, *spatial).
    onto : int or str, default 0
        With several inputs: the one whose spatial coords the result gets.
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
        Called `activation`: the sample dims, `filter`, and the input's spatial dims, whose coords are the centres of the
        layer's positions in the input's coords.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.layer_activation`.

    Examples
    --------
    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.MaxPool1d(2), torch.nn.Flatten(), torch.nn.Linear(2, 1))
    >>> x = xr.DataArray(
    ...     [[[1.0, 4.0, 2.0, 3.0]]], dims=("sample", "channel", "time"), coords={"time": [0.0, 0.5, 1.0, 1.5]}
    ... )
    >>> a = attrib.layer_activation(net, x.astype("float32"), layer="0")
    >>> a.dims, a.time.values.tolist(), a.values.ravel().tolist()
    (('sample', 'filter', 'time'), [0.25, 1.25], [4.0, 3.0])
    """
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    at = input_number(onto, inputs)
    dtype = dtype_of(f)
    tensors = inputs.tensors(dtype)
    activation = outputs(
        f, tensors[0] if inputs.single else tensors, layer, reshape, at, call,
        additional_forward_args=forward_args(additional_forward_args, inputs, dtype),
        batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip
    return _with_layer_dims(
        activation, inputs, at, {"layer": activation.layer.site.name}, reshape is not None
    )


@checked
def filters(f: Model, layer: Layer = "first") -> xr.DataArray:
    """Weights of a convolution, with labels.

    Parameters
    ----------
    f : callable
        The model.
    layer : str or torch.nn.Module, default "first"
        A convolution by dotted name or as a module; `"first"` is the first one in the order of the modules.

    Returns
    -------
    DataArray
        Called `filters`: dims `filter`, `channel` and `position`, or `y, x`, or `z, y, x`, with offsets from the
        kernel's centre as coords.

    Raises
    ------
    ValueError
        If the model has no such layer, or it is no convolution; the message lists the convolutions.

    Examples
    --------
    >>> import attrib, torch
    >>> w = attrib.filters(torch.nn.Sequential(torch.nn.Conv1d(4, 8, 5)))
    >>> w.sizes["filter"], w.sizes["channel"], w.position.values.tolist()
    (8, 4, [-2.0, -1.0, 0.0, 1.0, 2.0])
    """
    weights = as_numpy(functional.filters(f, layer))
    kernel = weights.shape[2:]
    spatial = SPATIAL[len(kernel)]
    coords: dict[Hashable, Any] = {FILTER: np.arange(len(weights)), "channel": np.arange(weights.shape[1])}
    coords |= {d: np.arange(n) - (n - 1) / 2 for d, n in zip(spatial, kernel, strict=True)}
    return xr.DataArray(
        weights,
        dims=(FILTER, "channel", *spatial),
        coords=coords,
        name="filters",
        attrs={"layer": plain(layer)},
    )


def input_number(onto: int | str, inputs: Inputs) -> int:
    """The number of the input that a map lies on, which the caller may name.

    Raises
    ------
    ValueError
        If no input is called so.
    """
    if not isinstance(onto, str):
        return inputs.number(onto)
    if inputs.names is None or onto not in inputs.names:
        names = "without names" if inputs.names is None else ", ".join(inputs.names)
        raise ValueError(f"`onto` is {onto!r}, expected one of the inputs: {names}")
    return inputs.names.index(onto)


def wrap_map(explanation: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """A map with the spatial dims and coords of the input that it lies on.

    Parameters
    ----------
    explanation : Explanation
        Its attribution is (N, *spatial), with a leading target dim if `many` and then one of layers or calls if there are
        several.
    inputs : Inputs
    facts : Facts
    many : bool

    Returns
    -------
    DataArray
        Dims: target, layer and call where several were asked for, then the input's but for those of channels, in the
        input's order. At the layer's resolution the coords are the centres of its positions in the input's coords.
    """
    lead = leading(facts, many)
    assert isinstance(explanation.attribution, torch.Tensor)
    values = as_numpy(explanation.attribution)
    maps = values.reshape(*values.shape[: len(lead)], *inputs.sample_shape, *values.shape[len(lead) + 1 :])
    coords = sample_coords(explanation, inputs, ("target",) if many else (), facts.classes)
    return aligned(maps, coords, inputs, facts.of(explanation), lead)


def leading(facts: Facts, many: bool) -> tuple[Hashable, ...]:
    """The dims in front of the sample dims."""
    several = {LAYER: facts.several_layers, CALL: facts.several_calls, "target": many}
    return tuple(dim for dim in ("target", LAYER, CALL) if several[dim])


def aligned(
    maps: Any, coords: Mapping[Hashable, Any], inputs: Inputs, facts: Facts, lead: tuple[Hashable, ...]
) -> xr.DataArray:
    """Maps (*lead, *sample dims, *grid) with all their labels: those of the input that they lie on, and `coords`."""
    onto = input_number(facts.params["onto"], inputs)
    x, grid = inputs.arrays[onto], maps.shape[len(lead) + len(inputs.sample_dims) :]
    core, on = inputs.core(onto), None if facts.explanation is None else facts.explanation.dims
    spatial = core[len(core) - len(grid) :] if on is None else tuple(core[d] for d in on)
    labels = {**_coords_on_grid(x, inputs.sample_dims, spatial, grid), **coords}
    if LAYER in lead:
        labels[LAYER] = np.asarray(facts.layers)
    if CALL in lead:
        labels[CALL] = np.arange(maps.shape[lead.index(CALL)])
    attrs = facts.attrs(x) | ({"units": "1"} if facts.params["normalize"] else {})
    dims = (*lead, *inputs.sample_dims, *spatial)
    a = xr.DataArray(maps, dims=dims, coords=labels, name="attribution", attrs=attrs)
    return a.transpose(*lead, *(d for d in x.dims if d in dims))


def _coords_on_grid(
    x: xr.DataArray, samples: tuple[Hashable, ...], spatial: tuple[Hashable, ...], grid: tuple[int, ...]
) -> dict[Hashable, Any]:
    """The input's coords along its sample and spatial dims; at another resolution, the centres of positions."""
    coarse = {d: n for d, n in zip(spatial, grid, strict=True) if n != x.sizes[d]}
    dims = {*samples, *spatial} - set(coarse)
    fine = {n: c for n, c in x.coords.items() if set(c.dims) <= dims}
    return fine | {d: centres(x, d, n) for d, n in coarse.items()}


def centres(x: xr.DataArray, dim: Hashable, count: int) -> np.ndarray:
    """Centres of `count` positions along a dim, in the input's coords; in numbers of entries where those are no numbers.

    Examples
    --------
    >>> import xarray as xr
    >>> centres(xr.DataArray([0, 0, 0, 0], dims="x", coords={"x": [10.0, 12.0, 14.0, 16.0]}), "x", 2)
    array([11., 15.])
    """
    size = x.sizes[dim]
    at = (np.arange(count) + 0.5) * size / count - 0.5
    coord = x.coords[dim].values if dim in x.coords else None
    if coord is None or not np.issubdtype(coord.dtype, np.number) or size < 2:
        return at
    low = np.clip(np.floor(at).astype(int), 0, size - 2)
    return coord[low] + (at - low) * (coord[low + 1] - coord[low])


def _with_layer_dims(
    activation: Outputs, inputs: Inputs, onto: int, attrs: Mapping[str, str], in_callers_form: bool
) -> xr.DataArray:
    """A layer's output (N, filter, *grid) with the input's sample and spatial dims; other outputs as (N, filter, ...).

    Outputs (N, filter) and (N, filter, ...) that are no image have dims called `axis_2`, ... after the filter's.
    """
    values = as_numpy(activation.values)
    x, core = inputs.arrays[onto], inputs.core(onto)
    grid, on = values.shape[2:], activation.dims
    if on is None and in_callers_form and len(grid) <= len(core):
        on = tuple(range(len(core) - len(grid), len(core)))
    spatial = tuple(f"axis_{k}" for k in range(2, values.ndim)) if on is None else tuple(core[d] for d in on)
    image = on is not None
    coords = _coords_on_grid(x, inputs.sample_dims, spatial if image else (), grid if image else ())
    return xr.DataArray(
        values.reshape(*inputs.sample_shape, *values.shape[1:]),
        dims=(*inputs.sample_dims, FILTER, *spatial),
        coords={**coords, FILTER: np.arange(values.shape[1])},
        name="activation",
        attrs=dict(attrs),
    )
