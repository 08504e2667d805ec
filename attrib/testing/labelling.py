"""Labelled arrays as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st


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
