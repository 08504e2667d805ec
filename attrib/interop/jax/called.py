"""The methods inside JAX programs: a function of JAX arrays that calls out to them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from attrib.interop.jax.model import JaxModel

Arrays = tuple[jax.Array, ...]


class Outside:
    """A method and a model as functions of NumPy arrays, for JAX to call while a program runs.

    Parameters
    ----------
    method : callable
        One of `attrib.functional`, or a `functools.partial` of one.
    model : JaxModel
    """

    def __init__(self, method: Callable[..., Any], model: JaxModel) -> None:
        self.method, self.model = method, model
        self.options = _options(method)

    def __call__(self, *xs: jax.Array) -> Arrays:
        """The attribution of arrays of a program, one per input."""
        like = self.like(xs)
        host = functools.partial(self._vmapped, self._attribution, tuple(x.ndim for x in xs))
        return tuple(jax.pure_callback(host, like, *xs, vmap_method="broadcast_all"))

    def derivative(self, xs: Arrays, gs: Arrays) -> Arrays:
        """Gradients at the inputs from cotangents of the attribution."""
        like = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs)
        host = functools.partial(self._vmapped, self._pulled, tuple(a.ndim for a in (*xs, *gs)))
        return tuple(jax.pure_callback(host, like, *xs, *gs, vmap_method="broadcast_all"))

    def like(self, xs: Arrays) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes of the attribution: those of the inputs, with a dim of targets in front if several are asked for."""
        targets = self.options.get("targets")
        count = () if targets is None else (self.model.classes(xs) if targets == "all" else len(targets),)
        return tuple(jax.ShapeDtypeStruct((*count, *x.shape), x.dtype) for x in xs)

    def _attribution(self, *xs: Tensor) -> tuple[Tensor, ...]:
        found = self.method(self.model, xs if len(xs) > 1 else xs[0])
        return found if isinstance(found, tuple) else (found,)

    def _pulled(self, *given: Tensor) -> tuple[Tensor, ...]:
        half = len(given) // 2
        _, pull = torch.func.vjp(self._attribution, *given[:half])[:2]
        with torch.no_grad():
            return pull(tuple(given[half:]))

    @staticmethod
    def _vmapped(work: Callable, dims: tuple[int, ...], *arrays: jax.Array) -> tuple[np.ndarray, ...]:
        """`work` on plain tensors; dims in front of the arrays' own come from `jax.vmap`, and are gone through."""
        tensors = [torch.from_numpy(np.array(a)) for a in arrays]
        lead = tensors[0].shape[: tensors[0].ndim - dims[0]]
        rows = zip(*(t.reshape(math.prod(lead), *t.shape[len(lead) :]) for t in tensors), strict=True)
        each = [work(*row) for row in rows]
        return tuple(
            torch.stack(found).reshape(*lead, *found[0].shape).numpy() for found in zip(*each, strict=True)
        )


def called_back(method: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """See `attrib.interop.jax.callback`."""
    outside = Outside(method, f if isinstance(f, JaxModel) else JaxModel(f, None))

    @jax.custom_vjp
    def attribution(*xs: jax.Array) -> Any:
        found = outside(*xs)
        return found if len(found) > 1 else found[0]

    def forward(*xs: jax.Array) -> tuple[Any, Arrays]:
        return attribution(*xs), xs

    def backward(xs: Arrays, gs: Any) -> Arrays:
        return outside.derivative(xs, gs if len(xs) > 1 else (gs,))

    attribution.defvjp(forward, backward)
    return attribution


def _options(method: Callable[..., Any]) -> dict[str, Any]:
    """The options of a partial of one of the pure methods.

    Raises
    ------
    TypeError
        For other functions, and for methods whose results are not shaped like the inputs.
    """
    found: dict[str, Any] = {}
    while isinstance(method, functools.partial):
        found, method = {**method.keywords, **found}, method.func
    about = getattr(method, "about", None)
    if about is None or hasattr(method, "functional") or about.layer or about.result != "input":
        raise TypeError(
            f"`method` is {getattr(method, '__name__', type(method).__name__)}, expected one of attrib.functional with "
            "results shaped like the inputs, its options in a functools.partial: "
            "callback(partial(attrib.functional.saliency, target=0), f)"
        )
    return found
