"""Pullbacks of JAX functions, and the residuals that a forward program passes to its backward program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from torch import Tensor

Arrays = tuple[jax.Array, ...]
Flat = Callable[..., Arrays]  # (weights, *arrays) -> arrays


def cut_off(jaxpr: Any, numbers: Sequence[int]) -> set[int]:
    """The `numbers` of those outputs of a jaxpr that do not depend on its inputs."""
    reached = set(map(id, jaxpr.invars))
    for eqn in jaxpr.eqns:
        if any(id(v) in reached for v in eqn.invars):
            reached.update(map(id, eqn.outvars))
    return {j for j, v in zip(numbers, jaxpr.outvars, strict=True) if id(v) not in reached}


def floats(arrays: Sequence[Any]) -> list[int]:
    """Numbers of the arrays or tensors of floats, which have derivatives."""

    def is_float(a: Any) -> bool:
        return a.is_floating_point() if isinstance(a, Tensor) else jnp.issubdtype(a.dtype, jnp.floating)

    return [j for j, a in enumerate(arrays) if is_float(a)]


def floating(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Callable[..., tuple[Arrays, Arrays]], Arrays]:
    """A function of the floating inputs of `f`, which returns its floating and all outputs; and these inputs."""
    at = floats(xs)

    def g(*floating_xs: jax.Array) -> tuple[Arrays, Arrays]:
        inputs = list(xs)
        for j, x in zip(at, floating_xs, strict=True):
            inputs[j] = x
        ys = f(weights, *inputs)
        return tuple(ys[j] for j in floats(ys)), ys

    return g, tuple(xs[j] for j in at)


def pullback(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Arrays, Callable[..., Arrays]]:
    """All outputs, and the pullback from floating outputs to floating inputs."""
    g, floating_xs = floating(f, weights, xs)
    _, pull, ys = jax.vjp(g, *floating_xs, has_aux=True)
    return ys, pull


class Link:
    """The structure by which residuals become a pullback again; equal only to itself.

    Parameters
    ----------
    tree : PyTreeDef
        The structure of the pullback.
    places : tuple of int
        For each leaf, the number of the weight or input that it is, or -1.
    """

    def __init__(self, tree: Any, places: tuple[int, ...]) -> None:
        self.tree, self.places = tree, places

    def pullback(
        self, weights_and_inputs: Sequence[jax.Array], residuals: Sequence[jax.Array]
    ) -> Callable[..., Arrays]:
        """The pullback."""
        others = iter(residuals)
        leaves = [next(others) if j < 0 else weights_and_inputs[j] for j in self.places]
        return jax.tree.unflatten(self.tree, leaves)


@jax.tree_util.register_pytree_node_class
class Residuals:
    """Arrays that a forward program passes to a backward program, with their `Link` as static data."""

    def __init__(self, link: Link, arrays: Sequence[jax.Array]) -> None:
        self.link, self.arrays = link, arrays

    def tree_flatten(self) -> tuple[Sequence[jax.Array], Link]:
        """The arrays, and the link."""
        return self.arrays, self.link

    @classmethod
    def tree_unflatten(cls, link: Link, arrays: Sequence[jax.Array]) -> Residuals:
        """Residuals from a link and arrays."""
        return cls(link, arrays)
