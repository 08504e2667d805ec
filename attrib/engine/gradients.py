"""The one gradient kernel: rows in chunks, many targets at once, whatever engine traces the model."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import Batches, BatchSize, Progress
from attrib.engine.inputs import of_samples
from attrib.engine.model import Function, Model, device_of, modules, unchanged
from attrib.engine.pullback import Rows, by_autograd, by_forward_mode, by_func, cut_inputs
from attrib.engine.target import Entry, Predicted, Target, TargetLike, wanted

Points = Callable[[Tensor, Tensor], Rows]  # sample and step of each row, ascending -> the rows
ENGINES = ("auto", "func", "autograd")


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


class Kernel:
    """One method's passes through one model: outputs, scores and gradients, chunk by chunk.

    Parameters
    ----------
    model : callable
        See `attrib.engine.model.Function`.
    xs : tuple of Tensor
        The inputs: how many samples there are, and where a plain function's rows go if no `device` is given.
    target, targets, classes, batch_size, device, progress
        As in the public functions.
    engine : {"auto", "func", "autograd"}
        `"auto"` tries torch.func and goes over to autograd where that raises.

    Attributes
    ----------
    engine : str
        The engine in use; settled by the first gradient.
    targets : list of Target or None
        Settled by the first output.
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
        if engine not in ENGINES:
            raise ValueError(f"`engine` is {engine!r}, expected one of {', '.join(ENGINES)}")
        self.function = Function(model)
        self.device = choose_device(model, xs[0], device)
        self.batches = Batches(batch_size, self.device, progress)
        self.want = wanted(target, targets, classes, len(xs[0]))
        self.targets: list[Target] | None = None
        self.engine = engine
        self._checked_cut = False
        self._forward_works = engine == "auto"
        self._features = 1
        self._stack = ExitStack()

    def __enter__(self) -> Kernel:
        """Begin: nothing is tracked, and whatever the model's passes write to its buffers is put back at the end."""
        self._stack.enter_context(torch.inference_mode(False))
        self._stack.enter_context(torch.no_grad())
        self._stack.enter_context(unchanged(self.function.model))
        self._stack.callback(self.batches.close)
        return self

    def __exit__(self, *error: object) -> None:
        """End: the model as it was, the progress bar gone."""
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def scores(self, xs: Rows) -> Tensor:
        """Scores (T, N) at the inputs, which settle the targets."""
        total: Tensor | None = None

        def work(start: int, stop: int) -> tuple[int, Tensor]:
            i = torch.arange(start, stop, device=self.device)
            y = self.function(*(of_samples(t, i) for t in xs))
            self.batches.measured(self.function.row_bytes or 1)
            return start, self._scores(y, i, at_inputs=True)

        for start, part in self.batches.run(len(xs[0]), work):
            total = part.new_zeros(len(part), len(xs[0])) if total is None else total
            total[:, start : start + part.shape[1]] = part
        assert total is not None
        return total

    def outputs_at(self, xs: Rows) -> Tensor:
        """Outputs (rows, ...) at other points."""

        def work(start: int, stop: int) -> Tensor:
            i = torch.arange(start, stop, device=self.device)
            return self.function(*(of_samples(t, i) for t in xs))

        return torch.cat(list(self.batches.run(max(map(len, xs)), work)))

    def scores_at(self, xs: Rows, samples: Tensor) -> Tensor:
        """Scores (T, rows) at other points of the given samples; one point may stand for all."""
        y = self.outputs_at(xs)
        return self.score_outputs(y.expand(len(samples), *y.shape[1:]), samples)

    def score_outputs(self, y: Tensor, samples: Tensor) -> Tensor:
        """Scores (T, rows) of outputs that belong to the given samples."""
        return self._scores(y, samples)

    def _scores(self, y: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        if self.targets is None:
            self.targets = self.want.settle(y)
        for t in self.targets:
            if at_inputs and isinstance(t, Predicted):
                t.look(y, i)
        return torch.stack([t.score(y, i) for t in self.targets])

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
            Numbers of the samples, ascending.
        steps : int
            Points per sample; row r is step r % steps of samples[r // steps].
        weights : Tensor (steps,), optional
            Factors of the gradients; they cost nothing.
        at_inputs : bool
            Whether the points are the inputs, whose outputs settle `"predicted"`.
        """
        samples = samples.to(self.device)

        def work(start: int, stop: int) -> Chunk:
            r = torch.arange(start, stop, device=self.device)
            i, k = samples[r.div(steps, rounding_mode="floor")], r % steps
            rows = tuple(t.clone() if t.is_inference() else t for t in points(i, k))
            scale = None if weights is None else weights.to(rows[0])[k]
            scores, grads = self._differentiate(rows, i, scale, at_inputs)
            self.batches.measured(self.function.row_bytes or 1)
            return Chunk(start, rows, grads, scores)

        return self.batches.run(len(samples) * steps, work, share=self.share)

    def share(self) -> int:
        """Backward rows per forward row: the number of targets; before the number is known, go carefully."""
        count = self.want.count if self.targets is None else len(self.targets)
        return min(count or self.batches.chunk(), self._features if self._forward_works else sys.maxsize)

    def _differentiate(
        self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        if self._forward_pays(rows):
            found = self._attempt("forward", rows, i, scale, at_inputs)
            self._forward_works = found is not None
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
        targets = self.targets or ()
        pays = (
            self._forward_works
            and self._features < len(targets)
            and all(isinstance(t, Entry) for t in targets)
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
        scores, targets = self._scores(y, i, at_inputs), self.targets or []
        block = max(1, self.batches.chunk() // len(i))
        found = []
        for first in range(0, len(targets), block):
            cotangents = torch.stack([t.cotangent(y, i) for t in targets[first : first + block]])
            if scale is not None:
                cotangents = cotangents * scale.view(1, -1, *[1] * (y.ndim - 1)).to(y)
            found.append(pull(cotangents))
        return scores, found[0] if len(found) == 1 else tuple(torch.cat(g) for g in zip(*found, strict=True))

    def _forward_mode(
        self, rows: Rows, i: Tensor, scale: Tensor | None, at_inputs: bool
    ) -> tuple[Tensor, Rows]:
        y, derivatives = by_forward_mode(self.function, rows)
        scores, targets = self._scores(y, i, at_inputs), self.targets or []
        grads = []
        for r, derivative in zip(rows, derivatives, strict=True):
            g = torch.stack([torch.stack([t.score(d, i) for d in derivative], 1) for t in targets])
            g = g if scale is None else g * scale[:, None]
            grads.append(g.view(len(targets), *r.shape).to(r.dtype))
        return scores, tuple(grads)

    def _refuse_cut(self, rows: Rows, grads: Rows) -> None:
        if all(bool(g.any()) for g in grads):
            return
        few = tuple(r[:2] for r in rows)
        cut = [j for j in cut_inputs(self.function, few) if not grads[j].any()]
        if cut:
            which = "" if len(rows) == 1 else f" of input {', '.join(map(str, cut))}"
            raise ValueError(
                f"`model` cuts the gradient{which}: the output changes with it, but no gradient path leads back. "
                "Remove no_grad, detach, rounding, comparisons or NumPy from the forward pass"
            )


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
    if (
        at is not None
        and modules(model)
        and (chosen.type != at.type or (chosen.index is not None and chosen != at))
    ):
        raise ValueError(
            f"`device` is {chosen}, but the model's parameters are on {at}; call model.to({str(chosen)!r})"
        )
    return at or chosen


def add_by_sample(total: Tensor, values: Tensor, start: int, steps: int) -> None:
    """Add rows (T, rows, ...) to their samples' sums (T, N, ...); row r belongs to sample r // steps.

    Whole samples are summed in one reshape and the two ends apart, in a fixed order: no atomic adds, whose order (and
    so the last bits) varies on a GPU.
    """
    if steps == 1:
        total[:, start : start + values.shape[1]] += values
        return
    stop, r = start + values.shape[1], start
    while r < stop:
        sample, inside = divmod(r, steps)
        whole = (stop - r) // steps if inside == 0 else 0
        if whole:
            part = values[:, r - start : r - start + whole * steps]
            total[:, sample : sample + whole] += part.unflatten(1, (whole, steps)).sum(2, dtype=total.dtype)
            r += whole * steps
        else:
            end = min(stop, (sample + 1) * steps)
            total[:, sample] += values[:, r - start : end - start].sum(1, dtype=total.dtype)
            r = end
