"""Gradients of many targets at one chunk of rows: by torch.func where it can trace the model, else by autograd."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from attrib._arguments import near
from attrib.engine.batching import Batches
from attrib.engine.graph.modes import transformed
from attrib.engine.model.checks import REFUSALS
from attrib.engine.model.function import (
    Function,
    refuse_checkpoint,
    refuse_numpy,
    refuse_untraceable,
    refuse_without_derivative,
)
from attrib.engine.target import Entry, Scores

ENGINES = ("auto", "func", "autograd")
SMALL = 1 << 20  # values of cotangents that are made at once
_BATCH_NORM = nn.modules.batchnorm._BatchNorm

Rows = tuple[Tensor, ...]

Way = Callable[[Rows, Tensor, Tensor | None, bool], tuple[Tensor, Rows]]

Forward = Callable[..., Tensor]
Pull = Callable[..., Rows]  # of torch.func.vjp

_FLAT = {  # ops with a derivative of zero wherever there is one
    *("Round", "Floor", "Ceil", "Trunc", "Sign", "Sgn"),
}


class Differentiator:
    """Chooses an engine on the first chunk and keeps it.

    Parameters
    ----------
    function : Function
        The model.
    score : Scores
        What of its output is differentiated.
    batches : Batches
        How many backward rows fit at a time.
    engine : {"auto", "func", "autograd"}
        `"auto"` tries torch.func and goes over to autograd where that raises; with fewer inputs than targets it tries
        forward mode first.

    Attributes
    ----------
    engine : str
        The engine in use.
    """

    def __init__(self, function: Function, score: Scores, batches: Batches, engine: str) -> None:
        if engine not in ENGINES:
            raise ValueError(
                f"`engine` is {engine!r}, expected one of {', '.join(ENGINES)}{near(engine, ENGINES)}"
            )
        self.function, self.score, self.batches = function, score, batches
        self.engine = function.knowledge.engine or engine if engine == "auto" else engine
        self._checked_cut = False
        self._forward_works = engine == "auto"
        self._in_forward_mode = False
        self._features = 1

    def share(self) -> int:
        """Rows of the model's passes that one row of a chunk stands for: in forward mode, one for each feature.

        Several targets are no reason for fewer rows: their pullbacks follow one another, so that each op works on a
        whole chunk and one forward pass serves all. They are vmapped as far as a chunk that is not full leaves room.
        """
        return self._features if self._in_forward_mode else 1

    def __call__(self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool) -> tuple[Tensor, Rows]:
        """Scores (T, rows) and gradients (T, rows, ...) at rows of samples `i`, scaled by `scale` (rows,)."""
        if self._forward_pays(rows):
            gradients = _attempt(self._by_forward_mode, rows, i, scale, at_inputs)
            self._forward_works = self._in_forward_mode = gradients is not None
            if gradients is not None:
                return gradients
        try:
            if self.engine not in ("auto", "autograd"):
                return self._by_func(rows, i, scale, at_inputs)
            if self.engine == "auto":
                try:
                    with warnings.catch_warnings():  # vmap warns of slow fallbacks on its way to failing
                        warnings.simplefilter("ignore", UserWarning)
                        return self._by_func(rows, i, scale, at_inputs)
                except torch.OutOfMemoryError:
                    raise
                except (RuntimeError, NotImplementedError):
                    # torch.func cannot trace some models: recurrent kernels, checkpointing, backward hooks, old-style
                    # autograd.Function. If the model itself is at fault, autograd raises its error again.
                    pass
            return self._by_autograd(rows, i, scale, at_inputs)
        except RuntimeError as error:
            refuse_numpy(error)
            refuse_checkpoint(error)
            refuse_without_derivative(error)
            if self.engine == "func":
                refuse_untraceable(error)
            raise

    # ------------------------------------------------------------------ the engines

    def _by_func(self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool) -> tuple[Tensor, Rows]:
        """By `torch.func.vjp`, under no_grad: parameters stay out of the graph."""
        points = self._points(rows)
        unknown = len(points[0]) == 1 and self._doubles() is None
        f = partial(self._looked_through if unknown else self.function, samples=i)
        y, pull = vjp(f, *points)[:2]
        if unknown and self._doubles():
            return self._by_func(rows, i, scale, at_inputs)

        def pull_back(cotangents: Tensor, last: bool) -> Rows:
            if len(cotangents) > 1:
                return pull_several(pull, cotangents, last)
            return tuple(g[None] for g in pull(cotangents[0], retain_graph=not last))

        scores, gradients = self._pulled(y, rows, i, scale, at_inputs, pull_back)
        self.engine = self.function.knowledge.engine = "func"
        return scores, gradients

    def _by_autograd(
        self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        """By `torch.autograd.grad` on leaves made of the rows: for what torch.func cannot trace."""
        leaves = leaves_of(self._points(rows))
        unknown = len(leaves[0]) == 1 and self._doubles() is None
        with torch.enable_grad():
            y = (self._looked_through if unknown else self.function)(*leaves, samples=i)
        if unknown and self._doubles():
            return self._by_autograd(rows, i, scale, at_inputs)
        pull = lambda c, last: pull_by_autograd(y, leaves, c, last)
        scores, gradients = self._pulled(y.detach(), rows, i, scale, at_inputs, pull)
        self.engine = self.function.knowledge.engine = "autograd"
        return scores, gradients

    def _by_forward_mode(
        self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        y, derivatives = by_forward_mode(partial(self.function, samples=i), rows)
        scores = self.score(y, i, at_inputs)
        slopes = [torch.stack([self.score(d, i) for d in derivative], 2) for derivative in derivatives]
        if self.engine != "forward":
            self._refuse_forward_mode(rows, i, slopes)
        gradients = []
        for r, g in zip(rows, slopes, strict=True):
            g = g if scale is None else g * scale[:, None]
            gradients.append(g.view(len(scores), *r.shape).to(r.dtype))
        self._refuse_cut(rows, i, tuple(gradients))
        self.engine = "forward"
        return scores, tuple(gradients)

    def _refuse_forward_mode(self, rows: Rows, i: Tensor, slopes: list[Tensor]) -> None:
        """Raise a RuntimeError where reverse mode gives another derivative: no_grad does not stop forward mode."""
        leaves = leaves_of(tuple(r[:2] for r in rows))
        with torch.enable_grad():
            scores = self.score(self.function(*leaves), i[:2])
        weights = torch.linspace(1, 2, len(scores)).to(scores).view(-1, 1)
        reverse = pull_by_autograd(scores, leaves, weights.expand_as(scores)[None], True)
        for g, forward in zip(reverse, slopes, strict=True):
            together = (weights[:, :, None] * forward[:, : len(g[0])]).sum(0)
            difference = (g[0].reshape(together.shape).to(together) - together).abs().max()
            if bool(difference > 1e-3 * together.abs().max()):
                raise RuntimeError("forward mode and reverse mode give different derivatives")

    def _forward_pays(self, rows: Rows) -> bool:
        self._features = sum(r.numel() // len(r) for r in rows)
        entries = all(isinstance(t, Entry) for t in self.score.targets)
        pays = (
            self._forward_works and not transformed() and self._features < len(self.score.targets) and entries
        )
        # jvp is not thread-safe in torch 2
        return pays and threading.current_thread() is threading.main_thread()

    # ------------------------------------------------------------------ from the output back to the rows

    def _pulled(
        self,
        y: Tensor,
        rows: Rows,
        i: Tensor,
        scale: Tensor | None,
        at_inputs: bool,
        pull: Callable[[Tensor, bool], Rows],
    ) -> tuple[Tensor, Rows]:
        """Scores (T, rows) and gradients (T, rows, ...) from the output; a row's copy, if there is one, is left out."""
        doubled = len(y) > len(i)
        y = y.detach()[: len(i)] if doubled else y.detach()
        scores = self.score(y, i, at_inputs)
        blocks = []
        for cotangents, last in self._cotangents(y, i, scale, self._together(len(i))):
            if doubled:
                cotangents = torch.cat([cotangents, torch.zeros_like(cotangents)], 1)
            pulled = pull(cotangents, last)
            blocks.append(tuple(g[:, : len(i)] for g in pulled) if doubled else pulled)
        gradients = blocks[0] if len(blocks) == 1 else tuple(torch.cat(g) for g in zip(*blocks, strict=True))
        self._refuse_cut(rows, i, gradients)
        return scores, gradients

    def _cotangents(
        self, y: Tensor, i: Tensor, scale: Tensor | None, block: int
    ) -> Iterator[tuple[Tensor, bool]]:
        """Cotangents (targets, rows, ...) of `block` targets at a time, and whether they are the last; made at once if small."""
        count = len(self.score.targets)
        size = max(block, SMALL // max(y.numel(), 1) // block * block)
        for start in range(0, count, size):
            cotangents = self.score.cotangents(y, i, slice(start, start + size))
            if scale is not None:
                cotangents = cotangents * scale.view(1, -1, *[1] * (y.ndim - 1)).to(y)
            for first in range(0, len(cotangents), block):
                yield cotangents[first : first + block], start + first + block >= count

    def _together(self, rows: int) -> int:
        """Targets whose pullbacks are vmapped into one.

        As many as fit a chunk on a GPU, for a single row, and where a pass is busy reading weights, which then serve all
        targets (dense networks with few rows). Convolutions of several rows gain nothing from it on a CPU: they run
        slower, vmapped.
        """
        if len(self.score.targets) == 1:
            return 1
        reads_weights = rows * (self.function.knowledge.row_bytes or 0) < self.function.weight_bytes
        if self.batches.device.type == "cpu" and rows > 1 and not reads_weights:
            return 1
        return max(1, self.batches.chunk() // rows)

    # ------------------------------------------------------------------ what is asked of a model

    def _points(self, rows: Rows) -> Rows:
        """A single row with its copy, where the model has batch norm: torch's pass back through it is wrong for one row.

        (On a CPU, where the gradient arrives with channels last; seen in torch 2.13.)
        """
        return tuple(torch.cat([r, r]) for r in rows) if len(rows[0]) == 1 and self._doubles() else rows

    def _doubles(self) -> bool | None:
        """Whether single rows are called with their copy; None before a graph was looked at."""
        knowledge = self.function.knowledge
        if knowledge.sizes_fixed or self.batches.device.type != "cpu":
            return False
        if self.function.alone_untested:  # a row with its copy is not alone
            return None
        if knowledge.two_rows is None and any(isinstance(part, _BATCH_NORM) for part in self.function.parts):
            knowledge.two_rows = True
        return knowledge.two_rows

    def _looked_through(self, *rows: Tensor, samples: Tensor) -> Tensor:
        """The model, and whether its graph holds batch norm."""
        y = self.function(*rows, samples=samples)
        self.function.knowledge.two_rows = y.grad_fn is not None and has_batch_norm(y.grad_fn)
        return y

    def _refuse_cut(self, rows: Rows, i: Tensor, gradients: Rows) -> None:
        """Raise on the first chunk if no gradient leads back to an input on which the scores depend."""
        if self._checked_cut or transformed():
            return
        self._checked_cut = True
        zero = [j for j, g in enumerate(gradients) if not (bool(g[:, :1].any()) or bool(g.any()))]
        if not zero:
            return
        some = tuple(r[:2] for r in rows)
        refuse_cut(lambda *rs: self.score(self.function(*rs, samples=i[:2]), i[:2]), some, zero)


def _attempt(way: Way, *chunk: object) -> tuple[Tensor, Rows] | None:
    """Gradients by one engine, or None if it cannot trace the model."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return way(*chunk)  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError):
        return None


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


def refuse_cut(score: Forward, rows: Rows, inputs: Iterable[int]) -> None:
    """Raise a ValueError that names those of some inputs whose gradient the model cuts; the arguments are those of `cut_inputs`."""
    cut = cut_inputs(score, rows, inputs)
    if cut:
        which = "" if len(rows) == 1 else f" of input {', '.join(map(str, cut))}"
        raise ValueError(
            f"`model` cuts the gradient{which}: the output changes with it, but no gradient path leads back. "
            "Remove no_grad, inference_mode, detach, rounding, signs, comparisons or NumPy from the forward pass"
        )


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
        reached = [flows_to(scores, leaf) for leaf in leaves]
        if any(reached):  # an autograd function of its own, as JAX functions have, says so with None
            gradients = torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
            reached = [r and g is not None for r, g in zip(reached, gradients, strict=True)]
    return [j for j in inputs if not reached[j] and _matters(score, rows, j, scores.detach())]


def flows_to(y: Tensor, t: Tensor) -> bool:
    """Whether a path leads back from `y` to a tensor on its graph that crosses no op with a derivative of zero."""
    nodes = graph_of(y.grad_fn) if y.grad_fn is not None else ()
    return any((n is t.grad_fn and not t.is_leaf) or getattr(n, "variable", None) is t for n in nodes)


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


_MOVES = ((1.5, 1), (-1.5, 1), (-1.5, -1), (30, 0), (-30, 0), (0.5, 0), (0, 0))


def _matters(score: Forward, rows: Rows, j: int, scores: Tensor) -> bool:
    """Whether the score changes with input `j`: moved up, or turned over, so that every sign and rank changes.

    Also moved far, as rounding hides small steps, and inwards, for tables that have no entry for what lies outside.
    """
    with torch.no_grad():
        for factor, step in _MOVES:
            other = tuple(factor * r + step if i == j else r for i, r in enumerate(rows))
            try:
                if not torch.equal(score(*other), scores):
                    return True
            except REFUSALS:
                continue
    return False
