"""A JAX callable as a torch module, which every method can explain, and methods inside JAX programs."""

from __future__ import annotations

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from attrib.engine.graph import Recorder
from attrib.engine.model.checks import Ops, Precision
from attrib.engine.model.parameters import External, free_rows, present
from attrib.interop.jax.function import Arrays, Bridge, Log, coarsest, narrowed, pullback, view
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
        ops = present(Ops)
        ys = self._bridge(*rows)
        if ops is not None:
            self._measure(ops, rows)
        precision = present(Precision)
        if precision is not None:
            program = jax.make_jaxpr(self._flat)(self._weights, *map(_like, rows))
            precision.eps = max(precision.eps, coarsest(program.jaxpr))
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

    def _measure(self, ops: Ops, rows: Sequence[Tensor]) -> None:
        """Measure the memory of a chunk, into which torch does not see."""
        shapes = tuple((x.shape, x.dtype) for x in rows)
        if shapes not in self._bytes:
            self._bytes[shapes] = self._measured(rows)
        ops.add(*self._bytes[shapes])

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
