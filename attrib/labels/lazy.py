"""Results for Dask-backed inputs: the eager computation, block by block of samples, when it is asked for."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.functional.explanation import Explanation
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.inputs import Inputs
from attrib.labels.results import Facts, varies, with_coords, with_names
from attrib.labels.spatial import aligned, leading

Explain = Callable[[tuple[torch.Tensor, ...], list[int]], Explanation]
PER_SAMPLE = ("n_steps", "per_sample:")  # fields without a target dim
POSITION = "attrib_position"  # a map's own spatial dims are called so until it has the input's


def lazily(explain: Explain, probe: Explanation, inputs: Inputs, facts: Facts, many: bool) -> Any:
    """The labelled result in the form of the inputs, to be computed later.

    Parameters
    ----------
    explain : callable
        The method on tensors of some samples, always with a leading target dim.
    probe : Explanation
        Of one sample: it tells the number of targets, the dtypes and the engine.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether the result keeps its target dim.
    """
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    core = [list(inputs.core(j)) for j in range(len(inputs.arrays))]
    fields = _lazy_fields(explain, inputs, probe, core, many)

    def laid_out(name: str) -> list[Any]:
        names = [f"{name}:{j}" for j in range(len(inputs.arrays))]
        return [
            fields[n].transpose(*lead, *x.dims).data if n in fields else None
            for n, x in zip(names, inputs.arrays, strict=True)
        ]

    coords = _lazy_coords(fields, inputs, probe, facts, many)
    attributions, errors = laid_out("attribution"), laid_out("standard_error")
    return with_coords(attributions, errors, coords, inputs, facts.of(probe), lead)


def lazy_maps(explain: Explain, first: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """The labelled map of a layer, to be computed later.

    Parameters
    ----------
    explain : callable
        The method on tensors of some samples, always with a leading target dim.
    first : Explanation
        Of the first sample.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether the result keeps its target dim.
    """
    lead = leading(facts, many)
    listed = [d for d in lead if d != "target"]  # the dim of layers, or of calls

    def layers_last(explanation: Explanation) -> Explanation:
        """The dim of layers or calls after that of the samples."""
        assert isinstance(explanation.attribution, torch.Tensor)
        return (
            explanation._replace(attribution=explanation.attribution.movedim(1, 2)) if listed else explanation
        )

    probe = layers_last(first)
    fields, grid, coords = of_positions(
        lambda *block: layers_last(explain(*block)), probe, inputs, facts, many, listed
    )
    maps = fields["attribution:0"].transpose(*lead, *inputs.sample_dims, *grid)
    notes = {
        k: v for k, v in (probe.notes or {}).items() if k != "zero_maps"
    }  # it counts maps of the first sample
    probe = probe._replace(notes=notes)
    return aligned(maps.data, coords, inputs, facts.of(probe), lead)


def of_positions(
    explain: Explain,
    probe: Explanation,
    inputs: Inputs,
    facts: Facts,
    many: bool,
    listed: Sequence[Hashable] = (),
) -> tuple[dict[str, xr.DataArray], list[Hashable], dict[Hashable, Any]]:
    """The fields of explanations of one array with dims of its own, these dims but those `listed` in front, and the coords of the samples."""
    assert isinstance(probe.attribution, torch.Tensor)
    shape = probe.attribution.shape[2:]
    grid: list[Hashable] = [f"{POSITION}_{k}" for k in range(len(shape) - len(listed))]
    dims = [*listed, *grid]
    fields = _lazy_fields(explain, inputs, probe, [dims], many, dict(zip(dims, shape, strict=True)))
    return fields, grid, _lazy_coords(fields, inputs, probe, facts, many)


def first_sample(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The first sample (1, ...) of each input."""
    first = [
        a.isel(dict.fromkeys(inputs.sample_dims, 0)).transpose(*inputs.core(j))
        for j, a in enumerate(inputs.arrays)
    ]
    return tuple(as_tensor(a.values)[None] for a in first)


def of_first(explain: Explain, inputs: Inputs) -> Explanation:
    """The explanation of the first sample."""
    return explain(first_sample(inputs), [0])


