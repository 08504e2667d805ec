"""Mixed second derivatives of scores: how the gradient in one input changes along directions in the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp, vmap

from attrib.engine.model.function import refuse_checkpoint, refuse_untraceable, refuse_without_derivative

Score = Callable[[Tensor, Tensor], Tensor]  # rows of two inputs -> scores (T, rows)


class Mixed:
    """Chooses an engine on the first chunk and keeps it.

    Parameters
    ----------
    engine : {"auto", "func", "autograd"}
        `"auto"` tries torch.func, which takes all directions at once, and goes over to plain double backward where that
        raises.
    """

    def __init__(self, engine: str) -> None:
        if engine not in ("auto", "func", "autograd"):
            raise ValueError(f"`engine` is {engine!r}, expected one of auto, func, autograd")
        self.engine = engine

    def __call__(
        self, score: Score, a: Tensor, b: Tensor, along: Tensor, weights: Tensor, count: int
    ) -> Tensor:
        """Mixed derivatives (T, D, rows, ...) of scores in `b` (rows, ...), along directions (D, rows, ...) in `a`.

        Row r's are multiplied by `weights` (rows,); `count` is T.
        """
        try:
            return self._derivatives(score, a, b, along, weights, count)
        except RuntimeError as error:
            refuse_checkpoint(error)
            refuse_without_derivative(error)
            if self.engine == "func":
                refuse_untraceable(error)
            raise

    def _derivatives(
        self, score: Score, a: Tensor, b: Tensor, along: Tensor, weights: Tensor, count: int
    ) -> Tensor:
        if self.engine != "auto":
            way = _pulled_twice if self.engine == "func" else _double_backward
            return way(score, a, b, along, weights, count)
        try:
            with warnings.catch_warnings():  # vmap warns of slow fallbacks
                warnings.simplefilter("ignore", UserWarning)
                derivatives = _pulled_twice(score, a, b, along, weights, count)
            self.engine = "func"
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):
            derivatives = _double_backward(score, a, b, along, weights, count)
            self.engine = "autograd"
        return derivatives


def _pulled_twice(score: Score, a: Tensor, b: Tensor, along: Tensor, weights: Tensor, count: int) -> Tensor:
    """The gradient in `a`, as a function of `b`, pulled back along all directions at once."""
    each = torch.eye(count, dtype=weights.dtype, device=weights.device)[:, :, None] * weights

    def gradients(other: Tensor) -> Tensor:
        pull = vjp(lambda at: score(at, other), a)[1]
        return torch.stack([pull(cotangent)[0] for cotangent in each])

    with torch.no_grad():
        pull = vjp(gradients, b)[1]
        units = torch.eye(count, dtype=along.dtype, device=along.device)
        return torch.stack(
            [vmap(lambda d, u=u: pull(u.view(-1, *[1] * d.ndim) * d)[0])(along) for u in units]
        )


def _double_backward(
    score: Score, a: Tensor, b: Tensor, along: Tensor, weights: Tensor, count: int
) -> Tensor:
    with torch.enable_grad():
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        scores = score(a, b)
        derivatives = [_slopes(row, a, b, along, weights) for row in scores]
    return torch.stack(derivatives)


def _slopes(scores: Tensor, a: Tensor, b: Tensor, along: Tensor, weights: Tensor) -> Tensor:
    """One target's mixed derivatives (D, rows, ...)."""
    zeros = torch.zeros(len(along), *b.shape, dtype=b.dtype, device=b.device)
    if not scores.requires_grad:
        return zeros
    (g,) = torch.autograd.grad(
        scores, a, weights.to(scores), create_graph=True, retain_graph=True, allow_unused=True
    )
    if g is None or not g.requires_grad:
        return zeros
    for k, direction in enumerate(along):
        (h,) = torch.autograd.grad(g, b, direction, retain_graph=True, allow_unused=True)
        if h is not None:
            zeros[k] = h
    return zeros
