"""A JAX function as a torch module: derivatives, dtypes, memory, and how often it is compiled."""

import copy
import functools
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import attrib
from attrib.engine.gradient.passes import Passes
from attrib.functional import integrated_gradients, saliency
from attrib.interop.arrays import as_numpy, as_tensor
from attrib.testing import specimen

jax = pytest.importorskip("jax")

from tests.interop.jaxzoo import enable_x64  # noqa: E402

jnp = jax.numpy
W = jnp.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]])


def waves(p: Any, x: Any) -> Any:
    return jnp.sin(x @ p["w"].T) + jnp.exp(-x[:, :2] * p["b"])


def torch_waves(x: torch.Tensor) -> torch.Tensor:
    w, b = (torch.tensor(v) for v in (W.tolist(), [1.0, 2.0]))
    return torch.sin(x @ w.to(x).T) + torch.exp(-x[:, :2] * b.to(x))


PARAMS = {"w": W, "b": jnp.array([1.0, 2.0])}
WAVES = attrib.from_jax(waves, PARAMS)
X = torch.tensor([[0.3, -1.2, 0.7], [1.1, 0.4, -0.9]])
Transform = Callable[[Callable], Callable]

TRANSFORMS: dict[str, Transform] = {
    "nothing": lambda f: f,
    "grad": lambda f: grad(lambda x: f(x)[:, 1].sum()),
    "vjp": lambda f: lambda x: vjp(f, x)[1](torch.ones(2, 2))[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (x * 2,))[1],
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "hessian": lambda f: hessian(lambda x: f(x).sum()),
    "reverse over reverse": lambda f: jacrev(jacrev(lambda x: f(x)[:, 0])),
    "forward over reverse": lambda f: jacfwd(jacrev(f)),
    "reverse over forward": lambda f: jacrev(jacfwd(f)),
    "vmap": lambda f: vmap(lambda r: f(r[None])[0]),
    "vmap along another dim": lambda f: lambda x: vmap(lambda r: f(r[None])[0], in_dims=1)(x.T.contiguous()),
    "vmap of grad": lambda f: vmap(grad(lambda r: f(r[None])[0, 1])),
    "vmap of hessian": lambda f: vmap(hessian(lambda r: f(r[None])[0, 1])),
    "grad of a penalty": lambda f: grad(lambda x: grad(lambda z: f(z).sum())(x).pow(2).sum()),
    "grad of vmap": lambda f: grad(lambda x: vmap(lambda r: f(r[None])[0])(x).prod()),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no_grad"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_of_torch(name: str, graph: bool) -> None:
    """With residuals (no_grad) and with the function run again."""
    with torch.set_grad_enabled(graph):
        found, expected = TRANSFORMS[name](WAVES)(X), TRANSFORMS[name](torch_waves)(X)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_gradcheck_in_double_precision() -> None:
    with enable_x64(True):
        model = attrib.from_jax(waves, jax.tree.map(lambda a: a.astype("float64"), PARAMS))
        x = X.double().requires_grad_()
        assert torch.autograd.gradcheck(model, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(model, x)


def test_the_function_does_not_run_a_second_time_for_its_gradient() -> None:
    """Backward programs take residuals: no program of the pullback as a whole, which would begin with the function."""
    model = attrib.from_jax(waves, PARAMS)
    saliency(model, X, target=1, engine="func")
    saliency(model, X, target=1, engine="autograd")
    saliency(model, X, targets="all")
    assert {name for name, *_ in model.programs()} == {
        "f",
        "f and residuals",
        "f pulled back",
    }  # f: for the check of rows


def test_a_backward_pass_after_an_input_was_written_to() -> None:
    """As in torch: an error, no gradient at another point."""
    x = X.clone().requires_grad_()
    z = x * 1
    y = WAVES(z).sum()
    with torch.no_grad():
        z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# ---------------------------------------------------------------------- dtypes


def test_float64_needs_x64() -> None:
    with pytest.raises(TypeError, match="x64"):
        WAVES(X.double())
    with pytest.raises(TypeError, match="x64"):
        attrib.saliency(attrib.from_jax(lambda x: x.sum(1)), X.double())


def test_weights_say_the_precision() -> None:
    """As for torch models: labelled inputs come in the dtype of the weights, whether they are handed over or named."""
    for model in (WAVES, attrib.from_jax(jax.jit(lambda x: waves(PARAMS, x)))):
        assert attrib.saliency(model, X.double().numpy(), target=0).dtype == "float32"


def test_integers_are_narrowed_where_they_fit() -> None:
    table = jnp.arange(12.0).reshape(4, 3)
    model = attrib.from_jax(lambda x, i: x * table[i])
    at = torch.tensor([3, 1])
    x = X.clone().requires_grad_()
    model(x, at).sum().backward()
    assert torch.equal(x.grad, torch.tensor(table.tolist())[at])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="beyond 32 bits"):
        model(x, at + 2**40)
    found = attrib.functional.deep_lift(lambda x, i: model(x, i).sum(1), X, additional_forward_args=(at,))
    torch.testing.assert_close(found, X * torch.tensor(table.tolist())[at])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model = attrib.from_jax(lambda x: (x * x).sum(1))
    assert torch.equal(saliency(model, X.to(dtype)), 2 * X.to(dtype).abs())


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        WAVES(X + 0j)


def test_other_arrays_are_refused_by_the_module() -> None:
    with pytest.raises(TypeError, match=r"input 0 .* expected a torch\.Tensor"):
        WAVES(jnp.ones((2, 3)))


# ---------------------------------------------------------------------- inputs and outputs


def test_outputs_keep_their_structure() -> None:
    model = attrib.from_jax(lambda a, b: {"logits": a * b, "best": (a.argmax(1), b.sum())})
    out = model(X, X + 1)
    assert torch.equal(out["logits"], X * (X + 1))
    assert out["best"][0].tolist() == X.argmax(1).tolist()
    torch.testing.assert_close(out["best"][1], (X + 1).sum())
    left, right = saliency(model, (X, X + 1), target=2)
    assert torch.equal(left[:, 2], (X + 1)[:, 2].abs())
    assert torch.equal(right[:, 2], X[:, 2].abs())
    assert not left[:, :2].any()


def test_second_derivatives_of_one_of_several_outputs() -> None:
    model = attrib.from_jax(lambda x: (x.astype(int), (x**3).sum(), x))
    twice = grad(lambda x: grad(lambda z: model(z)[1])(x).sum())(X)
    torch.testing.assert_close(twice, 6 * X)


def test_memory_of_inputs_and_weights_is_never_handed_out() -> None:
    """What comes back can be written to."""
    held = jnp.arange(4.0)
    model = attrib.from_jax(lambda w, x: (x, x, w), held)
    x = torch.randn(64, 64)
    kept = x.clone()
    for y in model(x):
        y.fill_(7.0)
    assert torch.equal(x, kept)
    assert held.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_jax_arrays_given_in_are_unchanged() -> None:
    x = jnp.array(X.numpy())
    a = attrib.integrated_gradients(WAVES, x, target=0, n_steps=4)
    assert x.tolist() == X.tolist()
    a.values[:] = 0
    assert x.tolist() == X.tolist()


def test_strided_and_unaligned_tensors() -> None:
    big = torch.randn(5, 7)
    for x in (big[1:3, 1:4], big.T[:3, :3].T, X[:1].expand(4, 3), torch.randn(2, 3, 2)[..., 1]):
        torch.testing.assert_close(WAVES(x), torch_waves(x))


def test_donation_inside_leaves_the_tensor_alone() -> None:
    model = attrib.from_jax(jax.jit(lambda x: x * 2, donate_argnums=0))
    x = torch.ones(64, 64)
    assert torch.equal(model(x), 2 * torch.ones(64, 64))
    assert torch.equal(x, torch.ones(64, 64))


# ---------------------------------------------------------------------- weights


@jax.tree_util.register_pytree_node_class
class Dense:
    """A module in equinox' manner: a pytree of arrays and functions, which is called."""

    def __init__(self, w: Any, act: Any) -> None:
        self.w, self.act = w, act

    def __call__(self, x: Any) -> Any:
        return self.act(x @ self.w.T)

    def tree_flatten(self) -> tuple:
        return (self.w, self.act), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: Any) -> "Dense":
        return cls(*leaves)


