"""Gradients of many targets at one chunk of rows, by whichever engine can trace the model."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.gradient.pullback import Rows, by_autograd, by_forward_mode, by_func, cut_inputs
from attrib.engine.graph.modes import transformed
from attrib.engine.model.function import Function
from attrib.engine.target import Entry, Scores

ENGINES = ("auto", "func", "autograd")
SMALL = 1 << 20  # values of cotangents that are made at once


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
            raise ValueError(f"`engine` is {engine!r}, expected one of {', '.join(ENGINES)}")
        self.function, self.score, self.batches, self.engine = function, score, batches, engine
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

    def _together(self, rows: int) -> int:
        """Targets whose pullbacks are vmapped into one.

        As many as fit a chunk on a GPU, for a single row, and where a pass is busy reading weights, which then serve all
        targets (dense networks with few rows). Convolutions of several rows gain nothing from it on a CPU: they run
        slower, vmapped.
        """
        reads_weights = rows * (self.function.row_bytes or 0) < self.function.weight_bytes
        if self.batches.device.type == "cpu" and rows > 1 and not reads_weights:
            return 1
        return max(1, self.batches.chunk() // rows)

    def __call__(self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool) -> tuple[Tensor, Rows]:
        """Scores (T, rows) and gradients (T, rows, ...) at rows of samples `i`, scaled by `scale` (rows,)."""
        if self._forward_pays(rows):
            found = self._attempt("forward", rows, i, scale, at_inputs)
            self._forward_works = self._in_forward_mode = found is not None
            if found is not None:
                return found
        if self.engine == "auto":
            found = self._attempt("func", rows, i, scale, at_inputs)
            if found is not None:
                return found
            # torch.func cannot trace some models: recurrent kernels, checkpointing, backward hooks, old-style
            # autograd.Function. If the model itself is at fault, autograd raises its error again.
            return self._checked("autograd", rows, i, scale, at_inputs)
        return self._checked("autograd" if self.engine == "autograd" else "func", rows, i, scale, at_inputs)

    def _attempt(
        self, engine: str, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows] | None:
        """Gradients by one engine, or None if it cannot trace the model."""
        try:
            with warnings.catch_warnings():  # vmap warns of slow fallbacks on its way to failing
                warnings.simplefilter("ignore", UserWarning)
                return self._checked(engine, rows, i, scale, at_inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):
            return None

    def _forward_pays(self, rows: Rows) -> bool:
        self._features = sum(r[0].numel() for r in rows)
        entries = all(isinstance(t, Entry) for t in self.score.targets)
        pays = (
            self._forward_works and not transformed() and self._features < len(self.score.targets) and entries
        )
        # jvp is not thread-safe in torch 2
        return pays and threading.current_thread() is threading.main_thread()

    def _checked(
        self, engine: str, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        """Gradients by one engine, which is kept if it works."""
        scores, grads = (
            self._forward_mode(rows, i, scale, at_inputs)
            if engine == "forward"
            else self._reverse(engine, rows, i, scale, at_inputs)
        )
        if not self._checked_cut:
            self._refuse_cut(rows, grads)
            self._checked_cut = True
        self.engine = engine
        return scores, grads

    def _reverse(
        self, engine: str, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        y, pull = (by_func if engine == "func" else by_autograd)(self.function, rows)
        y = y.detach()
        # a row's cost is known from here on, and says how many targets go back together
        self.batches.measured(self.function.row_bytes, self.function.largest)
        scores = self.score(y, i, at_inputs)
        found, block = [], self._together(len(i))
        for cotangents, last in self._cotangents(y, i, scale, block):
            found.append(pull(cotangents, last))
        return scores, found[0] if len(found) == 1 else tuple(torch.cat(g) for g in zip(*found, strict=True))

    def _cotangents(
        self, y: Tensor, i: Tensor, scale: Tensor | None, block: int
    ) -> Iterator[tuple[Tensor, bool]]:
        """Cotangents (targets, rows, ...) of `block` targets at a time, and whether they are the last; made at once if small."""
        count = len(self.score.targets)
        size = max(block, SMALL // max(y.numel(), 1) // block * block)
        for start in range(0, count, size):
            made = self.score.cotangents(y, i, slice(start, start + size))
            if scale is not None:
                made = made * scale.view(1, -1, *[1] * (y.ndim - 1)).to(y)
            for first in range(0, len(made), block):
                yield made[first : first + block], start + first + block >= count

    def _forward_mode(
        self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        y, derivatives = by_forward_mode(self.function, rows)
        scores = self.score(y, i, at_inputs)
        grads = []
        for r, derivative in zip(rows, derivatives, strict=True):
            g = torch.stack([self.score(d, i) for d in derivative], 2)
            g = g if scale is None else g * scale[:, None]
            grads.append(g.view(len(scores), *r.shape).to(r.dtype))
        return scores, tuple(grads)

    def _refuse_cut(self, rows: Rows, grads: Rows) -> None:
        if transformed() or all(bool(g.any()) for g in grads):
            return
        few = tuple(r[:2] for r in rows)
        cut = [j for j in cut_inputs(self.function, few) if not grads[j].any()]
        if cut:
            which = "" if len(rows) == 1 else f" of input {', '.join(map(str, cut))}"
            raise ValueError(
                f"`model` cuts the gradient{which}: the output changes with it, but no gradient path leads back. "
                "Remove no_grad, detach, rounding, comparisons or NumPy from the forward pass"
            )
