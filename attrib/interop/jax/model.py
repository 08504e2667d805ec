"""A JAX callable as a module that every method explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from attrib.engine.graph import Recorder
from attrib.engine.graph.modes import outside_transforms, plain
from attrib.engine.model.checks import Ops
from attrib.engine.model.external import External, free_rows, present
from attrib.interop.jax.exchange import narrowed, view
from attrib.interop.jax.function import Bridge, Kept, Log
from attrib.interop.jax.pullback import Arrays, pullback
from attrib.interop.jax.weights import closed_over, parted
from attrib.interop.jaxpr import in_torch

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]


class JaxModel(External):
    """A JAX function of rows, called with tensors; made by `attrib.from_jax`.

    Attributes
    ----------
    compilations : int
        Programs compiled so far.
    """

    def __init__(self, fn: Callable[..., Any], params: Any, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self._given = fn, params
        self._weights, self._fn = parted(fn, params)
        held = {id(a): a for a in (*self._weights, *closed_over(fn))}
        self._views = [v for a in held.values() if (v := view(a)) is not None]
        self._log = Log()
        self._trees: dict[Hashable, Any] = {}
        self._bridge = Bridge(self._flat, self._weights, self._log)
        self._bytes: dict[Shapes, tuple[int, int]] = {}
        self._in_torch: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple:
        """Copies and pickles are made anew, of function and weights; their programs are their own."""
        return type(self), (*self._given, self.channels_last)

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._log.traced

    def weights(self) -> tuple[Tensor, ...]:
        """Views of the weights that torch can hold."""
        return tuple(self._views)

    def programs(self) -> Counter[Hashable]:
        """How often each program was used so far."""
        return self._log.uses

    def forward(self, *xs: Tensor) -> Any:
        """What the JAX function returns, its arrays as tensors."""
        _refuse(xs)
        if not self.channels_last:
            return self._of(xs)
        moved = self._of(tuple(x.movedim(1, -1) if x.ndim > 2 else x for x in xs))
        return jax.tree.map(lambda y: y.movedim(-1, 1) if y.ndim > 2 else y, moved)

    def _of(self, xs: Sequence[Tensor]) -> Any:
        """The function of inputs in its own layout."""
        recorder = present(Recorder)
        if recorder is not None:
            recorder.translated = True
            same = [narrowed(x, f"x[{j}]") for j, x in enumerate(xs)]
            return self._tree(self._twin()(*same), xs)
        rows = _filled(xs)
        watch = present(Ops)
        ys = self._bridge(*rows)
        if watch is not None:
            self._tell(watch, rows, ys)
        if len(rows[0]) > len(xs[0]):
            ys = tuple(y[: len(xs[0])] if y.ndim and len(y) == len(rows[0]) else y for y in ys)
        return self._tree(ys, rows)

    def classes(self, xs: Sequence[jax.Array]) -> int:
        """How many outputs a row of these inputs has."""
        ys = jax.eval_shape(self._flat, self._weights, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs))
        return int(np.prod(ys[0].shape[1:]))

    def _flat(self, weights: list[jax.Array], *xs: jax.Array) -> Arrays:
        """The function on arrays alone; how its output is put together is noted while it is traced."""
        leaves, tree = jax.tree.flatten(self._fn(weights, *xs))
        self._trees[tuple(x.shape for x in xs)] = tree
        return tuple(map(jax.numpy.asarray, leaves))

    def _tree(self, ys: Sequence[Tensor], rows: Sequence[Tensor]) -> Any:
        return jax.tree.unflatten(self._trees[tuple(tuple(r.shape) for r in rows)], ys)

    def _twin(self) -> Callable[..., Any]:
        """The same function in torch's ops."""
        if self._in_torch is None:
            self._in_torch = in_torch(lambda *arrays: self._flat(self._weights, *arrays))
        return self._in_torch

    def _tell(self, watch: Ops, rows: Sequence[Tensor], ys: Sequence[Tensor]) -> None:
        """What a watch cannot see: whether rows mix, and what a chunk costs."""
        shapes = _shapes(rows)
        if shapes not in self._bytes:
            keeps = torch.is_grad_enabled() and any(r.requires_grad for r in rows)
            with outside_transforms():
                own = [plain(r) for r in rows]
                self._refuse_mixed(own, [plain(y) for y in ys], Kept() if keeps else None)
                self._bytes[shapes] = self._measured(own)
        watch.add(*self._bytes[shapes])

    def _measured(self, rows: Sequence[Tensor]) -> tuple[int, int]:
        """Bytes of outputs and residuals, weights left out, and of the largest of them."""

        def f(weights: list[jax.Array], *xs: jax.Array) -> Any:
            return pullback(self._flat, weights, xs)

        known = Counter((a.shape, a.dtype) for a in self._weights)
        found = Counter(
            (a.shape, a.dtype) for a in jax.tree.leaves(jax.eval_shape(f, self._weights, *map(_like, rows)))
        )
        sizes = [int(np.prod(s)) * d.itemsize for s, d in (found - known).elements() if len(rows[0]) in s]
        return sum(sizes), max(sizes, default=0)

    def _refuse_mixed(self, rows: Sequence[Tensor], ys: Sequence[Tensor], kept: Kept | None) -> None:
        """Raise if the first row's output depends on the other rows, or on its place."""
        rows = [r.expand(2, *r.shape[1:]) if len(r) == 1 else r for r in rows]
        others = [
            torch.cat([r[1:] * 1.5 + 1 if r.is_floating_point() else r[1:].flip(0), r[:1]]) for r in rows
        ]
        for j, (y, again) in enumerate(zip(ys, self._bridge.values(others, kept, noted=False), strict=True)):
            if (
                y.ndim == 0 or not y.is_floating_point() or torch.equal(y, again)
            ):  # the last: no row of anything
                continue
            scale = float(y[0].abs().max()) if y[0].numel() else 0.0
            there = again[-1] if len(again) == len(rows[0]) else again[0]  # some outputs have no rows
            off = float((y[0] - there).abs().max()) if y[0].numel() else 0.0
            if not off <= torch.finfo(y.dtype).eps ** 0.5 * max(scale, 1e-6) and bool(
                torch.isfinite(y[0]).all()
            ):
                raise ValueError(
                    f"`model` mixes samples: output {j} of the first row changes by {off:.2g} with the rows beside it, as "
                    "with batch statistics, or with its place, as with random numbers; run it as for inference "
                    "(use_running_average=True, inference=True, deterministic=True)"
                )


def _refuse(xs: Sequence[Any]) -> None:
    for j, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"input {j} of a model from `from_jax` is a {type(x).__name__}, expected a torch.Tensor; "
                "the methods of attrib take JAX arrays"
            )


def _filled(xs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Rows up to the size that the run asks for: the last one again, whatever it is a row of is dropped afterwards."""
    n = len(xs[0]) if xs and xs[0].ndim else 0
    more = free_rows(n) - n
    if not more or n == 0 or any(x.ndim == 0 or len(x) != n for x in xs):
        return xs
    return tuple(torch.cat([x, x[-1:].expand(more, *x.shape[1:])]) for x in xs)


def _shapes(xs: Sequence[Tensor]) -> Shapes:
    return tuple((x.shape, x.dtype) for x in xs)


def _like(x: Tensor) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(x.shape), np.dtype(str(x.dtype).removeprefix("torch.")))
