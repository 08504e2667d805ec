"""Scores of many edits of an input: by a row of the model for each, or by what each one changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.edits.edits import Edits, edited
from attrib.engine.gradient.passes import Passes
from attrib.engine.model.function import one_tensor
from attrib.engine.window import Plan, Unsuited, Windows, cost, dispatch, learn, program
from attrib.engine.window.plan import finite
from attrib.engine.window.propagate import Reference

Notes = dict[str, str | int | float]

PATHS = ("auto", "window", "dense")


class Effects(NamedTuple):
    """What edits do to the scores.

    Attributes
    ----------
    values : Tensor (T, R)
        Score after the edit minus score before.
    notes : dict
        `path`: which one ran; `path_reason`: why; `path_gain`: how many times fewer operations the window needs than
        one row of the model per edit, where it could be counted; `edits`: how many a sample has (of letters: one more for
        each that is unknown).
    """

    values: Tensor
    notes: Notes


def effects(
    passes: Passes, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor, path: str = "auto"
) -> Effects:
    """Changes of the scores by edits of input `j`, the other inputs held.

    Parameters
    ----------
    passes : Passes
    xs : tuple of Tensor
        The inputs.
    j : int
        The input that is edited.
    edits : Edits
    prediction : Tensor (T, N)
        Scores at the inputs.
    path : {"auto", "window", "dense"}

    Raises
    ------
    ValueError
        For another path, and for `"window"` where it cannot be taken.
    """
    if path not in PATHS:
        raise ValueError(f"`path` is {path!r}, expected one of {', '.join(PATHS)}")
    passes.batches.expect(len(edits.samples))
    scan = Scan(passes, xs, j, edits, prediction)
    values = scan.dense_for("asked for") if path == "dense" else scan.by_window(must=path == "window")
    passes.engine = str(scan.notes["path"])
    before = prediction.index_select(1, edits.samples.to(prediction.device))
    return Effects(values - before, {**scan.notes, "edits": edits.each})


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
        """Scores (T, R), sample by sample; by `dense` for those that the window does not suit.

        Raises
        ------
        ValueError
            If the window `must` be taken and does not suit the first sample.
        """
        total = self.prediction.new_zeros(len(self.prediction), len(self.edits.samples))
        samples = self.edits.samples.unique().tolist()
        why = "asked for" if must else "fewer operations"
        try:
            dispatch.refuse_at_once(self.edits, self.xs[self.j].dtype, self.passes.device, must)
            self._window(samples[0], total, must)
        except Unsuited as reason:
            if must:
                raise ValueError(
                    f'`path` is "window", which is not possible here: {reason}; pass path="auto" or "dense"'
                ) from reason
            return self.dense_for(str(reason))
        self.notes.update(path="window", path_reason=why)
        for i in samples[1:]:
            try:
                self._window(i, total, must)
            except Unsuited as reason:
                r = self._own(i)
                total[:, r.to(total.device)] = self.dense(r)
                self.notes["path_reason"] = f"{why}; not for sample {i}: {reason}"
        return total

    def _window(self, i: int, total: Tensor, must: bool) -> None:
        """Put the scores of a sample's edits where they belong.

        Raises
        ------
        Unsuited
            Where the window does not suit the sample, or some of its edits do not agree with the model.
        """
        again = self.plan is not None and len(self.xs) == 1  # else held inputs are constants of the record
        reference = self._reference(i) if again else self._begin(i, must)
        r = self._own(i)
        wanted = r[cost.some(len(r), self.checked)]
        expected = self._by_model(i, wanted)
        seen: list[tuple[Tensor, Tensor]] = []
        for some, y in Windows(reference.plan, self.edits, self.passes.batches).outputs(reference, r):
            at = torch.full((len(some),), i, device=y.device)
            total[:, some.to(total.device)] = self.passes.score(y, at)
            here = torch.isin(some, wanted)
            seen.append((some[here], y[here.to(y.device)]))
        found = torch.cat([y for _, y in seen])[torch.cat([some for some, _ in seen]).argsort()]
        if len(wanted) and not cost.agrees(found, expected):
            off = cost.difference(found, expected)
            raise Unsuited(f"the window differs from the model by {off:.1e} of the largest output")
        self.checked += len(wanted)

    def _begin(self, i: int, must: bool) -> Reference:
        """Record the model around a sample, plan, and give the sample's values without edits.

        Raises
        ------
        Unsuited
            Where the model cannot be recorded, mixes everything at once, is not what was recorded, or where so few
            edits are not worth it.
        """
        edits, x = self.edits, self._sample(i)
        rows = torch.cat([x, cost.others(x, edits.axes)])
        recorded = program(lambda t: self._model(i, t), rows)
        known, values, outputs = learn(recorded, rows[:3])
        if not cost.agrees_where_finite(outputs, recorded.outputs[1:3]):
            raise Unsuited("the recorded ops are not those of other inputs")
        own = self._own(i)
        found, gain = dispatch.cheapest(recorded, known, edits, own)
        self.plan = found
        self.notes.setdefault("path_gain", round(gain, 2))
        if not must:
            dispatch.refuse_costly(found, gain, len(own) if len(self.xs) > 1 else len(edits.samples))
        if not finite(values, list(found.demand)):
            raise Unsuited("the model has values that are not finite")
        if not cost.agrees(values[recorded.output], recorded.outputs[:1]):
            raise Unsuited("the recorded ops are not those of the model")
        return Reference(found, x, values)

    def _reference(self, i: int) -> Reference:
        """A further sample's values without edits.

        Raises
        ------
        Unsuited
            If they do not give the sample's score, or are not finite.
        """
        assert self.plan is not None
        reference = Reference(self.plan, self._sample(i))
        if not finite(reference.values, list(self.plan.demand)):
            raise Unsuited("the model has values that are not finite")
        y = reference.values[self.plan.program.output]
        score, expected = (
            self.passes.score(y, torch.tensor([i], device=y.device)),
            self.prediction[:, i, None],
        )
        scale = max(float(y.abs().max()), float(expected.abs().max()))
        if not float((score - expected).abs().max()) <= cost.ROUNDING[y.dtype] * scale:
            raise Unsuited("the model takes another way for some samples")
        return reference

    def _held(self, i: int, rows: Tensor) -> list[Tensor]:
        """Inputs of a sample with `rows` in place of the edited one."""
        device, n = self.passes.device, len(rows)
        held = [t[i : i + 1].to(device).expand(n, *t.shape[1:]) for t in self.xs]
        held[self.j] = rows
        return held

    def _model(self, i: int, rows: Tensor) -> Tensor:
        return one_tensor(self.passes.function.model(*self._held(i, rows)), len(rows))

    def _by_model(self, i: int, r: Tensor) -> Tensor:
        """Outputs of edits of a sample by the model."""
        x, chunks = self._sample(i), r.split(self.passes.batches.chunk())
        rows = (edited(x.expand(len(c), *x.shape[1:]), self.edits, c) for c in chunks)
        return torch.cat([self.passes.function(*self._held(i, t)) for t in rows])

    def _sample(self, i: int) -> Tensor:
        return self.xs[self.j][i : i + 1].to(self.passes.device)

    def _own(self, i: int) -> Tensor:
        """The edits of a sample."""
        first, last = torch.searchsorted(self.edits.samples, torch.tensor([i, i + 1])).tolist()
        return torch.arange(first, last)

    def dense_for(self, reason: str) -> Tensor:
        """Scores (T, R) by the dense path, and a note why."""
        self.notes.update(path="dense", path_reason=reason)
        return self.dense(torch.arange(len(self.edits.samples)))

    def dense(self, r: Tensor) -> Tensor:
        """Scores (T, edits) of the edits `r` by one row of the model for each."""
        passes = self.passes
        total = self.prediction.new_zeros(len(self.prediction), len(r))

        def work(start: int, stop: int) -> tuple[int, Tensor]:
            i = self.edits.samples[r[start:stop]]
            rows = [t[i.to(t.device)].to(passes.device) for t in self.xs]
            rows[self.j] = edited(rows[self.j], self.edits, r[start:stop])
            return start, passes.score(passes.function(*rows), i.to(passes.device))

        for start, part in passes.batches.run(len(r), work):
            total[:, start : start + part.shape[1]] = part
        return total
