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
from attrib.engine.target import TargetLike
from attrib.interop.arrays import as_tensor
from attrib.labels.align import baseline_tensors, sample_values
from attrib.labels.editing import group_labels
from attrib.labels.inputs import Inputs, labelled_inputs
from attrib.labels.results import Facts, sample_coords, unstacked


class Side(NamedTuple):
    """What one input brings: dims and coords of its values or groups, and groups as the pure function takes them."""

    dims: tuple[Hashable, ...]
    coords: dict[Hashable, xr.Variable]
    groups: torch.Tensor | None


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
    target, targets, classes, batch_size, device, progress, engine
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
    inputs = _two(labelled_inputs(x, sample_dims, dims, coords))
    given = {
        "baselines": baselines, "groups": groups, "n_steps": n_steps, "quadrature": quadrature, "softplus": softplus,
        "target": target, "targets": targets, "classes": classes,
    }  # fmt: skip
    dtype = dtype_of(f)
    sides = [_side(groups, inputs, j) for j in (0, 1)]
    one, other = inputs.tensors(dtype)
    explanation = functional.interaction.explain(
        f, (one, other), baselines=baseline_tensors(baselines, inputs, dtype, False),
        groups=(sides[0].groups, sides[1].groups), n_steps=n_steps, quadrature=quadrature, softplus=softplus,
        target=sample_values(target, inputs, "target"),
        targets=[sample_values(t, inputs, "targets") for t in targets] if isinstance(targets, list | tuple) else targets,
        classes=classes, batch_size=batch_size, device=device, progress=progress, engine=engine,
    )  # fmt: skip
    names = None if classes is None else tuple(map(str, classes))
    facts = Facts(functional.interaction.about, given, names, explanation.engine, explanation.notes)
    return _wrapped(explanation, inputs, facts, sides)


def _wrapped(e: functional.Explanation, inputs: Inputs, facts: Facts, sides: Sequence[Side]) -> xr.DataArray:
    lead: tuple[Hashable, ...] = ("target",) if facts.params["targets"] is not None else ()
    shared = {c for side in sides[:1] for c in (*side.dims, *side.coords)} & {
        *sides[1].dims,
        *sides[1].coords,
    }
    one, other = (_told_apart(s, shared, str(inputs.title(j))) for j, s in enumerate(sides))
    dims = (*lead, *inputs.sample_dims, *one.dims, *other.dims)
    first = inputs.arrays[0]
    of_samples = {c: v for c, v in first.coords.items() if set(v.dims) <= set(inputs.sample_dims)}
    assert isinstance(e.attribution, torch.Tensor)
    return xr.DataArray(
        unstacked(e.attribution, inputs, dims, dims),
        dims=dims,
        coords={**of_samples, **one.coords, **other.coords, **sample_coords(e, inputs, lead, facts.classes)},
        name="interaction",
        attrs=facts.attrs(first) | {"long_name": "Interaction of two inputs (integrated Hessians)"},
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


def _told_apart(side: Side, shared: set[Hashable], name: str) -> Side:
    """The side with its input's name before what both sides have."""
    own = {n: f"{name}_{n}" for n in shared}
    coords = {
        own.get(n, n): xr.Variable([own.get(d, d) for d in v.dims], v.values, v.attrs)
        for n, v in side.coords.items()
    }
    return Side(tuple(own.get(d, d) for d in side.dims), coords, side.groups)


def _side(groups: Any, inputs: Inputs, j: int) -> Side:
    x, core, name = inputs.arrays[j], inputs.core(j), inputs.title(j)
    if groups is not None and not isinstance(groups, Mapping):
        raise TypeError(
            f"`groups` is a {type(groups).__name__}, expected a mapping of inputs to coords or shares"
        )
    unknown = [n for n in groups or () if n not in (inputs.title(0), inputs.title(1))]
    if unknown:
        raise ValueError(f"`groups` names {unknown}, but the inputs are {[inputs.title(0), inputs.title(1)]}")
    own = None if groups is None else groups.get(name)
    if own is None:
        coords = {c: v.variable for c, v in x.coords.items() if v.dims and set(v.dims) <= set(core)}
        return Side(core, coords, None)
    if isinstance(own, str):
        return _by_coord(own, inputs, j)
    if not isinstance(own, xr.DataArray):
        raise TypeError(
            f"`groups[{name!r}]` is a {type(own).__name__}, expected a coord's name or a DataArray of shares"
        )
    return _by_shares(own, inputs, j)


def _by_coord(coord: str, inputs: Inputs, j: int) -> Side:
    x, core = inputs.arrays[j], inputs.core(j)
    if coord not in x.coords or not set(x[coord].dims) <= set(core):
        found = [str(c) for c, v in x.coords.items() if v.dims and set(v.dims) <= set(core)]
        raise ValueError(f"`groups[{inputs.title(j)!r}]` is {coord!r}, but this input has the coords {found}")
    labels = x[coord]
    numbers, names = pd.factorize(group_labels(labels))
    laid = xr.DataArray(numbers.reshape(labels.shape), dims=labels.dims).broadcast_like(
        x.isel(_first(inputs))
    )
    t = torch.from_numpy(np.ascontiguousarray(laid.transpose(*core).values))
    return Side((coord,), {coord: xr.Variable((coord,), np.asarray(names, dtype=labels.dtype))}, t)


def _first(inputs: Inputs) -> dict[Hashable, int]:
    return dict.fromkeys(inputs.sample_dims, 0)


def _by_shares(shares: xr.DataArray, inputs: Inputs, j: int) -> Side:
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
    whole = shares.expand_dims({d: x.sizes[d] for d in inputs.sample_dims if batch and d not in batch})
    laid = whole.transpose(*(inputs.sample_dims if batch else ()), extra[0], *core)
    t = as_tensor(laid.values, "groups")
    t = t.reshape(-1, *t.shape[len(inputs.sample_dims) :]) if batch else t
    coords = {c: v.variable for c, v in shares.coords.items() if v.dims == (extra[0],)}
    return Side((extra[0],), coords, t)
