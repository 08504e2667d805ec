"""The passes of all gradient methods: rows in chunks, many targets at once, whatever engine traces the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import Batches, BatchSize, Progress
from attrib.engine.gradient.differentiate import Differentiator
from attrib.engine.gradient.pullback import Rows
from attrib.engine.graph.modes import untracked
from attrib.engine.inputs import of_samples
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
    grads : tuple of Tensor (T, rows, ...)
        Gradient of each target's score.
    scores : Tensor (T, rows)
        The scores themselves.
    """

    start: int
    points: Rows
    grads: Rows
    scores: Tensor


class Passes:
    """One method's passes through one model: outputs, scores and gradients, chunk by chunk.

    Parameters
    ----------
    model : callable
        See `attrib.engine.model.function.Function`.
    xs : tuple of Tensor
        The inputs: how many samples there are, and where a plain function's rows go if no `device` is given.
    target, targets, classes, batch_size, device, progress
        As in the public functions.
    engine : {"auto", "func", "autograd"}
        `"auto"` tries torch.func and goes over to autograd where that raises.
    """

    def __init__(
        self,
        model: Model,
        xs: tuple[Tensor, ...],
        *,
        target: TargetLike = None,
        targets: Sequence | str | None = None,
        classes: Sequence[str] | None = None,
        batch_size: BatchSize = "auto",
        device: torch.device | str | None = None,
        progress: Progress = False,
        engine: str = "auto",
    ) -> None:
        self.function = Function(model, lambda: self.want.many or self.batches.open)
        self.device = choose_device(model, xs[0], device)
        size = sum(t[0].nbytes for t in xs)
        self.batches = Batches(batch_size, self.device, progress, row_bytes=size)
        self.want = wanted(target, targets, classes, len(xs[0]))
        self.score = Scores(self.want)
        self._differentiate = Differentiator(self.function, self.score, self.batches, engine)
        self._stack = ExitStack()

    def __enter__(self) -> Passes:
        """Begin: nothing is tracked, and whatever the model's passes write to its buffers is put back at the end."""
        self._stack.enter_context(torch.inference_mode(False))
        self._stack.enter_context(untracked())
        self._stack.enter_context(unchanged(self.function.parts))
        self._stack.callback(self.batches.close)
        return self

    def __exit__(self, *error: object) -> None:
        """End: the model as it was, the progress bar gone."""
        self._stack.__exit__(*error)  # type: ignore[arg-type]

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

    def go_on_with(self, model: Model, *, same_rows: bool = False) -> None:
        """Take another model from here, whose rows may be of another size, unless told that as many go into a call."""
        self.function.take(model)
        if not same_rows:
            self.batches.measure_again()

    def scores(self, xs: Rows) -> Tensor:
        """Scores (T, N) at the inputs, which settle the targets."""
        total: Tensor | None = None

        def work(start: int, stop: int) -> tuple[int, Tensor]:
            i = torch.arange(start, stop)
            y = self.function(*(of_samples(t, i, self.device) for t in xs))
            self.batches.measured(self.function.row_bytes, self.function.largest)
            return start, self.score(y, i, at_inputs=True)

        for start, part in self.batches.run(len(xs[0]), work):
            total = part.new_zeros(len(part), len(xs[0])) if total is None else total
            total[:, start : start + part.shape[1]] = part
        assert total is not None
        return total

    def outputs_at(self, xs: Rows) -> Tensor:
        """Outputs (rows, ...) at other points."""

        def work(start: int, stop: int) -> Tensor:
            i = torch.arange(start, stop)
            return self.function(*(of_samples(t, i, self.device) for t in xs))

        return torch.cat(list(self.batches.run(max(map(len, xs)), work)))

    def scores_at(self, xs: Rows, samples: Tensor) -> Tensor:
        """Scores (T, rows) at other points of the given samples; one point may stand for all."""
        y = self.outputs_at(xs)
        return self.score(y.expand(len(samples), *y.shape[1:]), samples)

    def gradients(
        self,
        points: Points,
        samples: Tensor,
        steps: int = 1,
        *,
        weights: Tensor | None = None,
        at_inputs: bool = False,
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
        """

        def work(start: int, stop: int) -> Chunk:
            r = torch.arange(start, stop)
            i, k = samples[r.div(steps, rounding_mode="floor")], r % steps
            rows = tuple(t.clone() if t.is_inference() else t for t in points(i, k))
            scale = None if weights is None else weights[k].to(rows[0])
            scores, grads = self._differentiate(rows, i, scale, at_inputs)
            self.batches.measured(self.function.row_bytes, self.function.largest)
            return Chunk(start, rows, grads, scores)

        return self.batches.run(len(samples) * steps, work, share=self.share)


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
        rows = part.sum(2, dtype=total.dtype) if steps > 1 else part[:, :, 0]
        total[:, samples] += rows.to(total.device)


def by_sample(values: Tensor, start: int, steps: int) -> Iterator[tuple[slice, bool, Tensor]]:
    """Rows (T, rows, ...) that begin with row `start`, as samples, whether from their first row, and (T, n, rows, ...)."""
    stop, r = start + values.shape[1], start
    while r < stop:
        sample, inside = divmod(r, steps)
        whole = (stop - r) // steps if inside == 0 else 0
        end = r + whole * steps if whole else min(stop, (sample + 1) * steps)
        part = values[:, r - start : end - start].unflatten(1, (max(whole, 1), -1))
        yield slice(sample, sample + max(whole, 1)), inside == 0, part
        r = end
