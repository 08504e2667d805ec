"""What to edit, by the names of dims, coords and inputs: as the numbers that the pure functions take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib._arguments import near, shown
from attrib.functional.mutagenesis import refuse_several_letters
from attrib.functional.occlusion import grid, per_input
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.labels.align import table_like
from attrib.labels.frames import is_anndata, is_table, matched
from attrib.labels.inputs import Inputs

LETTERS, POSITIONS = "nucleotide", "position"  # the dims of a sequence, where the caller names no others


def edit_options(options: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Those options of a method that edits which name dims, coords and inputs, in the form of the pure functions.

    Raises
    ------
    ValueError
        For names of dims, coords and inputs that do not exist, and groups that do not fit the inputs.
    """
    only = _input_number(options.get("only"), inputs)
    edited = list(range(len(inputs.arrays))) if only is None else [only]
    pure: dict[str, Any] = {"only": only} if "only" in options else {}
    for place, name in enumerate(("axis", "position")):
        if name in options:
            pure[name] = _dim_number_in_all(options[name], name, place, inputs, edited)
    if {"axis", "position"} <= pure.keys() and not inputs.lazy:
        for j in edited:
            _refuse_several_letters(inputs, j, pure["axis"], pure["position"])
    if options.get("positions") is not None:
        pure["positions"] = _counted(options["positions"], pure.get("position", 2), inputs, edited)
    for name in ("window", "stride"):
        if name in options:
            pure[name] = _sizes(options[name], name, inputs, edited)
    if "window" in pure:
        _refuse_unfit(pure["window"], pure.get("stride", 1), inputs, edited)
    if options.get("groups") is not None:
        pure["groups"] = _groups_of_inputs(options["groups"], inputs, edited)
    return pure


def _input_number(only: Any, inputs: Inputs) -> int | None:
    if not isinstance(only, str):
        if only is not None and (
            isinstance(only, bool) or not isinstance(only, int) or not -1 < only < len(inputs.arrays)
        ):
            raise ValueError(
                f"`only` is {shown(only)}, expected the number or name of one of the {len(inputs.arrays)} inputs"
            )
        return None if only is None else inputs.number(only)
    if inputs.names is None or only not in inputs.names:
        raise ValueError(
            f"`only` is {only!r}, but the inputs are {inputs.names or 'not named'}; pass a number"
        )
    return inputs.names.index(only)


def _dim_number_in_all(dim: Any, name: str, place: int, inputs: Inputs, edited: list[int]) -> int:
    """The number of a dim, which has to be the same in all inputs that are edited."""
    numbers = {_dim_number(dim, name, place, inputs, j) for j in edited}
    if len(numbers) > 1:
        raise ValueError(f"`{name}` {dim!r} is another dim in each input; edit one at a time with `only`")
    return numbers.pop()


def _dim_number(dim: Any, name: str, place: int, inputs: Inputs, j: int) -> int:
    core = inputs.core(j)
    if dim in core:
        return core.index(dim) + 1
    if dim in (LETTERS, POSITIONS) and len(core) == 2:  # the default: letters first, as models have them
        unnamed = [d for d in core if d not in (LETTERS, POSITIONS)]
        return core.index(core[place] if len(unnamed) == 2 else unnamed[0]) + 1
    if isinstance(dim, int):
        return dim
    raise ValueError(
        f"`{name}` is {dim!r}, but `x` has the dims {core} besides those of the samples; pass one of them{near(dim, core)}"
    )


