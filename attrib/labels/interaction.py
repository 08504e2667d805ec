"""Interactions of two labelled inputs: one array with the dims of both."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib import functional
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import TargetLike, class_names
from attrib.functional.arguments import checked
from attrib.interop.arrays import as_tensor
from attrib.labels.align import baseline_tensors, forward_args, sample_values
from attrib.labels.editing import group_labels
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.results import Facts, sample_coords, unstacked


class Side(NamedTuple):
    """What one input brings: dims and coords of its values or groups, and groups as the pure function takes them."""

    dims: tuple[Hashable, ...]
    coords: dict[Hashable, xr.Variable]
    groups: torch.Tensor | None


@checked
def interaction(
    f: Model,
    x: Any,
    *,
    baselines: Any = 0.0,
    groups: Mapping[str, str | xr.DataArray] | None = None,
    n_steps: int = 8,
    quadrature: str = "gausslegendre",
    softplus: float | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """How much of the score two inputs make together, shared among pairs of their values, with labels.

    See `attrib.functional.interaction` for formula, axioms and cost.

    Parameters
    ----------
    f : callable
        The model, of two inputs.
    x : Dataset, mapping or tuple
        The two inputs, in the order of the model's arguments.
    baselines : float, mapping, tuple or callable, default 0.0
        Where the paths begin, matched by name.
    groups : mapping, optional
        By input: the name of one of its coords (a pathway, a brain region), whose labels become a dim; or a DataArray of
        shares, with one dim that the input lacks: that of the groups.
    n_steps : int, default 8
        Points on each of the two paths.
    quadrature : str, default "gausslegendre"
        Or captum's rules.
    softplus : float, optional
        Explain the model with softplus of this sharpness in place of ReLU.
    target, targets, classes, additional_forward_args, batch_size, device, progress, engine
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `interaction`: the sample dims, the first input's dims, the second's, with a leading `target` dim for
        `targets`. Where both have a dim of one name, each is called by its input: ``mirna_x``, ``mrna_x``. Coords
        `prediction` and `delta` along the samples. Unit: output units.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.interaction`; for inputs that are not two, Dask-backed ones (call ``x.compute()``), groups
        whose dims or labels do not fit.

    Examples
    --------
    >>> import attrib
    >>> import xarray as xr
    >>> x = {
    ...     "drug": xr.DataArray([[1.0, 2.0]], dims=("cell", "dose"), coords={"dose": ["a", "b"]}),
    ...     "gene": xr.DataArray([[3.0, 5.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]}),
    ... }
    >>> a = attrib.interaction(lambda d, g: d[:, 1] * g[:, 0], x)
    >>> a.dims, a.sel(dose="b", gene="INS").values.round(6)
    (('cell', 'dose', 'gene'), array([6.]))
    """
    f, inputs = for_model(f, _two(labelled_inputs(x, sample_dims, dims, coords).in_memory()))
    dtype = dtype_of(f)
    sides = [_side(groups, inputs, j) for j in (0, 1)]
    first, second = inputs.tensors(dtype)
    options: dict[str, Any] = {
        "n_steps": n_steps, "quadrature": quadrature, "softplus": softplus, "classes": classes,
    }  # fmt: skip
    explanation = functional.interaction.explain(
        f, (first, second), baselines=baseline_tensors(baselines, inputs, dtype, "point"),
        groups=(sides[0].groups, sides[1].groups), target=sample_values(target, inputs, "target"),
        targets=[sample_values(t, inputs, "targets") for t in targets] if isinstance(targets, list | tuple) else targets,
        additional_forward_args=forward_args(additional_forward_args, inputs, dtype),
        batch_size=batch_size, device=device, progress=progress, engine=engine, **options,
    )  # fmt: skip
    about = functional.interaction.about
    params = {**options, "baselines": baselines, "groups": groups, "target": target, "targets": targets}
    names = class_names(classes)
    return _wrapped(explanation, inputs, Facts(about, about.units, params, names).of(explanation), sides)


def _wrapped(
    explanation: functional.Explanation, inputs: Inputs, facts: Facts, sides: Sequence[Side]
) -> xr.DataArray:
    lead: tuple[Hashable, ...] = ("target",) if facts.params["targets"] is not None else ()
    names = [{*side.dims, *side.coords} for side in sides]
    first, second = (
        _prefixed(side, names[0] & names[1], str(inputs.title(j))) for j, side in enumerate(sides)
    )
    dims = (*lead, *inputs.sample_dims, *first.dims, *second.dims)
    x = inputs.arrays[0]
    of_samples = {c: v for c, v in x.coords.items() if set(v.dims) <= set(inputs.sample_dims)}
    along_samples = sample_coords(explanation, inputs, lead, facts.classes)
    assert isinstance(explanation.attribution, torch.Tensor)
    return xr.DataArray(
        unstacked(explanation.attribution, inputs, dims, dims),
        dims=dims,
        coords={**of_samples, **first.coords, **second.coords, **along_samples},
        name="interaction",
        attrs=facts.attrs(x) | {"long_name": "Interaction of two inputs (integrated Hessians)"},
    )


def _two(inputs: Inputs) -> Inputs:
    """Refuse other than two inputs in memory."""
    if len(inputs.arrays) != 2:
        raise ValueError(
            f"`x` has {len(inputs.arrays)} inputs, expected two: a Dataset, a mapping or a tuple"
        )
    if inputs.lazy:
        raise ValueError("`x` is backed by Dask, which interaction does not take; pass x.compute(), in parts")
    return inputs


def _prefixed(side: Side, shared: set[Hashable], prefix: str) -> Side:
    """The side with its input's name before the names that both sides have."""
    names = {n: f"{prefix}_{n}" for n in shared}
    coords = {
        names.get(n, n): xr.Variable([names.get(d, d) for d in v.dims], v.values, v.attrs)
        for n, v in side.coords.items()
    }
    return Side(tuple(names.get(d, d) for d in side.dims), coords, side.groups)


def _side(groups: Any, inputs: Inputs, j: int) -> Side:
    x, core, name = inputs.arrays[j], inputs.core(j), inputs.title(j)
    if groups is not None and not isinstance(groups, Mapping):
        raise TypeError(
            f"`groups` is a {type(groups).__name__}, expected a mapping of inputs to coords or shares"
        )
    unknown = [n for n in groups or () if n not in (inputs.title(0), inputs.title(1))]
    if unknown:
        raise ValueError(f"`groups` names {unknown}, but the inputs are {[inputs.title(0), inputs.title(1)]}")
    grouping = None if groups is None else groups.get(name)
    if grouping is None:
        return Side(core, {c: x[c].variable for c in _core_coords(x, core)}, None)
    if isinstance(grouping, str):
        return _by_coord(grouping, inputs, j)
    if not isinstance(grouping, xr.DataArray):
        raise TypeError(
            f"`groups[{name!r}]` is a {type(grouping).__name__}, expected a coord's name or a DataArray of shares"
        )
    return _by_shares(grouping, inputs, j)


def _core_coords(x: xr.DataArray, core: tuple[Hashable, ...]) -> list[Hashable]:
    """Names of the coords that lie along the dims of a sample."""
    return [c for c, v in x.coords.items() if v.dims and set(v.dims) <= set(core)]


def _by_coord(coord: str, inputs: Inputs, j: int) -> Side:
    """Groups by the labels of a coord."""
    x, core = inputs.arrays[j], inputs.core(j)
    if coord not in x.coords or not set(x[coord].dims) <= set(core):
        names = [str(c) for c in _core_coords(x, core)]
        raise ValueError(f"`groups[{inputs.title(j)!r}]` is {coord!r}, but this input has the coords {names}")
    labels = x[coord]
    numbers, groups = pd.factorize(group_labels(labels))
    sample = x.isel(dict.fromkeys(inputs.sample_dims, 0))
    values = xr.DataArray(numbers.reshape(labels.shape), dims=labels.dims).broadcast_like(sample)
    t = torch.from_numpy(np.ascontiguousarray(values.transpose(*core).values))
    return Side((coord,), {coord: xr.Variable((coord,), np.asarray(groups, dtype=labels.dtype))}, t)


def _by_shares(shares: xr.DataArray, inputs: Inputs, j: int) -> Side:
    """Groups by shares in each value, the same for all samples or not."""
    x, core, which = inputs.arrays[j], inputs.core(j), f"`groups[{inputs.title(j)!r}]`"
    batch = [d for d in inputs.sample_dims if d in shares.dims]
    extra = [d for d in shares.dims if d not in core and d not in batch]
    if len(extra) != 1 or not set(core) <= set(shares.dims):
        raise ValueError(
            f"{which} has dims {shares.dims}, expected {core} and one more, that of the groups; the samples' may be there too"
        )
    for d in (*core, *batch):
        differ = d in shares.indexes and d in x.indexes and not shares.indexes[d].equals(x.indexes[d])
        if shares.sizes[d] != x.sizes[d] or differ:
            raise ValueError(f"{which} and the input differ along {d!r}; select the same labels in both")
    values = shares.expand_dims({d: x.sizes[d] for d in inputs.sample_dims if batch and d not in batch})
    values = values.transpose(*(inputs.sample_dims if batch else ()), extra[0], *core)
    t = as_tensor(values.values, "groups")
    t = t.reshape(-1, *t.shape[len(inputs.sample_dims) :]) if batch else t
    coords = {c: v.variable for c, v in shares.coords.items() if v.dims == (extra[0],)}
    return Side((extra[0],), coords, t)
