"""Edits of an input: what is replaced in which sample, and the scores of many edits.

One row of the model is computed for each edit (dense), or the values that it changes (window).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from attrib._arguments import near
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import moved, of_samples
from attrib.engine.model.prepared import digest
from attrib.engine.window import Costly, Plan, Unsuited, Windows, dispatch, learn_layout, program
from attrib.engine.window.plan import finite
from attrib.engine.window.propagate import Reference
from attrib.engine.window.rule import Edits, in_boxes

Notes = dict[str, str | int | float]

PATHS = ("auto", "window", "dense")


def edited(x: Tensor, edits: Edits, r: Tensor) -> Tensor:
    """Rows (rows, ...) after the edits `r` (rows,), from the samples `x` (rows, ...) of these edits."""
    inside = edits.inside(r.cpu(), x.shape[1:], x.device)
    return torch.where(inside, moved(edits.content(r.cpu()), x.device, x.dtype), x)


class Letters:
    """Every other letter at every position.

    Parameters
    ----------
    x : Tensor (N, letters, positions) or (N, positions, letters)
        The sequences; columns may be one-hot, zero (unknown), or anything else.
    axis, position : int
        The dims of letters and of positions.
    positions : Tensor (P,)
        Positions to edit.

    Attributes
    ----------
    samples, letters, positions : Tensor (R,)
        Sample, new letter and position of each edit.
    each : int
        Edits of a sample in which each letter is known; each unknown letter gives one more.
    """

    def __init__(self, x: Tensor, axis: int, position: int, positions: Tensor) -> None:
        self.axes: tuple[int, ...] = (position,)
        columns = x.detach().cpu().movedim((position, axis), (1, 2))[:, positions]  # (N, P, letters)
        self._one_hot = torch.eye(columns.shape[2], dtype=torch.long)
        same = (columns[:, :, None, :] == self._one_hot.to(columns.dtype)).all(3)
        self.samples, at, self.letters = (~same).nonzero().unbind(1)
        self.positions = positions[at]
        self.each = len(positions) * (columns.shape[2] - 1)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """All letters of the position."""
        return in_boxes(*self.box(r), self.axes, shape, device)

    def content(self, r: Tensor) -> Tensor:
        """One-hot letters, (rows, letters, 1) or (rows, 1, letters)."""
        return self._one_hot[self.letters[r]].unsqueeze(self.axes[0])

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The position."""
        return self.positions[r][:, None], self.positions[r][:, None] + 1


class Boxes:
    """Every box of a list in every sample.

    Parameters
    ----------
    n : int
        Number of samples.
    lo, hi : Tensor (B, k)
        Boxes [lo, hi) along `axes`.
    axes : tuple of int
        Dims of the input; along the others, all features are replaced.
    baseline : Tensor (1, ...) or (n, ...)
        The values that replace the features.
    """

    def __init__(self, n: int, lo: Tensor, hi: Tensor, axes: tuple[int, ...], baseline: Tensor) -> None:
        self.lo, self.hi, self.axes, self.baseline = lo, hi, axes, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(lo)), len(lo)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The box."""
        return in_boxes(*self.box(r), self.axes, shape, device)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return of_samples(self.baseline, self.samples[r], self.baseline.device)

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes of the edits."""
        b = r % len(self.lo)
        return self.lo[b], self.hi[b]