def _counted(positions: Any, position: int, inputs: Inputs, edited: list[int]) -> Any:
    """Positions by their labels, counted from 0; as they are where labels are missing or count themselves."""
    positions = positions.values if isinstance(positions, xr.DataArray) else positions
    cores = [inputs.core(j) for j in edited]
    if any(len(core) != 2 for core in cores) or np.asarray(positions).dtype == bool:
        return positions  # which is refused with the input, or as a mask
    dim = cores[0][position % 3 - 1]
    indexes = [inputs.arrays[j].get_index(c[position % 3 - 1]) for j, c in zip(edited, cores, strict=True)]
    if all(index.equals(pd.RangeIndex(len(index))) for index in indexes):
        return positions
    labels = indexes[0]
    if not labels.is_unique or not all(labels.equals(index) for index in indexes):
        raise ValueError(
            f"`positions` does not say which places of {dim!r}: its labels come twice, or differ between the inputs; "
            "edit one at a time with `only`, or drop the labels"
        )
    if isinstance(positions, slice):  # both ends included, as in `.sel`
        try:
            return range(len(labels))[labels.slice_indexer(positions.start, positions.stop, positions.step)]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"`positions` is {positions!r}, whose ends are no labels along {dim!r}: these go from {labels[0]} to {labels[-1]}"
            ) from error
    numbers = labels.get_indexer(np.atleast_1d(positions))
    if (numbers < 0).any():
        missing = np.atleast_1d(positions)[numbers < 0].tolist()
        raise ValueError(
            f"`positions` has {missing[:5]}, which are no labels along {dim!r}: these go from {labels[0]} to {labels[-1]}"
        )
    return numbers.tolist()


def _sizes(sizes: Any, name: str, inputs: Inputs, edited: list[int]) -> Any:
    """Sizes by name, as sizes by number for each input; others as they are."""
    if not isinstance(sizes, Mapping):
        return inputs.ordered(sizes) if isinstance(sizes, tuple) and not inputs.single else sizes
    _refuse_unknown(sizes, name, inputs, edited)
    each = [
        {
            d if isinstance(d, int) else inputs.core(j).index(d) + 1: n
            for d, n in sizes.items()
            if _has(d, inputs, j)
        }
        for j in range(len(inputs.arrays))
    ]
    if name == "window" and any(not each[j] for j in edited):
        empty = [inputs.title(j) for j in edited if not each[j]]
        raise ValueError(f"`window` names no dim of the inputs {empty}; name one, or hold them with `only`")
    return each[0] if inputs.single else tuple(each)


def _has(dim: Any, inputs: Inputs, j: int) -> bool:
    return isinstance(dim, int) or dim in inputs.core(j)


def _refuse_unknown(sizes: Mapping, name: str, inputs: Inputs, edited: list[int]) -> None:
    wrong = [d for d in sizes if not any(_has(d, inputs, j) for j in edited)]
    if wrong:
        dims = [inputs.core(j) for j in edited]
        raise ValueError(
            f"`{name}` names the dims {wrong}, but `x` has {dims[0] if len(dims) == 1 else dims}"
            f"{near(wrong[0], [d for each in dims for d in each])}"
        )


def _refuse_unfit(window: Any, stride: Any, inputs: Inputs, edited: list[int]) -> None:
    """Refuse windows and strides that do not fit: here, where dims have names."""
    windows, strides = (
        per_input(sizes, inputs.arrays, name) for sizes, name in ((window, "window"), (stride, "stride"))
    )
    for j in edited:
        core = inputs.core(j)
        shape = tuple(inputs.arrays[j].sizes[d] for d in core)
        grid(windows[j], strides[j], shape, core, inputs.called(j))


def _refuse_several_letters(inputs: Inputs, j: int, axis: int, position: int) -> None:
    """Refuse columns of several letters: here too; of lazy inputs the values are seen when they are computed."""
    core, x = inputs.core(j), inputs.arrays[j]
    if len(core) == 2 and {axis % 3, position % 3} == {1, 2}:
        x = x.transpose(*inputs.sample_dims, *core)
        values = as_tensor(x.data, inputs.called(j))
        refuse_several_letters(values.reshape(-1, *x.shape[-2:]), axis, position, inputs.called(j), core)


