"""Attributions of a layer's activation as DataArrays: the input's dims where the layer has them, names of its own elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import TargetLike
from attrib.functional.arguments import checked
from attrib.functional.conductance import ABOUT, explain_conductance
from attrib.functional.explanation import Explanation
from attrib.interop.arrays import as_numpy
from attrib.labels.align import baseline_tensors, sample_values
from attrib.labels.beside import forward_args
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.results import Facts, sample_coords
from attrib.labels.spatial import centres


def wrap_at_layer(explanation: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """An attribution (N, ...) of a layer's activation, with a leading target dim if `many`.

    Its dims keep the names of the input's dims that they are: those of equal size, in the same order, and the spatial dims
    of layers in image form, whose coords at another resolution are the centres of its positions. The rest are `channel`,
    `feature` (the last dim behind positions), or `layer_dim_1`, ...
    """
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    attribution = explanation.attribution
    assert isinstance(attribution, torch.Tensor)
    shape = tuple(attribution.shape[len(lead) + 1 :])
    dims, coords = layer_dims(shape, inputs)
    values = as_numpy(attribution).reshape(*attribution.shape[: len(lead)], *inputs.sample_shape, *shape)
    x = inputs.arrays[0]
    along = {n: c for n, c in x.coords.items() if set(c.dims) <= {*inputs.sample_dims}}
    errors = explanation.standard_error
    order = (*lead, *inputs.sample_dims, *dims)
    if isinstance(errors, torch.Tensor):
        coords["standard_error"] = (order, as_numpy(errors).reshape(values.shape))
    return xr.DataArray(
        values,
        dims=order,
        coords={**along, **coords, **sample_coords(explanation, inputs, lead, facts.classes)},
        name="attribution",
        attrs=facts.of(explanation).attrs(x),
    )


def layer_dims(shape: tuple[int, ...], inputs: Inputs) -> tuple[tuple[Hashable, ...], dict[Hashable, Any]]:
    """Names and coords for the dims of a layer's activation of one sample."""
    x, core = inputs.arrays[0], inputs.core(0)
    names: list[Hashable] = [f"layer_dim_{k}" for k in range(1, len(shape) + 1)]
    coords: dict[Hashable, Any] = {}
    if len(shape) == len(core) > 1 and all(n <= x.sizes[d] for n, d in zip(shape[1:], core[1:], strict=True)):
        names = ["channel", *core[1:]]  # a layer in image form
        if shape[0] == x.sizes[core[0]]:
            names[0] = core[0]
        for n, d in zip(shape[1:], core[1:], strict=True):
            if n != x.sizes[d]:
                coords[d] = centres(x, d, n)
    else:
        free = list(core)
        for k, n in enumerate(shape):
            if free and n == x.sizes[free[0]]:
                names[k] = free.pop(0)
        if len(shape) == len(core) + 1 and not free:
            names[-1] = "feature"
    same = {d for d, n in zip(names, shape, strict=True) if d in core and n == x.sizes[d]}
    kept = same.union(inputs.sample_dims)
    coords |= {n: c for n, c in x.coords.items() if same.intersection(c.dims) and set(c.dims) <= kept}
    return tuple(names), coords


@checked
def conductance(
    f: Model,
    x: Any,
    *,
    layer: Layer,
    baselines: Any = 0.0,
    n_steps: int = 50,
    target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> xr.DataArray:
    """The part of the change from a baseline to the input that flows through each unit of a layer, with labels.

    See `attrib.functional.conductance` for formula, cost and source.

    Parameters
    ----------
    f : callable
        The model.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    layer : str or torch.nn.Module
        A dotted name, or the module itself.
    baselines : float, array-like, DataArray or callable, default 0.0
        Where the path begins, matched by name.
    n_steps : int, default 50
        Steps of the path.
    target, targets, classes, additional_forward_args
        As for every method.
    sample_dims, dims, coords
        As for every method.
    batch_size, device, progress
        As for every method.

    Returns
    -------
    DataArray
        Called `attribution`: the sample dims and those of the layer, with a leading `target` dim for `targets`. Coords
        `prediction` and `delta` along the samples. Unit: output units.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.conductance`; for inputs backed by Dask.

    Examples
    --------
    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
    >>> x = xr.DataArray([[3.0, -1.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.conductance(net.double(), x, layer="0")
    >>> a.dims, bool(a.sel(gene="GCG") == 0)
    (('cell', 'gene'), True)
    """
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords).in_memory())
    if inputs.lazy:
        raise ValueError("`x` is backed by Dask, which conductance does not take; pass x.compute(), in parts")
    params = {"layer": layer, "baselines": baselines, "n_steps": n_steps, "target": target, "targets": targets, "classes": classes}  # fmt: skip
    dtype = dtype_of(f)
    tensors = inputs.tensors(dtype)
    explanation = explain_conductance(
        f, tensors[0] if inputs.single else tensors, layer=layer, n_steps=n_steps,
        baselines=baseline_tensors(baselines, inputs, dtype, "point"),
        target=sample_values(target, inputs, "target"),
        targets=[sample_values(t, inputs, "targets") for t in targets] if isinstance(targets, list | tuple) else targets,
        classes=classes, additional_forward_args=forward_args(additional_forward_args, inputs, dtype),
        batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip
    names = None if classes is None else tuple(map(str, classes))
    return wrap_at_layer(explanation, inputs, Facts(ABOUT, ABOUT.units, params, names), targets is not None)