def of_zeros(explain: Explain, inputs: Inputs) -> Explanation:
    """The explanation of a sample of zeros, or of the first one where the model gives nothing finite for zeros."""
    zeros = [
        np.zeros((1, *(a.sizes[d] for d in inputs.core(j))), a.dtype) for j, a in enumerate(inputs.arrays)
    ]
    try:
        return explain(tuple(map(as_tensor, zeros)), [0])
    except ValueError:
        return of_first(explain, inputs)


def resolved(options: Mapping[str, Any], first: Explanation) -> dict[str, Any]:
    """The options with layers by name, and a call by number, in place of "auto": the first sample chooses for all."""
    layer, names = options["layer"], first.layers or ()
    if isinstance(layer, list | tuple):
        layer = [n if isinstance(choice, str) else choice for n, choice in zip(names, layer, strict=True)]
    elif isinstance(layer, str):
        layer = names[0]
    call = (first.notes or {}).get("call")
    return {**options, "layer": layer} | ({} if call is None else {"call": call})


def computed(result: Any) -> Any:
    """A lazy result, computed block by block, one at a time."""
    if isinstance(result, tuple):
        return tuple(map(computed, result))
    return result.compute(scheduler="synchronous")


def bare_blocks(inputs: Inputs) -> list[xr.DataArray]:
    """The inputs without coords, sample dims first, in blocks that hold samples in one piece."""
    return [
        a.drop_vars(list(a.coords))
        .transpose(*inputs.sample_dims, *inputs.core(j))
        .chunk(dict.fromkeys(inputs.core(j), -1))
        for j, a in enumerate(inputs.arrays)
    ]


def sample_numbers(inputs: Inputs, blocks: list[xr.DataArray]) -> xr.DataArray:
    """The number of each sample, in the same blocks of samples."""
    import dask.array as da

    numbers = np.arange(inputs.samples).reshape(inputs.sample_shape)
    cuts = tuple(blocks[0].variable.chunksizes[d] for d in inputs.sample_dims)
    return xr.DataArray(da.from_array(numbers, cuts, name=False), dims=inputs.sample_dims)