def _groups_of_inputs(groups: Any, inputs: Inputs, edited: list[int]) -> Any:
    """Groups as tensors of numbers, one per input."""
    if isinstance(groups, Mapping) and not isinstance(groups, xr.DataArray):
        each = [groups.get(inputs.title(j)) for j in range(len(inputs.arrays))]
    elif isinstance(groups, tuple) and not inputs.single:
        each = list(inputs.ordered(groups))
    else:
        each = [groups] * len(inputs.arrays)
    labels = [
        _groups_like_input(g, inputs, j) if j in edited and g is not None else None
        for j, g in enumerate(each)
    ]
    numbers = _numbered(labels)
    if all(numbers[j] is not None and not (numbers[j] >= 0).any() for j in edited):  # type: ignore[operator, union-attr]
        raise ValueError("`groups` puts no feature into a group: all labels are missing")
    return numbers[0] if inputs.single else numbers


def _groups_like_input(groups: Any, inputs: Inputs, j: int) -> torch.Tensor | np.ndarray:
    """Groups of an input: numbers as a tensor, labels as an array (1, ...) or (N, ...) with None where there is none."""
    x = inputs.arrays[j]
    if isinstance(groups, str):
        if groups not in x.coords:
            raise ValueError(
                f"`groups` is {groups!r}, but `x` has the coords {sorted(map(str, x.coords))}{near(groups, x.coords)}"
            )
        groups = x.coords[groups].reset_coords(drop=True)
    if is_table(groups):
        groups = table_like(groups, inputs, j, "groups", numbers=False)
    core, samples = inputs.core(j), inputs.sample_dims
    if is_anndata(groups):
        raise TypeError("`groups` is AnnData; pass the name of a column of its var, such as groups='pathway', or adata.var['pathway']")  # fmt: skip
    listed = isinstance(groups, list) and any(isinstance(g, str) for g in groups)
    texts = (
        np.asarray(groups, dtype=object if listed else None)
        if listed or isinstance(groups, np.ndarray)
        else np.empty(0)
    )
    if texts.dtype.kind in "OUT" and texts.ndim in (len(core), x.ndim):
        groups = xr.DataArray(texts, dims=x.dims if texts.ndim == x.ndim else core)
    if not isinstance(groups, xr.DataArray):
        t = as_tensor(groups, "groups")
        if len(samples) > 1 and t.ndim == x.ndim and tuple(t.shape[: len(samples)]) == inputs.sample_shape:
            t = t.reshape(-1, *t.shape[len(samples) :])
        return t if not t.is_floating_point() else t.long()
    groups = matched(groups, x, "groups")
    lead = samples if any(d in samples for d in groups.dims) else ()
    labels = group_labels(groups).reshape(groups.shape)
    array = xr.DataArray(labels, dims=groups.dims)
    array = array.expand_dims([d for d in (*lead, *core) if d not in array.dims]).transpose(*lead, *core)
    values = np.broadcast_to(array.values, (*(x.sizes[d] for d in lead), *array.shape[len(lead) :]))
    return values.reshape(-1 if lead else 1, *values.shape[len(lead) :])


def _numbered(groups: list[torch.Tensor | np.ndarray | None]) -> tuple[torch.Tensor | None, ...]:
    """Groups as tensors of numbers: equal labels of several inputs have one number."""
    if not any(isinstance(g, np.ndarray) for g in groups):
        return tuple(groups)  # type: ignore[arg-type]
    arrays = [None if g is None else g if isinstance(g, np.ndarray) else _without_negative(g) for g in groups]
    flat = np.concatenate([a.ravel() for a in arrays if a is not None])
    numbers = torch.from_numpy(pd.factorize(flat)[0])
    parts = iter(numbers.split([a.size for a in arrays if a is not None]))
    return tuple(None if a is None else next(parts).reshape(a.shape) for a in arrays)


def _without_negative(groups: torch.Tensor) -> np.ndarray:
    values = as_numpy(groups)
    labels = values.astype(object)
    labels[values < 0] = None
    return labels if (values < 0).any() else values


def group_labels(groups: xr.DataArray) -> np.ndarray:
    """Labels in a line, None where there is none."""
    values = groups.values.ravel()
    if values.dtype.kind in "OUST":
        return np.asarray([None if v is None or v != v or v == "" else v for v in values], dtype=object)
    return (
        np.where(values < 0, np.nan, values) if values.dtype.kind in "if" and (values < 0).any() else values
    )
