"""Attributions of a layer's activation as DataArrays: the input's dims where the layer has them, names of its own elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import TargetLike, class_names
from attrib.functional.activations import ABOUT, explain_conductance
from attrib.functional.arguments import checked
from attrib.functional.explanation import Explanation
from attrib.functional.layers import dims_at_layer
from attrib.interop.arrays import as_numpy
from attrib.labels.align import args_at, at_samples, baseline_tensors, forward_args, sample_values
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.lazy import Explain, computed, first_sample, of_first, of_positions
from attrib.labels.results import Facts, sample_coords
from attrib.labels.spatial import centres


def wrap_at_layer(
    explanation: Explanation,
    inputs: Inputs,
    facts: Facts,
    many: bool,
    input_dims: Sequence[Mapping[int, int]],
) -> xr.DataArray:
    """An attribution (N, ...) of a layer's activation, with a leading target dim if `many`.

    Its dims keep the names of the input's dims that they are, as changes of the input show: `input_dims`, of
    `attrib.functional.layers.dims_at_layer`. Coords at another resolution are the centres of its positions. A dim in front of
    these is `channel`, one behind them `feature` or, of images, `channel`; the others are `layer_dim_1`, ...
    """
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    attribution = explanation.attribution
    assert isinstance(attribution, torch.Tensor)
    shape = tuple(attribution.shape[len(lead) + 1 :])
    dims, coords = layer_dims(shape, inputs, input_dims)
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


def lazily_at_layer(
    explain: Explain,
    probe: Explanation,
    inputs: Inputs,
    facts: Facts,
    many: bool,
    dims_of: Callable[..., Sequence[Mapping[int, int]]],
    dtype: torch.dtype | None,
) -> xr.DataArray:
    """The same, to be computed later, block by block; the dims are those of the first sample.

    Parameters
    ----------
    explain, probe, inputs, facts, many
        As for `attrib.labels.lazy.lazy_maps`.
    dims_of : callable
        Inputs and the shape of the activation to what `wrap_at_layer` takes as `input_dims`.
    dtype : torch.dtype, optional
        Of the model.
    """
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    fields, grid, of_samples = of_positions(explain, probe, inputs, facts, many)
    shape = tuple(probe.attribution.shape[2:])  # type: ignore[union-attr]
    first = tuple(
        t.to(dtype) if dtype is not None and t.is_floating_point() else t for t in first_sample(inputs)
    )
    names, coords = layer_dims(shape, inputs, dims_of(first, shape))
    order = (*lead, *inputs.sample_dims)

    def laid_out(field: str) -> Any:
        return fields[field].transpose(*order, *grid).data

    if "standard_error:0" in fields:
        coords["standard_error"] = ((*order, *names), laid_out("standard_error:0"))
    x = inputs.arrays[0]
    along = {n: c for n, c in x.coords.items() if set(c.dims) <= {*inputs.sample_dims}}
    return xr.DataArray(
        laid_out("attribution:0"), dims=(*order, *names), coords={**along, **coords, **of_samples}, name="attribution",
        attrs=facts.of(probe).attrs(x),
    )  # fmt: skip


def groups_at(groups: Any, numbers: Sequence[int], inputs: Inputs) -> Any:
    """Groups in the shape of a layer's activation, those of some samples where each has its own: more than one and as many as samples."""
    if groups is None or inputs.samples == 1 or len(groups) != inputs.samples:
        return groups
    return groups[list(numbers)]


def layer_dims(
    shape: tuple[int, ...], inputs: Inputs, input_dims: Sequence[Mapping[int, int]]
) -> tuple[tuple[Hashable, ...], dict[Hashable, Any]]:
    """Names and coords for the dims of a layer's activation of one sample.

    Parameters
    ----------
    shape : tuple of int
        Of the activation.
    inputs : Inputs
    input_dims : sequence of mapping
        For each input, the dims of the activation that are dims of its samples.
    """
    j = next((j for j, dims in enumerate(input_dims) if dims), 0)
    x, core, followed = inputs.arrays[j], inputs.core(j), input_dims[j]
    names: list[Hashable] = [f"layer_dim_{k}" for k in range(1, len(shape) + 1)]
    for k, d in followed.items():
        names[k] = core[d]
    free = [k for k in range(len(shape)) if k not in followed]
    if followed and len(free) == 1 and (free[0] == 0 or free[0] == len(shape) - 1):
        name = "feature" if len(followed) == 1 and free[0] > 0 else "channel"
        names[free[0]] = name if name not in names else names[free[0]]
    same = {core[d] for k, d in followed.items() if shape[k] == x.sizes[core[d]]}
    coords: dict[Hashable, Any] = {
        core[d]: centres(x, core[d], shape[k]) for k, d in followed.items() if core[d] not in same
    }
    remaining = same.union(inputs.sample_dims)
    coords |= {n: c for n, c in x.coords.items() if same.intersection(c.dims) and set(c.dims) <= remaining}
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
        `prediction` and `delta` along the samples. Unit: output units. Lazy for inputs backed by Dask.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.conductance`.

    Examples
    --------
    >>> import attrib, torch, xarray as xr
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
    >>> x = xr.DataArray([[3.0, -1.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a = attrib.conductance(net.double(), x, layer="0")
    >>> a.dims, bool(a.sel(gene="GCG") == 0)
    (('cell', 'gene'), True)
    """
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    params = {"layer": layer, "baselines": baselines, "n_steps": n_steps, "target": target, "targets": targets, "classes": classes}  # fmt: skip
    facts = Facts(ABOUT, ABOUT.units, params, class_names(classes))
    dtype, many = dtype_of(f), targets is not None
    options: dict[str, Any] = {
        "layer": layer, "n_steps": n_steps, "classes": classes, "batch_size": batch_size, "device": device, "progress": progress,
        "target": sample_values(target, inputs, "target"),
        "targets": [sample_values(t, inputs, "targets") for t in targets] if isinstance(targets, list | tuple) else targets,
        "baselines": baseline_tensors(baselines, inputs, dtype, "point"),
        "additional_forward_args": forward_args(additional_forward_args, inputs, dtype),
    }  # fmt: skip
    dims_of = functools.partial(dims_at_layer, f, layer=layer, device=device)
    if not inputs.lazy:
        tensors = inputs.tensors(dtype)
        explanation = explain_conductance(f, tensors[0] if inputs.single else tensors, **options)
        shape = tuple(explanation.attribution.shape[2 if many else 1 :])  # type: ignore[union-attr]
        input_dims = dims_of(tensors, shape, additional_forward_args=options["additional_forward_args"])
        return wrap_at_layer(explanation, inputs, facts, many, input_dims)
    options |= {"progress": False} | ({} if many else {"target": None, "targets": [options["target"]]})

    def explain(xs: tuple[torch.Tensor, ...], numbers: list[int]) -> Explanation:
        xs = tuple(t.to(dtype) if dtype is not None and t.is_floating_point() else t for t in xs)
        of_block = {
            **options, "targets": at_samples(options["targets"], numbers, inputs),
            "baselines": at_samples(options["baselines"], numbers, inputs),
            "additional_forward_args": args_at(options["additional_forward_args"], numbers, inputs),
        }  # fmt: skip
        return explain_conductance(f, xs[0] if inputs.single else xs, **of_block)

    beside = args_at(options["additional_forward_args"], [0], inputs)
    dims_of = functools.partial(dims_of, additional_forward_args=beside)
    lazy = lazily_at_layer(explain, of_first(explain, inputs), inputs, facts, many, dims_of, dtype)
    return computed(lazy) if inputs.eager else lazy
