"""Maps of Dask-backed inputs, block by block of samples: the eager labelled call on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from attrib.labels.inputs import Inputs


def in_blocks(
    attribute: Callable[..., xr.DataArray], inputs: Inputs, given: Mapping[str, Any]
) -> xr.DataArray:
    """The labelled result, to be computed later.

    Parameters
    ----------
    attribute : callable
        The eager method.
    inputs : Inputs
        One input, with a chunked array.
    given : mapping
        The call's arguments.

    Raises
    ------
    ValueError
        For several inputs, several sample dims, and targets with one entry per sample.

    Notes
    -----
    The first sample is explained right away, to learn the dims and the layer, which all blocks then share.
    """
    options = {k: v for k, v in given.items() if k not in ("x", "dims", "coords")}
    if not inputs.single or len(inputs.sample_dims) != 1:
        raise ValueError(
            "`x` is backed by Dask: maps take one such input with one sample dim; call x.compute() first"
        )
    each = [options["target"], *(options["targets"] if isinstance(options["targets"], list | tuple) else ())]
    if any(hasattr(t, "__len__") and not isinstance(t, str | tuple) for t in each):
        raise ValueError(
            "`target` has one entry per sample, which blocks of Dask cannot share; call x.compute() first"
        )
    (dim,), x = inputs.sample_dims, inputs.arrays[0]
    options |= {"sample_dims": dim, "progress": False}
    first = attribute(**options, x=x.isel({dim: slice(1)}).compute())
    if isinstance(options["layer"], str):
        options["layer"] = first.attrs["layer"]
    x = x.chunk({d: -1 for d in x.dims if d != dim})
    template = _template(first, x, dim)
    found = xr.map_blocks(lambda block: attribute(**options, x=block), x, template=template)
    return found.assign_attrs(first.attrs).rename("attribution")


def _template(first: xr.DataArray, x: xr.DataArray, dim: Any) -> xr.DataArray:
    """The result's dims, coords and chunks, from those of the first sample."""
    chunks = {dim: x.chunksizes[dim]}
    own = x.coords.get(dim)
    whole = first.isel({dim: [0] * x.sizes[dim]}).chunk(chunks)
    return whole if own is None else whole.assign_coords({dim: own})
