"""JAX as it is: functions, arrays and modules without a line to wrap them."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

jax = pytest.importorskip("jax")
jnp = jax.numpy

import attrib  # noqa: E402

X = np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
W = np.array([2.0, -1.0], dtype="float32")


def direct(x: Any) -> Any:
    return jnp.tanh(x) @ W


def through_another(x: Any) -> Any:
    return direct(x)


EXPECTED = (1 - np.tanh(X) ** 2) * W
FUNCTIONS: dict[str, Any] = {
    "function": direct,
    "another function": through_another,
    "lambda": lambda x: jnp.tanh(x) @ W,
    "jit": jax.jit(direct),
    "partial": partial(lambda w, x: jnp.tanh(x) @ w, W),
    "vmap": jax.vmap(lambda x: jnp.tanh(x) @ W),
}
FORMS: dict[str, Any] = {
    "jax": jnp.asarray,
    "numpy": lambda x: x,
    "DataArray": lambda x: xr.DataArray(x, dims=("cell", "gene"), coords={"gene": ["INS", "GCG"]}),
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_functions(name: str, form: str) -> None:
    a = attrib.saliency(FUNCTIONS[name], FORMS[form](X), absolute=False)
    np.testing.assert_allclose(a, EXPECTED, rtol=1e-4, atol=1e-6)
    assert "jax_compilations" in a.attrs
    y = attrib.predict(FUNCTIONS[name], FORMS[form](X))
    np.testing.assert_allclose(y, np.tanh(X) @ W, rtol=1e-5)


def test_functions_of_neither_library() -> None:
    np.testing.assert_array_equal(attrib.saliency(lambda x: x.sum(1), jnp.asarray(X)), np.ones((2, 2)))
    squares = lambda x: x.pow(2).sum(1)  # a method of tensors alone
    np.testing.assert_array_equal(attrib.saliency(squares, jnp.asarray(X)), 2 * X)


def test_functions_and_modules_of_torch_stay_so() -> None:
    a = attrib.saliency(lambda x: torch.tanh(x).sum(1), jnp.asarray(X))
    np.testing.assert_allclose(a, 1 - np.tanh(X) ** 2, rtol=1e-4)
    assert "jax_compilations" not in a.attrs
    net = torch.nn.Linear(2, 1, bias=False)
    a = attrib.saliency(lambda x: net(x), jnp.asarray(X), absolute=False)
    np.testing.assert_allclose(a, net.weight.detach().expand(2, 2))


def test_inputs_by_name_and_as_one_mapping() -> None:
    x = {"atac": jnp.asarray(X), "rna": jnp.asarray(3 * X)}
    by_name = lambda rna, atac: jnp.sum(rna * 10 + atac, 1)
    of_mapping = lambda batch: jnp.sum(batch["rna"] * 10 + batch["atac"], 1)
    for f in (by_name, jax.jit(by_name), of_mapping, attrib.from_jax(of_mapping)):
        a = attrib.saliency(f, x)
        np.testing.assert_array_equal(a.rna, np.full((2, 2), 10))
        np.testing.assert_array_equal(a.atac, np.ones((2, 2)))
        assert list(a) == ["atac", "rna"]
    weighted = attrib.from_jax(lambda w, batch: (batch["rna"] * w + batch["atac"]).sum(1), W)
    np.testing.assert_array_equal(attrib.saliency(weighted, x, absolute=False).rna, [W, W])


def test_pytrees_as_inputs_by_their_joined_names() -> None:
    x = {
        "rna": {"spliced": jnp.asarray(X), "unspliced": jnp.asarray(2 * X)},
        "atac": [jnp.asarray(X), jnp.asarray(3 * X)],
    }
    of_tree = lambda batch: (
        batch["rna"]["spliced"] * 10 + batch["rna"]["unspliced"] + batch["atac"][1] * batch["atac"][0]
    ).sum(1)
    by_name = lambda atac, rna: of_tree({"rna": rna, "atac": atac})
    names = ["rna.spliced", "rna.unspliced", "atac.0", "atac.1"]
    for f in (of_tree, by_name, jax.jit(of_tree), attrib.from_jax(of_tree)):
        a = attrib.input_x_gradient(f, x)
        assert list(a) == names
        for name, expected in zip(names, (10 * X, 2 * X, 3 * X**2, 3 * X**2), strict=True):
            np.testing.assert_allclose(a[name], expected, rtol=1e-5)
    begin = {"rna": {"spliced": X, "unspliced": 0.0}, "atac": [jnp.zeros_like(X), 0.0]}
    for baselines in (begin, {"rna.spliced": X, "rna.unspliced": 0.0, "atac.0": 0.0, "atac.1": 0.0}):
        a = attrib.integrated_gradients(of_tree, x, baselines=baselines)
        np.testing.assert_allclose(a["rna.spliced"], 0 * X, atol=1e-5)
    curve = attrib.deletion(of_tree, x, attrib.input_x_gradient(of_tree, x))
    assert curve.sizes["fraction"] == 21


@pytest.mark.parametrize("how", ["position", "name"])
def test_companions_of_whole_numbers(how: str) -> None:
    table = np.array([1.0, 10.0, 100.0], dtype="float32")
    f = lambda x, donor: jnp.asarray(table)[donor] * (x**2).sum(1)
    donor = xr.DataArray([0, 2], dims="cell", coords={"cell": ["b", "a"]})
    x = xr.DataArray(X, dims=("cell", "gene"), coords={"cell": ["a", "b"]})
    a = attrib.input_x_gradient(
        f, x, additional_forward_args=(donor,) if how == "position" else {"donor": donor}
    )
    np.testing.assert_allclose(a, 2 * X**2 * [[100], [1]], rtol=1e-5)


def test_modules_of_flax() -> None:
    flax = pytest.importorskip("flax")
    nnx, linen = pytest.importorskip("flax.nnx"), flax.linen
    net = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    kernel = np.asarray(net.kernel[...])
    np.testing.assert_allclose(attrib.saliency(net, X, absolute=False), np.tile(kernel.T, (2, 1)), rtol=1e-5)
    dense = linen.Dense(1)
    variables = dense.init(jax.random.key(0), X)
    with pytest.raises(TypeError, match=r"pass attrib.from_jax\(f.apply, variables\)"):
        attrib.saliency(dense, X)
    kernel = np.asarray(variables["params"]["kernel"])
    for f in (dense.bind(variables), attrib.from_jax(dense.apply, variables)):
        np.testing.assert_allclose(
            attrib.saliency(f, X, absolute=False), np.tile(kernel.T, (2, 1)), rtol=1e-5
        )


def test_modules_of_equinox() -> None:
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0))
    a = attrib.saliency(net, X, absolute=False)
    expected = jax.vmap(jax.grad(lambda x: net(x)[0]))(X)
    np.testing.assert_allclose(a, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(TypeError, match=r"pass attrib.from_jax\(lambda net, x: ..., f\)"):
        attrib.saliency(eqx.nn.MLP(3, 1, 4, 1, key=jax.random.key(0)), X)


def test_arrays_inside_a_function_of_torch_are_told() -> None:
    f = lambda x: torch.from_numpy(np.tanh(np.asarray(x))).sum(1)
    with pytest.raises(TypeError, match=r"`model` turns tensors into NumPy or JAX arrays, .*attrib.from_jax"):
        attrib.saliency(f, X)
    with pytest.raises(TypeError, match="`model` turns tensors into NumPy or JAX arrays"):
        attrib.functional.saliency(f, torch.ones(2, 3), engine="func")