def test_every_form_of_weights() -> None:
    dense = Dense(W, jnp.tanh)
    forms = [
        attrib.from_jax(dense),
        attrib.from_jax(lambda d, x: d(x), dense),
        attrib.from_jax(jax.tree_util.Partial(lambda w, x: jnp.tanh(x @ w.T), W)),
        attrib.from_jax(functools.partial(lambda w, x: jnp.tanh(x @ w.T), W)),
        attrib.from_jax(jax.vmap(dense)),
        attrib.from_jax(lambda p, x: jnp.tanh(x @ p[0].T) * p[1], (W.__array__(), 1.0)),
    ]
    expected = torch.tanh(X @ torch.tensor(W.tolist()).T)
    for model in forms:
        torch.testing.assert_close(model(X), expected)
        assert [w.dtype for w in model.weights()] == [torch.float32]
        assert not list(model.parameters())


def test_copies_and_pickles() -> None:
    for model in (copy.deepcopy(WAVES), pickle.loads(pickle.dumps(WAVES)), copy.copy(WAVES)):
        assert model.compilations == 0
        assert torch.equal(model(X), WAVES(X))


def test_torch_cannot_move_the_weights() -> None:
    assert WAVES.to("cpu") is WAVES
    assert WAVES.eval() is WAVES
    for move in (torch.nn.Module.double, torch.nn.Module.bfloat16, lambda m: m.to("meta")):
        with pytest.raises(TypeError, match="belong to the other library"):
            move(WAVES)


