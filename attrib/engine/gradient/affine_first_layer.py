"""A straight line in the input stays straight through an affine first layer, so the layer can be taken out of the path.

Between baseline and input the rows are ``x0 + alpha (x - x0)``. If all that the model does with its input is to view it
and hand it to one affine op A, then ``A(row) = A(x0) + alpha (A(x) - A(x0))``: A runs twice per sample instead of once
per step, and its transpose once, on the sum of the gradients behind it.

That the input goes nowhere else is verified, not assumed: the model is called with a `Line`, a tensor without data that
can be viewed and can enter one affine op, and that raises on any other use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch.func import vjp, vmap

from attrib.engine.gradient.passes import Passes, Points
from attrib.engine.gradient.pullback import Rows
from attrib.engine.graph.modes import transformed, untracked
from attrib.engine.inputs import of_samples
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import Model

_QUESTIONS = {
    Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.is_floating_point, Tensor.__len__,
    torch.is_floating_point, torch.numel,
    *(getattr(Tensor, name).__get__ for name in ("shape", "ndim", "device", "dtype", "is_cuda", "layout")),
}  # fmt: skip
_VIEWS = {
    Tensor.view, Tensor.reshape, Tensor.flatten, Tensor.unflatten, Tensor.squeeze, Tensor.unsqueeze, Tensor.permute,
    Tensor.transpose, Tensor.movedim, Tensor.contiguous, Tensor.swapaxes, torch.reshape, torch.flatten, torch.squeeze,
    torch.unsqueeze, torch.permute, torch.transpose, torch.movedim,
}  # fmt: skip
_PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
# A convolution is left where it is: its output is larger than its input, so that walking behind it took up to twice the
# memory and saved 9% of the time at best (benchmarks/).
_AFFINE = {F.linear} | _PRODUCTS


class NotStraightError(Exception):
    """The input takes another way than through one affine op."""


class _Landed(Exception):
    """The affine op's output, thrown to the one who asked for it: the rest of the model need not run."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class Line(Tensor):
    """The input as the model sees it: shape and dtype to ask for, no values to compute with."""

    held: Tensor
    landing: Callable[[Tensor], Tensor]
    device_: torch.device

    @staticmethod
    def over(held: Tensor, landing: Callable[[Tensor], Tensor], device: torch.device) -> Line:
        """A line that views `held`, and that gives `landing(affine op's result on held)` where it enters the op."""
        line = Tensor._make_subclass(Line, torch.empty(held.shape, dtype=held.dtype, device="meta"))
        line.held, line.landing, line.device_ = held, landing, device
        return line

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        line, rest = (args or (None,))[0], (*args[1:], *kwargs.values())
        if not isinstance(line, Line) or any(isinstance(v, Line) for v in rest):
            raise NotStraightError(f"the input enters {func}")
        with DisableTorchFunctionSubclass():
            return line._meets(func, args[1:], kwargs)

    def _meets(self, func: Callable, args: tuple, kwargs: dict) -> Any:
        if func in _QUESTIONS:
            answer = func(self.held, *args, **kwargs)
            return self.device_ if isinstance(answer, torch.device) else answer
        if func in _VIEWS:
            return Line.over(func(self.held, *args, **kwargs), self.landing, self.device_)
        if func is F.dropout and not kwargs.get("training", args[1] if len(args) > 1 else True):
            return self
        if func in _AFFINE and (func not in _PRODUCTS or args[0].ndim <= 2):
            return self.landing(_on(self.held, func, args, kwargs))
        raise NotStraightError(f"the input enters {func}")


def _on(held: Tensor, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The affine op on what the line holds: real values, or a shape on the meta device."""
    if not held.is_meta:
        return func(held, *args, **kwargs)
    matrix = args[0] if args else kwargs.get("weight")
    if (
        isinstance(matrix, Tensor) and matrix.ndim == held.ndim == 2
    ):  # torch's own way to a shape takes milliseconds
        return held.new_empty(len(held), matrix.shape[0 if func is F.linear else 1])
    return func(held, *map(_on_meta, args), **{k: _on_meta(v) for k, v in kwargs.items()})


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def first_layer(model: Model, x: Tensor) -> Tensor:
    """The output of the affine op that alone takes the input `x`; differentiable in `x`.

    Raises
    ------
    NotStraightError
        If the model does anything else with its input before that op.
    """

    def land(value: Tensor) -> Tensor:
        raise _Landed(value)

    try:
        model(Line.over(x, land, x.device))
    except _Landed as landed:
        return landed.value
    raise NotStraightError("the input enters no affine op")


def behind_first_layer(model: Model, shape: torch.Size) -> Callable[[Tensor], Any]:
    """The rest of the model, as a function of the affine op's output; `shape` is that of one sample of the input."""

    def rest(h: Tensor) -> Any:
        landed: list[bool] = []

        def land(value: Tensor) -> Tensor:
            if landed or value.shape != h.shape:
                raise NotStraightError("the input enters a second op")
            landed.append(True)
            return h

        held = torch.empty(len(h), *shape, dtype=h.dtype, device="meta")
        return model(Line.over(held, land, h.device))

    return rest


def goes_straight(model: Model, x: Tensor, baseline: Tensor, most: int = 4) -> bool:
    """Whether the model is an affine op on its input alone, followed by the rest.

    Checked on at most two samples `x` and their baseline, `most` rows at a time: by the `Line`, which refuses other
    uses, and by comparing the rest of the model on ``A(x)`` with the model on ``x``, halfway to the baseline too.
    """
    few = torch.cat([x[:2], (x[:2] + baseline[:2]) / 2])
    rest = behind_first_layer(model, few.shape[1:])
    try:
        with torch.no_grad():
            for rows in (*few.split(most), few[:1]):
                h, pull = vjp(partial(first_layer, model), rows)[:2]
                y, again = one_tensor(model(rows), len(rows)), one_tensor(rest(h), len(rows))
                if len(h) != len(rows) or pull(h)[0].shape != rows.shape or not _equal(again, y):
                    return False
    except Exception:  # whatever a model does with a tensor that has no values: it is then not taken apart
        return False
    return True


def _equal(a: Tensor, b: Tensor) -> bool:
    tolerance = 100 * torch.finfo(b.dtype).eps * float(b.abs().max())
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=tolerance))