class Named:
    """A function of blocks whose name Dask finds without a look at the model in it; by default it pickles and hashes it.

    Parameters
    ----------
    function : callable
        NumPy blocks to NumPy blocks.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._token = uuid.uuid4().hex

    def __dask_tokenize__(self) -> str:
        """Another name for each lazy result."""
        return self._token

    def __call__(self, *blocks: np.ndarray) -> Any:
        """What the function returns."""
        return self.function(*blocks)


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
        Fields of the explanation to give, see `_dims_of_fields`.
    many : bool
        Whether they keep their target dim.
    """

    explain: Explain
    lead: int
    fields: tuple[str, ...]
    many: bool

    def __call__(self, numbers: np.ndarray, *blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        """The fields as arrays (*sample dims, target where it is kept, *core dims)."""
        xs = tuple(as_tensor(b).reshape(-1, *b.shape[self.lead :]) for b in blocks)
        explanation = self.explain(xs, numbers.ravel().tolist())
        arrays = []
        for name in self.fields:
            values = as_numpy(_field(explanation, name))
            if not name.startswith(PER_SAMPLE):
                values = np.moveaxis(values, 0, 1) if self.many else values[0]
            arrays.append(values.reshape(*numbers.shape, *values.shape[1:]))
        return tuple(arrays)


def _field(explanation: Explanation, name: str) -> torch.Tensor:
    """A field by name; that of one of several inputs as `name:number`, a number of each sample as `per_sample:name`."""
    base, _, j = name.partition(":")
    value = getattr(explanation, base)
    if base == "per_sample":
        return value[j]
    return value[int(j)] if j and isinstance(value, tuple) else value


def _dims_of_fields(
    probe: Explanation, dims: list[list[Hashable]], lead: list[Hashable]
) -> dict[str, list[Hashable]]:
    """Names of what a block gives, and the dims of each after the sample dims."""
    fields: dict[str, list[Hashable]] = {}
    for name in ("attribution", "standard_error"):
        if getattr(probe, name) is not None:
            fields |= {f"{name}:{j}": [*lead, *d] for j, d in enumerate(dims)}
    fields |= {n: lead for n in ("prediction", "delta", "target") if getattr(probe, n) is not None}
    if probe.n_steps is not None:
        fields["n_steps"] = []
    return fields | {f"per_sample:{name}": [] for name in probe.per_sample or {}}


def _lazy_fields(
    explain: Explain,
    inputs: Inputs,
    probe: Explanation,
    dims: list[list[Hashable]],
    many: bool,
    sizes: Mapping[Hashable, int] | None = None,
) -> dict[str, xr.DataArray]:
    """Each field of the explanation by name, lazy: sample dims, target for `many`, and for attributions the `dims` of one sample.

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
    lead: list[Hashable] = ["target"] if many else []
    fields = _dims_of_fields(probe, dims, lead)
    blocks = bare_blocks(inputs)
    length = (
        {d: n for a in blocks for d, n in a.sizes.items()}
        | {"target": len(probe.target_labels)}
        | dict(sizes or {})
    )
    block = Named(Block(explain, len(inputs.sample_dims), tuple(fields), many))
    arrays = _split(
        block, [sample_numbers(inputs, blocks), *blocks], [[length[d] for d in names] for names in fields.values()],
        [as_numpy(_field(probe, f).new_empty(0)).dtype for f in fields],
    )  # fmt: skip
    return {
        name: xr.DataArray(a, dims=(*inputs.sample_dims, *names))
        for (name, names), a in zip(fields.items(), arrays, strict=True)
    }


def _split(
    function: Callable[..., Any], arrays: Sequence[xr.DataArray], shapes: Sequence[Sequence[int]], dtypes: Sequence[np.dtype]
) -> list[Any]:  # fmt: skip
    """What a function of blocks of samples gives, as lazy arrays (*sample dims, *shape).

    As `dask.array.apply_gufunc`, without its transposes: these take a third of the time to build a result, and are one more
    task for each block.
    """
    import dask.array as da
    from dask.core import flatten
    from dask.highlevelgraph import HighLevelGraph

    numbers = arrays[0]
    index = {d: k for k, d in enumerate(dict.fromkeys((*numbers.dims, *(d for a in arrays for d in a.dims))))}
    lead = tuple(range(numbers.ndim))
    pairs = [part for a in arrays for part in (a.data, tuple(index[d] for d in a.dims))]
    several = da.blockwise(
        function, lead, *pairs, concatenate=True, meta=np.empty((0,) * numbers.ndim, object)
    )
    keys = list(flatten(several.__dask_keys__()))
    split = []
    for k, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        name = f"{several.name}-{k}"
        tasks: dict[Any, Any] = {
            (name, *key[1:], *(0 for _ in shape)): (operator.getitem, key, k) for key in keys
        }
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=[several])
        split.append(da.Array(graph, name, (*several.chunks, *((n,) for n in shape)), dtype=dtype))
    return split


def _lazy_coords(
    fields: Mapping[str, xr.DataArray], inputs: Inputs, probe: Explanation, facts: Facts, many: bool
) -> dict[Hashable, Any]:
    """Coords along the sample dims, and the names of the targets."""
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    dims = (*lead, *inputs.sample_dims)
    coords: dict[Hashable, Any] = {
        n: (dims, fields[n].transpose(*dims).data) for n in ("prediction", "delta") if n in fields
    }
    for name in fields:
        if name.startswith(PER_SAMPLE):
            numbers = fields[name].transpose(*inputs.sample_dims).data
            coords[name.removeprefix("per_sample:")] = (inputs.sample_dims, numbers)
    if many:
        coords["target"] = np.asarray(probe.target_labels)
    elif "target" in fields and varies(probe):
        index = fields["target"].transpose(*inputs.sample_dims).data
        if facts.classes is not None:
            index = index.map_blocks(with_names, facts.classes, dtype=np.asarray(facts.classes).dtype)
        coords["target"] = (inputs.sample_dims, index)
    return coords
