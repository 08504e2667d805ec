"""JAX functions as torch ops: the same values, complete DeepLIFT, and the maps of the same model in torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

jax = pytest.importorskip("jax")

from attrib.functional import deep_lift  # noqa: E402
from attrib.interop.jaxpr import in_torch  # noqa: E402
from tests.interop.jaxzoo import JAXZOO, Pair  # noqa: E402

DTYPES = (torch.float32, torch.float64)
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def several(ts: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return ts if len(ts) > 1 else ts[0]


def tuples(ts: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return ts if isinstance(ts, tuple) else (ts,)


def built(name: str, dtype: torch.dtype) -> tuple[Pair, tuple[Tensor, ...], tuple[Tensor, ...]]:
    torch.manual_seed(1)
    pair = JAXZOO[name](dtype)
    return pair, pair.inputs(dtype=dtype), pair.inputs(dtype=dtype)


def arrays(ts: tuple[Tensor, ...]) -> list:
    return [jax.numpy.asarray(t.numpy()) for t in ts]


def apart(got: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((got.double() - expected.double()).abs().max()) / float(expected.abs().max())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", JAXZOO)
def test_values_are_those_of_jax(name, dtype):
    pair, x, _ = built(name, dtype)
    expected = torch.from_numpy(np.array(pair.fn(*arrays(x))))
    got = in_torch(pair.fn)(*x)
    assert got.dtype == expected.dtype
    assert apart(got, expected) <= (4 if pair.deep else 1) * ROUNDING[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", JAXZOO)
def test_complete_and_equal_to_torch(name, dtype):
    pair, x, x0 = built(name, dtype)
    jitted = jax.jit(pair.fn)
    change = (np.array(jitted(*arrays(x))) - np.array(jitted(*arrays(x0)))).reshape(len(x[0]), -1)[:, 0]
    target = 0 if pair.fn(*arrays(x)).ndim > 1 else None
    with torch.no_grad():
        expected = deep_lift(pair.model, several(x), baselines=several(x0), target=target)
    found = deep_lift.explain(in_torch(pair.fn), several(x), baselines=several(x0), target=target)
    total = sum(a.double().flatten(1).sum(1) for a in tuples(found.attribution))
    allowed = 1e-10 if dtype == torch.float64 else 2e-5 if pair.deep else 1e-5
    assert float(np.abs(total.numpy() - change).max()) <= allowed * float(np.abs(change).max())
    for got, wanted in zip(tuples(found.attribution), tuples(expected), strict=True):
        assert apart(got, wanted) <= allowed