def test_weights_without_values_are_refused() -> None:
    gone = jnp.ones((2, 3))
    gone.delete()
    with pytest.raises(ValueError, match="deleted"):
        attrib.from_jax(waves, {"w": gone, "b": gone})
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda p: attrib.from_jax(waves, p)(X).sum())(PARAMS)
    with pytest.raises(TypeError, match="callable"):
        attrib.from_jax(PARAMS)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- arrays


def test_arrays_without_values_are_refused() -> None:
    gone = jnp.array(X.numpy())
    gone.delete()
    for convert in (as_tensor, as_numpy):
        with pytest.raises(ValueError, match="deleted or donated"):
            convert(gone)
        with pytest.raises(TypeError, match=r"traced.*callback"):
            jax.jit(lambda x, convert=convert: jnp.asarray(convert(x).sum()))(jnp.ones(3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool"])
def test_jax_arrays_become_tensors(dtype: str) -> None:
    a = jnp.array([[0, 1], [2, 3]], dtype)
    assert as_tensor(a).tolist() == a.tolist()
    assert str(as_tensor(a).dtype) == f"torch.{dtype}"


# ---------------------------------------------------------------------- rows


@pytest.mark.parametrize("n", [1, 2, 5])
def test_functions_that_mix_rows_are_refused(n: int) -> None:
    model = attrib.from_jax(lambda x: (x - x.mean(0)) / (x.std(0) + 1))
    with pytest.raises(ValueError, match="mixes samples"):
        saliency(model, torch.randn(n, 3), target=0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_functions_of_a_rows_place_are_refused(n: int) -> None:
    drawn = attrib.from_jax(lambda x: x * jax.random.normal(jax.random.key(0), x.shape))
    with pytest.raises(ValueError, match="mixes samples"):
        saliency(drawn, torch.randn(n, 3), target=0)
    beside = attrib.from_jax(lambda x: (x * 2, jnp.arange(5.0)))  # as long as the rows, and not of them
    assert saliency(lambda x: beside(x)[0], torch.ones(n, 3), target=0)[:, 0].tolist() == [2.0] * n


def test_equal_rows_are_no_way_around() -> None:
    model = attrib.from_jax(lambda x: x / (x.max(0) + 1))
    with pytest.raises(ValueError, match="mixes samples"):
        saliency(model, torch.ones(4, 3), target=0)


def test_a_row_costs_what_its_residuals_take() -> None:
    """Ten values of 4 bytes from each of three sines; without them, the engine would take rows for free."""
    w = jnp.ones((3, 10))
    model = attrib.from_jax(lambda x: jnp.sin(jnp.sin(jnp.sin(x @ w))).sum(1))
    with Passes(model, (X,), 100 * len(X), more=True) as passes:
        passes.scores((X,))
    assert 3 * 40 <= (passes.function.knowledge.row_bytes or 0) <= 10 * 40


@pytest.mark.parametrize("engine", ["func", "autograd"])
def test_cut_gradients_are_refused_and_zero_gradients_are_not(engine: str) -> None:
    cut = attrib.from_jax(lambda x: jax.jit(jax.lax.stop_gradient)(x).sum(1))
    with pytest.raises(ValueError, match="cuts the gradient"):
        saliency(cut, X, engine=engine)
    half = attrib.from_jax(lambda a, b: jnp.round(a).sum(1) + b.sum(1))
    with pytest.raises(ValueError, match="cuts the gradient of input 0"):
        saliency(half, (X, X), engine=engine)
    flat = attrib.from_jax(lambda x: jax.nn.relu(x - 100).sum(1))
    assert not saliency(flat, X, engine=engine).any()


def test_functions_that_cannot_be_compiled_say_why() -> None:
    model = attrib.from_jax(lambda x: x.sum(1) if x[0, 0] > 0 else -x.sum(1))
    with pytest.raises(TypeError) as found:
        saliency(model, X)
    assert any("jax.jit must be able" in note for note in found.value.__notes__)
    with pytest.raises(ValueError, match="every row must get its own output"):
        saliency(attrib.from_jax(lambda x: x.sum()), torch.ones(3, 3))


# ---------------------------------------------------------------------- compilation


@pytest.mark.parametrize("batch_size", [16, "auto"])
@pytest.mark.parametrize("n", [3, 8, 13, 40])
def test_a_run_has_two_sizes_at_most(n: int, batch_size: Any) -> None:
    model, x = attrib.from_jax(waves, PARAMS), torch.randn(n, 3)
    found = saliency.explain(model, x, target=1, batch_size=batch_size)
    checks = [shapes for name, *shapes in model.programs() if name == "f"]
    sizes = {shapes[-1][0][0] for name, *shapes in model.programs() if name != "f"}
    assert len(checks) <= 1  # the check that rows do not depend on each other calls the model alone
    assert len(sizes) <= (1 if batch_size == 16 or n <= 8 else 2)
    compilations = 2 * len(sizes) + len(checks)  # forward with residuals, and back
    assert found.notes == {"jax_compilations": compilations}
    assert model.compilations == compilations
    torch.testing.assert_close(found.attribution, saliency(torch_waves, x, target=1))


def test_a_second_run_compiles_nothing_and_says_the_same() -> None:
    model = attrib.from_jax(waves, PARAMS)
    first = attrib.integrated_gradients(model, X, target=0, n_steps=30)
    compiled = model.compilations
    second = attrib.integrated_gradients(model, X, target=0, n_steps=30)
    assert model.compilations == compiled >= first.attrs["jax_compilations"] > 0
    assert second.identical(first)


def test_models_of_torch_say_nothing_of_compilations() -> None:
    assert "jax_compilations" not in attrib.saliency(torch_waves, X, target=0).attrs


def test_filled_rows_change_nothing() -> None:
    s = specimen("mlp", n=7)
    model = attrib.from_jax(lambda x: jnp.tanh(x) * jnp.arange(5.0))
    one = integrated_gradients(model, s.x, target=3, n_steps=5, batch_size=1)
    for batch_size in (2, 4, 32):
        torch.testing.assert_close(
            integrated_gradients(model, s.x, target=3, n_steps=5, batch_size=batch_size), one
        )


# ---------------------------------------------------------------------- without JAX


def test_without_jax_the_error_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[jax\]'"):
        attrib.from_jax(waves)


@pytest.mark.parametrize("inside", ["float32", "float64"])
def test_rounding_is_that_of_the_coarsest_numbers_inside(inside: str) -> None:
    """Keras on JAX takes batch norms in single precision inside a model of double, and their last bits vary with the place in the batch."""
    with enable_x64(True):
        weights = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8)))

        @jax.jit
        def norm(h: Any) -> Any:
            return jax.nn.standardize(h.astype(inside)) * (1 + 2e-7 * jnp.arange(len(h))[:, None])

        f = attrib.from_jax(lambda x: jnp.tanh(norm(x @ weights)).astype("float64")[:, :2])
        x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        if inside == "float64":
            with pytest.raises(ValueError, match="mixes samples"):
                saliency(f, x, target=1)
        else:
            assert saliency(f, x, target=1).shape == x.shape
