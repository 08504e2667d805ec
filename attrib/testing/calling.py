"""Methods and models as the checks call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from hypothesis import strategies as st
from torch import Tensor

from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_baselines
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import Model

Rows = tuple[Tensor, ...]
Attribute = Callable[..., Any]  # (f, x, **options) -> attributions shaped like x


def rows_of(x: Tensors) -> Rows:
    """One or several inputs as a tuple."""
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def as_given(xs: Rows) -> Tensors:
    """A tuple of inputs as a caller writes it: one tensor, or a tuple of several."""
    return xs if len(xs) > 1 else xs[0]


def attributions(method: Attribute, f: Model, xs: Rows, options: dict[str, Any]) -> Rows:
    """What the method gives, one tensor per input.

    Raises
    ------
    TypeError, ValueError
        If the method gives something else than tensors shaped like the inputs (with `targets`, a leading dim).
    """
    found = rows_of(method(f, as_given(xs), **options))
    lead = 1 if options.get("targets") is not None else 0
    if len(found) != len(xs) or not all(isinstance(a, Tensor) for a in found):
        kinds = [type(a).__name__ for a in found]
        raise TypeError(f"`method` gave {kinds}, expected a tensor for each of {len(xs)} inputs")
    for a, x in zip(found, xs, strict=True):
        if a.shape[lead:] != x.shape:
            raise ValueError(
                f"`method` gave shape {tuple(a.shape)}, expected that of the input, {tuple(x.shape)}"
            )
    return found


def output(f: Model, xs: Rows) -> Tensor:
    """The model's output as one tensor."""
    return one_tensor(f(*xs), len(xs[0]))


def change(f: Model, xs: Rows, x0s: Rows, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """``f(x) - f(x0)`` of the explained score (N,), and the larger of the two in magnitude (N,)."""
    chosen = {k: v for k, v in options.items() if k in ("target", "classes", "device")}
    samples = torch.arange(len(xs[0]))
    with Passes(f, xs, 2 * len(xs[0]), **chosen) as passes:
        at_x = passes.scores(xs)[0]
        at_x0 = passes.scores_at(starts(xs, x0s), samples.to(passes.device))[0]
    return at_x - at_x0, torch.maximum(at_x.abs(), at_x0.abs())


def starts(xs: Rows, baselines: Any) -> Rows:
    """Baselines in full: one per sample, shaped like the inputs."""
    found = as_baselines(as_given(baselines) if isinstance(baselines, tuple) else baselines, xs)
    return tuple(b.expand_as(x) for b, x in zip(found, xs, strict=True))


def with_baselines(options: dict[str, Any], baselines: Any) -> dict[str, Any]:
    """Options for the method: with baselines where there are some to pass."""
    return options if baselines is None else {**options, "baselines": baselines}


def of_samples(
    options: dict[str, Any], index: Tensor, xs: Rows, shared: Sequence[str] = ()
) -> dict[str, Any]:
    """Options for some of the samples: targets and baselines that are given per sample are picked."""
    picked = dict(options)
    target = options.get("target")
    if isinstance(target, list) or (isinstance(target, Tensor) and target.ndim > 0):
        picked["target"] = [target[int(i)] for i in index]
    if options.get("targets") is not None and not isinstance(options["targets"], str):
        picked["targets"] = [
            [t[int(i)] for i in index] if isinstance(t, list) else t for t in options["targets"]
        ]
    if "baselines" not in shared and isinstance(options.get("baselines"), Tensor | tuple | list):
        given = rows_of(options["baselines"])
        picked["baselines"] = as_given(tuple(_picked(b, x, index) for b, x in zip(given, xs, strict=True)))
    return picked


def _picked(b: Any, x: Tensor, index: Tensor) -> Any:
    """Baselines of some samples; a distribution per sample has one dim more than the input."""
    per_sample = isinstance(b, Tensor) and b.ndim >= x.ndim and len(b) == len(x) > 1
    return b[index] if per_sample else b


# FOLDED attrib/testing/calling.py: """Labelled arrays as hypothesis draws them."""
def labelled(
    draw: Callable[[Any], Any],
    features: dict[str, int],
    sample_dims: tuple[str, ...],
    most: int,
    chunked: bool,
) -> xr.DataArray:
    """Draw a DataArray with dims in any order, coords of many kinds, and chunks."""
    sizes = {d: draw(st.integers(1, most)) for d in sample_dims} | features
    dims = draw(st.permutations(list(sizes)))
    random = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = random.standard_normal([sizes[d] for d in dims]).astype(dtype)
    a = xr.DataArray(values, dims=dims, coords=_coords(draw, sizes, random))
    a.name = draw(st.sampled_from([None, "signal"]))
    a.attrs = draw(st.sampled_from([{}, {"units": "K", "scanner": "B"}]))
    return a.chunk({d: draw(st.integers(1, n)) for d, n in sizes.items()}) if chunked else a


def _coords(draw: Callable[[Any], Any], sizes: dict[str, int], random: np.random.Generator) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    for d, n in sizes.items():
        index = _index(draw(st.sampled_from(["none", "int", "float", "str", "date"])), n)
        if index is not None:
            coords[d] = (d, index, {"long_name": f"the {d}"})
        if draw(st.booleans()):
            coords[f"{d}_group"] = (d, random.choice(["a", "b"], n))
    if draw(st.booleans()):
        first, *_, last = sizes
        coords["plane"] = ((first, last), random.standard_normal((sizes[first], sizes[last])))
    if draw(st.booleans()):
        coords["cohort"] = "pilot"
    return coords


def _index(kind: str, n: int) -> np.ndarray | None:
    return {
        "none": None,
        "int": np.arange(n) * 10,
        "float": np.linspace(0, 1, n) if n > 1 else np.array([0.5]),
        "str": np.array([f"name{i}" for i in range(n)]),
        "date": np.datetime64("2024-01-01", "ns") + np.arange(n) * np.timedelta64(1, "D"),
    }[kind]
