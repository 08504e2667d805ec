"""Output and pullback of one chunk of rows, by torch.func where it can trace the model, else by plain autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from attrib.engine.graph.modes import transformed, untracked

Rows = tuple[Tensor, ...]
Forward = Callable[..., Tensor]
Pull = Callable[
    [Tensor, bool], Rows
]  # (T, rows, ...) cotangents, the last ones? -> (T, rows, ...) gradients per input


def by_func(f: Forward, rows: Rows) -> tuple[Tensor, Pull]:
    """`torch.func.vjp` under no_grad: parameters stay out of the graph; the last pullback frees memory as it goes."""
    with untracked():
        y, pull = vjp(f, *rows)[:2]

    def several(cotangents: Tensor, last: bool) -> Rows:
        with untracked():
            if len(cotangents) == 1:
                return tuple(g[None] for g in pull(cotangents[0], retain_graph=not last))
            with warnings.catch_warnings():  # some ops go one by one, with the same result
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                return vmap(partial(pull, retain_graph=not last))(cotangents)

    return y, several


def by_autograd(f: Forward, rows: Rows) -> tuple[Tensor, Pull]:
    """`torch.autograd.grad` on leaves made of the rows: for what torch.func cannot trace.

    Raises
    ------
    NotImplementedError
        Under a `torch.func` transform, which the leaves would be cut off from.
    """
    if transformed():
        raise NotImplementedError(
            "an attribution by plain autograd cannot be differentiated again: under torch.func transforms the model must "
            'be one that torch.func traces (engine="func" shows what stops it)'
        )
    with torch.enable_grad():
        leaves = tuple(r.detach().requires_grad_() for r in rows)
        y = f(*leaves)

    def several(cotangents: Tensor, last: bool) -> Rows:
        if not y.requires_grad:
            return tuple(r.new_zeros(len(cotangents), *r.shape) for r in rows)
        end = len(cotangents) if last else 0
        found = [_grad(y, leaves, c, j != end) for j, c in enumerate(cotangents, 1)]
        return tuple(torch.stack(g) for g in zip(*found, strict=True))

    return y.detach(), several


def _grad(y: Tensor, leaves: Rows, cotangent: Tensor, retain: bool) -> Rows:
    found = torch.autograd.grad(y, leaves, cotangent, retain_graph=retain, allow_unused=True)
    return tuple(torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True))


def by_forward_mode(f: Forward, rows: Rows) -> tuple[Tensor, list[Tensor]]:
    """Output, and per input the derivative (features, rows, ...) along each of its features: for few inputs, many outputs."""
    derivatives = []
    with torch.no_grad():
        for j, r in enumerate(rows):
            basis = torch.eye(r[0].numel(), dtype=r.dtype, device=r.device).view(-1, 1, *r.shape[1:])

            def along(v: Tensor, j: int = j, r: Tensor = r) -> Any:
                tangents = tuple(
                    v.expand_as(r) if i == j else torch.zeros_like(q) for i, q in enumerate(rows)
                )
                return jvp(f, rows, tangents)

            y, d = vmap(along, out_dims=(None, 0))(basis)  # type: ignore[arg-type]
            derivatives.append(d)
    return y, derivatives


def cut_inputs(f: Forward, rows: Rows) -> list[int]:
    """Inputs that change the output although no gradient path leads from it to them."""
    with torch.enable_grad():
        leaves = tuple(r.detach().requires_grad_() for r in rows)
        y = f(*leaves)
    found: tuple[Tensor | None, ...] = (None,) * len(rows)
    if y.requires_grad:
        found = torch.autograd.grad(y, leaves, torch.ones_like(y), allow_unused=True)
    return [j for j, g in enumerate(found) if g is None and _matters(f, rows, j, y.detach())]


def _matters(f: Forward, rows: Rows, j: int, y: Tensor) -> bool:
    """Whether the output changes with input `j`: moved up, or turned over, which changes ranks too."""
    with torch.no_grad():
        for factor in (1.5, -1.5):
            other = tuple(factor * r + 1 if i == j else r for i, r in enumerate(rows))
            if not torch.equal(f(*other), y):
                return True
    return False
