"""The user's own data as methods take them, and the baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from attrib.domains.draws import drawn_evenly, label_among
from attrib.io import read
from attrib.labels import labelled_inputs
from attrib.workflows.attribute import Result


def floating(x: Result, say: Callable[[str], None] = lambda line: None) -> Result:
    """Whole numbers and flags as float32, with a message; text is refused.

    Raises
    ------
    ValueError
        For data that are not numbers, with the name of the variable.
    """
    arrays = {x.name: x} if isinstance(x, xr.DataArray) else dict(x.data_vars)
    for name, a in arrays.items():
        if a.dtype.kind not in "fiub":
            raise ValueError(f"`data`: {name} holds {a.dtype}, expected numbers")
        if not a.size:
            raise ValueError(f"`data`: {name} has shape {a.shape}, expected at least one sample")
    if any(a.dtype.kind != "f" for a in arrays.values()):
        say("The data are whole numbers; they are explained as float32.")
    return x.map(_float) if isinstance(x, xr.Dataset) else _float(x)


def _float(a: xr.DataArray) -> xr.DataArray:
    return a if a.dtype.kind == "f" else a.astype(np.float32)


def drawn(x: Result, most: int, seed: int, say: Callable[[str], None] = lambda line: None) -> list[int]:
    """Places of at most so many samples along the first sample dim, drawn evenly over a coord `label` or `class`, else over all.

    Raises
    ------
    ValueError
        For less than one sample.
    """
    if most < 1:
        raise ValueError(f"`max_samples` is {most}, expected at least 1")
    dim = labelled_inputs(x).sample_dims[0]
    count = x.sizes[dim]
    by = label_among(name for name, c in x.coords.items() if c.dims == (dim,))
    if most < count:
        say(f"{most} of {count} samples, drawn evenly over {by or 'all'} with seed {seed}.")
    return drawn_evenly([""] * count if by is None else x[by].values.tolist(), most, seed)


def baselines_of(baselines: str | None, x: Result, say: Callable[[str], None]) -> float | Result | None:
    """A number, or an array; an array with another number of samples than `x` is a distribution."""
    if baselines is None:
        return None
    try:
        return float(baselines)
    except ValueError:
        if "." not in baselines and not Path(baselines).exists():
            raise ValueError(f"`baselines` is {baselines!r}, expected a number or a file") from None
    try:
        baseline = floating(_read_like(baselines, x))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"`baselines`: {error}") from error
    sample = labelled_inputs(x).sample_dims[0]
    first = x if isinstance(x, xr.DataArray) else next(iter(x.data_vars.values()))
    if sample in baseline.dims and baseline.sizes[sample] != first.sizes[sample]:
        say(f"{baseline.sizes[sample]} baselines: methods that take one get their mean.")
        baseline = baseline.drop_vars([c for c in baseline.coords if sample in baseline[c].dims]).rename(
            {sample: "baseline"}
        )
    return baseline


def _read_like(file: str, x: Result) -> Result:
    """Baselines from a file, with the input's dims, or those of one sample."""
    if Path(file).suffix not in (".npy", ".npz") or isinstance(x, xr.Dataset):
        return read(file, variables=list(map(str, x.data_vars)) if isinstance(x, xr.Dataset) else None)
    names = list(map(str, x.dims))
    return read(file, dims=names[1:] if len(read(file).dims) == x.ndim - 1 else names)
