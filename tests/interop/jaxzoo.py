"""Small JAX models of many architectures, and the same models in torch with the same weights.

`JAXZOO[name](dtype)` gives a `Pair`; build it under `torch.manual_seed` and, for float64, `enable_x64`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import Expression, warm

jax = pytest.importorskip("jax")
from jax import lax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

holder = jax if hasattr(jax, "enable_x64") else pytest.importorskip("jax.experimental")
enable_x64 = holder.enable_x64

Weights = dict[str, Any]  # of jax.Array


class Pair(NamedTuple):
    """A JAX function, the same in torch, and the shape of a sample of each input."""

    fn: Callable[..., jax.Array]
    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    deep: bool

    def inputs(self, n: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        return tuple(torch.randn(n, *shape, dtype=torch.float64).to(dtype) for shape in self.shapes)


JAXZOO: dict[str, Callable[[torch.dtype], Pair]] = {}


def pair(*shapes: tuple[int, ...], deep: bool = False) -> Callable:
    """Register a function that builds a torch model and a JAX function ``f(weights, *x)``."""

    def register(build: Callable[[], tuple[nn.Module, Callable]]) -> Callable:
        def made(dtype: torch.dtype) -> Pair:
            model, f = build()
            model = warm(model).to(dtype)
            w = {k: jnp.asarray(v.detach().numpy()) for k, v in model.state_dict().items()}
            return Pair(lambda *x: f(w, *x), model, shapes, deep)

        JAXZOO[build.__name__] = made
        return build

    return register


# ---------------------------------------------------------------- parts, as one writes them in JAX


def linear(w: Weights, name: str, x: jax.Array) -> jax.Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def conv(w: Weights, name: str, x: jax.Array, padding: Any = "VALID", **options: Any) -> jax.Array:
    """Channels last, as flax has them; the weights come from torch."""
    kernel = w[f"{name}.weight"]
    space = "DHW"[5 - kernel.ndim :]
    numbers = (f"N{space}C", f"OI{space}", f"N{space}C")
    strides = options.pop("strides", (1,) * len(space))
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, **options)
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def last(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x, 1, -1)


def max_pool(x: jax.Array, size: int, stride: int, padding: Any = "VALID") -> jax.Array:
    n = x.ndim - 2
    window = (1, *[size] * n, 1), (1, *[stride] * n, 1)
    padding = padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, *window, padding)


def avg_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    n = x.ndim - 2
    window = (1, *[size] * n, 1), (1, *[stride] * n, 1)
    return lax.reduce_window(x, 0.0, lax.add, *window, "VALID") / size**n


def layer_norm(w: Weights, name: str, x: jax.Array, eps: float = 1e-5) -> jax.Array:
    return _standardized(x, (-1,), eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _standardized(x: jax.Array, axis: tuple[int, ...], eps: float) -> jax.Array:
    centred = x - x.mean(axis, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis, keepdims=True) + eps)


def group_norm(w: Weights, name: str, x: jax.Array, groups: int, eps: float = 1e-5) -> jax.Array:
    y = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    y = _standardized(y, (1, 3), eps).reshape(x.shape)
    return y * w[f"{name}.weight"] + w[f"{name}.bias"]


def batch_norm(w: Weights, name: str, x: jax.Array, eps: float = 1e-5) -> jax.Array:
    scale = lax.rsqrt(w[f"{name}.running_var"] + eps) * w[f"{name}.weight"]
    return (x - w[f"{name}.running_mean"]) * scale + w[f"{name}.bias"]


def attention(w: Weights, name: str, x: jax.Array, heads: int, mask: Any = None) -> jax.Array:
    """The multi-head attention of torch, written out."""
    qkv = x @ w[f"{name}.in_proj_weight"].T + w[f"{name}.in_proj_bias"]
    q, k, v = (t.reshape(*t.shape[:2], heads, -1) for t in jnp.split(qkv, 3, axis=-1))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
    y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), v)
    return linear(w, f"{name}.out_proj", y.reshape(x.shape))


def encoder_layer(w: Weights, x: jax.Array, heads: int, mask: Any = None) -> jax.Array:
    x = x + attention(w, "self_attn", layer_norm(w, "norm1", x), heads, mask)
    h = jax.nn.gelu(linear(w, "linear1", layer_norm(w, "norm2", x)), approximate=False)
    return x + linear(w, "linear2", h)


# ---------------------------------------------------------------- fully connected


@pair((6,))
def mlp_relu():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    @jax.jit
    def f(w, x):
        return linear(w, "4", jax.nn.relu(linear(w, "2", jnp.maximum(linear(w, "0", x), 0))))

    return net, f


@pair((6,))
def activations():
    kinds = {
        nn.GELU(): lambda h: jax.nn.gelu(h, approximate=False),
        nn.GELU(approximate="tanh"): jax.nn.gelu,
        nn.SiLU(): jax.nn.silu,
        nn.ELU(): jax.nn.elu,
        nn.Softplus(): jax.nn.softplus,
        nn.Hardswish(): jax.nn.hard_swish,
        nn.LeakyReLU(): jax.nn.leaky_relu,
        nn.Mish(): jax.nn.mish,
        nn.CELU(): jax.nn.celu,
        nn.SELU(): jax.nn.selu,
        nn.ReLU6(): jax.nn.relu6,
        nn.Hardtanh(): jax.nn.hard_tanh,
        nn.LogSigmoid(): jax.nn.log_sigmoid,
        nn.Sigmoid(): jax.nn.sigmoid,
        nn.Tanh(): jnp.tanh,
        nn.GLU(): jax.nn.glu,
    }

    def f(w, x):
        h = linear(w, "a", x)
        return linear(w, "head", jnp.concatenate([k(h) for k in kinds.values()], 1))

    def formula(m, x):
        return m.head(torch.cat([k(m.a(x)) for k in m.kinds], 1))

    parts = {"a": nn.Linear(6, 4), "head": nn.Linear(62, 3), "kinds": nn.ModuleList(kinds)}
    return Expression(formula, **parts), f


@pair((5,))
def softmax_output():
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4), nn.Softmax(-1))
    return net, lambda w, x: jax.nn.softmax(linear(w, "2", jnp.tanh(linear(w, "0", x))))


@pair((5,))
def softmax_by_hand():
    def f(w, x):
        z = linear(w, "0", x)
        e = jnp.exp(z - lax.stop_gradient(z.max(-1, keepdims=True)))
        return linear(w, "2", e / e.sum(-1, keepdims=True))

    return nn.Sequential(nn.Linear(5, 4), nn.Softmax(-1), nn.Linear(4, 3)), f


@pair((5,))
def log_softmax_of_large_logits():
    def f(w, x):
        return jax.nn.log_softmax(1000 * linear(w, "a", x))

    return Expression(lambda m, x: F.log_softmax(1000 * m.a(x), -1), a=nn.Linear(5, 4)), f


@pair((5,))
def log_partition():
    def f(w, x):
        return jax.nn.logsumexp(20 * linear(w, "a", x), axis=1) - jnp.log(jnp.exp(linear(w, "a", x)).sum(1))

    def formula(m, x):
        return torch.logsumexp(20 * m.a(x), 1) - torch.logsumexp(m.a(x), 1)

    return Expression(formula, a=nn.Linear(5, 4)), f


@pair((4, 6))
def contractions():
    def f(w, x):
        a, b = linear(w, "a", x), jnp.tanh(linear(w, "b", x))
        gram = jnp.einsum("nik,njk->nij", a, b) + a @ b.transpose(0, 2, 1)
        cross = jnp.cumsum(gram @ b, axis=1)
        return linear(w, "c", cross.mean(1)) + jnp.einsum("ni,ni->n", a[:, 0], b[:, 1])[:, None]

    def formula(m, x):
        a, b = m.a(x), torch.tanh(m.b(x))
        gram = torch.einsum("nik,njk->nij", a, b) + a @ b.transpose(1, 2)
        return m.c((gram @ b).cumsum(1).mean(1)) + (a[:, 0] * b[:, 1]).sum(1, keepdim=True)

    return Expression(formula, a=nn.Linear(6, 5), b=nn.Linear(6, 5), c=nn.Linear(5, 3)), f


# ---------------------------------------------------------------- images and sequences


@pair((3, 12, 10))
def cnn():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip

    def f(w, x):
        y = max_pool(jax.nn.relu(conv(w, "0", last(x), "SAME")), 2, 2)
        y = jax.nn.relu(batch_norm(w, "4", conv(w, "3", y, ((1, 1), (1, 1)), strides=(2, 2))))
        y = avg_pool(y, 2, 1)
        return linear(w, "8", jnp.moveaxis(y, -1, 1).reshape(len(x), -1))

    return net, f


@pair((2, 23))
def pools_1d():
    net = nn.Sequential(
        nn.Conv1d(2, 4, 5, dilation=2), nn.ELU(), nn.MaxPool1d(4, 2, padding=1), nn.AvgPool1d(3, 1),
        nn.Flatten(), nn.Linear(20, 3),
    )  # fmt: skip

    def f(w, x):
        y = jax.nn.elu(conv(w, "0", last(x), rhs_dilation=(2,)))
        y = avg_pool(max_pool(y, 4, 2, ((1, 1),)), 3, 1)
        return linear(w, "5", jnp.moveaxis(y, -1, 1).reshape(len(x), -1))

    return net, f


@pair((1, 7, 8, 7))
def pools_3d():
    net = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2, 2), nn.Conv3d(4, 4, 2, groups=2), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip

    def f(w, x):
        y = max_pool(jax.nn.relu(conv(w, "0", last(x))), 2, 2)
        y = conv(w, "3", y, feature_group_count=2)
        return linear(w, "5", jnp.moveaxis(y, -1, 1).reshape(len(x), -1))

    return net, f


@pair((3, 7, 9))
def padded_unevenly():
    """`SAME` with a stride pads one side more: torch writes it as a pad of its own."""
    parts = {"a": nn.Conv2d(3, 4, 4, 2), "b": nn.Conv2d(4, 4, 3, dilation=2), "head": nn.Linear(4, 2)}

    def f(w, x):
        y = max_pool(jax.nn.relu(conv(w, "a", last(x), "SAME", strides=(2, 2))), 2, 2, "SAME")
        y = conv(w, "b", y, ((1, 3), (4, 0)), rhs_dilation=(2, 2))
        return linear(w, "head", y.mean((1, 2)))

    def formula(m, x):
        y = F.relu(m.a(F.pad(x, (1, 2, 1, 2))))
        y = F.max_pool2d(F.pad(y, (0, 1, 0, 0), value=float("-inf")), 2, 2)
        return m.head(m.b(F.pad(y, (4, 0, 1, 3))).mean((2, 3)))

    return Expression(formula, **parts), f


@pair((2, 6, 6))
def transposed():
    def f(w, x):
        kernel = jnp.flip(w["up.weight"], (2, 3)).transpose(1, 0, 2, 3)
        y = lax.conv_general_dilated(x, kernel, (1, 1), ((1, 2), (1, 2)), lhs_dilation=(2, 2))
        y = jax.nn.relu(y + w["up.bias"][:, None, None])
        return linear(w, "head", y.max((2, 3)))

    parts = {"up": nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), "head": nn.Linear(4, 3)}
    return Expression(lambda m, x: m.head(F.relu(m.up(x)).amax((2, 3))), **parts), f


@pair((3, 8, 8))
def residual():
    parts = {f"c{i}": nn.Conv2d(3, 3, 3, padding=1) for i in range(2)}
    parts |= {f"n{i}": nn.BatchNorm2d(3) for i in range(2)} | {"head": nn.Linear(3, 4)}

    def f(w, x):
        y = last(x)
        for i in range(2):
            y = jax.nn.relu(y + batch_norm(w, f"n{i}", conv(w, f"c{i}", y, "SAME")))
        return linear(w, "head", y.mean((1, 2)))

    def formula(m, x):
        for i in range(2):
            x = F.relu(x + getattr(m, f"n{i}")(getattr(m, f"c{i}")(x)))
        return m.head(x.mean((2, 3)))

    return Expression(formula, **parts), f


@pair((4, 6, 6), deep=True)
def norms():
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3), nn.GroupNorm(3, 6), nn.SiLU(), nn.Flatten(), nn.Linear(96, 8), nn.LayerNorm(8), nn.Tanh(),
        nn.Linear(8, 8), nn.RMSNorm(8, eps=1e-6), nn.Linear(8, 3),
    )  # fmt: skip

    def f(w, x):
        y = jax.nn.silu(group_norm(w, "1", conv(w, "0", last(x)), 3))
        y = linear(w, "4", jnp.moveaxis(y, -1, 1).reshape(len(x), -1))
        y = linear(w, "7", jnp.tanh(layer_norm(w, "5", y)))
        y = y * lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-6) * w["8.weight"]
        return linear(w, "9", y)

    return net, f


@pair((4, 8, 8))
def squeeze_excitation():
    parts = {
        "conv": nn.Conv2d(4, 8, 3),
        "down": nn.Linear(8, 2),
        "up": nn.Linear(2, 8),
        "head": nn.Linear(8, 3),
    }

    def f(w, x):
        y = jax.nn.swish(conv(w, "conv", last(x)))
        gate = jax.nn.sigmoid(linear(w, "up", jax.nn.relu(linear(w, "down", y.mean((1, 2))))))
        return linear(w, "head", (y * gate[:, None, None]).mean((1, 2)))

    def formula(m, x):
        y = F.silu(m.conv(x))
        gate = m.up(F.relu(m.down(y.mean((2, 3))))).sigmoid()
        return m.head((y * gate[..., None, None]).mean((2, 3)))

    return Expression(formula, **parts), f


@pair((4, 30))
def sequence_tower():
    """Dilated residual convolutions and a profile, as BPNet has."""

    def f(w, x):
        y = jax.nn.relu(conv(w, "stem", last(x), "SAME"))
        for i in (1, 2, 3):
            y = y + jax.nn.relu(conv(w, f"tower.{i - 1}", y, "SAME", rhs_dilation=(2**i,)))
        profile = 10 * conv(w, "profile", y, "SAME")[..., 0]
        score = (jax.nn.log_softmax(profile) * jax.nn.softmax(profile)).sum(1)
        return score + linear(w, "counts", y.mean(1))[:, 0]

    def formula(m, x):
        x = F.relu(m.stem(x))
        for layer in m.tower:
            x = x + F.relu(layer(x))
        profile = 10 * m.profile(x).squeeze(1)
        return (F.log_softmax(profile, 1) * F.softmax(profile, 1)).sum(1) + m.counts(x.mean(2)).squeeze(1)

    tower = nn.ModuleList(nn.Conv1d(6, 6, 3, padding=2**i, dilation=2**i) for i in (1, 2, 3))
    parts = {"stem": nn.Conv1d(4, 6, 7, padding=3), "tower": tower, "counts": nn.Linear(6, 1)}
    return Expression(formula, **parts, profile=nn.Conv1d(6, 1, 5, padding=2)), f


# ---------------------------------------------------------------- attention and recurrence


@pair((5, 8))
def multihead_attention():
    parts = {"att": nn.MultiheadAttention(8, 2, batch_first=True), "head": nn.Linear(8, 3)}

    def f(w, x):
        return linear(w, "head", attention(w, "att", x, 2).mean(1))

    return Expression(lambda m, x: m.head(m.att(x, x, x)[0].mean(1)), **parts), f


@pair((5, 8), deep=True)
def transformer_block():
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
    nn.init.normal_(layer.linear1.bias)

    def f(w, x):
        block = {k.removeprefix("block."): v for k, v in w.items()}
        y = jax.checkpoint(lambda v: encoder_layer(block, v, 2, jnp.tri(5, dtype=bool)))(x)
        return linear(w, "head", y.reshape(len(x), -1))

    def formula(m, x):
        return m.head(m.block(x, src_mask=~torch.ones(5, 5, dtype=torch.bool).tril()).flatten(1))

    return Expression(formula, block=layer, head=nn.Linear(40, 3)), f


@pair((6, 4), deep=True)
def lstm_by_scan():
    def f(w, x):
        def cell(state, v):
            h, c = state
            z = (
                v @ w["rnn.weight_ih_l0"].T
                + w["rnn.bias_ih_l0"]
                + h @ w["rnn.weight_hh_l0"].T
                + w["rnn.bias_hh_l0"]
            )
            i, o, g, q = (
                jax.nn.sigmoid(z[:, :5]),
                jax.nn.sigmoid(z[:, 15:]),
                jnp.tanh(z[:, 10:15]),
                z[:, 5:10],
            )
            c = jax.nn.sigmoid(q) * c + i * g
            h = o * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((len(x), 5), x.dtype)
        _, hs = lax.scan(cell, (zeros, zeros), x.swapaxes(0, 1))
        return linear(w, "head", hs[-1])

    parts = {"rnn": nn.LSTM(4, 5, batch_first=True), "head": nn.Linear(5, 3)}
    return Expression(lambda m, x: m.head(m.rnn(x)[0][:, -1]), **parts), f


@pair((5, 4), deep=True)
def gru_by_loop():
    def f(w, x):
        def step(t, h):
            a = x[:, t] @ w["rnn.weight_ih_l0"].T + w["rnn.bias_ih_l0"]
            b = h @ w["rnn.weight_hh_l0"].T + w["rnn.bias_hh_l0"]
            r, z = (jax.nn.sigmoid(a[:, s] + b[:, s]) for s in (slice(0, 3), slice(3, 6)))
            n = jnp.tanh(a[:, 6:] + r * b[:, 6:])
            return (1 - z) * n + z * h

        h = lax.fori_loop(0, 5, step, jnp.zeros((len(x), 3), x.dtype))
        return linear(w, "head", h)

    parts = {"rnn": nn.GRU(4, 3, batch_first=True), "head": nn.Linear(3, 2)}
    return Expression(lambda m, x: m.head(m.rnn(x)[1][0]), **parts), f


# ---------------------------------------------------------------- several inputs


@pair((1, 8, 8), (6, 4))
def two_branches():
    image = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))
    parts = {"image": image, "table": nn.Linear(4, 5), "head": nn.Linear(15, 3)}

    def f(w, image, table):
        y = max_pool(jax.nn.relu(conv(w, "image.0", last(image))), 2, 2)
        a = linear(w, "image.4", jnp.moveaxis(y, -1, 1).reshape(len(image), -1))
        b = jax.nn.silu(linear(w, "table", table)).mean(1)
        return linear(w, "head", jnp.concatenate([a * b, a, b], 1))

    def formula(m, image, table):
        a, b = m.image(image), F.silu(m.table(table)).mean(1)
        return m.head(torch.cat([a * b, a, b], 1))

    return Expression(formula, **parts), f


@pair((8, 6))
def rearrangements():
    order = [5, 2, 0, 3, 1, 4]

    def f(w, x):
        at = jnp.array(order)
        a, b = jnp.split(linear(w, "a", x), [2], axis=1)
        y = jnp.concatenate([b[:, ::2], a[:, ::-1], b[..., at]], 1)[:, 3:]
        y = jnp.zeros_like(y).at[:, :, at].set(jax.nn.relu(y)) + jnp.take(y, at, axis=2)
        y = y.at[:, jnp.array([0, 0, 3])].add(y[:, :3]) + jnp.tile(
            jnp.stack([y[:, 0], y[:, 1]], 1), (1, 4, 1)
        )
        picked = jnp.take_along_axis(y, jnp.broadcast_to(jnp.arange(6) % 8, (len(x), 2, 6)), axis=1)
        return linear(w, "b", jnp.roll(picked, 2, -1).reshape(len(x), -1))

    def formula(m, x):
        at = torch.tensor(order)
        a, b = torch.split(m.a(x), [2, 6], dim=1)
        y = torch.cat([b[:, ::2], a.flip(1), b[..., at]], 1)[:, 3:]
        y = torch.zeros_like(y).scatter(2, at.expand(y.shape), y.relu()) + y.index_select(2, at)
        y = y.index_add(1, torch.tensor([0, 0, 3]), y[:, :3]) + torch.stack([y[:, 0], y[:, 1]], 1).repeat(
            1, 4, 1
        )
        return m.b(y.gather(1, torch.arange(6).expand(len(x), 2, 6) % 8).roll(2, -1).flatten(1))

    return Expression(formula, a=nn.Linear(6, 6), b=nn.Linear(12, 2)), f
