"""Multipliers between samples and their baselines: a model is recorded with its targets and replayed in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from attrib.engine.gradient.passes import Passes
from attrib.engine.graph import Graph, transformed
from attrib.engine.inputs import moved, of_samples
from attrib.engine.model.function import Function
from attrib.engine.secant.replay import Compiled, Secant, expressed, secant
from attrib.engine.secant.report import LARGE, adds_up, in_double, most_lost, rounding
from attrib.engine.target import Custom, Scores, Target, custom

Rows = tuple[Tensor, ...]

_NOT_FOR_ONE_ROW = (RuntimeError, ValueError, AssertionError)  # from models made for one batch size
LOST = 8  # times what a replay loses to rounding, by which the model may be elsewhere
VALUES_PER_ACTIVATION = 5  # two values, their change, the slope, and the change as a linear function


class Readout:
    """A model together with those of its targets that are functions of its output.

    A target that is an entry of the output needs a cotangent only. A target that is a function of the output is recorded
    with the model: the output is flattened, and the function's value is appended as one more column.

    Parameters
    ----------
    function : Function
        The model.
    score : Scores
        The targets; the first output resolves them.
    """

    def __init__(self, function: Function, score: Scores) -> None:
        self.function, self.score = function, score
        self._shape: tuple[int, ...] = ()

    @property
    def custom(self) -> list[Target]:
        """The targets that are functions of the output."""
        return [t for t in self.score.targets if isinstance(t, Custom)]

    def outputs(self, *rows: Tensor, samples: Tensor) -> Tensor:
        """The model's output (rows, ...) for rows of `samples`; with custom targets (rows, entries + scores)."""
        y = self.function(*rows, samples=samples)
        if not self.score.want.functions:  # then the model alone is recorded
            return y
        self._shape = tuple(y.shape[1:])
        with _disable_current_modes():
            self.resolve(y.detach())
        extra = [t.score(y, moved(samples, y.device)) for t in self.custom]
        return torch.cat([y.reshape(len(y), -1), torch.stack(extra, 1)], 1)

    def resolve(self, y: Tensor) -> list[Target]:
        """The targets, resolved by outputs `y` (rows, ...) if these are the first."""
        if not self.score.targets:
            self.score(y, torch.zeros(len(y), dtype=torch.long, device=y.device))
        return self.score.targets

    def scores(self, v: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        """Scores (T, rows) of samples `i` from a result of `outputs`; `at_inputs` resolves `"predicted"`."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score(y, i, at_inputs)
        columns = iter(extra.unbind(1))
        self.score(y, i, at_inputs)
        return torch.stack(
            [next(columns) if isinstance(t, Custom) else t.score(y, i) for t in self.score.targets]
        )

    def cotangents(self, v: Tensor, i: Tensor) -> Tensor:
        """Cotangents (T, rows, ...): one at the entry or column of each target."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score.cotangents(y, i, slice(None))
        ones, cotangents = iter(torch.eye(extra.shape[1]).to(v)), []
        for t in self.score.targets:
            entry = torch.zeros_like(y) if isinstance(t, Custom) else t.cotangent(y, i)
            column = next(ones).expand_as(extra) if isinstance(t, Custom) else torch.zeros_like(extra)
            cotangents.append(torch.cat([entry.reshape(len(v), -1), column], 1))
        return torch.stack(cotangents)

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """The model's output, and the custom scores or None."""
        extra = len(self.custom)
        if not extra:
            return v, None
        return v[:, :-extra].reshape(len(v), *self._shape), v[:, -extra:]


class Chunk(NamedTuple):
    """Multipliers of consecutive rows; row r compares sample r // B with its baseline r % B.

    Attributes
    ----------
    start : int
        Number of the first row.
    multipliers : tuple of Tensor (T, rows, ...)
        One per input.
    products : tuple of Tensor (T, rows, ...)
        Multipliers times input minus baseline.
    total : Tensor (T, rows)
        Sum of the products.
    at_input, at_baseline : Tensor (T, rows)
        Scores that the model itself gives.
    """

    start: int
    multipliers: Rows
    products: Rows
    total: Tensor
    at_input: Tensor
    at_baseline: Tensor


class Multipliers:
    """Multipliers between N samples and B baselines each, in chunks of rows.

    Parameters
    ----------
    passes : Passes
        The model, the targets, and the number of rows in a chunk.
    xs : tuple of Tensor (N, ...)
        Inputs.
    pool : tuple of Tensor (1, B, ...) or (N, B, ...)
        Baselines, shared or per sample.
    check : bool
        Whether to compare the replay with the model.
    compile : bool
        Whether to compile the replays, once for each chunk size.

    Attributes
    ----------
    in_double : int
        How many rows were computed in double precision, because single precision lost their sum.
    large : int
        How many rows have attributions beyond `LARGE` times the change of their score.
    largest : float
        The largest attribution of these, as a multiple of the change.
    """

    def __init__(
        self, passes: Passes, xs: Rows, pool: Rows, check: bool = True, compile: bool = False
    ) -> None:
        self.passes, self.xs, self.pool, self.check, self.compile = passes, xs, pool, check, compile
        self.count = pool[0].shape[1]
        self.readout = Readout(passes.function, passes.score)
        self._compiled: dict[int, Compiled] = {}
        self._recorded: set[tuple] = set()  # names of graphs that this call recorded
        self._shared: Tensor | None = None  # outputs at baselines that all samples share
        self._one_row = self.count == 1 and all(len(p) == 1 for p in pool)  # one baseline for all samples
        self._apart = False  # whether these have to be computed for each row
        # whether a recording holds values of its samples, and is of no use for others
        takes_samples = any(callable(t) and custom(t).takes_samples for t in passes.want.items)
        self._of_samples = passes.companions.per_sample or takes_samples
        self.in_double, self.large, self.largest = 0, 0, 0.0

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks in order."""
        for span in self.passes.batches.spans(len(self.xs[0]) * self.count):
            with span:
                chunk = self._chunk(span.start, span.stop)
            if span.done:
                yield chunk
                del chunk  # not kept while the next one is made

    def _chunk(self, start: int, stop: int) -> Chunk:
        r = torch.arange(start, stop)
        i = r.div(self.count, rounding_mode="floor")
        x1 = tuple(of_samples(x, i, self.passes.device).expand(len(i), *x.shape[1:]) for x in self.xs)
        x0 = tuple(
            self._baselines(p, i, r % self.count).expand_as(x) for p, x in zip(self.pool, x1, strict=True)
        )
        graphs = self.passes.function.knowledge.graphs  # by rows: shapes are part of what is recorded
        name = (len(r), tuple(t for t in self.passes.want.items if callable(t)))
        fresh = name not in graphs or self._of_samples
        if fresh:
            self._recorded.add(name)
        graph = expressed(partial(self.readout.outputs, samples=i), x1, keep=True) if fresh else graphs[name]
        graphs[name] = graph
        has_outputs = fresh and self.count == 1 and not graph.translated
        seen_output = has_outputs and graph.output in graph.seen  # the replay's own output then
        y1, y0 = (graph.value, self._at_baselines(x0, r, i)) if has_outputs else self._at_ends(x0, x1, r, i)
        scores = self.readout.scores(y1, i, at_inputs=True)
        cotangents = self.readout.cotangents(y1, i)
        if self.compile:
            replay = self._compiled.setdefault(len(r), Compiled(graph))(x0, x1, cotangents)
        else:
            replay = secant(
                graph, [b[:1] for b in x0] if self._one_row else x0, x1, graph.seen if fresh else None
            )
        graph.seen.clear()
        multipliers = replay.pull(cotangents) if self.compile else self._pulled(replay, cotangents)
        products = _products(multipliers, replay.changes)
        chunk = Chunk(start, multipliers, products, _total(products), scores, self.readout.scores(y0, i))
        right = adds_up(chunk.total, chunk.at_input, chunk.at_baseline)
        ends = [(replay.y0, y0)] if seen_output else [(replay.y0, y0), (replay.y1, y1)]
        compared = self.check or name not in self._recorded
        differs = [_differs(replayed, true, replay, graph.eps).any() for replayed, true in ends if compared]
        ratio = _ratio_of_large(chunk)
        # all that decides what comes next is read at once: a GPU stands still once for each chunk
        decisive = [torch.stack([*differs, ~right.all()]).any(), (ratio > 0).any(0).sum(), ratio.max()]
        numbers = torch.stack([t.float() for t in decisive])
        unsure, large, largest = map(float, numbers) if transformed() else numbers.tolist()
        if unsure:
            if compared:
                try:
                    refuse_other_outputs(graph, replay, (x0, x1), (y0, None if seen_output else y1))
                except ValueError:
                    if name in self._recorded:
                        raise
                    del graphs[name]  # of an earlier call: the model changed since then
                    self._compiled.pop(len(r), None)
                    return self._chunk(start, stop)
            if not bool(right.all()):
                chunk = self._again(chunk, ~right, graph, x0, x1, i)
                ratio = _ratio_of_large(chunk)
                large, largest = float((ratio > 0).any(0).sum()), float(ratio.max())
        self.large, self.largest = self.large + int(large), max(self.largest, largest)
        return chunk

    def _again(self, chunk: Chunk, off: Tensor, graph: Graph, x0: Rows, x1: Rows, i: Tensor) -> Chunk:
        """The chunk, with rows in which a score is `off` (T, rows) computed in double precision.

        Raises
        ------
        ValueError
            If they do not add up then either, unless `check` is False.
        """
        wide, (x0, x1) = in_double(graph), (tuple(t.double() for t in ts) for ts in (x0, x1))
        replay = secant(wide, x0, x1)
        cotangents = self.readout.cotangents(replay.y1, i)
        multipliers = self._pulled(replay, cotangents)
        products = _products(multipliers, replay.changes)
        ends = self.readout.scores(replay.y1, i), self.readout.scores(replay.y0, i)
        wrong = off & ~adds_up(_total(products), *ends, replay.y1, replay.y0)
        if self.check and bool(wrong.any()):
            target, row = wrong.nonzero()[0].tolist()
            cotangent = torch.zeros_like(cotangents[target])
            cotangent[row] = cotangents[target, row]
            at = target, row
            reached, change = float(_total(products)[at]), float((ends[0] - ends[1])[at])
            raise ValueError(
                f"the attributions of sample {int(i[row])} add up to {reached:.6g}, expected {change:.6g}; most is lost in "
                f"{most_lost(wide, x0, x1, cotangent)}. Pass other `baselines`, or check=False to get them as they are"
            )
        rows = off.any(0)
        self.in_double += int(rows.sum())
        mixed = [
            _merged(rows, *pair) for pair in ((chunk.multipliers, multipliers), (chunk.products, products))
        ]
        total = torch.where(rows, _total(products).to(chunk.total.dtype), chunk.total)
        return chunk._replace(multipliers=mixed[0], products=mixed[1], total=total)

    def notes(self) -> dict[str, str | int | float] | None:
        """What a user should know of the rows so far; None if there is nothing."""
        notes: dict[str, str | int | float] = {}
        if self.in_double:
            notes["in_double"] = (
                f"{self.in_double} pairs of sample and baseline were computed in double precision, in which they add up"
            )
        if self.large:
            notes["large_entries"] = (
                f"{self.large} pairs of sample and baseline have attributions of up to {self.largest:.0e} times the change "
                "of the score; choose another baseline (docs/deeplift.md, Which baseline)"
            )
        return notes or None

    def _baselines(self, pool: Tensor, i: Tensor, which: Tensor) -> Tensor:
        device = self.passes.device
        if len(pool) == 1:
            shared = moved(pool[0], device)
            return shared if self.count == 1 else shared[moved(which, device)]
        return of_samples(pool, i, device)[torch.arange(len(i), device=device), moved(which, device)]

    def _at_ends(self, x0: Rows, x1: Rows, r: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs for samples `i` and at their baselines; in one call where each sample has one baseline."""
        alone = self.passes.batches.rows == 1  # the model may mix rows then
        if self.count > 1 or self._shared is not None or self._apart or alone:
            return self._at_samples(i), self._at_baselines(x0, r, i)
        lead = slice(1 if self._one_baseline else None)
        rows = (torch.cat([b, a[lead]]) for a, b in zip(x0, x1, strict=True))
        try:
            y = self.readout.outputs(*rows, samples=torch.cat([i, i[lead]]))
        except _NOT_FOR_ONE_ROW:
            self._apart = True
            return self._at_samples(i), self._at_baselines(x0, r, i)
        y1, y0 = y[: len(i)], y[len(i) :]
        if self._one_baseline:
            self._shared = y0
        return y1, y0.expand_as(y1)

    @property
    def _one_baseline(self) -> bool:
        """Whether the model's output at the baseline is one row for all samples."""
        return self._one_row and not self._of_samples

    def _at_samples(self, i: Tensor) -> Tensor:
        """Outputs for samples `i`; the model runs once for each sample."""
        first, last = int(i[0]), int(i[-1])
        samples, device = torch.arange(first, last + 1), self.passes.device
        rows = (of_samples(x, samples, device) for x in self.xs)
        return self.readout.outputs(*rows, samples=samples)[moved(i - first, device)]

    def _at_baselines(self, x0: Rows, r: Tensor, i: Tensor) -> Tensor:
        """Outputs at the baselines of rows `r`; outputs at shared baselines are computed once."""
        if any(len(p) > 1 for p in self.pool) or self._apart or self._of_samples:
            return self.readout.outputs(*x0, samples=i)
        if self._shared is None:
            device, outputs = self.passes.device, []
            flat = (p[0].to(device).expand(-1, *x.shape[1:]) for p, x in zip(self.pool, self.xs, strict=True))
            try:
                for rows in zip(*(p.split(len(r)) for p in flat), strict=True):
                    outputs.append(self.readout.outputs(*rows, samples=i[:1]))
            except _NOT_FOR_ONE_ROW:
                self._apart = True
                return self.readout.outputs(*x0, samples=i)
            self._shared = torch.cat(outputs)
        return self._shared[moved(r % self.count, self._shared.device)]

    def _pulled(self, replay: Secant, cotangents: Tensor) -> Rows:
        """Multipliers (T, rows, ...) of all targets, for as many targets at a time as `batch_size` allows."""
        block = max(1, self.passes.batches.chunk() // cotangents.shape[1])
        blocks = cotangents.split(block)
        parts = [replay.pull(c, keep=c is not blocks[-1]) for c in blocks]
        return parts[0] if len(parts) == 1 else tuple(torch.cat(m) for m in zip(*parts, strict=True))


def _products(multipliers: Rows, changes: Rows) -> Rows:
    return tuple(m * d for m, d in zip(multipliers, changes, strict=True))


def _total(products: Rows) -> Tensor:
    """Sum (T, rows) over all entries."""
    return torch.stack([p.reshape(*p.shape[:2], -1).sum(2) for p in products]).sum(0)


def _merged(rows: Tensor, single: Rows, double: Rows) -> Rows:
    """Values (T, rows, ...) in double precision at some rows, in the dtype of the others."""
    return tuple(
        torch.where(rows.view(1, -1, *[1] * (s.ndim - 2)), d.to(s.dtype), s)
        for s, d in zip(single, double, strict=True)
    )


def _ratio_of_large(chunk: Chunk) -> Tensor:
    """The largest attribution as a multiple of the change of the score (T, rows); 0 where it is not far beyond it."""
    at_input, at_baseline = chunk.at_input.detach(), chunk.at_baseline.detach()
    change = torch.maximum((at_input - at_baseline).abs(), rounding(at_input, at_baseline))
    products = [p.detach().abs() for p in chunk.products]
    largest = torch.stack([p.flatten(2).amax(2) if p.ndim > 2 else p for p in products]).amax(0)
    return torch.where(largest > LARGE * change, largest / change, 0).nan_to_num(posinf=0.0)


def _differs(replayed: Tensor, true: Tensor, replay: Secant, eps: float) -> Tensor:
    """Where a replay differs from the model by more than numbers of so coarse an `eps` do."""
    scale = torch.maximum(replay.y0.abs().amax(), replay.y1.abs().amax()).nan_to_num(posinf=0.0)
    gap = (replayed - true).abs() > max(eps, torch.finfo(true.dtype).eps) ** 0.5 * scale
    return gap | (replayed.isnan() != true.isnan())


def refuse_other_outputs(
    graph: Graph, replay: Secant, inputs: tuple[Rows, Rows], outputs: tuple[Tensor, Tensor | None]
) -> None:
    """Compare a replay with the model's outputs at the baselines and at the inputs; None skips these.

    What the model loses by rounding, as a probability behind large logits does, is no difference: it is measured by a replay in
    double precision.

    Raises
    ------
    ValueError
        If the two differ; the message has the row and both values.
    """
    y0, y1 = outputs
    ends = [("x", replay.y1, y1)] if y1 is not None else []
    ends.append(("baselines", replay.y0, y0))
    gaps = [_differs(replayed, true, replay, graph.eps) for _, replayed, true in ends]
    if not any(bool(gap.any()) for gap in gaps):
        return
    x0, x1 = (tuple(t.double() for t in xs) for xs in inputs)
    exact = secant(in_double(graph), x0, x1)
    lost = max(float((a - b).abs().amax()) for a, b in ((replay.y0, exact.y0), (replay.y1, exact.y1)))
    for (where, replayed, true), gap in zip(ends, gaps, strict=True):
        wrong = gap & ~((replayed - true).abs() <= LOST * lost)
        if bool(wrong.any()):
            row = int(wrong.flatten(1).any(1).nonzero()[0]) if wrong.ndim > 1 else int(wrong.nonzero()[0])
            raise ValueError(
                f"the replay of `f` at `{where}` differs from `f` itself: {_numbers(replayed[row])} instead of "
                f"{_numbers(true[row])} (row {row} of its chunk). Something in `f` escapes the recording: NumPy, "
                "values read into Python, memory written behind torch's back, or random numbers; use tensor operations"
            )


def _numbers(y: Tensor) -> str:
    return ", ".join(f"{v:.6g}" for v in y.flatten()[:4].tolist()) + (", ..." if y.numel() > 4 else "")
