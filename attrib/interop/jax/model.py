"""A JAX callable as a torch module, which every method can explain."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from attrib.engine.graph import Recorder
from attrib.engine.model.checks import Ops
from attrib.engine.model.external import External, free_rows, present
from attrib.interop.jax.exchange import narrowed, view
from attrib.interop.jax.function import Bridge, Log
from attrib.interop.jax.pullback import Arrays, pullback
from attrib.interop.jax.weights import closed_over, split_weights
from attrib.interop.jaxpr import in_torch

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]


class JaxModel(External):
    """A JAX function of rows as a function of tensors; created by `attrib.from_jax`.

    Attributes
    ----------
    compilations : int
        Programs compiled so far.
    """

    def __init__(self, fn: Callable[..., Any], params: Any, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self._arguments = fn, params, channels_last
        self._weights, self._fn = split_weights(fn, params)
        arrays = {id(a): a for a in (*self._weights, *closed_over(fn))}
        self._views = [v for a in arrays.values() if (v := view(a)) is not None]
        self._log = Log()
        self._trees: dict[Hashable, Any] = {}
        self._bridge = Bridge(self._flat, self._weights, self._log)
        self._bytes: dict[Shapes, tuple[int, int]] = {}
        self._in_torch: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple:
        """Rebuild copies and pickles from function and weights; compiled programs are not copied."""
        return type(self), self._arguments

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._log.traced

    def weights(self) -> tuple[Tensor, ...]:
        """Views of the weights that torch can hold."""
        return tuple(self._views)

    def programs(self) -> Counter[Hashable]:
        """Calls of each program so far."""
        return self._log.uses

    @property
    def function(self) -> Callable[..., Any]:
        """The JAX function of its inputs alone."""
        fn, params, _ = self._arguments
        return fn if params is None else partial(fn, params)

    def forward(self, *xs: Tensor, **named: Tensor) -> Any:
        """The output of the JAX function, with tensors for its arrays."""
        xs = self._by_position(xs, named) if named else xs
        _refuse(xs)
        if not self.channels_last:
            return self._run(xs)
        ys = self._run(tuple(x.movedim(1, -1) if x.ndim > 2 else x for x in xs))
        return jax.tree.map(lambda y: y.movedim(-1, 1) if y.ndim > 2 else y, ys)

    def _by_position(self, xs: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Inputs and values by name, in the order of the function's parameters."""
        arguments = inspect.signature(self.function).bind(*xs, **named)
        if arguments.kwargs:
            raise TypeError(
                f"the JAX function takes {', '.join(arguments.kwargs)} by name alone; wrap it so that they go by position"
            )
        return arguments.args

    def _run(self, xs: Sequence[Tensor]) -> Any:
        """Run the function on inputs in its own layout; while recording, run its translation to torch."""
        recorder = present(Recorder)
        if recorder is not None:
            recorder.translated = True
            inputs = [narrowed(x, f"x[{j}]") for j, x in enumerate(xs)]
            return self._tree(self._translation()(*inputs), xs)
        rows = _padded(xs)
        watch = present(Ops)
        ys = self._bridge(*rows)
        if watch is not None:
            self._measure(watch, rows)
        if len(rows[0]) > len(xs[0]):
            ys = tuple(y[: len(xs[0])] if y.ndim and len(y) == len(rows[0]) else y for y in ys)
        return self._tree(ys, rows)

    def classes(self, xs: Sequence[jax.Array]) -> int:
        """Number of outputs of a row of these inputs."""
        ys = jax.eval_shape(self._flat, self._weights, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs))
        return int(np.prod(ys[0].shape[1:]))

    def _flat(self, weights: list[jax.Array], *xs: jax.Array) -> Arrays:
        """The function with a tuple of arrays as output; tracing it stores the structure of the output."""
        leaves, tree = jax.tree.flatten(self._fn(weights, *xs))
        self._trees[tuple(x.shape for x in xs)] = tree
        return tuple(map(jax.numpy.asarray, leaves))

    def _tree(self, ys: Sequence[Tensor], rows: Sequence[Tensor]) -> Any:
        return jax.tree.unflatten(self._trees[tuple(tuple(r.shape) for r in rows)], ys)

    def _translation(self) -> Callable[..., Any]:
        """The function in torch's ops."""
        if self._in_torch is None:
            self._in_torch = in_torch(lambda *arrays: self._flat(self._weights, *arrays))
        return self._in_torch

    def _measure(self, watch: Ops, rows: Sequence[Tensor]) -> None:
        """Measure the memory of a chunk, into which torch does not see."""
        shapes = tuple((x.shape, x.dtype) for x in rows)
        if shapes not in self._bytes:
            self._bytes[shapes] = self._measured(rows)
        watch.add(*self._bytes[shapes])

    def _measured(self, rows: Sequence[Tensor]) -> tuple[int, int]:
        """Bytes of outputs and residuals without weights, and bytes of the largest of them."""

        def f(weights: list[jax.Array], *xs: jax.Array) -> Any:
            return pullback(self._flat, weights, xs)

        leaves = jax.tree.leaves(jax.eval_shape(f, self._weights, *map(_like, rows)))
        weights = Counter((a.shape, a.dtype) for a in self._weights)
        arrays = Counter((a.shape, a.dtype) for a in leaves) - weights
        sizes = [int(np.prod(s)) * d.itemsize for s, d in arrays.elements() if len(rows[0]) in s]
        return sum(sizes), max(sizes, default=0)


def _refuse(xs: Sequence[Any]) -> None:
    for j, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"input {j} of a model from `from_jax` is a {type(x).__name__}, expected a torch.Tensor; "
                "the methods of attrib take JAX arrays"
            )


def _padded(xs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Rows up to the size that the run prefers; the last row is repeated, and its outputs are dropped."""
    n = len(xs[0]) if xs and xs[0].ndim else 0
    more = free_rows(n) - n
    if not more or n == 0 or any(x.ndim == 0 or len(x) != n for x in xs):
        return xs
    return tuple(torch.cat([x, x[-1:].expand(more, *x.shape[1:])]) for x in xs)


def _like(x: Tensor) -> jax.ShapeDtypeStruct:
    dtype = np.dtype(str(x.dtype).removeprefix("torch."))
    return jax.ShapeDtypeStruct(tuple(x.shape), jax.dtypes.canonicalize_dtype(dtype))
