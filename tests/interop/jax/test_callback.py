"""Methods inside JAX programs, and results as JAX arrays."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib import functional as F

jax = pytest.importorskip("jax")
jnp = jax.numpy

from attrib.interop.jax import callback, to_jax  # noqa: E402

X = jnp.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.9]])
V = jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])


def cubic(x: Any) -> Any:
    """Two outputs; the gradient of the first is 3 x^2, that of the second cos(x)."""
    return jnp.stack([(x**3).sum(1), jnp.sin(x).sum(1)], 1)


def test_inside_jit_with_work_around_it() -> None:
    attribution = callback(partial(F.input_x_gradient, target=0), cubic)

    @jax.jit
    def program(x: Any) -> Any:
        return (attribution(x * 2) + x).sum()

    expected = (3 * (2 * X) ** 3 + X).sum()
    np.testing.assert_allclose(program(X), expected, rtol=1e-6)


def test_several_targets_and_several_inputs() -> None:
    for targets in ("all", [0, 1]):
        found = jax.jit(callback(partial(F.saliency, targets=targets), cubic))(X)
        np.testing.assert_allclose(found, jnp.stack([3 * X**2, jnp.cos(X)]).__abs__(), rtol=1e-6)
    left, right = jax.jit(callback(F.input_x_gradient, lambda a, b: (a * b).sum(1)))(X, V)
    np.testing.assert_allclose(left, X * V, rtol=1e-6)
    np.testing.assert_allclose(right, X * V, rtol=1e-6)


def test_vmap() -> None:
    attribution = callback(partial(F.input_x_gradient, target=0), cubic)
    batches = jnp.stack([X, X + 1, X - 1])
    found = jax.jit(jax.vmap(attribution))(batches)
    np.testing.assert_allclose(found, 3 * batches**3, rtol=1e-5)
    rows = jax.vmap(lambda row: attribution(row[None])[0])(X)
    np.testing.assert_allclose(rows, 3 * X**3, rtol=1e-6)


GRADIENTS: dict[str, Any] = {  # of sum(V * attribution), by hand
    "saliency": (F.saliency, {"target": 0}, 6 * X * V),  # |3 x^2|
    "input_x_gradient": (F.input_x_gradient, {"target": 0}, 9 * X**2 * V),
    "integrated_gradients": (F.integrated_gradients, {"target": 0, "n_steps": 6}, 3 * X**2 * V),  # x^3
    "deep_lift": (F.deep_lift, {"target": 0}, 3 * X**2 * V),  # of x^3 from 0: x^3
    "occlusion": (F.occlusion, {"target": 0}, 3 * X**2 * V),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_grad_of_an_attribution(name: str) -> None:
    method, options, expected = GRADIENTS[name]
    attribution = callback(partial(method, **options), cubic)
    found = jax.jit(jax.grad(lambda x: (V * attribution(x)).sum()))(X)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_grad_under_vmap() -> None:
    attribution = callback(partial(F.input_x_gradient, target=0), cubic)
    loss = lambda row: (attribution(row[None]) ** 2).sum()
    np.testing.assert_allclose(jax.vmap(jax.grad(loss))(X), 54 * X**5, rtol=1e-5)


def test_large_arrays_in_a_busy_program() -> None:
    """Values that are still being computed when the method asks for them."""
    attribution = callback(partial(F.saliency, target=0), cubic)
    big = jnp.array(np.random.default_rng(0).normal(size=(300, 300)).astype("float32"))

    @jax.jit
    def program(x: Any, big: Any) -> Any:
        first = attribution(jnp.tile(x, (2000, 1)))
        return first.sum() + attribution(x + first[:2]).sum() + 0 * (big @ big @ big).sum()

    found = [program(X, big + k) for k in range(3)]
    expected = 3 * (X**2).sum() * 2000 + 3 * ((X + 3 * X**2) ** 2).sum()
    np.testing.assert_allclose(found, [expected] * 3, rtol=1e-5)


def test_what_cannot_be_called_back() -> None:
    for method in (F.grad_cam, attrib.saliency, partial(attrib.saliency, target=0), sum):
        with pytest.raises(TypeError, match=r"expected one of attrib\.functional"):
            callback(method, cubic)


# ---------------------------------------------------------------------- results


def test_results_keep_their_labels() -> None:
    model = attrib.from_jax(cubic)
    x = xr.DataArray(np.asarray(X), dims=("cell", "gene"), coords={"gene": ["INS", "GCG", "SST"]})
    a = attrib.input_x_gradient(model, x, target=0)
    found = to_jax(a)
    assert isinstance(found.data, jax.Array)
    assert found.identical(a)
    found = to_jax(attrib.input_x_gradient(attrib.from_jax(lambda p, q: (p * q).sum(1)), {"p": x, "q": x}))
    assert isinstance(found["p"].data, jax.Array)
    assert isinstance(to_jax((a, a))[1].data, jax.Array)
    assert to_jax(torch.ones(2)).tolist() == [1.0, 1.0]


def test_results_of_their_own_memory() -> None:
    """JAX arrays do not change: not even if what they were made of does."""
    a = attrib.saliency(attrib.from_jax(cubic), X, target=0)
    found = to_jax(a)
    before = found.data.tolist()
    a.values[:] = 7
    assert found.data.tolist() == before


def test_arrays_of_jax_inside_dataarrays() -> None:
    model = attrib.from_jax(cubic)
    x = to_jax(xr.DataArray(np.asarray(X), dims=("cell", "gene")))
    a = attrib.saliency(model, x, target=0)
    np.testing.assert_allclose(a, 3 * X**2, rtol=1e-6)


def test_results_that_jax_would_round_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        to_jax(xr.DataArray(np.ones(3)))
    with pytest.raises(TypeError, match="expected a DataArray"):
        to_jax("a")


def test_no_module_stands_in_the_way_of_a_name() -> None:
    """A submodule is set as an attribute of its package when it is first imported, over a function of that name."""
    import pkgutil

    import attrib.interop.jax as package

    modules = {m.name for m in pkgutil.iter_modules(package.__path__)}
    assert not modules & {"callback", "from_jax", "to_jax"}
