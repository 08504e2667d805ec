"""The passes of all gradient methods: rows in chunks, many targets at once, whatever engine traces the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import Batches, BatchSize, Progress, Span
from attrib.engine.gradient.differentiate import Differentiator, Rows
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import moved, of_samples
from attrib.engine.model.companions import ALONE, Companions
from attrib.engine.model.function import Function
from attrib.engine.model.parameters import Model, device_of, unchanged
from attrib.engine.target import Scores, Target, TargetLike, wanted

Points = Callable[[Tensor, Tensor], Rows]  # sample and step of each row (ascending, on the CPU) -> the rows


class Chunk(NamedTuple):
    """Gradients at a run of rows, laid flat sample by sample.

    Attributes
    ----------
    start : int
        Number of the first row; row r is step r % steps of sample r // steps.
    points : tuple of Tensor (rows, ...)
        Where the gradients were taken.
    gradients : tuple of Tensor (T, rows, ...)
        Of each target's score.
    scores : Tensor (T, rows)
        The scores themselves.
    """

    start: int
    points: Rows
    gradients: Rows
    scores: Tensor


class Passes:
    """One method's passes through one model: outputs, scores and gradients, chunk by chunk.

    Parameters
    ----------
    model : callable
        See `attrib.engine.model.function.Function`.
    xs : tuple of Tensor
        The inputs: how many samples there are, and where a plain function's rows go if no `device` is given.
    rows : int
        How many rows of the model the method will call, as far as it knows.
    more : bool
        Whether rows of an unknown number follow these.
    row_cost : int
        How many times the memory of a row of the model a row of the method takes.
    additional_forward_args, target, targets, classes, batch_size, device, progress
        As in the public functions.
    engine : {"auto", "func", "autograd"}
        `"auto"` tries torch.func and goes over to autograd where that raises.
    """

    def __init__(
        self,
        model: Model,
        xs: tuple[Tensor, ...],
        rows: int,
        *,
        more: bool = False,
        row_cost: int = 1,
        additional_forward_args: Any = (),
        target: TargetLike = None,
        targets: Sequence | str | None = None,
        classes: Sequence[str] | None = None,
        batch_size: BatchSize = "auto",
        device: torch.device | str | None = None,
        progress: Progress = False,
        engine: str = "auto",
    ) -> None:
        self.want = wanted(target, targets, classes, len(xs[0]))
        nothing = isinstance(additional_forward_args, tuple) and not additional_forward_args
        self.companions = ALONE if nothing else Companions(additional_forward_args, len(xs[0]))
        self.function = Function(model, xs, self.companions)
        self.device = choose_device(self.function.model, xs[0], device)
        size = sum(t.nbytes // len(t) for t in xs)
        self.batches = Batches(batch_size, self.device, progress, row_bytes=size, pads=self.function.pads)
        self.batches.expect(rows, more)
        self.score = Scores(self.want)
        self._xs, self._row_cost = xs, row_cost
        self._differentiate = Differentiator(self.function, self.score, self.batches, engine)
        self._stack = ExitStack()

    def __enter__(self) -> Passes:
        """Begin: the model is checked, nothing is tracked, and what its passes write to its buffers is put back at the end."""
        self._stack.enter_context(torch.inference_mode(False))
        self._stack.enter_context(nullcontext() if transformed() else torch.no_grad())
        self._stack.enter_context(unchanged(self.function.parts))
        self._stack.callback(self.batches.close)
        try:
            self._check()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End: the model as it was, the progress bar gone."""
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def _check(self) -> None:
        """Try the first sample in a batch of its own, and settle the automatic size."""
        count = min(len(self._xs[0]), self.batches.chunk())
        costly = self._row_cost > 1 and self.batches.rows is None  # then even a few rows may be too many
        measure = self.batches.open or costly or self.want.many
        if not self.function.is_known(measure):
            self.function.check(
                tuple(t[[0, count - 1]].to(self.device) for t in self._xs),
                count,
                alone=self.batches.rows == 1,
                measure=measure,
                padded=self.batches.padded(count),
            )
        self.measured()

    @property
    def targets(self) -> list[Target]:
        """The targets; none before the first output has settled them."""
        return self.score.targets

    @property
    def engine(self) -> str:
        """The engine in use: "auto" before the first gradient; a method with its own names it here."""
        return self._differentiate.engine

    @engine.setter
    def engine(self, name: str) -> None:
        self._differentiate.engine = name

    def share(self) -> int:
        """Backward rows per forward row."""
        return self._differentiate.share()

    def measured(self) -> None:
        """Settle the automatic size, once the memory of a row is known."""
        knowledge = self.function.knowledge
        if knowledge.row_bytes is not None:
            largest = knowledge.largest if self._row_cost == 1 else 1
            self.batches.measured(self._row_cost * knowledge.row_bytes, largest)

    def sums_at(self, sums: int) -> torch.device:
        """Where `sums` float64 sums for each entry of the inputs, and each target, are kept."""
        size = 8 * sums * len(self.targets) * sum(t.numel() for t in self._xs)
        return self.batches.sums_at(self._xs[0].device, size)

    def rows_of(self, xs: Rows, i: Tensor) -> Rows:
        """Rows of samples `i` where the model is."""
        return tuple(of_samples(t, i, self.device) for t in xs)

    def scores(self, xs: Rows) -> Tensor:
        """Scores (T, N) at the inputs, which settle the targets."""
        parts = []
        for span in self.batches.spans(len(xs[0])):
            with span:
                i = torch.arange(span.start, span.stop)
                parts.append(self.score(self.function(*self.rows_of(xs, i), samples=i), i, at_inputs=True))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def outputs_at(self, xs: Rows, samples: Tensor | None = None) -> Tensor:
        """Outputs (rows, ...) at other points, which belong to `samples` (rows,)."""
        outputs = []
        for span in self.batches.spans(max(map(len, xs))):
            with span:
                rows = self.rows_of(xs, torch.arange(span.start, span.stop))
                numbers = None if samples is None else samples[span.start : span.stop]
                outputs.append(self.function(*rows, samples=numbers))
        return torch.cat(outputs)

    def scores_at(self, xs: Rows, samples: Tensor) -> Tensor:
        """Scores (T, rows) at other points of the given samples; one point may stand for all."""
        if self.companions.per_sample or self.function.knowledge.sizes_fixed:
            xs = tuple(t.expand(len(samples), *t.shape[1:]) for t in xs)
        y = self.outputs_at(xs, samples)
        return self.score(y.expand(len(samples), *y.shape[1:]), samples)

    def scores_along(self, points: Points, samples: Tensor, steps: int) -> Iterator[tuple[int, Tensor]]:
        """Scores at `steps` points for each of `samples`, chunk by chunk: the number of the first row, and (T, rows).

        Parameters
        ----------
        points, samples, steps
            As for `gradients`.
        """
        for span in self.batches.spans(len(samples) * steps):
            with span:
                i, k = _of_rows(span, samples, steps)
                scores = self.score(self.function(*points(i, k), samples=i), i)
            if span.done:
                yield span.start, scores

    def gradients(
        self,
        points: Points,
        samples: Tensor,
        steps: int = 1,
        *,
        weights: Tensor | None = None,
        at_inputs: bool = False,
        numbers: Tensor | None = None,
    ) -> Iterator[Chunk]:
        """Gradients at `steps` points for each of `samples`.

        Parameters
        ----------
        points : callable
            Samples and steps of some rows to the rows themselves.
        samples : Tensor (n,)
            Numbers of the samples, ascending, on the CPU.
        steps : int
            Points per sample; row r is step r % steps of samples[r // steps].
        weights : Tensor (steps,), optional
            Factors of the gradients; they cost nothing.
        at_inputs : bool
            Whether the points are the inputs, whose outputs settle `"predicted"`.
        numbers : Tensor (rows,), optional
            What `points` and `weights` get as the step of each row, where samples have other numbers of steps.
        """
        for span in self.batches.spans(len(samples) * steps, share=self.share):
            with span:
                i, k = _of_rows(span, samples, steps)
                k = k if numbers is None else numbers[span.start : span.stop]
                rows = tuple(t.clone() if t.is_inference() else t for t in points(i, k))
                scale = None if weights is None else moved(weights[k], rows[0].device, rows[0].dtype)
                scores, gradients = self._differentiate(rows, i, scale, at_inputs)
            if span.done:
                yield Chunk(span.start, rows, gradients, scores)
                del rows, gradients, scores  # not kept while the next ones are made

    def gradients_at_inputs(self, xs: Rows) -> tuple[Tensor, Rows]:
        """Scores (T, N) and gradients (T, N, ...) at the inputs, from one forward pass; their memory is nobody else's."""
        n = len(xs[0])
        scores: Tensor | None = None
        totals: Rows = ()
        points = lambda i, k: self.rows_of(xs, i)
        for chunk in self.gradients(points, torch.arange(n), at_inputs=True):
            if chunk.scores.shape[1] == n:
                return chunk.scores, _owned(chunk.gradients)
            if scores is None:
                scores = chunk.scores.new_zeros(len(chunk.scores), n)
                make = torch.zeros if transformed() else torch.empty  # every row is written once
                totals = tuple(
                    make(len(g), *t.shape, dtype=t.dtype, device=t.device)
                    for g, t in zip(chunk.gradients, xs, strict=True)
                )
            scores[:, chunk.start : chunk.start + chunk.scores.shape[1]] = chunk.scores
            for total, g in zip(totals, chunk.gradients, strict=True):
                if transformed():
                    add_by_sample(total, g, chunk.start, 1)
                else:
                    total[:, chunk.start : chunk.start + g.shape[1]] = g.to(total.device)
        assert scores is not None
        return scores, totals


