"""Maps and activations of a layer as DataArrays: spatial dims and coords of the input, at the input's resolution or the layer's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.functional.explanation import Explanation
from attrib.interop.arrays import as_numpy
from attrib.labels.inputs import Inputs
from attrib.labels.results import Facts, sample_coords

LAYER, FILTER = "layer", "filter"
SPATIAL = {1: ("position",), 2: ("y", "x"), 3: ("z", "y", "x")}


def map_options(given: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The option `onto` as a number, where it is an input's name.

    Raises
    ------
    ValueError
        If no input is called so.
    """
    onto = given.get("onto")
    if not isinstance(onto, str):
        return {}
    if inputs.names is None or onto not in inputs.names:
        known = "without names" if inputs.names is None else ", ".join(inputs.names)
        raise ValueError(f"`onto` is {onto!r}, expected one of the inputs: {known}")
    return {"onto": inputs.names.index(onto)}


def wrap_map(explanation: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """A map with the spatial dims and coords of the input that it lies on.

    Parameters
    ----------
    explanation : Explanation
        Its attribution is (N, *spatial), with a leading target dim if `many` and then one of layers if several were
        listed.
    inputs : Inputs
    facts : Facts
    many : bool

    Returns
    -------
    DataArray
        Dims: target and layer if asked for, the sample dims, the input's spatial dims. At the layer's resolution the
        coords are the centres of its cells in the input's coords.
    """
    lead = leading(facts, many)
    assert isinstance(explanation.attribution, torch.Tensor)
    values = as_numpy(explanation.attribution)
    shaped = values.reshape(*values.shape[: len(lead)], *inputs.sample_shape, *values.shape[len(lead) + 1 :])
    targets: tuple[Hashable, ...] = ("target",) if many else ()
    return placed(shaped, sample_coords(explanation, inputs, targets, facts.classes), inputs, facts, lead)


def leading(facts: Facts, many: bool) -> tuple[Hashable, ...]:
    """The dims in front of the sample dims."""
    listed = isinstance(facts.params.get("layer"), list | tuple)
    return (*(("target",) if many else ()), *((LAYER,) if listed else ()))


def placed(
    data: Any, coords: Mapping[Hashable, Any], inputs: Inputs, facts: Facts, lead: tuple[Hashable, ...]
) -> xr.DataArray:
    """Maps (*lead, *sample dims, *grid) with all their labels: those of the input that they lie on, and `coords`."""
    onto = map_options(facts.params, inputs).get("onto", facts.params.get("onto", 0))
    x, grid = inputs.arrays[onto], data.shape[len(lead) + len(inputs.sample_dims) :]
    spatial = inputs.core(onto)[-len(grid) :]
    own = {**_kept(x, inputs.sample_dims, spatial, grid), **coords}
    own |= {LAYER: np.asarray(str((facts.notes or {})["layer"]).split(", "))} if LAYER in lead else {}
    dims = (*lead, *inputs.sample_dims, *spatial)
    found = xr.DataArray(data, dims=dims, coords=own, name="attribution", attrs=facts.attrs(x))
    return found.assign_attrs(units="1") if facts.params.get("normalize") else found


def _kept(
    x: xr.DataArray, samples: tuple[Hashable, ...], spatial: tuple[Hashable, ...], grid: tuple[int, ...]
) -> dict[Hashable, Any]:
    """The input's coords without those of other dims; at another resolution, the centres of cells."""
    coarse = {d: n for d, n in zip(spatial, grid, strict=True) if n != x.sizes[d]}
    same = {*samples, *spatial} - set(coarse)
    kept = {n: c for n, c in x.coords.items() if set(c.dims) <= same}
    return kept | {d: centres(x, d, n) for d, n in coarse.items()}


def centres(x: xr.DataArray, dim: Hashable, count: int) -> np.ndarray:
    """Centres of `count` cells along a dim, in the input's coords; in numbers of cells where those are no numbers.

    Examples
    --------
    >>> import xarray as xr
    >>> centres(xr.DataArray([0, 0, 0, 0], dims="x", coords={"x": [10.0, 12.0, 14.0, 16.0]}), "x", 2)
    array([11., 15.])
    """
    size = x.sizes[dim]
    at = (np.arange(count) + 0.5) * size / count - 0.5
    own = x.coords[dim].values if dim in x.coords else None
    if own is None or not np.issubdtype(own.dtype, np.number) or size < 2:
        return at
    low = np.clip(np.floor(at).astype(int), 0, size - 2)
    return own[low] + (at - low) * (own[low + 1] - own[low])


def wrap_activation(values: np.ndarray, inputs: Inputs, onto: int, attrs: Mapping[str, str]) -> xr.DataArray:
    """A layer's output (N, filter, *grid) with the input's sample and spatial dims; other outputs as (N, filter, ...).

    Outputs (N, filter) and (N, filter, ...) that are no image have dims called `axis_2`, ... after the filter's.
    """
    x, core = inputs.arrays[onto], inputs.core(onto)
    grid = values.shape[2:]
    image = 0 < len(grid) <= len(core) and all(
        n <= x.sizes[d] for n, d in zip(grid, core[-len(grid) :], strict=True)
    )
    spatial = core[-len(grid) :] if image else tuple(f"axis_{k}" for k in range(2, values.ndim))
    coords = _kept(x, inputs.sample_dims, spatial if image else (), grid if image else ())
    shaped = values.reshape(*inputs.sample_shape, *values.shape[1:])
    dims = (*inputs.sample_dims, FILTER, *spatial)
    own = {**coords, FILTER: np.arange(values.shape[1])}
    return xr.DataArray(shaped, dims=dims, coords=own, name="activation", attrs=dict(attrs))


def wrap_filters(weights: np.ndarray, attrs: Mapping[str, str]) -> xr.DataArray:
    """Weights (filter, channel, *kernel) with offsets from the kernel's centre as spatial coords."""
    kernel = weights.shape[2:]
    spatial = SPATIAL[len(kernel)]
    coords: dict[Hashable, Any] = {FILTER: np.arange(len(weights)), "channel": np.arange(weights.shape[1])}
    coords |= {d: np.arange(n) - (n - 1) / 2 for d, n in zip(spatial, kernel, strict=True)}
    return xr.DataArray(
        weights, dims=(FILTER, "channel", *spatial), coords=coords, name="filters", attrs=dict(attrs)
    )
