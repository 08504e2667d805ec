"""Scores of many edits of an input: by a row of the model for each, or by what each one changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.edits import Edits, edited
from attrib.engine.gradients import Kernel
from attrib.engine.model import one_tensor
from attrib.engine.window import Plan, Program, Unsuited, Windows, guard, plan, program
from attrib.engine.window.cost import dense_cost, window_cost
from attrib.engine.window.passes import Reference
from attrib.engine.window.plan import finite

Notes = dict[str, str | int | float]

PATHS = ("auto", "window", "dense")
EXTRA_ROWS = 16  # of the model, besides the guard's, for recording and planning
WORTH = 0.8  # of the dense operations: what the window must stay below to be taken


class Effects(NamedTuple):
    """What edits do to the scores.

    Attributes
    ----------
    values : Tensor (T, R)
        Score after the edit minus score before.
    notes : dict
        `path`: which one ran; `path_reason`: why; `path_gain`: how many times fewer operations the window needs than
        one row of the model per edit, where it could be counted; `edits`: how many there were.
    """

    values: Tensor
    notes: Notes


def effects(
    kernel: Kernel, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor, path: str = "auto"
) -> Effects:
    """Changes of the scores by edits of input `j`, the other inputs held.

    Parameters
    ----------
    kernel : Kernel
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
    kernel.batches.expect(len(edits.samples))
    scan = Scan(kernel, xs, j, edits, prediction)
    kernel.engine = scan.choose(path)
    before = prediction.index_select(1, edits.samples.to(prediction.device))
    values = scan.by_window() if kernel.engine == "window" else scan.dense(torch.arange(len(edits.samples)))
    return Effects(values - before, {"path": kernel.engine, **scan.notes, "edits": len(edits.samples)})


