"""The arrays that a JAX callable holds, separated from its computation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def split_weights(fn: Callable[..., Any], params: Any) -> tuple[list[jax.Array], Callable[..., Any]]:
    """The weights of a function, and the function as one of (weights, *xs).

    Weights are the arrays among the leaves of `params`, and of `fn` itself if it is a pytree (an equinox module, a
    `jax.tree_util.Partial`). Other leaves (functions, numbers, flags) stay in the function.

    Raises
    ------
    TypeError
        For tracers.
    ValueError
        For arrays that were deleted, or that are on several devices.
    """
    leaves, tree = jax.tree.flatten((fn, params))
    at = [j for j, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]
    weights = [_weight(leaves[j]) for j in at]
    others = [None if j in set(at) else leaf for j, leaf in enumerate(leaves)]

    def f(weights: list[jax.Array], *xs: jax.Array) -> Any:
        filled = list(others)
        for j, w in zip(at, weights, strict=True):
            filled[j] = w
        call, filled_params = jax.tree.unflatten(tree, filled)
        return call(*xs) if params is None else call(filled_params, *xs)

    return weights, f


def _weight(a: jax.Array | np.ndarray) -> jax.Array:
    if isinstance(a, jax.core.Tracer):
        raise TypeError(
            "`params` are traced (inside jax.jit, jax.grad or jax.vmap), so they have no values; call from_jax outside"
        )
    if isinstance(a, np.ndarray):
        return jax.numpy.asarray(a)
    if a.is_deleted():
        raise ValueError(
            "`params` hold an array that was deleted, or donated to another call; pass a copy of it"
        )
    if len(a.devices()) > 1:
        raise ValueError(
            f"`params` hold an array on {len(a.devices())} devices, expected one; gather it: jax.device_put(params, device)"
        )
    return a


def closed_over(fn: Callable[..., Any]) -> list[jax.Array]:
    """The arrays that a function, or a function that it refers to, closes over or reads as globals."""
    arrays: dict[int, jax.Array] = {}
    seen: set[int] = set()
    queue: list[Any] = [fn]
    while queue and len(seen) < 1000:
        value = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        leaves = _leaves(value)
        concrete = (v for v in leaves if isinstance(v, jax.Array) and not isinstance(v, jax.core.Tracer))
        arrays.update((id(a), a) for a in concrete)
        queue.extend(part for leaf in leaves for part in _referred(leaf))
    return list(arrays.values())


def _leaves(value: Any) -> list[Any]:
    try:
        return jax.tree.leaves(value)
    except ValueError:  # a dict whose keys cannot be sorted is no pytree, but a function may refer to it
        return list(value.values()) if isinstance(value, dict) else []


def _referred(value: Any) -> list[Any]:
    """The values to which a function, method or partial refers."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if hasattr(value, "__wrapped__"):  # by jax.jit, jax.vmap
        return [inspect.unwrap(value)]
    if inspect.ismethod(value):
        return [value.__self__]
    if not inspect.isfunction(value) or (value.__module__ or "").partition(".")[0] in ("jax", "numpy"):
        return []
    try:
        names = inspect.getclosurevars(value)
    except ValueError:
        return []
    return [v for v in (*names.nonlocals.values(), *names.globals.values()) if not inspect.ismodule(v)]
