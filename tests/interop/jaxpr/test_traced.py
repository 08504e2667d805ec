"""JAX functions as torch ops: the same values, complete DeepLIFT, and the maps of the same model in torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

jax = pytest.importorskip("jax")

from jax import lax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from attrib import from_jax  # noqa: E402
from attrib.functional import deep_lift, deep_lift_shap, in_silico_mutagenesis, op_shares  # noqa: E402
from attrib.interop.jaxpr import in_torch  # noqa: E402
from tests.interop.jaxzoo import JAXZOO, Pair, enable_x64  # noqa: E402

DTYPES = (torch.float32, torch.float64)
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with enable_x64(True):
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
def test_the_values_of_jax_and_the_secants_of_torch(name, dtype):
    pair, x, x0 = built(name, dtype)
    program, traced = jax.jit(pair.fn), in_torch(pair.fn)
    at_x, at_x0 = (torch.from_numpy(np.array(program(*arrays(t)))) for t in (x, x0))
    values = traced(*x)
    assert values.dtype == at_x.dtype
    assert apart(values, at_x) <= (4 if pair.deep else 1) * ROUNDING[dtype]
    change = (at_x - at_x0).reshape(len(x[0]), -1)[:, 0]
    target = 0 if at_x.ndim > 1 else None
    with torch.no_grad():
        expected = deep_lift(pair.model, several(x), baselines=several(x0), target=target)
    found = deep_lift.explain(traced, several(x), baselines=several(x0), target=target)
    total = sum(a.double().flatten(1).sum(1) for a in tuples(found.attribution))
    allowed = 1e-10 if dtype == torch.float64 else 2e-5 if pair.deep else 1e-5
    assert float((total - change).abs().max()) <= allowed * float(change.abs().max())
    for got, wanted in zip(tuples(found.attribution), tuples(expected), strict=True):
        assert apart(got, wanted) <= allowed


@pytest.mark.parametrize("name", JAXZOO)
def test_from_jax_is_complete_and_equal_to_torch(name):
    """The whole way: the bridge for the scores, its translation for the secants, chunks of pairs in between."""
    pair, x, x0 = built(name, torch.float64)
    model = from_jax(pair.fn)
    target = 0 if model(*x).ndim > 1 else None
    found = deep_lift.explain(model, several(x), baselines=several(x0), target=target, batch_size=2)
    expected = deep_lift.explain(pair.model, several(x), baselines=several(x0), target=target)
    assert float(found.delta.abs().max()) <= 1e-10 * float(found.prediction.abs().max())
    assert apart(found.prediction, expected.prediction) <= 1e-12
    for got, wanted in zip(tuples(found.attribution), tuples(expected.attribution), strict=True):
        assert apart(got, wanted) <= 1e-10


@pytest.mark.parametrize("name", ["cnn", "transformer_block", "two_branches"])
def test_distributions_of_baselines(name):
    pair, x, _ = built(name, torch.float64)
    pool = several(pair.inputs(4))
    found = deep_lift_shap(from_jax(pair.fn), several(x), baselines=pool, target=1, batch_size=5)
    expected = deep_lift_shap(pair.model, several(x), baselines=pool, target=1, batch_size=5)
    for got, wanted in zip(tuples(found), tuples(expected), strict=True):
        assert apart(got, wanted) <= 1e-10


@pytest.mark.parametrize("name", ["cnn", "norms", "lstm_by_scan"])
def test_tiny_changes_do_not_cancel(name):
    pair, x, _ = built(name, torch.float32)
    x0 = tuple(t + 1e-5 for t in x)
    model = from_jax(pair.fn)
    found = deep_lift.explain(model, several(x), baselines=several(x0), target=0)
    gradient = deep_lift(pair.model.double(), several(x).double(), baselines=several(x0).double(), target=0)
    assert apart(found.attribution, gradient) <= 1e-3  # of a change that has three digits in float32


def profile(x):
    """A convolution with a loop, a pool and a readout, on a sequence long enough for windows to pay."""
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4, 7)), x.dtype)
    y = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1,), "SAME"))
    y = lax.fori_loop(0, 2, lambda i, c: jnp.tanh(c * (i + 1.0)), y)
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 4), (1, 1, 4), "VALID")
    return (y / jnp.sqrt(jnp.var(kernel))).mean((1, 2))


def test_mutagenesis_by_windows():
    letters = torch.randint(4, (2, 400), generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.one_hot(letters, 4).movedim(-1, 1).double()
    found = in_silico_mutagenesis.explain(from_jax(profile), x)
    assert found.notes["path"] == "window"
    plain = in_torch(profile)
    for place in (0, 3, 200, 399):
        for letter in range(4):
            edited = x.clone()
            edited[:, :, place] = torch.nn.functional.one_hot(torch.tensor(letter), 4).double()
            torch.testing.assert_close(found.attribution[:, letter, place], plain(edited) - plain(x))


# ---------------------------------------------------------------- lines, shapes, constants


def test_lines_are_the_users():
    def model(x):
        h = jnp.tanh(x) * 2
        return jax.nn.gelu(h).sum(1)

    shares = op_shares(from_jax(model), torch.randn(2, 3, dtype=torch.float64))
    first = model.__code__.co_firstlineno
    lines = {s.source.rpartition(":")[2].partition(" in ")[::2] for s in shares}
    assert {int(number) - first for number, _ in lines} == {1, 2}
    assert {name.rpartition(".")[2] for _, name in lines} == {"model"}  # JAX 0.4.35 says no more of the name


def test_each_shape_is_traced_once():
    calls = []

    def model(x):
        calls.append(x.shape)
        return jnp.tanh(x).sum(1)

    f = in_torch(model, torch.zeros(2, 3))
    f(torch.zeros(2, 3)), f(torch.zeros(4, 3)), f(torch.zeros(2, 3))
    assert calls == [(2, 3), (4, 3)]


def test_weights_are_shared_with_jax_and_left_alone():
    w = jnp.arange(12.0).reshape(4, 3)
    f = in_torch(lambda x: (x @ w).at[:, 0].set(1.0))
    f(torch.ones(2, 4, dtype=torch.float64)), f(torch.ones(3, 4, dtype=torch.float64))
    held = [t for _, t in f.constants._tensors.values() if isinstance(t, Tensor) and t.shape == (4, 3)]
    assert [t.data_ptr() for t in held] == [w.unsafe_buffer_pointer()]
    np.testing.assert_array_equal(w, np.arange(12.0).reshape(4, 3))


def test_numpy_constants_are_copied():
    w = np.ones((3, 2), np.float32)
    w.flags.writeable = False
    np.testing.assert_array_equal(in_torch(lambda x: x @ w)(torch.ones(1, 3)), [[3, 3]])


def test_inputs_that_are_integers():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
    f = in_torch(lambda i: table[i].sum((1, 2)))
    torch.testing.assert_close(
        f(torch.tensor([[0, 4]])), torch.from_numpy(np.array(table[0] + table[4])).sum()[None]
    )


def test_x64_off():
    with enable_x64(False):
        f = in_torch(lambda i: i * 2)
        assert f(torch.tensor([3])).dtype == torch.int32
        with pytest.raises(TypeError, match="float64, but JAX runs in 32 bits"):
            f(torch.zeros(2, dtype=torch.float64))
        with pytest.raises(TypeError, match="beyond 32 bits"):
            f(torch.tensor([2**40]))


# ---------------------------------------------------------------- what is refused


REFUSED = {
    "a branch": (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x).sum(1), "`cond` at .*test_traced.py:.*depends on the values"),
    "a loop": (lambda x: lax.while_loop(lambda c: c.sum() < 9, lambda c: c * 2, x * x).sum(1), "`while` at .*test_traced.py"),
    "a place": (lambda x: lax.dynamic_slice(x, (0, x[0, 0].astype(int)), (len(x), 1))[:, 0], "`dynamic_slice` at"),
    "random numbers": (lambda x: (x * jax.random.normal(jax.random.key(0), x.shape)).sum(1), "draws random numbers"),
    "Python": (
        lambda x: jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct((2, 3), x.dtype), x).sum(1),
        "`pure_callback` at .*it calls Python",
    ),
    "matrices": (lambda x: jnp.linalg.cholesky(x[:, :2] @ x[:, :2].T + 9 * jnp.eye(2)).sum(1), "`cholesky` at"),
    "remainders": (lambda x: jnp.fmod(x, 2.0).sum(1), "no DeepLIFT rule for aten.* at .*test_traced.py"),
    "an index": (lambda x: jnp.take(x, jnp.argmax(x[0]), axis=1), "no DeepLIFT rule for .*test_traced.py"),
}  # fmt: skip


# Their values depend on other rows, which is found before DeepLIFT meets the primitive.
MIXING = {"a loop", "a place", "an index"}


@pytest.mark.parametrize("name", sorted(MIXING))
def test_rows_that_depend_on_each_other_are_refused_first(name):
    x = torch.rand(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="mixes samples"):
        deep_lift(in_torch(REFUSED[name][0]), x, baselines=x + 1)


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - MIXING))
def test_refusals_name_the_line_and_the_way_out(name):
    model, message = REFUSED[name]
    x = torch.rand(2, 3, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match=message) as raised:
        deep_lift(in_torch(model), x, baselines=x + 1)
    assert "JAX" not in str(raised.value) or "integrated_gradients" in str(raised.value)
