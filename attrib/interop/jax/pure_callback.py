"""Methods inside JAX programs: a function of JAX arrays that calls a method on the host."""

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


class HostMethod:
    """A method and a model as functions of NumPy arrays, which JAX calls on the host while a program runs.

    Parameters
    ----------
    method : callable
        A method of `attrib.functional`, or a `functools.partial` of one.
    model : JaxModel
        The model to explain.
    """

    def __init__(self, method: Callable[..., Any], model: JaxModel) -> None:
        self.method, self.model = method, model
        self.options = _options(method)

    def __call__(self, *xs: jax.Array) -> Arrays:
        """The attributions of arrays of a program, one per input."""
        like = self.like(xs)
        host = functools.partial(self._vmapped, self._attribution, tuple(x.ndim for x in xs))
        return tuple(jax.pure_callback(host, like, *xs, vmap_method="broadcast_all"))

    def derivative(self, xs: Arrays, gs: Arrays) -> Arrays:
        """Gradients at the inputs from cotangents of the attribution."""
        like = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs)
        host = functools.partial(self._vmapped, self._gradients, tuple(a.ndim for a in (*xs, *gs)))
        return tuple(jax.pure_callback(host, like, *xs, *gs, vmap_method="broadcast_all"))

    def like(self, xs: Arrays) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes of the attributions: those of the inputs, after a dim of targets if `targets` is an option."""
        targets = self.options.get("targets")
        count = () if targets is None else (self.model.classes(xs) if targets == "all" else len(targets),)
        return tuple(jax.ShapeDtypeStruct((*count, *x.shape), x.dtype) for x in xs)

    def _attribution(self, *xs: Tensor) -> tuple[Tensor, ...]:
        attributions = self.method(self.model, xs if len(xs) > 1 else xs[0])
        return attributions if isinstance(attributions, tuple) else (attributions,)

    def _gradients(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Gradients at the inputs; `tensors` are inputs, then cotangents."""
        xs, gs = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        _, pull = torch.func.vjp(self._attribution, *xs)[:2]
        with torch.no_grad():
            return pull(gs)

    @staticmethod
    def _vmapped(work: Callable, dims: tuple[int, ...], *arrays: jax.Array) -> tuple[np.ndarray, ...]:
        """Apply `work` to each example; dims in front of the arrays' `dims` come from `jax.vmap`."""
        tensors = [torch.from_numpy(np.array(a)) for a in arrays]
        lead = tensors[0].shape[: tensors[0].ndim - dims[0]]
        rows = zip(*(t.reshape(math.prod(lead), *t.shape[len(lead) :]) for t in tensors), strict=True)
        columns = zip(*(work(*row) for row in rows), strict=True)
        return tuple(torch.stack(c).reshape(*lead, *c[0].shape).numpy() for c in columns)


def as_callback(method: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """See `attrib.interop.jax.callback`."""
    host = HostMethod(method, f if isinstance(f, JaxModel) else JaxModel(f, None))

    @jax.custom_vjp
    def attribution(*xs: jax.Array) -> Any:
        attributions = host(*xs)
        return attributions if len(attributions) > 1 else attributions[0]

    def forward(*xs: jax.Array) -> tuple[Any, Arrays]:
        return attribution(*xs), xs

    def backward(xs: Arrays, gs: Any) -> Arrays:
        return host.derivative(xs, gs if len(xs) > 1 else (gs,))

    attribution.defvjp(forward, backward)
    return attribution


def _options(method: Callable[..., Any]) -> dict[str, Any]:
    """The options of a partial of a method.

    Raises
    ------
    TypeError
        If it is not a method of `attrib.functional`, or its results are not shaped like the inputs.
    """
    options: dict[str, Any] = {}
    while isinstance(method, functools.partial):
        options, method = {**method.keywords, **options}, method.func
    about = getattr(method, "about", None)
    if about is None or hasattr(method, "functional") or about.layer or about.result != "input":
        raise TypeError(
            f"`method` is {getattr(method, '__name__', type(method).__name__)}, expected one of attrib.functional with "
            "results shaped like the inputs, its options in a functools.partial: "
            "callback(partial(attrib.functional.saliency, target=0), f)"
        )
    return options
