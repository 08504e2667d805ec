"""Multipliers between samples and their baselines, laid flat as pairs and replayed in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.gradient.passes import Passes
from attrib.engine.graph import Graph
from attrib.engine.inputs import of_samples
from attrib.engine.secant.replay import Compiled, Secant, expressed, secant
from attrib.engine.secant.report import Readout

Rows = tuple[Tensor, ...]

_NOT_FOR_ONE_ROW = (RuntimeError, ValueError, AssertionError)  # of models made for one size of batch

VALUES_PER_ACTIVATION = 5  # a replay holds an op's value twice, its change, its slope and its carrier


class Chunk(NamedTuple):
    """Multipliers of a run of pairs.

    Attributes
    ----------
    start : int
        Number of the first pair; pair r is baseline r % B of sample r // B.
    multipliers : tuple of Tensor (T, rows, ...)
        One per input.
    differences : tuple of Tensor (rows, ...)
        Input minus baseline.
    at_input, at_baseline : Tensor (T, rows)
        Scores by the model itself.
    """

    start: int
    multipliers: Rows
    differences: Rows
    at_input: Tensor
    at_baseline: Tensor


class Pairs:
    """All pairs of N samples with B baselines each.

    Parameters
    ----------
    passes : Passes
        The model, the targets, and how many rows go at a time.
    xs : tuple of Tensor (N, ...)
        Inputs.
    pool : tuple of Tensor (1, B, ...) or (N, B, ...)
        Baselines, shared or per sample.
    check : bool
        Whether to compare the replay with the model.
    compile : bool
        Whether to compile the replays, once for each size of chunk.
    """

    def __init__(
        self, passes: Passes, xs: Rows, pool: Rows, check: bool = True, compile: bool = False
    ) -> None:
        self.passes, self.xs, self.pool, self.check, self.compile = passes, xs, pool, check, compile
        self.count = pool[0].shape[1]
        self.readout = Readout(passes.function, passes.score)
        self._graphs: dict[int, Graph] = {}  # by rows: shapes are part of what is recorded
        self._compiled: dict[int, Compiled] = {}
        self._shared: Tensor | None = None

    def __iter__(self) -> Iterator[Chunk]:
        """Chunk by chunk, in order."""
        batches, rows = self.passes.batches, len(self.xs[0]) * self.count
        if batches.rows is None and rows > 1:
            batches.expect(0, more=True)
            self._measure()
        return batches.run(rows, self._chunk)

    def _measure(self) -> None:
        """Settle the automatic size by one row of the model: a small first chunk would be one more recording."""
        one = torch.zeros(1, dtype=torch.long)
        try:
            expressed(self.readout.outputs, [of_samples(x, one, self.passes.device) for x in self.xs])
        except NotImplementedError:
            raise
        except _NOT_FOR_ONE_ROW:  # the first chunk will tell, or say what is wrong
            return
        self._measured()

    def _measured(self) -> None:
        of_a_row = self.passes.function.row_bytes
        self.passes.batches.measured(None if of_a_row is None else VALUES_PER_ACTIVATION * of_a_row)

    def _chunk(self, start: int, stop: int) -> Chunk:
        r = torch.arange(start, stop)
        i = r.div(self.count, rounding_mode="floor")
        x1 = tuple(of_samples(x, i, self.passes.device).expand(len(i), *x.shape[1:]) for x in self.xs)
        x0 = tuple(
            self._baselines(p, i, r % self.count).expand_as(x) for p, x in zip(self.pool, x1, strict=True)
        )
        graph, fresh = self._graph(x1)
        own = fresh and self.count == 1 and not graph.translated
        recorded = own and graph.output in graph.seen  # then the replay takes the model's own output
        y1 = graph.value if own else self._at_samples(i)
        scores = self.readout.scores(y1, i, at_inputs=True)
        y0 = self._at_baselines(x0, r)
        cotangents = self.readout.cotangents(y1, i)
        if self.compile:
            found = self._compiled.setdefault(len(r), Compiled(graph))(x0, x1, cotangents)
        else:
            once = self.count == 1 and all(len(p) == 1 for p in self.pool)
            found = secant(graph, [b[:1] for b in x0] if once else x0, x1, graph.seen if fresh else None)
        graph.seen.clear()
        if self.check:
            compare(found, y0, None if recorded else y1)
        self._measured()
        multipliers = found.pull(cotangents) if self.compile else self._pulled(found, cotangents)
        return Chunk(start, multipliers, found.changes, scores, self.readout.scores(y0, i))

    def _graph(self, x1: Rows) -> tuple[Graph, bool]:
        rows = len(x1[0])
        fresh = rows not in self._graphs
        if fresh:
            self._graphs[rows] = expressed(self.readout.outputs, x1, keep=True)
        return self._graphs[rows], fresh

    def _baselines(self, pool: Tensor, i: Tensor, which: Tensor) -> Tensor:
        at = self.passes.device
        if len(pool) == 1:
            return pool[0].to(at) if self.count == 1 else pool[0].to(at)[which.to(at)]
        return of_samples(pool, i, at)[torch.arange(len(i), device=at), which.to(at)]

    def _at_samples(self, i: Tensor) -> Tensor:
        """Outputs at the inputs of samples `i`, each sample once."""
        first, last = int(i[0]), int(i[-1])
        once, at = torch.arange(first, last + 1), self.passes.device
        return self.readout.outputs(*(of_samples(x, once, at) for x in self.xs))[(i - first).to(at)]

    def _at_baselines(self, x0: Rows, r: Tensor) -> Tensor:
        """Outputs at the baselines of pairs `r`; those that all samples share are computed once."""
        if any(len(p) > 1 for p in self.pool):
            return self.readout.outputs(*x0)
        try:
            self._shared = self._at_shared(len(r)) if self._shared is None else self._shared
        except _NOT_FOR_ONE_ROW:
            return self.readout.outputs(*x0)
        return self._shared[(r % self.count).to(self._shared.device)]

    def _at_shared(self, rows: int) -> Tensor:
        """Outputs at the baselines that all samples share, some rows at a time."""
        at = self.passes.device
        flat = [p[0].to(at).expand(-1, *x.shape[1:]) for p, x in zip(self.pool, self.xs, strict=True)]
        parts = zip(*(p.split(rows) for p in flat), strict=True)
        return torch.cat([self.readout.outputs(*some) for some in parts])

    def _pulled(self, found: Secant, cotangents: Tensor) -> Rows:
        """Multipliers (T, rows, ...) of all targets: a few at a time where `batch_size` rows are many already."""
        block = max(1, self.passes.batches.chunk() // cotangents.shape[1])
        blocks = cotangents.split(block)
        parts = [found.pull(c, keep=c is not blocks[-1]) for c in blocks]
        return parts[0] if len(parts) == 1 else tuple(torch.cat(m) for m in zip(*parts, strict=True))


def compare(found: Secant, y0: Tensor, y1: Tensor | None) -> None:
    """Raise if a replay does not give what the model gives: `y0` and `y1`, or nothing to compare with.

    Raises
    ------
    ValueError
        Saying where, and how far apart the two are.
    """
    scale = torch.maximum(y0.abs().amax(), found.y1.abs().amax()).nan_to_num(posinf=0.0)
    for where, replayed, true in (("x", found.y1, y1), ("baselines", found.y0, y0)):
        if true is None:
            continue
        gap = (replayed - true).abs() > torch.finfo(true.dtype).eps ** 0.5 * scale
        wrong = gap | (replayed.isnan() != true.isnan())
        if bool(wrong.any()):
            row = int(wrong.flatten(1).any(1).nonzero()[0]) if wrong.ndim > 1 else int(wrong.nonzero()[0])
            raise ValueError(
                f"the replay of `f` at `{where}` differs from `f` itself: {_shown(replayed[row])} instead of "
                f"{_shown(true[row])} (row {row} of its chunk). Something in `f` escapes the recording: NumPy, "
                "values read into Python, memory written behind torch's back, or random numbers; use tensor operations"
            )


def _shown(y: Tensor) -> str:
    return ", ".join(f"{v:.6g}" for v in y.flatten()[:4].tolist()) + (", ..." if y.numel() > 4 else "")
