"""Every family of JAX primitives in torch: the values of JAX, and secants that add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attrib.functional import deep_lift

jax = pytest.importorskip("jax")
from jax import lax, nn  # noqa: E402
from jax import numpy as jnp  # noqa: E402
from jax.scipy import special  # noqa: E402

from attrib.interop.jaxpr import in_torch  # noqa: E402
from tests.interop.jaxzoo import enable_x64  # noqa: E402


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with enable_x64(True):
        yield


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def check_values(f: Callable[..., Any], *xs: np.ndarray) -> None:
    expected = jax.tree.leaves(jax.jit(f)(*map(jnp.asarray, xs)))
    found = jax.tree.leaves(in_torch(f)(*(torch.from_numpy(x.copy()) for x in xs)))
    for got, wanted in zip(found, expected, strict=True):
        assert (got.numpy().dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12, atol=1e-12)


def check_completeness(f: Callable[..., Any], *xs: np.ndarray) -> None:
    """`f` of whole arrays becomes a model of one sample, summed with weights that are all different."""

    def model(*batches: Any) -> Any:
        y = f(*(b[0] for b in batches))
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[None]

    x1 = tuple(torch.from_numpy(x)[None] for x in xs)
    x0 = tuple(torch.from_numpy(drawn(x.shape, 99 + i))[None] for i, x in enumerate(xs))
    g = in_torch(model)
    found = deep_lift(g, x1 if len(x1) > 1 else x1[0], baselines=x0 if len(x0) > 1 else x0[0])
    total = sum(float(a.sum()) for a in (found if isinstance(found, tuple) else (found,)))
    change, size = float(g(*x1) - g(*x0)), max(float(g(*x1).abs()), float(g(*x0).abs()), 1.0)
    assert abs(total - change) <= 1e-10 * size


AT = np.array([3, 0, -1])
MATRIX = drawn((6, 4), 7)
SOME = np.tri(3, 6, dtype=bool)


@jax.custom_vjp
def doubled(x):
    return 2 * jnp.tanh(x)


doubled.defvjp(lambda x: (doubled(x), x), lambda x, g: (g,))

FORMULAS: dict[str, Callable[[Any], Any]] = {
    "powers": lambda x: (
        x**3 + (x + 9) ** -1 + jnp.power(x * x + 1, 1.5) + 2.0**x + jnp.power(x * x + 1, x) + jnp.square(x)
    ),
    "roots": lambda x: lax.rsqrt(x**2 + 1) + jnp.sqrt(jnp.abs(x)) + jnp.cbrt(x) + jnp.hypot(x, x + 2),
    "exponentials": lambda x: jnp.exp2(x) + jnp.expm1(x) + jnp.log1p(x**2) + jnp.log(x**2 + 1),
    "error function": lambda x: special.erf(x) + special.erfc(x) + special.erfinv(jnp.tanh(x)),
    "gamma": lambda x: special.gammaln(x * x + 1),
    "trigonometry": lambda x: jnp.sin(x) * jnp.cos(x) + jnp.arctan(x) + jnp.sinh(x) - jnp.arcsinh(x),
    "steps": lambda x: jnp.sign(x) + jnp.floor(x) * jnp.ceil(x) + jnp.round(x),
    "sinc": lambda x: jnp.sinc(x) + jnp.sinc(x - x),
    "select": lambda x: jnp.select([x > 1, x > 0], [x, 2 * x], 3 * x),
    "where": lambda x: jnp.where(x > 0, x, 0.1 * x) + jnp.where(x > 0, jnp.sin(x), 1.0),
    "clip": lambda x: jnp.clip(x, -0.5, 0.5) + lax.clamp(-1.0, x, x + 0.1) + jnp.minimum(x, 0.2),
    "pairs": lambda x: jnp.maximum(x, x[:, ::-1]) + jnp.minimum(x, 2 * x) + jnp.logaddexp(x, 1 - x),
    "logic": lambda x: x * (((x > 0) & (x < 1)) | ~(x > -1) | ((x == 0) ^ (x != 1))),
    "all and any": lambda x: x * jnp.all(x > -1, 1, keepdims=True) + jnp.any(x > 1, 1, keepdims=True),
    "finite": lambda x: jnp.where(jnp.isfinite(x), x, 0) + jnp.nan_to_num(x),
    "extrema": lambda x: x.max(1) + x.min((0, 1)) + jnp.ptp(x, 1),
    "products": lambda x: x.prod(1) + x.prod((0, 1)),
    "moments": lambda x: x.std(1) + x.var(1, ddof=1) + x.mean() + jnp.linalg.norm(x, axis=1),
    "running": lambda x: jnp.cumsum(x, 1) + lax.cumsum(x, 1, reverse=True) + jnp.cumprod(x, 0),
    "running extrema": lambda x: lax.cummax(x, 1) + lax.cummin(x, 1, reverse=True) + lax.cumlogsumexp(x, 1),
    "index": lambda x: x[:, AT] + x[:, AT] * x[AT][:, :3] + x[2, 1] + x[jnp.array([0, 1, 2]), AT],
    "take": lambda x: jnp.take(x, AT, axis=1) + jnp.take_along_axis(x, AT[:, None] % 3, 1),
    "outside": lambda x: (
        x.at[:, np.array([7, 1])].get(mode="fill", fill_value=0.5) + x.at[:, np.array([7, 1])].get(mode="clip")
    ),
    "set": lambda x: x.at[:, AT].set(2.0) + x.at[:, 1:3].add(x[:, :2]),
    "combine": lambda x: x.at[1].multiply(x[0]) + x.at[:, AT].max(0.3) + x.at[np.array([0, 2]), 1:3].min(x[:2, 1:3]),
    "drop": lambda x: x.at[:, np.array([7, 1])].set(5.0) + x.at[:, np.array([7, 1])].add(x[:, :2]),
    "segments": lambda x: jax.ops.segment_sum(x, np.array([0, 1, 0]), 3),
    "diagonal": lambda x: jnp.diagonal(x @ x.T) + jnp.trace(x @ x.T) + jnp.diag(x[0])[0, :3],
    "slices": lambda x: x[:, 1:5:2] + x[:, ::-1][:, :2] + lax.dynamic_slice(x, (0, 4), (3, 2)),
    "update": lambda x: lax.dynamic_update_slice(x, x[:2, :2] * 2, (1, 5)),
    "each its own": lambda x: jax.vmap(lambda v, i: lax.dynamic_slice(v, (i,), (3,)))(x, np.array([0, 2, 5])),
    "turns": lambda x: jnp.roll(x, 2, 1) + jnp.flip(x, 1) + jnp.rot90(x, 2) + jnp.concatenate([x[:, 3:], x[:, :3]], 1),
    "parts": lambda x: sum(jnp.split(x, 3, 1)) + jnp.stack(jnp.unstack(x, axis=1)[:2], 1),
    "repeats": lambda x: jnp.tile(x, (2, 1)) + jnp.repeat(x, 2, axis=0) + jnp.broadcast_to(x[:1], (6, 6)),
    "borders": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="reflect") + jnp.pad(x, ((0, 0), (2, 1)), mode="edge"),
    "products of three": lambda x: jnp.einsum("ij,kj,jl->lik", x, x, MATRIX) + jnp.vdot(x, x),
    "numbers": lambda x: x + jnp.arange(6.0) + jnp.tri(3, 6) + jnp.linspace(0, 1, 6) + nn.one_hot(AT, 6),
    "scan": lambda x: lax.scan(lambda c, v: (jnp.tanh(c + v), c * v), jnp.zeros(6), x, reverse=True)[1],
    "associative scan": lambda x: lax.associative_scan(jnp.multiply, x, axis=1),
    "map": lambda x: lax.map(lambda v: v.sum() * 2, x),
    "loops": lambda x: lax.fori_loop(0, 4, lambda i, c: c * 0.5 + i * x, x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, x))[1],
    "branches": lambda x: lax.cond(AT.sum() > 1, jnp.sin, jnp.cos, x) + lax.switch(1, [jnp.sin, jnp.cos], x),
    "branch in a loop": lambda x: lax.fori_loop(0, 3, lambda i, c: lax.cond(i == 1, jnp.sin, jnp.tanh, c), x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "platform": lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos),
    "gradient inside": lambda x: jax.grad(lambda v: jnp.sum(jnp.tanh(v @ MATRIX) ** 2))(x),
    "resize": lambda x: jax.image.resize(x, (7, 9), "bilinear"),
    "spectrum": lambda x: jnp.fft.rfft(x).real ** 2 + jnp.fft.rfft(x).imag ** 2 + jnp.fft.irfft(jnp.fft.rfft(x))[:, :4],
    "precision": lambda x: x + lax.reduce_precision(x, 11, 52) + lax.optimization_barrier(x),
    "softmax of two dims": lambda x: nn.softmax(x, axis=(0, 1)) + nn.log_softmax(x, axis=0),
    "softmax with a mask": lambda x: nn.softmax(jnp.where(jnp.tri(3, 6, dtype=bool), x, -jnp.inf)),
    "softmax of some": lambda x: nn.softmax(x, where=SOME) + jnp.where(SOME, nn.log_softmax(x, where=SOME), 0),
    "logsumexp of some": lambda x: nn.logsumexp(x, 1, where=SOME) + nn.logsumexp(x, 1, b=2 * jnp.ones(6)),
    "almost of some": lambda x: jnp.exp(x) / jnp.where(SOME, jnp.exp(x), 0).sum(1, keepdims=True),
    "own derivative": lambda x: doubled(x) * nn.relu(x),
    "statistics": lambda x: jnp.cov(x) + jnp.nanmean(x) + jnp.inner(x, x) + special.entr(nn.softmax(x, 1)).sum(),
    "softmax by hand": lambda x: jnp.exp(x) / jnp.exp(x).sum(1, keepdims=True) + nn.softmax(x + x[:, :1]),
    "no softmax": lambda x: jnp.exp(x - x) / jnp.exp(x).sum(0) + jnp.exp(x) / (jnp.exp(x).sum(1, keepdims=True) + 1),
    "logsumexp": lambda x: nn.logsumexp(x, axis=1, keepdims=True) - x + nn.logsumexp(x) + jnp.log(jnp.exp(x).sum(0)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    x = drawn((3, 6))
    check_values(FORMULAS[name], x)
    check_completeness(FORMULAS[name], x)


VALUES_ONLY: dict[str, Callable[[Any], Any]] = {
    "order": lambda x: (jnp.sort(x, 1), jnp.argsort(x, 1), lax.top_k(x, 2), jnp.median(x, 1)),
    "positions": lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 0)),
    "remainders": lambda x: (jnp.remainder(x, 0.7), lax.rem(x, jnp.full_like(x, 0.7)), jnp.floor_divide(x, 0.4)),
    "types": lambda x: (x.astype(jnp.bfloat16).astype(float), x.astype(int), x > 0, (x * 9).astype(jnp.int8) // 2),
    "structure": lambda x: {"a": x * 2, "b": (x, 1.0), "c": 3},
    "angles": lambda x: jnp.arctan2(x, x + 3) + jnp.abs(jnp.fft.fft(x)),
    "integers": lambda x: (jnp.arange(5) ** 2 % 3 + jnp.cumsum(jnp.arange(5)), ~(jnp.arange(3) & 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES_ONLY)
def test_what_has_values_but_no_secants(name):
    check_values(VALUES_ONLY[name], drawn((3, 6)))


# ---------------------------------------------------------------- any dims, windows and paddings


@given(st.data())
def test_dot_general(data):
    kinds = data.draw(st.lists(st.sampled_from("bkmn"), min_size=1, max_size=5))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=len(kinds), max_size=len(kinds)))
    kinds, sizes = [*kinds, "m", "n"], [*sizes, 2, 2]
    left = data.draw(st.permutations([i for i, k in enumerate(kinds) if k != "n"]))
    right = data.draw(st.permutations([i for i, k in enumerate(kinds) if k != "m"]))
    named = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in "bk"}
    numbers = tuple(
        tuple([side.index(i) for i in named[kind]] for side in (left, right)) for kind in ("k", "b")
    )
    u, v = (drawn(tuple(sizes[i] for i in side), j) for j, side in enumerate((left, right)))
    check_values(lambda a, b: lax.dot_general(a, b, numbers), u, v)
    check_completeness(lambda a, b: lax.dot_general(a, b, numbers), u, v)


@given(st.data())
def test_convolutions(data):
    n = data.draw(st.integers(1, 3))
    each = lambda low, high: [data.draw(st.integers(low, high)) for _ in range(n)]
    groups, by_batch = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]))
    window, stride, dilation, spread = each(1, 3), each(1, 2), each(1, 2), each(1, 2)
    space = [d * (k - 1) + extra for d, k, extra in zip(dilation, window, each(1, 3), strict=True)]
    padding = list(zip(each(-1 if min(space) > 2 else 0, 3), each(0, 2), strict=True))
    orders = [data.draw(st.permutations(range(n + 2))) for _ in range(3)]
    x, w = drawn((2, 4, *space)), drawn((4, 4 // groups, *window), 1)

    def f(x, w):
        x, w = (jnp.transpose(t, np.argsort(o)) for t, o in zip((x, w), orders, strict=False))
        return lax.conv_general_dilated(
            x, w, stride, padding, spread, dilation, lax.ConvDimensionNumbers(*map(tuple, orders)), groups, by_batch
        )  # fmt: skip

    if math.prod(jax.eval_shape(f, x, w).shape):
        check_values(f, x, w)
        check_completeness(f, x, w)


@given(st.data())
def test_windows(data):
    n = data.draw(st.integers(1, 3))
    each = lambda low, high: [data.draw(st.integers(low, high)) for _ in range(n)]
    window, stride, dilation, spread = each(1, 3), each(1, 2), each(1, 2), each(1, 2)
    space = [d * (k - 1) + extra for d, k, extra in zip(dilation, window, each(1, 3), strict=True)]
    padding = [(min(a, k - 1), min(b, k - 1)) for a, b, k in zip(each(0, 2), each(0, 2), window, strict=True)]
    at = data.draw(st.integers(0, n))  # where a dim without a window stands
    around = lambda values, one: (*values[:at], one, *values[at:])
    kind, start = data.draw(st.sampled_from([(lax.max, -np.inf), (lax.min, np.inf), (lax.add, 0.0)]))

    def f(x):
        return lax.reduce_window(
            x, start, kind, around(window, 1), around(stride, 1), around(padding, (0, 0)), around(spread, 1),
            around(dilation, 1),
        )  # fmt: skip

    x = drawn(around(space, 2))
    y = jax.jit(f)(x)
    if y.size:
        check_values(f, x)
        if np.isfinite(y).all():  # not so where a window sees nothing but padding
            check_completeness(f, x)


@given(st.data())
def test_pads(data):
    configuration = [
        data.draw(st.tuples(st.integers(-1, 2), st.integers(-1, 2), st.integers(0, 2))) for _ in range(2)
    ]
    value = data.draw(st.sampled_from([0.0, 1.5]))
    check_values(lambda x: lax.pad(x, value, configuration), drawn((3, 4)))
    check_completeness(lambda x: lax.pad(x, value, configuration), drawn((3, 4)))


# ---------------------------------------------------------------- compositions

ONE: list[Callable[[Any], Any]] = [
    nn.relu, nn.gelu, nn.silu, nn.softplus, nn.elu, nn.softmax, nn.log_softmax, jnp.tanh, jnp.sin, jnp.abs, nn.standardize,
    lambda x: x @ MATRIX @ MATRIX.T, lambda x: x[:, ::-1], lambda x: x - x.mean(0), lambda x: jnp.where(x > 0, x, x * x),
    lambda x: jnp.maximum(x, 0.3), lambda x: x.max(1, keepdims=True) + x, lambda x: lax.cumsum(x, 1), jnp.exp2,
    lambda x: 1 / (1 + x * x), lambda x: x / jnp.linalg.norm(x + 0.1, axis=1, keepdims=True),
]  # fmt: skip
TWO: list[Callable[[Any, Any], Any]] = [
    jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, jnp.minimum, lambda u, v: u / (1 + v * v), lambda u, v: u @ (v.T @ v),
    lambda u, v: jnp.where(u > v, u, v * 0.5), lambda u, v: nn.sigmoid(u) * v, lambda u, v: jnp.concatenate([u, v], 1)[:, 3:9],
]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(ONE), st.sampled_from(TWO), st.integers(0, 9)), min_size=1, max_size=6)
)
def test_compositions(steps):
    def f(x):
        seen = [x]
        for one, two, which in steps:
            y = one(seen[-1])
            seen.append(jnp.tanh(two(y, seen[which % len(seen)])))
        return seen[-1]

    check_values(f, drawn((3, 6)))
    check_completeness(f, drawn((3, 6)))
