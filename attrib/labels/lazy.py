"""Results for Dask-backed inputs: the eager computation, block by block of samples, when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.functional.explanation import Explanation
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.inputs import Inputs
from attrib.labels.results import Facts, dressed, named
from attrib.labels.spatial import LAYER, leading, placed

Explain = Callable[[tuple[torch.Tensor, ...], list[int]], Explanation]


@dataclass(frozen=True)
class Block:
    """Runs a method on NumPy blocks whose leading dims are the sample dims.

    Attributes
    ----------
    explain : callable
        Tensors (N, ...) and the samples' numbers to an `Explanation` with a target dim.
    lead : int
        Number of sample dims.
    fields : tuple of str
        Fields of the explanation to give, see `_fields`.
    """

    explain: Explain
    lead: int
    fields: tuple[str, ...]

    def __call__(self, numbers: np.ndarray, *blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        """The fields as arrays (*sample dims, target, *core dims)."""
        shape = numbers.shape
        xs = tuple(as_tensor(b).reshape(-1, *b.shape[self.lead :]) for b in blocks)
        found = self.explain(xs, numbers.ravel().tolist())
        return tuple(_laid_out(_field(found, f), shape, f) for f in self.fields)


def _laid_out(t: torch.Tensor, shape: tuple[int, ...], field: str) -> np.ndarray:
    values = as_numpy(t)
    values = values if field == "n_steps" else np.moveaxis(values, 0, 1)
    return values.reshape(*shape, *values.shape[1:])


def _field(e: Explanation, name: str) -> torch.Tensor:
    """A field by name; those of one of several inputs as `name:number`."""
    base, _, j = name.partition(":")
    value = getattr(e, base)
    return value[int(j)] if j and isinstance(value, tuple) else value


def lazily(explain: Explain, inputs: Inputs, facts: Facts, many: bool) -> Any:
    """The labelled result, to be computed later.

    Parameters
    ----------
    explain : callable
        The method on tensors of some samples, always with a leading target dim.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether the result keeps its target dim.

    Notes
    -----
    One sample is explained right away, to learn the number of targets, the dtypes and the engine: one of zeros, or
    the first one if the model gives nothing finite for zeros.
    """
    core = [list(inputs.core(j)) for j in range(len(inputs.arrays))]
    probe = _probe(explain, inputs, core)
    parts = in_parts(explain, inputs, probe, core)
    return _assembled(parts, inputs, probe, replace(facts, engine=probe.engine, notes=probe.notes), many)


def in_parts(
    explain: Explain,
    inputs: Inputs,
    probe: Explanation,
    dims: list[list[Hashable]],
    sizes: Mapping[Hashable, int] | None = None,
) -> dict[str, xr.DataArray]:
    """Each field of the explanation by name, lazy: sample dims, target, and for attributions the `dims` of one sample.

    Parameters
    ----------
    explain, inputs
        As in `lazily`.
    probe : Explanation
        Of one sample.
    dims : list of list
        Of each attribution, after the sample and target dims.
    sizes : mapping, optional
        Of those dims that the inputs lack.
    """
    core = [list(inputs.core(j)) for j in range(len(inputs.arrays))]
    fields, own = _fields(probe, dims)
    arrays = [
        a.drop_vars(list(a.coords)).chunk(dict.fromkeys(c, -1))
        for a, c in zip(inputs.arrays, core, strict=True)
    ]
    parts = xr.apply_ufunc(
        Block(explain, len(inputs.sample_dims), fields),
        _numbers(inputs, arrays[0]),
        *arrays,
        input_core_dims=[[], *core],
        output_core_dims=own,
        dask="parallelized",
        output_dtypes=[as_numpy(_field(probe, f).new_empty(0)).dtype for f in fields],
        dask_gufunc_kwargs={"output_sizes": {"target": len(probe.target_labels), **(sizes or {})}},
    )
    return dict(zip(fields, parts if isinstance(parts, tuple) else (parts,), strict=True))


def _numbers(inputs: Inputs, like: xr.DataArray) -> xr.DataArray:
    """The samples' positions, cut into the blocks of the inputs."""
    positions = xr.DataArray(np.arange(inputs.samples).reshape(inputs.sample_shape), dims=inputs.sample_dims)
    return positions.chunk({d: like.chunksizes[d] for d in inputs.sample_dims})


def _probe(explain: Explain, inputs: Inputs, core: list[list[Hashable]]) -> Explanation:
    sizes = [[a.sizes[d] for d in c] for a, c in zip(inputs.arrays, core, strict=True)]
    try:
        return explain(
            tuple(as_tensor(np.zeros((1, *s), a.dtype)) for s, a in zip(sizes, inputs.arrays, strict=True)),
            [0],
        )
    except ValueError:
        return of_first(explain, inputs)


