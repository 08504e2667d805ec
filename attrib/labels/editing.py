"""What to edit, by the names of dims, coords and inputs: as the numbers that the pure functions take."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib.functional.edited_inputs import grid, per_input
from attrib.functional.mutagenesis import refuse_several_letters
from attrib.interop.arrays import as_tensor
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
        return only
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
        f"`{name}` is {dim!r}, but `x` has the dims {core} besides those of the samples; pass one of them"
    )


def _sizes(sizes: Any, name: str, inputs: Inputs, edited: list[int]) -> Any:
    """Sizes by name, as sizes by number for each input; others as they are."""
    if not isinstance(sizes, Mapping):
        return sizes
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
        each = list(groups)
    else:
        each = [groups] * len(inputs.arrays)
    labels: dict[Any, int] = {}  # equal labels are one group in all inputs
    numbers = tuple(
        _group_numbers(g, inputs, j, labels) if j in edited and g is not None else None
        for j, g in enumerate(each)
    )
    return numbers[0] if inputs.single else numbers


def _group_numbers(groups: Any, inputs: Inputs, j: int, labels: dict[Any, int]) -> torch.Tensor:
    """The group of each feature of an input as a number; the numbers of labels are looked up in `labels`, and added."""
    x = inputs.arrays[j]
    if isinstance(groups, str):
        if groups not in x.coords:
            raise ValueError(f"`groups` is {groups!r}, but `x` has the coords {sorted(map(str, x.coords))}")
        groups = x.coords[groups]
    if not isinstance(groups, xr.DataArray):
        t = as_tensor(groups, "groups")
        return t if not t.is_floating_point() else t.long()
    core = inputs.core(j)
    _check_dims(groups, x, core)
    codes, names = pd.factorize(group_labels(groups))
    by_code = np.array(
        [*(labels.setdefault(name, len(labels)) for name in names), -1]
    )  # the last: of no label
    numbers = by_code[codes].reshape(groups.shape)
    order = [d for d in core if d in groups.dims]
    numbers = xr.DataArray(numbers, dims=groups.dims).transpose(*order).values
    return torch.from_numpy(np.ascontiguousarray(numbers)).reshape(
        [x.sizes[d] if d in order else 1 for d in core]
    )


def group_labels(groups: xr.DataArray) -> np.ndarray:
    """Labels in a line, None where there is none."""
    values = groups.values.ravel()
    if values.dtype.kind in "OUS":
        return np.asarray([None if v == "" or v is None or v != v else v for v in values], dtype=object)
    return np.where(values < 0, np.nan, values) if values.dtype.kind in "if" else values


def _check_dims(groups: xr.DataArray, x: xr.DataArray, core: tuple[Hashable, ...]) -> None:
    wrong = [d for d in groups.dims if d not in core]
    if wrong:
        raise ValueError(
            f"`groups` has dims {wrong}, expected some of {core}: groups are the same for all samples"
        )
    for d in groups.dims:
        same = groups.sizes[d] == x.sizes[d]
        if not same or (
            d in groups.indexes and d in x.indexes and not groups.indexes[d].equals(x.indexes[d])
        ):
            raise ValueError(f"`groups` and `x` differ along {d!r}; pass groups.reindex({d}=x.{d})")