def _of_rows(span: Span, samples: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Samples and steps of a run of rows, which are laid flat sample by sample."""
    if steps == 1:
        i = samples[span.start : span.stop]
        return i, torch.zeros_like(i)
    r = torch.arange(span.start, span.stop)
    return samples[r.div(steps, rounding_mode="floor")], r % steps


def _owned(gradients: Rows) -> Rows:
    """Gradients (T, N, ...) in memory of their own: copies, unless those of several targets have theirs.

    Of one target they can be anybody's: a constant of the model, say, or the cotangent.
    """
    if len(gradients[0]) > 1 and not transformed():  # what wraps them has no memory to ask for
        places = {g.untyped_storage().data_ptr() for g in gradients}
        full = all(g.is_contiguous() and g.untyped_storage().nbytes() == g.nbytes for g in gradients)
        if full and len(places) == len(gradients):
            return gradients
    return tuple(g.clone(memory_format=torch.contiguous_format) for g in gradients)


def choose_device(model: Model, like: Tensor, device: torch.device | str | None) -> torch.device:
    """The device to run on.

    Raises
    ------
    ValueError
        If `device` is not where the model's parameters are: a model is never moved.
    """
    at = device_of(model)
    if device is None:
        return at or like.device
    chosen = torch.device(device)
    if at is not None and (chosen.type != at.type or (chosen.index is not None and chosen != at)):
        raise ValueError(
            f"`device` is {chosen}, but the model's parameters are on {at}; call model.to({str(chosen)!r})"
        )
    return at or chosen


def add_by_sample(total: Tensor, values: Tensor, start: int, steps: int) -> None:
    """Add rows (T, rows, ...) to their samples' sums (T, N, ...); row r belongs to sample r // steps.

    Whole samples are summed in one reshape and the two ends apart, in a fixed order: no atomic adds, whose order (and
    so the last bits) varies on a GPU. Sums may live on another device than the rows.
    """
    for samples, _, part in by_sample(values, start, steps):
        sums = part.sum(2, dtype=total.dtype) if steps > 1 else part[:, :, 0]
        total[:, samples] += sums.to(total.device)


def by_sample(values: Tensor, start: int, steps: int) -> Iterator[tuple[slice, bool, Tensor]]:
    """Rows (T, rows, ...) that begin with row `start`, as samples, whether from their first row, and (T, n, rows, ...)."""
    stop, r = start + values.shape[1], start
    while r < stop:
        sample, inside = divmod(r, steps)
        complete = (stop - r) // steps if inside == 0 else 0
        end = r + complete * steps if complete else min(stop, (sample + 1) * steps)
        part = values[:, r - start : end - start].unflatten(1, (max(complete, 1), -1))
        yield slice(sample, sample + max(complete, 1)), inside == 0, part
        r = end
