"""Pullbacks of JAX functions, and what of one program the next one needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from torch import Tensor

Arrays = tuple[jax.Array, ...]
Flat = Callable[..., Arrays]  # (weights, *arrays) -> arrays


def cut_off(jaxpr: Any, numbers: Sequence[int]) -> set[int]:
    """Those of a jaxpr's outputs, by the numbers given to them, that none of its inputs reaches."""
    reached = set(map(id, jaxpr.invars))
    for eqn in jaxpr.eqns:
        if any(id(v) in reached for v in eqn.invars):
            reached.update(map(id, eqn.outvars))
    return {j for j, v in zip(numbers, jaxpr.outvars, strict=True) if id(v) not in reached}


def floats(arrays: Sequence[Any]) -> list[int]:
    """Numbers of the arrays, or tensors, that have derivatives."""
    return [
        j
        for j, a in enumerate(arrays)
        if (a.is_floating_point() if isinstance(a, Tensor) else jnp.issubdtype(a.dtype, jnp.floating))
    ]


def floating(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Callable[..., tuple[Arrays, Arrays]], Arrays]:
    """`f` from its floating inputs to its floating outputs, and all outputs; and what these inputs are."""
    at = floats(xs)

    def g(*some: jax.Array) -> tuple[Arrays, Arrays]:
        given = list(xs)
        for j, x in zip(at, some, strict=True):
            given[j] = x
        ys = f(weights, *given)
        return tuple(ys[j] for j in floats(ys)), ys

    return g, tuple(xs[j] for j in at)


def pullback(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Arrays, Callable[..., Arrays]]:
    """All outputs, and the pullback from floating outputs to floating inputs."""
    g, some = floating(f, weights, xs)
    _, pull, ys = jax.vjp(g, *some, has_aux=True)
    return ys, pull


class Link:
    """How the residuals of a forward program become the pullback again; equal to itself alone.

    Parameters
    ----------
    tree : PyTreeDef
        Of the pullback.
    places : tuple of int
        For each of its leaves the number of the weight or input that it is, or -1.
    """

    def __init__(self, tree: Any, places: tuple[int, ...]) -> None:
        self.tree, self.places = tree, places

    def pullback(self, known: Sequence[jax.Array], residuals: Sequence[jax.Array]) -> Callable[..., Arrays]:
        """The pullback, from weights and inputs, and residuals."""
        rest = iter(residuals)
        return jax.tree.unflatten(self.tree, [next(rest) if j < 0 else known[j] for j in self.places])


@jax.tree_util.register_pytree_node_class
class Residuals:
    """Arrays that a backward program needs of a forward one, with their `Link`, which the programs carry along."""

    def __init__(self, link: Link, arrays: Sequence[jax.Array]) -> None:
        self.link, self.arrays = link, arrays

    def tree_flatten(self) -> tuple[Sequence[jax.Array], Link]:
        """Arrays and link."""
        return self.arrays, self.link

    @classmethod
    def tree_unflatten(cls, link: Link, arrays: Sequence[jax.Array]) -> Residuals:
        """The reverse."""
        return cls(link, arrays)