# FOLDED attrib/engine/gradient/affine_first_layer.py: """An affine first layer set apart: rows run through it here, and the passes goes on with the rest of the model."""
class FirstLayer:
    """A model's affine first layer and its transpose.

    Parameters
    ----------
    model : callable
        A model that `goes_straight`.
    x : Tensor (1, ...)
        Any sample, on the model's device.
    """

    def __init__(self, model: Model, x: Tensor) -> None:
        self._layer = partial(first_layer, model)
        with untracked():
            h, self._pull = vjp(self._layer, x)[:2]
        self.widens = h.numel() > x.numel()

    def __call__(self, rows: Tensor) -> Tensor:
        """The layer's output."""
        with untracked():
            return self._layer(rows)

    def back(self, grads: Tensor) -> Tensor:
        """Gradients (T, rows, ...) at the output, taken to the input; an affine layer does that alike for all rows."""
        with untracked():
            pulled = vmap(lambda g: self._pull(g[None])[0][0])(grads.flatten(0, 1))
        return pulled.unflatten(0, grads.shape[:2])


def set_apart(passes: Passes, xs: Rows, other: Tensor, *, same_rows: bool = False) -> FirstLayer | None:
    """The first layer, where it is provably alone; `passes` then goes on with the rest of the model.

    Parameters
    ----------
    passes : Passes
        After it has seen the inputs.
    xs : tuple of Tensor
        The inputs. Several are left as they are, and so are those of a `torch.func` transform, which has to see the layer.
    other : Tensor (1, ...) or (N, ...)
        Where else the model will be called: what is tried is tried there too.
    same_rows : bool
        Whether a chunk's rows are still made at the input, so that there can be no more of them than before. A layer
        whose output is wider than its input is then left in its place: its sums would take more memory than the result.
    """
    if len(xs) > 1 or transformed():
        return None
    model, i = passes.function.model, torch.arange(min(2, len(xs[0])))
    x = of_samples(xs[0], i, passes.device)
    if not goes_straight(model, x, of_samples(other, i, passes.device).expand_as(x), passes.batches.chunk()):
        return None
    layer = FirstLayer(model, x[:1])
    if same_rows and layer.widens:
        return None
    passes.go_on_with(behind_first_layer(model, x.shape[1:]), same_rows=same_rows)
    return layer


# FOLDED attrib/engine/gradient/affine_first_layer.py: """Straight lines from baselines to inputs, walked before or behind the model's first layer."""
class Lines:
    """The lines of a group of samples.

    Parameters
    ----------
    xs, x0s : tuple of Tensor
        Inputs (N, ...) and baselines (1, ...) or (N, ...).
    samples : range
        The group.
    device : torch.device
        Where to walk.
    layer : FirstLayer, optional
        Given if the lines shall run behind it.
    """

    def __init__(
        self, xs: Rows, x0s: Rows, samples: range, device: torch.device, layer: FirstLayer | None = None
    ) -> None:
        i = torch.arange(samples.start, samples.stop)
        self.first = samples.start
        self.ends = tuple(of_samples(t, i, device) for t in xs)
        self.starts = tuple(of_samples(b, i, device) for b in x0s)
        self.layer = layer
        if layer is not None:
            starts = self.starts[0].expand(-1, *self.ends[0].shape[1:])
            self.ends, self.starts = (layer(self.ends[0]),), (layer(starts),)
        self.difference = tuple(e - s for e, s in zip(self.ends, self.starts, strict=True))

    def points(self, nodes: Tensor) -> Points:
        """Rows at `nodes` (steps,) on each line."""

        def rows(i: Tensor, k: Tensor) -> Rows:
            alpha = nodes[k].to(self.ends[0])
            at = (i - self.first).to(alpha.device)
            found = []
            for s, d in zip(self.starts, self.difference, strict=True):
                a = alpha.view(-1, *[1] * (d.ndim - 1))
                found.append((s if len(s) == 1 else s[at]) + a * d[at])
            return tuple(found)

        return rows

    def change(self, mean: Rows) -> Tensor:
        """What average gradients (T, n, ...) account for: (T, n)."""
        return sum(
            (m * d).reshape(*m.shape[:2], -1).sum(2) for m, d in zip(mean, self.difference, strict=True)
        )  # type: ignore[return-value]

    def at_input(self, mean: Rows) -> Rows:
        """Average gradients at the input."""
        return mean if self.layer is None else (self.layer.back(mean[0]),)


def groups(passes: Passes, xs: Rows, x0s: Rows, hoist: bool) -> Iterator[tuple[range, Lines]]:
    """The samples in groups of as many as there are rows in a call, so that memory stays bounded.

    With `hoist`, and where the model's first layer can be taken out of the way, `passes` goes on with the rest of the
    model from here.
    """
    size = passes.batches.chunk(passes.share())
    layer = set_apart(passes, xs, x0s[0]) if hoist else None
    for start in range(0, len(xs[0]), size):
        group = range(start, min(len(xs[0]), start + size))
        yield group, Lines(xs, x0s, group, passes.device, layer)