class Scan:
    """All edits of one input.

    Parameters
    ----------
    kernel, xs, j, edits, prediction
        As in `effects`.
    """

    def __init__(
        self, kernel: Kernel, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor
    ) -> None:
        self.kernel, self.xs, self.j, self.edits, self.prediction = kernel, xs, j, edits, prediction
        self.notes: Notes = {}
        self.plan: Plan | None = None

    def choose(self, path: str) -> str:
        """The path to take, "window" or "dense"; `notes` says why."""
        if path == "dense":
            self.notes["path_reason"] = "asked for"
            return "dense"
        try:
            self.plan = self._planned(worth=path == "auto")
            self._check(self.plan)
        except Unsuited as reason:
            if path == "window":
                raise ValueError(
                    f'`path` is "window", which is not possible here: {reason}; pass path="auto" or "dense"'
                ) from reason
            self.notes["path_reason"] = str(reason)
            return "dense"
        self.notes["path_reason"] = "asked for" if path == "window" else "fewer operations"
        return "window"

    def _planned(self, worth: bool) -> Plan:
        edits, x = self.edits, self.xs[self.j]
        if not edits.axes or len(edits.samples) == 0:
            raise Unsuited("the edits are no boxes")
        if len(self.xs) > 1:
            raise Unsuited("the model has several inputs")
        if x.dtype not in guard.ROUNDING:
            raise Unsuited(f"inputs of {x.dtype} leave no room for rounding")
        if worth and self.kernel.device.type != "cpu":
            raise Unsuited(
                "on an accelerator the window is taken only if asked for: dense batches are fast there"
            )
        sample = self._sample(int(edits.samples[0]))
        found = self._plan(program(self._outputs, sample), sample)
        lo, hi = (t[:, found.own_axes(edits.axes)] for t in edits.box(self._own(int(edits.samples[0]))))
        gain = dense_cost(found) / window_cost(found, lo, hi)
        self.notes["path_gain"] = round(gain, 2)
        rows = len(edits.samples)
        if worth and rows / gain + guard.CHECKED + EXTRA_ROWS > WORTH * rows:
            raise Unsuited("the window would not need fewer operations for so many edits")
        return found

    def _plan(self, recorded: Program, sample: Tensor) -> Plan:
        """Along all axes of the edits; or all channels together, as most networks mix them at once."""
        axes = self.edits.axes
        try:
            return plan(recorded, sample, axes)
        except Unsuited:
            if axes[0] != 1 or len(axes) == 1:
                raise
        return plan(recorded, sample, axes[1:])

    def _outputs(self, rows: Tensor) -> Tensor:
        return one_tensor(self.kernel.function.model(rows), len(rows))

    def _sample(self, i: int) -> Tensor:
        return self.xs[self.j][i : i + 1].to(self.kernel.device)

    def _own(self, i: int) -> Tensor:
        """The edits of a sample."""
        first, last = torch.searchsorted(self.edits.samples, torch.tensor([i, i + 1])).tolist()
        return torch.arange(first, last)

    def _check(self, found: Plan) -> None:
        """Compare some edits of the first sample with the model.

        Raises
        ------
        Unsuited
            If they differ.
        """
        i = int(self.edits.samples[0])
        own = self._own(i)
        r, x = own[guard.some(len(own))], self._sample(i)
        chunks = r.split(self.kernel.batches.chunk())
        expected = torch.cat(
            [self.kernel.function(edited(x.expand(len(c), *x.shape[1:]), self.edits, c)) for c in chunks]
        )
        reference = self._reference(i, found)
        for other in guard.others(x, self.edits.axes).split(self.kernel.batches.chunk()):
            if not guard.agrees(
                found.program.values(other)[found.program.output], self.kernel.function(other)
            ):
                raise Unsuited("the recorded ops are not those of other inputs")
        outputs = torch.empty_like(expected)
        batches = Batches(self.kernel.batches.chunk(), self.kernel.device)
        for some, y in Windows(found, self.edits, batches).outputs(reference, r):
            outputs[torch.searchsorted(r, some).to(y.device)] = y
        if not guard.agrees(outputs, expected):
            off = guard.difference(outputs, expected)
            raise Unsuited(f"the window differs from the model by {off:.1e} of the largest output")

    def _reference(self, i: int, found: Plan) -> Reference:
        """A sample's values without edits.

        Raises
        ------
        Unsuited
            If the recorded graph does not give the sample's own output, or values are not finite.
        """
        x = self._sample(i)
        reference = Reference(found, x)
        if not finite(reference.values, list(found.demand)):
            raise Unsuited("the model has values that are not finite")
        if not guard.agrees(reference.values[found.program.output], self.kernel.function(x)):
            raise Unsuited("the model takes another way for some samples")
        return reference

    def by_window(self) -> Tensor:
        """Scores (T, R), sample by sample; by `dense` for those that the window does not suit."""
        assert self.plan is not None
        total = self.prediction.new_zeros(len(self.prediction), len(self.edits.samples))
        windows = Windows(self.plan, self.edits, self.kernel.batches)
        for i in self.edits.samples.unique().tolist():
            r = self._own(i)
            try:
                reference = self._reference(i, self.plan)
            except Unsuited as reason:
                total[:, r.to(total.device)] = self.dense(r)
                self.notes["path_reason"] = f"fewer operations; not for sample {i}: {reason}"
                continue
            for some, y in windows.outputs(reference, r):
                at = torch.full((len(some),), i, device=y.device)
                total[:, some.to(total.device)] = self.kernel.score(y, at)
        return total

    def dense(self, r: Tensor) -> Tensor:
        """Scores (T, edits) of the edits `r` by one row of the model for each."""
        kernel = self.kernel
        total = self.prediction.new_zeros(len(self.prediction), len(r))

        def work(start: int, stop: int) -> tuple[int, Tensor]:
            i = self.edits.samples[r[start:stop]]
            rows = [t[i.to(t.device)].to(kernel.device) for t in self.xs]
            rows[self.j] = edited(rows[self.j], self.edits, r[start:stop])
            return start, kernel.score(kernel.function(*rows), i.to(kernel.device))

        for start, part in kernel.batches.run(len(r), work):
            total[:, start : start + part.shape[1]] = part
        return total
