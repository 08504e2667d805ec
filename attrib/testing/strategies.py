"""Hypothesis strategies: small models with inputs, tensors, labelled arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib._install import install_hint
from attrib.testing.models import KINDS, Specimen, specimen

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            f"strategies need hypothesis, which is not installed: {install_hint('test')}"
        ) from error
    return strategies


def specimens(
    kinds: Sequence[str] = KINDS,
    *,
    smooth: bool | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    most: int = 4,
    baselines: Sequence[str] = ("number", "one", "each"),
    targets: Sequence[str] = ("one", "each", "predicted"),
) -> SearchStrategy[Specimen]:
    """Small models with random weights, and inputs, baselines and a target that fit them.

    Parameters
    ----------
    kinds : sequence of str, default KINDS
        Kinds of models: see `specimen`.
    smooth : bool, optional
        True for smooth models only, False for piecewise linear ones; None for both.
    dtypes : sequence of torch.dtype, default (torch.float32, torch.float64)
        Of models and inputs.
    most : int, default 4
        Largest number of samples.
    baselines : sequence of str, default ("number", "one", "each")
        Kinds of baselines: see `specimen`.
    targets : sequence of str, default ("one", "each", "predicted")
        Kinds of targets: see `specimen`.

    Returns
    -------
    SearchStrategy of Specimen

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.functional import deep_lift
    >>> from attrib.testing import completeness, specimens
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(specimens())
    ... def test_complete(s):
    ...     completeness(deep_lift, s.f, s.x, baselines=s.baselines, target=s.target, tolerance=1e-3)
    >>> test_complete()
    """
    st = _strategies()
    return st.builds(
        specimen,
        st.sampled_from(list(kinds)),
        st.integers(0, 2**31 - 1),
        n=st.integers(1, most),
        smooth=st.booleans() if smooth is None else st.just(smooth),
        dtype=st.sampled_from(list(dtypes)),
        baselines=st.sampled_from(list(baselines)),
        target=st.sampled_from(list(targets)),
    )


def tensors(
    shape: Sequence[int], *, n: int | None = None, dtype: torch.dtype = torch.float32, largest: float = 3.0
) -> SearchStrategy[Tensor]:
    """Inputs for your own model: normal values, some of them zero or equal to each other.

    Parameters
    ----------
    shape : sequence of int
        Of a sample.
    n : int, optional
        Number of samples; default: 1 to 4.
    dtype : torch.dtype, default torch.float32
        Of the tensor.
    largest : float, default 3.0
        Values are clipped to [-largest, largest].

    Returns
    -------
    SearchStrategy of Tensor (N, *shape)

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.testing import tensors
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(tensors((2, 3)))
    ... def test_shape(x):
    ...     assert x.shape[1:] == (2, 3)
    >>> test_shape()
    """
    st = _strategies()

    def build(seed: int, rows: int, zeros: bool, coarse: bool) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, *shape, generator=generator, dtype=torch.float64).clamp(-largest, largest)
        x = (2 * x).round() / 2 if coarse else x
        keep = torch.rand(x.shape, generator=generator) < 0.7
        return (torch.where(keep, x, 0.0) if zeros else x).to(dtype)

    rows = st.integers(1, 4) if n is None else st.just(n)
    return st.builds(build, st.integers(0, 2**31 - 1), rows, st.booleans(), st.booleans())


def labelled_arrays(
    features: dict[str, int],
    *,
    sample_dims: Sequence[str] = ("sample",),
    most: int = 4,
    chunked: bool = False,
) -> SearchStrategy[xr.DataArray]:
    """DataArrays with dims in any order and coords of many kinds.

    Parameters
    ----------
    features : dict of str to int
        Dims of a sample and their sizes, in the order in which the model takes them. The array has its dims in any
        order.
    sample_dims : sequence of str, default ("sample",)
        Dims of the samples.
    most : int, default 4
        Largest size of a sample dim.
    chunked : bool, default False
        Whether the arrays are Dask arrays, with any chunks; needs dask.

    Returns
    -------
    SearchStrategy of DataArray
        float32 or float64. Along each dim an index of numbers, strings or dates, or none; also coords that are no
        index, two-dimensional ones and scalars. With or without a name and attrs.

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.testing import labelled_arrays
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(labelled_arrays({"y": 2, "x": 3}))
    ... def test_sizes(a):
    ...     assert a.sizes["y"] == 2 and set(a.dims) == {"sample", "y", "x"}
    >>> test_sizes()
    """
    st = _strategies()
    return st.composite(_labelled_array)(st, dict(features), tuple(sample_dims), most, chunked)


def _labelled_array(
    draw: Callable[[Any], Any],
    st: Any,
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
    a = xr.DataArray(values, dims=dims, coords=_coords(draw, st, sizes, random))
    a.name = draw(st.sampled_from([None, "signal"]))
    a.attrs = draw(st.sampled_from([{}, {"units": "K", "scanner": "B"}]))
    return a.chunk({d: draw(st.integers(1, n)) for d, n in sizes.items()}) if chunked else a


def _coords(
    draw: Callable[[Any], Any], st: Any, sizes: dict[str, int], random: np.random.Generator
) -> dict[str, Any]:
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
