"""The edits of one sample, through windows, bridges and tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.edits.edits import Edits, between
from attrib.engine.graph import Ref
from attrib.engine.window.aggregations import Piece
from attrib.engine.window.cost import WINDOW_ELEMENTS, block, elements, piece_elements, snapped, volume
from attrib.engine.window.plan import Plan
from attrib.engine.window.propagate import Pass, Reference, Tail, light, row_elements

PIECE_ELEMENTS = 1 << 23  # of what is kept between windows and tail
MOST_ROWS = 8192
SHARE = 4  # of the room that the values of a pass leave to what its ops need meanwhile


class Windows:
    """Outputs for edits, sample by sample.

    Parameters
    ----------
    plan : Plan
    edits : Edits
        Boxes.
    batches : Batches
        Rows of the tail, and the progress.

    Attributes
    ----------
    room : int
        Numbers in the values of so many rows of the model: passes, waves and laid-out weights each stay below.
    """

    def __init__(self, plan: Plan, edits: Edits, batches: Batches) -> None:
        self.plan, self.edits, self.batches = plan, edits, batches
        self.room = batches.chunk() * row_elements(plan)

    def outputs(self, reference: Reference, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of edits and their outputs (rows, ...), chunk by chunk, of edits `r` of one sample."""
        rows = _Rows(reference.x, r, self.edits, self.plan)
        kept = max(1, piece_elements(self.plan, rows.lo, rows.hi))
        wave = max(1, min(max(64, PIECE_ELEMENTS // kept), self.room // kept))
        for first in range(0, len(r), wave):
            yield from self._wave(reference, rows.some(slice(first, first + wave)))

    def _wave(self, reference: Reference, rows: _Rows) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows of all rows, then the rest of the program."""
        order: list[Tensor] = []
        pieces: dict[Ref, list[Piece]] = {}
        for members in self._alike(rows.lo, rows.hi):
            same = rows.some(members)
            batches = Batches(self._limit(same), reference.x.device)
            for found in batches.run(len(members), same.through(reference)):
                for ref, piece in found.items():
                    pieces.setdefault(ref, []).append(piece)
            order.append(same.r)
        tail, r = Tail(self.plan, reference, pieces, self.room), torch.cat(order)

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            return r[start:stop], tail.output(start, stop)

        yield from self.batches.run(len(r), work, light=light(self.plan))

    def _limit(self, rows: _Rows) -> int:
        """Rows of one pass: what stays in the cache, and whole places, whose values without edits are read once."""
        limit = min(MOST_ROWS, max(8, WINDOW_ELEMENTS // elements(self.plan, rows.lo, rows.hi)))
        middle = len(rows.lo) // 2
        box = tuple(zip(rows.lo[middle].tolist(), rows.hi[middle].tolist(), strict=True))
        limit = min(limit, max(1, self.room // (SHARE * volume(self.plan, box))))
        each = len(rows.lo) // (int((rows.lo[1:] != rows.lo[:-1]).any(1).sum()) + 1)
        return limit // each * each or limit

    def _alike(self, lo: Tensor, hi: Tensor) -> list[Tensor]:
        """Rows whose boxes have equal sizes and lie a multiple of the period apart, each in the order of position."""
        key = torch.zeros(len(lo), dtype=torch.long)
        for k, period in enumerate(self.plan.period):
            size = hi[:, k] - lo[:, k]
            key = (key * period + lo[:, k] % period) * (int(size.max()) + 1) + size
        kinds, member = key.unique(return_inverse=True)
        return list(member.argsort(stable=True).split(torch.bincount(member, minlength=len(kinds)).tolist()))


class _Rows:
    """Edited boxes of the input.

    Attributes
    ----------
    r : Tensor (rows,)
        Numbers of the edits.
    lo, hi : Tensor (rows, k)
        The boxes along the plan's axes.
    """

    def __init__(self, x: Tensor, r: Tensor, edits: Edits, plan: Plan) -> None:
        self.x, self.r, self.edits, self.plan = x, r, edits, plan
        own = plan.own_axes(edits.axes)
        lo, hi = (t[:, own] for t in edits.box(r))
        self.lo, self.hi = snapped(plan, lo, hi, block(plan, lo, hi))

    def some(self, index: Tensor | slice) -> _Rows:
        """A part of the rows."""
        part = object.__new__(_Rows)
        part.x, part.edits, part.plan = self.x, self.edits, self.plan
        part.r, part.lo, part.hi = self.r[index], self.lo[index], self.hi[index]
        return part

    def through(self, reference: Reference) -> Callable[[int, int], dict[Ref, Piece]]:
        """What rows [start, stop), whose boxes are alike, keep."""

        def work(start: int, stop: int) -> dict[Ref, Piece]:
            rows = self.some(slice(start, stop))
            there = Pass(reference, rows.values(reference), rows.lo)
            there.compute()
            return there.pieces()

        return work

    def values(self, reference: Reference) -> Tensor:
        """The edited values over the boxes (rows, ...)."""
        ref, axes = self.plan.program.input, self.plan.known.axes[self.plan.program.input]
        content = self.edits.content(self.r).to(self.x.device, self.x.dtype)
        lo, hi = (t.clone() for t in self.edits.box(self.r))
        shape = [len(self.r), *self.x.shape[1:]]
        for k, axis in enumerate(axes):
            shape[axis] = int(self.hi[0, k] - self.lo[0, k])
            content = _taken(content, axis, self.lo[:, k, None] + torch.arange(shape[axis]))
            along = self.edits.axes.index(axis)
            lo[:, along] -= self.lo[:, k]
            hi[:, along] -= self.lo[:, k]
        whole = torch.tensor([shape[axis] for axis in self.edits.axes])
        if bool((lo == 0).all()) and bool((hi == whole).all()):
            return content.expand(shape)
        inside = between(lo, hi, self.edits.axes, shape[1:]).to(content.device)
        before = reference.arranged(ref, reference.boxes(ref, self.lo, [shape[a] for a in axes]))
        return torch.where(inside, content, before)


def _taken(t: Tensor, axis: int, at: Tensor) -> Tensor:
    """Positions `at` (rows, size) of a tensor (1 or rows, ...) along an axis that it may not have."""
    if t.shape[axis] == 1:
        return t
    t = t.expand(len(at), *t.shape[1:])
    index = at.view(len(at), *(at.shape[1] if d == axis else 1 for d in range(1, t.ndim))).to(t.device)
    return t.gather(axis, index.expand(*t.shape[:axis], at.shape[1], *t.shape[axis + 1 :]))