def of_first(explain: Explain, inputs: Inputs) -> Explanation:
    """The explanation of the first sample."""
    first = [
        a.isel(dict.fromkeys(inputs.sample_dims, 0)).transpose(*inputs.core(j))
        for j, a in enumerate(inputs.arrays)
    ]
    return explain(tuple(as_tensor(a.values)[None] for a in first), [0])


def _fields(probe: Explanation, core: list[list[Hashable]]) -> tuple[tuple[str, ...], list[list[Hashable]]]:
    """Names of what a block gives, and the dims of each after the sample dims."""
    found: dict[str, list[Hashable]] = {}
    for name in ("attribution", "standard_error"):
        if getattr(probe, name) is not None:
            found |= {f"{name}:{j}": ["target", *c] for j, c in enumerate(core)}
    found |= {n: ["target"] for n in ("prediction", "delta", "target") if getattr(probe, n) is not None}
    if probe.n_steps is not None:
        found["n_steps"] = []
    return tuple(found), list(found.values())


def _assembled(
    parts: dict[str, xr.DataArray], inputs: Inputs, probe: Explanation, facts: Facts, many: bool
) -> Any:
    lead: tuple[Hashable, ...] = ("target",) if many else ()

    def laid_out(name: str, x: xr.DataArray) -> Any:
        return asked(parts[name], many).transpose(*lead, *x.dims).data if name in parts else None

    data = [laid_out(f"attribution:{j}", x) for j, x in enumerate(inputs.arrays)]
    errors = [laid_out(f"standard_error:{j}", x) for j, x in enumerate(inputs.arrays)]
    return dressed(data, errors, lazy_coords(parts, inputs, probe, facts, many), inputs, facts, lead)


def asked(part: xr.DataArray, many: bool) -> xr.DataArray:
    """A field without its target dim, where one target was asked for."""
    return part if many or "target" not in part.dims else part.isel(target=0, drop=True)


def lazy_coords(
    parts: Mapping[str, xr.DataArray], inputs: Inputs, probe: Explanation, facts: Facts, many: bool
) -> dict[Hashable, Any]:
    """Coords along the sample dims, and the names of the targets."""
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    along = (*lead, *inputs.sample_dims)
    coords: dict[Hashable, Any] = {
        n: (along, asked(parts[n], many).transpose(*along).data)
        for n in ("prediction", "delta")
        if n in parts
    }
    if "n_steps" in parts:
        coords["n_steps"] = (inputs.sample_dims, parts["n_steps"].transpose(*inputs.sample_dims).data)
    if many:
        coords["target"] = np.asarray(probe.target_labels)
    elif "target" in parts and probe.target_labels[0] in ("predicted", "per sample"):
        index = asked(parts["target"], many).transpose(*inputs.sample_dims).data
        coords["target"] = (inputs.sample_dims, _names(index, facts.classes))
    return coords


def _names(index: Any, classes: tuple[str, ...] | None) -> Any:
    if classes is None:
        return index
    return index.map_blocks(named, classes, dtype=np.asarray(classes).dtype)


# FOLDED attrib/labels/lazy.py: """Maps of Dask-backed inputs: of one layer for all blocks of samples, computed when they are asked for."""
CELL = "attrib_cell"  # a map's own spatial dims are called so until it has the input's


def settled(layer: Any, found: Explanation) -> Any:
    """The layer of an explanation by name, in place of "auto": what the first sample chose holds for all."""
    names = str((found.notes or {})["layer"]).split(", ")
    if isinstance(layer, list | tuple):
        return [n if isinstance(one, str) else one for n, one in zip(names, layer, strict=True)]
    return names[0] if isinstance(layer, str) else layer


def lazy_maps(explain: Explain, first: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """The labelled map, to be computed later.

    Parameters
    ----------
    explain : callable
        The method on tensors of some samples, always with a leading target dim.
    first : Explanation
        What it gives for the first sample.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether the result keeps its target dim.
    """
    lead = leading(facts, many)
    listed = LAYER in lead

    def behind(e: Explanation) -> Explanation:
        """The dim of layers after that of the samples."""
        assert isinstance(e.attribution, torch.Tensor)
        return e._replace(attribution=e.attribution.movedim(1, 2)) if listed else e

    probe = behind(first)
    assert isinstance(probe.attribution, torch.Tensor)
    shape = probe.attribution.shape[2:]
    cells: list[Hashable] = [f"{CELL}_{k}" for k in range(len(shape) - listed)]
    own = [LAYER, *cells] if listed else cells
    parts = in_parts(lambda *a: behind(explain(*a)), inputs, probe, [own], dict(zip(own, shape, strict=True)))
    facts = replace(facts, engine=probe.engine, notes=probe.notes)
    maps = asked(parts["attribution:0"], many).transpose(*lead, *inputs.sample_dims, *cells)
    return placed(maps.data, lazy_coords(parts, inputs, probe, facts, many), inputs, facts, lead)
