"""Hypothesis strategies: small models with inputs, tensors, labelled arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attrib.testing.models import KINDS, Specimen, specimen

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from xarray import DataArray


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            'strategies need hypothesis, which is not installed; pip install "attrib[test]"'
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
    kinds : sequence of str
        Kinds of models: see `specimen`.
    smooth : bool, optional
        True for smooth models only, False for piecewise linear ones; None for both.
    dtypes : sequence of torch.dtype
        Of models and inputs.
    most : int, default 4
        Most samples.
    baselines : sequence of str
        Any of `"number"`, `"one"`, `"each"`.
    targets : sequence of str
        Any of `"one"`, `"each"`, `"predicted"`.

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
    >>> from attrib.functional import integrated_gradients
    >>> from attrib.testing import completeness, specimens
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(specimens(smooth=True))
    ... def test_complete(s):
    ...     completeness(integrated_gradients, s.f, s.x, baselines=s.baselines, target=s.target, tolerance=1e-3)
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
    """Inputs for a model of yours: normal values, some of them zero or equal to each other.

    Parameters
    ----------
    shape : sequence of int
        Of a sample.
    n : int, optional
        Samples; 1 to 4 if not given.
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
) -> SearchStrategy[DataArray]:
    """DataArrays with dims in any order and coords of many kinds.

    Parameters
    ----------
    features : dict of str to int
        Dims of a sample and their sizes, in the order in which the model takes them. The array has them in any order.
    sample_dims : sequence of str, default ("sample",)
        Dims of the samples.
    most : int, default 4
        Largest size of a sample dim.
    chunked : bool, default False
        Dask arrays, with any chunks; needs dask.

    Returns
    -------
    SearchStrategy of DataArray
        float32 or float64. Coords: none, numbers, strings or dates along a dim, a second coord that is no index, a
        two-dimensional one, a scalar. A name, and attrs on array and coords, or not.

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
    from attrib.testing.calling import labelled

    return st.composite(labelled)(dict(features), tuple(sample_dims), most, chunked)
