"""Measures of some samples' tensors as labelled results for all samples, in blocks where the inputs are Dask's."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib._version import __version__
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import class_names
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.align import args_at, at_samples, forward_args, sample_values, table_like
from attrib.labels.frames import is_anndata, is_table, matched
from attrib.labels.inputs import Inputs
from attrib.labels.lazy import bare_blocks
from attrib.labels.results import INDIFFERENT, plain

Fields = dict[str, torch.Tensor]  # by name, (targets, samples, ...)
Measure = Callable[..., Fields]  # of tensors of some samples, their attributions, and options
TARGET = "target"
LINE = f"attrib {__version__}"  # of the history
UNITS = {"prediction": "output", "area": "output", "random_area": "output", "z": "1"}  # of coords


def measured(
    name: str,
    measure: Measure,
    f: Model,
    inputs: Inputs,
    attribution: Any,
    settings: Mapping[str, Any],
    passing: dict[str, Any],
    units: str,
    reference: str,
    extra: tuple[Hashable, ...] = (),
    with_numbers: bool = False,
) -> xr.DataArray:
    """What a measure gives for all samples, in blocks where they are Dask's.

    Parameters
    ----------
    name : str
        Of the result, and of the field that is its values; other fields become coords.
    measure : callable
        ``(x, attributions, options[, numbers])`` to fields (targets, samples, ...).
    f : callable
        The model.
    inputs : Inputs
    attribution : object
        As the caller passed it; None if there is none.
    settings, passing : mapping
        Options of the measure, for the attrs, and those that all methods share.
    units, reference : str
        Of the result: its unit, and where the measure comes from.
    extra : tuple
        Dims of the result after those of the samples.
    with_numbers : bool
        Whether the measure takes the samples' numbers.
    """
    taken = [d for d in inputs.sample_dims if d in UNITS]
    if taken:
        raise ValueError(
            f"`x` has samples along {taken[0]!r}, a name the result needs; rename it: x.rename({taken[0]}=...)"
        )
    dtype, many = dtype_of(f), passing["targets"] is not None
    attributions = () if attribution is None else _attributions(attribution, inputs, many)
    options = {**passing, "target": sample_values(passing["target"], inputs, "target")}
    if isinstance(passing["targets"], list | tuple):
        options["targets"] = [sample_values(t, inputs, "targets") for t in passing["targets"]]
    if not many:
        options |= {"target": None, "targets": [options["target"]]}
    options["additional_forward_args"] = forward_args(passing["additional_forward_args"], inputs, dtype)
    if inputs.lazy:
        options["progress"] = False
    lead = len(inputs.sample_dims)

    def of_block(numbers: np.ndarray, *blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        """Fields (*sample dims, target, ...) of a block of samples."""
        tensors = [as_tensor(b).reshape(-1, *b.shape[lead:]) for b in blocks]
        xs = tuple(
            t.to(dtype) if dtype and t.is_floating_point() else t for t in tensors[: len(inputs.arrays)]
        )
        parts = tuple(
            t.movedim(1, 0) if TARGET in a.dims else t
            for t, a in zip(tensors[len(xs) :], attributions, strict=True)
        )
        some = numbers.ravel().tolist()
        of_samples = {
            **options,
            "targets": at_samples(options["targets"], some, inputs),
            "additional_forward_args": args_at(options["additional_forward_args"], some, inputs),
        }
        as_given = lambda ts: ts[0] if len(ts) == 1 and inputs.single else ts
        numbered = (some,) if with_numbers else ()
        fields = measure(as_given(xs), as_given(parts) if parts else None, of_samples, *numbered)
        names[:] = list(fields)
        values = (as_numpy(t).swapaxes(0, 1) for t in fields.values())
        return tuple(v.reshape(*numbers.shape, *v.shape[1:]) for v in values)

    names: list[str] = []
    blocks = (
        bare_blocks(inputs)
        if inputs.lazy
        else [_bare(a, inputs, inputs.core(j)) for j, a in enumerate(inputs.arrays)]
    )
    numbers = xr.DataArray(np.arange(inputs.samples).reshape(inputs.sample_shape), dims=inputs.sample_dims)
    arrays = [*blocks, *attributions]
    if inputs.lazy:
        fields = _lazily(of_block, names, numbers, arrays, inputs, extra)
    else:
        inputs.tensors(dtype)  # refuses values that are not finite, by the samples' labels
        values = of_block(numbers.values, *(a.values for a in arrays))
        fields = {n: _named(v, inputs, extra) for n, v in zip(names, values, strict=True)}
    result = fields.pop(name)
    labels = {
        f"x_{c}" if c in fields or c in extra else c: v.variable
        for a in inputs.arrays
        for c, v in a.coords.items()
        if set(v.dims) <= set(inputs.sample_dims)
    }
    classes = class_names(passing["classes"])
    result = result.assign_coords(fields).assign_coords(labels)
    if many:
        targets = _target_labels(passing["targets"], classes, result.sizes[TARGET])
        result = result.assign_coords({TARGET: targets}).transpose(TARGET, ...)
    else:
        result = result.isel({TARGET: 0})
    history = str(inputs.arrays[0].attrs.get("history", "")).rstrip()
    params = {k: plain(v) for k, v in {**settings, **passing}.items() if k not in INDIFFERENT}
    result.attrs = {
        "method": name,
        "params": json.dumps(params, sort_keys=True),
        "units": units,
        "long_name": name.replace("_", " "),
        "references": reference,
        "attrib_version": __version__,
        "torch_version": torch.__version__,
        "history": f"{history}\n{LINE} {name}" if history else f"{LINE} {name}",
    }
    for c in UNITS.keys() & result.coords.keys():
        result[c].attrs["units"] = UNITS[c]
    return result.rename(name)


def _named(values: Any, inputs: Inputs, extra: tuple[Hashable, ...]) -> xr.DataArray:
    """A field (*sample dims, target, ...)."""
    dims = (*inputs.sample_dims, TARGET, *extra)
    return xr.DataArray(values, dims=dims[: values.ndim])


def _lazily(
    of_block: Callable[..., tuple[np.ndarray, ...]],
    names: list[str],
    numbers: xr.DataArray,
    arrays: list[xr.DataArray],
    inputs: Inputs,
    extra: tuple[Hashable, ...],
) -> dict[Hashable, xr.DataArray]:
    """The fields, block by block of samples when they are asked for; those of the first sample are computed right away."""
    first = dict.fromkeys(inputs.sample_dims, slice(1))
    probe = of_block(numbers.isel(first).values, *(a.isel(first).values for a in arrays))
    lead = len(inputs.sample_dims)
    core = [[TARGET, *extra][: p.ndim - lead] for p in probe]
    sizes = {d: n for p, c in zip(probe, core, strict=True) for d, n in zip(c, p.shape[lead:], strict=True)}
    chunks = {d: arrays[0].variable.chunksizes[d] for d in inputs.sample_dims}
    blocks = [a.chunk({**dict.fromkeys(a.dims, -1), **chunks}) for a in arrays]
    unnamed = [
        a.rename({d: f"dim_{j}_{d}" for d in a.dims if d not in inputs.sample_dims})
        for j, a in enumerate(blocks)
    ]
    single = lambda *blocks: of_block(*blocks)[0]
    fields = xr.apply_ufunc(
        single if len(probe) == 1 else of_block, numbers.chunk(chunks), *unnamed,
        input_core_dims=[[], *([d for d in a.dims if d not in inputs.sample_dims] for a in unnamed)],
        output_core_dims=core, dask="parallelized", output_dtypes=[p.dtype for p in probe],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    return dict(zip(names, fields if isinstance(fields, tuple) else (fields,), strict=True))


def _bare(a: xr.DataArray, inputs: Inputs, core: tuple[Hashable, ...]) -> xr.DataArray:
    """An array without coords, sample dims first."""
    return a.drop_vars(list(a.coords)).transpose(*inputs.sample_dims, *core)


def _target_labels(targets: Any, classes: Sequence[str] | None, count: int) -> Any:
    if isinstance(targets, str):
        return np.arange(count) if classes is None else np.asarray(classes)
    labels = [
        classes[t]
        if classes is not None and isinstance(t, int)
        else t
        if isinstance(t, int | str)
        else str(k)
        for k, t in enumerate(targets)
    ]
    return labels if all(isinstance(t, int) for t in labels) else [str(t) for t in labels]


def _attributions(attribution: Any, inputs: Inputs, many: bool) -> tuple[xr.DataArray, ...]:
    """Attributions without coords (*sample dims, [target,] *core dims), of size 1 along dims that they lack."""
    if isinstance(attribution, xr.Dataset | Mapping):
        lacking = [n for n in inputs.names or () if n not in attribution]
        if inputs.names is None or lacking:
            raise ValueError(
                f"`attribution` has names, but lacks the inputs {lacking or 'in the order of `x`'}; pass one for each"
            )
        parts = [attribution[n] for n in inputs.names]
    else:
        parts = list(inputs.ordered(attribution)) if isinstance(attribution, tuple) else [attribution]
    if len(parts) != len(inputs.arrays):
        raise ValueError(
            f"`attribution` has {len(parts)} entries for {len(inputs.arrays)} inputs; pass one per input"
        )
    return tuple(_attribution(a, inputs, j, many) for j, a in enumerate(parts))


def _attribution(a: Any, inputs: Inputs, j: int, many: bool) -> xr.DataArray:
    x, core = inputs.arrays[j], inputs.core(j)
    which = "attribution" if inputs.single else f"attribution[{inputs.title(j)!r}]"
    if is_anndata(a) and len(a.layers):  # where attributions are, beside the numbers that they explain
        raise ValueError(
            f"`{which}` is AnnData with layers; say which is the attribution: attrib.io.from_anndata(adata, {next(iter(a.layers))!r})"
        )
    if is_table(a) or is_anndata(a):
        a = table_like(a, inputs, j, which, single=False)
    if not isinstance(a, xr.DataArray):
        values = a if type(a).__module__.startswith("dask.") else as_numpy(a, which)
        lead = (TARGET,) if many and values.ndim == x.ndim + 1 else ()
        if values.ndim != x.ndim + len(lead):
            raise ValueError(f"`{which}` has shape {values.shape}, expected {x.shape} as `x`")
        a = xr.DataArray(values, dims=(*lead, *x.dims))
    extra = [d for d in a.dims if d not in x.dims and not (many and d == TARGET)]
    lacking = [d for d in inputs.sample_dims if d not in a.dims]
    if extra or lacking:
        raise ValueError(
            f"`{which}` has the dims {a.dims}, `x` has {x.dims}; select or rename {extra or lacking}"
            + ("; dims of targets need `targets`" if TARGET in extra else "")
        )
    a = matched(
        a.drop_vars([c for c in a.coords if c not in a.indexes]), x, which, free=(TARGET,), repeated=core
    )
    a = a.drop_vars(list(a.coords)).expand_dims([d for d in core if d not in a.dims])
    lead = (TARGET,) if TARGET in a.dims else ()
    return a.transpose(*inputs.sample_dims, *lead, *core)
