"""From gradients at the output to gradients at the rows: by torch.func where it can trace the model, else by autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

from attrib.engine.graph.modes import transformed

Rows = tuple[Tensor, ...]
Forward = Callable[..., Tensor]
Pull = Callable[..., Rows]  # of torch.func.vjp

_FLAT = {  # ops with a derivative of zero wherever there is one
    *("Round", "Floor", "Ceil", "Trunc", "Sign", "Sgn"),
}


def pull_several(pull: Pull, cotangents: Tensor, last: bool) -> Rows:
    """Gradients (T, rows, ...) per input of cotangents (T, rows, ...); after the `last` ones the memory is free."""
    with warnings.catch_warnings():  # some ops go one by one, with the same result
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        return vmap(partial(pull, retain_graph=not last))(cotangents)


def leaves_of(rows: Rows) -> Rows:
    """Rows that autograd follows.

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
    return tuple(r.detach().requires_grad_() for r in rows)


def pull_by_autograd(y: Tensor, leaves: Rows, cotangents: Tensor, last: bool) -> Rows:
    """The same from the graph of `y`, one target after the other."""
    if not y.requires_grad:
        return tuple(r.new_zeros(len(cotangents), *r.shape) for r in leaves)
    gradients = []
    for j, cotangent in enumerate(cotangents, 1):
        retain = not (last and j == len(cotangents))
        each = torch.autograd.grad(y, leaves, cotangent, retain_graph=retain, allow_unused=True)
        gradients.append(
            tuple(torch.zeros_like(leaf) if g is None else g for g, leaf in zip(each, leaves, strict=True))
        )
    return tuple(torch.stack(g) for g in zip(*gradients, strict=True))


def by_forward_mode(f: Forward, rows: Rows) -> tuple[Tensor, list[Tensor]]:
    """Output, and per input the derivative (features, rows, ...) along each of its features: for few inputs, many outputs."""
    derivatives = []
    for j, r in enumerate(rows):
        basis = torch.eye(r[0].numel(), dtype=r.dtype, device=r.device).view(-1, 1, *r.shape[1:])

        def along(v: Tensor, j: int = j, r: Tensor = r) -> Any:
            tangents = tuple(v.expand_as(r) if i == j else torch.zeros_like(q) for i, q in enumerate(rows))
            return jvp(f, rows, tangents)

        y, derivative = vmap(along, out_dims=(None, 0))(basis)  # type: ignore[arg-type]
        derivatives.append(derivative)
    return y, derivatives


def cut_inputs(score: Forward, rows: Rows, inputs: Iterable[int]) -> list[int]:
    """Those of some inputs that change the score although every path back to them is cut.

    Parameters
    ----------
    score : callable
        Rows to scores (T, rows).
    rows : tuple of Tensor (rows, ...)
    inputs : iterable of int

    Notes
    -----
    A path is cut where torch records none (no_grad, detach, comparisons), and at ops whose derivative is zero everywhere
    (rounding, signs). A path through a ReLU is none the worse for being closed here.
    """
    with torch.enable_grad():
        leaves = tuple(r.detach().requires_grad_() for r in rows)
        scores = score(*leaves)
        open_leaves = _reached(scores.sum().grad_fn) if scores.requires_grad else set()
        if open_leaves:  # an autograd function of its own, as JAX functions have, says so with None
            gradients = torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
            open_leaves -= {id(leaf) for leaf, g in zip(leaves, gradients, strict=True) if g is None}
    return [
        j for j in inputs if id(leaves[j]) not in open_leaves and _matters(score, rows, j, scores.detach())
    ]


def _reached(node: Any) -> set[int]:
    """The ids of the leaves that gradients flow to."""
    leaves: set[int] = set()
    for n in graph_of(node):
        if hasattr(n, "variable"):
            leaves.add(id(n.variable))
    return leaves


def graph_of(node: Any, through_flat: bool = False) -> Iterable[Any]:
    """The nodes of autograd's graph behind one; not those behind ops with a derivative of zero."""
    seen, stack = {node}, [node]
    while stack:
        n = stack.pop()
        yield n
        if through_flat or not _is_flat(n):
            fresh = {m for m, _ in n.next_functions if m is not None} - seen
            seen |= fresh
            stack.extend(fresh)


def _is_flat(node: Any) -> bool:
    kind = node.name().partition("Backward")[0]
    return kind in _FLAT or (kind == "Div" and getattr(node, "_saved_rounding_mode", None) is not None)


def has_batch_norm(node: Any) -> bool:
    """Whether a pass back from a node may go through batch norm."""
    names = (n.name() for n in graph_of(node, through_flat=True))
    return any("BatchNorm" in name or "DifferentiableGraph" in name for name in names)


def _matters(score: Forward, rows: Rows, j: int, scores: Tensor) -> bool:
    """Whether the score changes with input `j`: moved up, or turned over, so that every sign and rank changes."""
    with torch.no_grad():
        for factor, step in ((1.5, 1), (-1.5, 1), (-1.5, -1)):
            other = tuple(factor * r + step if i == j else r for i, r in enumerate(rows))
            if not torch.equal(score(*other), scores):
                return True
    return False