class Groups:
    """Every group of features in every sample.

    Parameters
    ----------
    n : int
        Number of samples.
    groups : Tensor of int
        The group of each feature, broadcast against a sample.
    numbers : Tensor (G,)
        The groups to replace.
    baseline : Tensor (1, ...) or (n, ...)
        The values that replace the features.
    """

    axes: tuple[int, ...] = ()

    def __init__(self, n: int, groups: Tensor, numbers: Tensor, baseline: Tensor) -> None:
        self.groups, self.numbers, self.baseline = groups, numbers, baseline
        self.samples, self.each = torch.arange(n).repeat_interleave(len(numbers)), len(numbers)

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The group's features."""
        groups = moved(self.numbers[r % len(self.numbers)], device)
        return moved(self.groups, device)[None] == groups.view(-1, *[1] * self.groups.ndim)

    def content(self, r: Tensor) -> Tensor:
        """The baseline."""
        return of_samples(self.baseline, self.samples[r], self.baseline.device)

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes along no axis, as groups have any shape."""
        none = torch.zeros(len(r), 0, dtype=torch.long)
        return none, none


class Effects(NamedTuple):
    """The changes of the scores by edits.

    Attributes
    ----------
    values : Tensor (T, R)
        Score after the edit minus score before.
    notes : dict
        `path`: the path that ran; `path_reason`: why; `path_gain`: operations of the dense path as a multiple of those of
        the window, if counted; `edits`: edits of a sample (of letters: one more for each unknown letter).
    """

    values: Tensor
    notes: Notes


def effects(
    passes: Passes, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor, path: str = "auto"
) -> Effects:
    """Changes of the scores by edits of input `j`; the other inputs are unchanged.

    Parameters
    ----------
    passes : Passes
        The model, the targets, and the number of rows in a chunk.
    xs : tuple of Tensor
        The inputs.
    j : int
        Number of the edited input.
    edits : Edits
        The edits.
    prediction : Tensor (T, N)
        Scores at the inputs.
    path : {"auto", "window", "dense"}
        How to compute them; `"auto"` takes the window if it needs fewer operations.

    Raises
    ------
    ValueError
        If `path` is not one of these, or is `"window"` and the window does not suit the model.
    """
    if path not in PATHS:
        raise ValueError(f"`path` is {path!r}, expected one of {', '.join(PATHS)}{near(path, PATHS)}")
    passes.batches.expect(len(edits.samples))
    scan = Scan(passes, xs, j, edits, prediction)
    values = scan.dense_for("asked for") if path == "dense" else scan.by_window(must=path == "window")
    passes.engine = str(scan.notes["path"])
    before = prediction.index_select(1, edits.samples.to(prediction.device))
    return Effects(values - before, {**scan.notes, "edits": edits.each})


@contextmanager
def _errors_as_reasons(must: bool) -> Iterator[None]:
    """Unless the window `must` be taken, what fails on its way is a reason for the dense path, which has errors of its own."""
    try:
        yield
    except Unsuited:
        raise
    except Exception as error:
        if must:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        raise Unsuited(f"the window failed with {type(error).__name__}: {first}") from error


class Scan:
    """All edits of one input.

    Parameters
    ----------
    passes, xs, j, edits, prediction
        As in `effects`.
    """

    def __init__(
        self, passes: Passes, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor
    ) -> None:
        self.passes, self.xs, self.j, self.edits, self.prediction = passes, xs, j, edits, prediction
        self.notes: Notes = {"path": "dense", "path_reason": ""}
        self.plan: Plan | None = None
        self.checked = 0

    def by_window(self, must: bool) -> Tensor:
        """Scores (T, R), sample by sample; dense for the samples that the window does not suit.

        Raises
        ------
        ValueError
            If the window `must` be taken and does not suit the first sample.
        """
        total = self.prediction.new_zeros(len(self.prediction), len(self.edits.samples))
        samples = [int(i) for i in self.edits.samples.unique()]
        cause = "asked for" if must else "fewer operations"
        try:
            with _errors_as_reasons(must):
                dispatch.refuse_edits(self.edits, self.xs[self.j].dtype, self.passes.device, must)
                self._window(samples[0], total, must)
        except Unsuited as reason:
            if must:
                raise ValueError(
                    f'`path` is "window", which is not possible here: {reason}; pass path="auto" or "dense"'
                ) from reason
            return self.dense_for(str(reason))
        self.notes.update(path="window", path_reason=cause)
        for i in samples[1:]:
            try:
                with _errors_as_reasons(must):
                    self._window(i, total, must)
            except Unsuited as reason:
                r = self._edits_of(i)
                total[:, r.to(total.device)] = self.dense(r)
                self.notes["path_reason"] = f"{cause}; not for sample {i}: {reason}"
        return total

    def _window(self, i: int, total: Tensor, must: bool) -> None:
        """Write the scores of a sample's edits to `total`.

        Raises
        ------
        Unsuited
            If the window does not suit the sample, or differs from the model for the edits that are checked.
        """
        reusable = self.plan is not None and not self._of_one_sample
        reference = self._reference(i) if reusable else self._begin(i, must)
        r = self._edits_of(i)
        checked = r[dispatch.edits_to_check(len(r), self.checked)]
        expected = self._by_model(i, checked)
        numbers: list[Tensor] = []
        outputs: list[Tensor] = []
        for part, y in Windows(reference.plan, self.edits, self.passes.batches).outputs(reference, r):
            sample = torch.full((len(part),), i, device=y.device)
            total[:, moved(part, total.device)] = self.passes.score(y, sample)
            is_checked = torch.isin(part, checked)
            numbers.append(part[is_checked])
            outputs.append(y[moved(is_checked, y.device)])
        by_window = torch.cat(outputs)[torch.cat(numbers).argsort()]
        if len(checked) and not dispatch.agrees(by_window, expected):
            error = dispatch.difference(by_window, expected)
            raise Unsuited(f"the window differs from the model by {error:.1e} of the largest output")
        self.checked += len(checked)

    def _begin(self, i: int, must: bool) -> Reference:
        """Record the model at a sample, plan the window, and compute the sample's values without edits.

        Raises
        ------
        Unsuited
            If the model cannot be recorded or differs from the recording, if an edit changes all its values, or if the
            window costs more than it saves.
        """
        edits, x, r = self.edits, self._sample(i), self._edits_of(i)
        refused, at = self.passes.function.knowledge.costly, self._boxes(r)
        if not must and at in refused:
            gain, reason = refused[at]
            self.notes.setdefault("path_gain", gain)
            raise Costly(reason)
        rows = torch.cat([x, dispatch.unlike(x, edits.axes)])
        recorded = program(lambda t: self._model(i, t), rows)
        layout, values, outputs = learn_layout(recorded, rows[:3])
        if not dispatch.agrees_where_finite(outputs, recorded.outputs[1:3]):
            raise Unsuited("the recorded ops are not those of other inputs")
        self.plan, gain = dispatch.cheapest(recorded, layout, edits, r)
        self.notes.setdefault("path_gain", round(gain, 2))
        if not must:
            count = len(r) if self._of_one_sample else len(edits.samples)
            try:
                dispatch.refuse_costly(self.plan, gain, count)
            except Costly as reason:
                refused[at] = round(gain, 2), str(reason)
                raise
        if not finite(values, list(self.plan.demand)):
            raise Unsuited("the model has values that are not finite")
        if not dispatch.agrees(values[recorded.output], recorded.outputs[:1]):
            raise Unsuited("the recorded ops are not those of the model")
        return Reference(self.plan, x, values)

    def _boxes(self, r: Tensor) -> tuple[int, ...]:
        """What the cost of a window depends on, beside the model: the input, and the number and the boxes of the edits."""
        return self.j, len(r), len(self.edits.samples), *map(digest, self.edits.box(r))

    def _reference(self, i: int) -> Reference:
        """The values of a further sample without edits, by the plan of the first.

        Raises
        ------
        Unsuited
            If they differ from the sample's score, or are not finite.
        """
        assert self.plan is not None
        reference = Reference(self.plan, self._sample(i))
        if not finite(reference.values, list(self.plan.demand)):
            raise Unsuited("the model has values that are not finite")
        y = reference.values[self.plan.program.output]
        score = self.passes.score(y, torch.tensor([i], device=y.device))
        expected = self.prediction[:, i, None]
        scale = max(float(y.abs().max()), float(expected.abs().max()))
        if not float((score - expected).abs().max()) <= dispatch.ROUNDING[y.dtype] * scale:
            raise Unsuited("the model takes another way for some samples")
        return reference

    @property
    def _of_one_sample(self) -> bool:
        """Whether a recording is of one sample alone: other inputs, and values beside them, are constants in it."""
        return len(self.xs) > 1 or self.passes.companions.per_sample

    def _inputs(self, i: int, rows: Tensor) -> list[Tensor]:
        """All inputs of a sample, with `rows` in place of the edited one."""
        device, n = self.passes.device, len(rows)
        inputs = [t[i : i + 1].to(device).expand(n, *t.shape[1:]) for t in self.xs]
        inputs[self.j] = rows
        return inputs

    def _model(self, i: int, rows: Tensor) -> Tensor:
        return self.passes.function.output(*self._inputs(i, rows), samples=torch.tensor([i]))

    def _by_model(self, i: int, r: Tensor) -> Tensor:
        """Outputs of the model for edits `r` of a sample."""
        x, chunks = self._sample(i), r.split(self.passes.batches.chunk())
        rows = (edited(x.expand(len(c), *x.shape[1:]), self.edits, c) for c in chunks)
        sample = torch.tensor([i])
        return torch.cat([self.passes.function(*self._inputs(i, t), samples=sample) for t in rows])

    def _sample(self, i: int) -> Tensor:
        return self.xs[self.j][i : i + 1].to(self.passes.device)

    def _edits_of(self, i: int) -> Tensor:
        """Numbers of the edits of a sample."""
        first, last = map(int, torch.searchsorted(self.edits.samples, torch.tensor([i, i + 1])))
        return torch.arange(first, last)

    def dense_for(self, reason: str) -> Tensor:
        """Scores (T, R) of all edits by the dense path; `reason` goes to the notes."""
        self.notes.update(path="dense", path_reason=reason)
        return self.dense(torch.arange(len(self.edits.samples)))

    def dense(self, r: Tensor) -> Tensor:
        """Scores (T, edits) of the edits `r`, by one row of the model for each."""
        passes = self.passes
        total = self.prediction.new_zeros(len(self.prediction), len(r))

        def work(start: int, stop: int) -> tuple[int, Tensor]:
            i = self.edits.samples[r[start:stop]]
            rows = [moved(t[moved(i, t.device)], passes.device) for t in self.xs]
            rows[self.j] = edited(rows[self.j], self.edits, r[start:stop])
            return start, passes.score(passes.function(*rows, samples=i), moved(i, passes.device))

        for start, part in passes.batches.run(len(r), work):
            total[:, start : start + part.shape[1]] = part
        return total
