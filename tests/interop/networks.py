"""The networks of `attrib.testing` written again in JAX, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor, nn

from attrib.testing import Specimen

Params = dict[str, jax.Array]


def weights(module: nn.Module) -> Params:
    """Parameters and buffers by name, as JAX arrays of their own."""
    return {k: jnp.array(v.numpy()) for k, v in module.state_dict().items() if v.is_floating_point()}


def _act(name: str) -> Callable[[jax.Array], jax.Array]:
    return {"GELU": lambda x: jax.nn.gelu(x, approximate=False), "ReLU": jax.nn.relu}[name]


def _dense(p: Params, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _conv(p: Params, name: str, x: jax.Array, padding: int) -> jax.Array:
    w, pads = p[f"{name}.weight"], [(padding, padding)] * (x.ndim - 2)
    y = jax.lax.conv_general_dilated(x, w, (1,) * (x.ndim - 2), pads)
    return y + p[f"{name}.bias"].reshape(1, -1, *[1] * (x.ndim - 2))


def _mlp(act: Callable, p: Params, x: jax.Array) -> jax.Array:
    return _dense(p, "4", act(_dense(p, "2", act(_dense(p, "0", x)))))


def _cnn(act: Callable, p: Params, x: jax.Array) -> jax.Array:
    h = _conv(p, "0", x, 1)
    mean, var, gain, bias = (
        p[f"1.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias")
    )
    h = act((h - mean) / jnp.sqrt(var + 1e-5) * gain + bias)
    h = jax.lax.reduce_window(h, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
    return _dense(p, "7", act(_conv(p, "4", h, 0)).reshape(len(h), -1))


def _two_inputs(act: Callable, p: Params, a: jax.Array, b: jax.Array) -> jax.Array:
    gate = jax.nn.sigmoid(_dense(p, "right", b.reshape(len(b), -1)))
    return _dense(p, "head", act(_dense(p, "left", a)) * gate)


def _number(act: Callable, p: Params, x: jax.Array) -> jax.Array:
    return _dense(p, "2", act(_dense(p, "0", x)))[:, 0]


def _sequence(act: Callable, p: Params, x: jax.Array) -> jax.Array:
    return _conv(p, "2", act(_conv(p, "0", x, 1)), 0)


def _logits(act: Callable, p: Params, x: jax.Array) -> dict[str, jax.Array]:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    h = (x - mean) / jnp.sqrt(var + 1e-5) * p["body.0.weight"] + p["body.0.bias"]
    return {"logits": _dense(p, "body.3", act(_dense(p, "body.1", h)))}


WRITTEN: dict[str, Callable[..., Any]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "two_inputs": _two_inputs,
    "number": _number,
    "sequence": _sequence,
    "logits": _logits,
}


def in_jax(s: Specimen, smooth: bool = True) -> tuple[Callable[..., Any], Params]:
    """A specimen's network as a function of (params, *x), and its params."""
    act = _act("GELU" if smooth else "ReLU")
    return lambda p, *x: WRITTEN[s.kind](act, p, *x), weights(s.f)


def arrays(x: Tensor | tuple[Tensor, ...]) -> Any:
    """Tensors as JAX arrays of their own memory."""
    return tuple(map(arrays, x)) if isinstance(x, tuple) else jnp.array(torch.as_tensor(x).numpy())
