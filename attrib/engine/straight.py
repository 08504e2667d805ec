"""A straight line in the input stays straight through an affine first layer, so the layer can be taken out of the path.

Between baseline and input the rows are ``x0 + alpha (x - x0)``. If all that the model does with its input is to view it
and hand it to one affine op A, then ``A(row) = A(x0) + alpha (A(x) - A(x0))``: A runs twice per sample instead of once
per step, and its transpose once, on the sum of the gradients behind it.

That the input goes nowhere else is verified, not assumed: the model is called with a `Line`, a tensor without data that
can be viewed and can enter one affine op, and that raises on any other use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch.func import vjp

from attrib.engine.contents import Model
from attrib.engine.model import one_tensor

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
