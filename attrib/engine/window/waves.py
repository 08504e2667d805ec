"""The edits of one sample, through windows, bridges and tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.edits import Edits, between
from attrib.engine.graph import Ref
from attrib.engine.window.bridges import Piece
from attrib.engine.window.cost import elements, piece_elements
from attrib.engine.window.passes import Pass, Reference
from attrib.engine.window.plan import Plan, domain
from attrib.engine.window.program import run

WINDOW_ELEMENTS = 1 << 20  # of the largest value that a pass holds: larger ones leave the cache
PIECE_ELEMENTS = 1 << 24  # of what is kept between windows and tail
MOST_ROWS = 8192


class Windows:
    """Outputs for edits, sample by sample.

    Parameters
    ----------
    plan : Plan
    edits : Edits
        Boxes.
    batches : Batches
        Rows of the tail, and the progress.
    """

    def __init__(self, plan: Plan, edits: Edits, batches: Batches) -> None:
        self.plan, self.edits, self.batches = plan, edits, batches

    def outputs(self, reference: Reference, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of edits and their outputs (rows, ...), chunk by chunk, of edits `r` of one sample."""
        lo, hi = self.edits.box(r)
        own = self.plan.own_axes(self.edits.axes)
        kept = max(1, piece_elements(self.plan, lo[:, own], hi[:, own]))
        wave = max(64, PIECE_ELEMENTS // kept)
        for first in range(0, len(r), wave):
            some = slice(first, first + wave)
            yield from self._wave(reference, r[some], lo[some], hi[some])

    def _wave(
        self, reference: Reference, r: Tensor, lo: Tensor, hi: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows of all rows, then the rest of the program."""
        order: list[Tensor] = []
        pieces: dict[Ref, list[Piece]] = {}
        for members in self._alike(lo, hi):
            rows = _Rows(reference.x, r[members], lo[members], hi[members], self.edits, self.plan)
            limit = min(
                MOST_ROWS,
                max(8, WINDOW_ELEMENTS // elements(self.plan, rows.lo[:, rows.own], rows.hi[:, rows.own])),
            )
            batches = Batches(limit, reference.x.device)
            for found in batches.run(len(members), rows.through(reference)):
                for ref, piece in found.items():
                    pieces.setdefault(ref, []).append(piece)
            order.append(members)
        yield from self._tail(reference, r[torch.cat(order)], pieces)

    def _alike(self, lo: Tensor, hi: Tensor) -> list[Tensor]:
        """Rows whose boxes have equal sizes and lie a multiple of the period apart, each in the order of position."""
        period = torch.tensor(self.plan.period)
        own = self.plan.own_axes(self.edits.axes)
        key = torch.cat([lo[:, own] % period, (hi - lo)[:, own]], 1)
        kinds, member = key.unique(dim=0, return_inverse=True)
        return list(member.argsort(stable=True).split(torch.bincount(member, minlength=len(kinds)).tolist()))

    def _tail(
        self, reference: Reference, r: Tensor, pieces: dict[Ref, list[Piece]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of the program for rows in the order of `pieces`."""
        values = {
            b.node.writes[0]: b.result(reference.values[b.node.writes[0]], pieces[b.node.writes[0]])
            for b in self.plan.bridges
        }
        spliced = {ref: _Spliced(self.plan, reference, ref, pieces[ref]) for ref in self.plan.splices}

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            found = self.plan.program.constants_for(stop - start)
            found.update({k: v[start:stop] for k, v in values.items()})
            found.update({ref: s.rows(start, stop) for ref, s in spliced.items()})
            for node in self.plan.tail:
                run(node, found, stop - start)
            return r[start:stop], found[self.plan.program.output]

        yield from self.batches.run(len(r), work)


class _Rows:
    """Edited boxes of the input, for edits whose boxes are alike."""

    def __init__(self, x: Tensor, r: Tensor, lo: Tensor, hi: Tensor, edits: Edits, plan: Plan) -> None:
        self.x, self.r, self.lo, self.hi, self.edits, self.plan = x, r, lo, hi, edits, plan
        self.own = plan.own_axes(edits.axes)

    def through(self, reference: Reference) -> Callable[[int, int], dict[Ref, Piece]]:
        """What rows [start, stop) keep."""

        def work(start: int, stop: int) -> dict[Ref, Piece]:
            some = slice(start, stop)
            rows = Pass(reference, self._boxes(some, reference), self.lo[some][:, self.own])
            rows.compute()
            return rows.pieces()

        return work

    def _boxes(self, some: slice, reference: Reference) -> Tensor:
        """The edited values over the plan's boxes (rows, ...)."""
        r, lo, hi = self.r[some], self.lo[some], self.hi[some]
        axes, shape = self.plan.known.axes[self.plan.program.input], [len(r), *self.x.shape[1:]]
        content = self.edits.content(r).to(self.x.device, self.x.dtype)
        for k, axis in enumerate(self.edits.axes):
            if axis in axes:
                shape[axis] = int(hi[0, k] - lo[0, k])
                content = _taken(content, axis, lo[:, k, None] + torch.arange(shape[axis]))
        rest = [k for k, axis in enumerate(self.edits.axes) if axis not in axes]
        if not rest:
            return content.expand(shape)
        inside = between(lo[:, rest], hi[:, rest], [self.edits.axes[k] for k in rest], shape[1:])
        starts = lo[:, [k for k in range(lo.shape[1]) if k not in rest]]
        before = reference.cut(self.plan.program.input, starts, tuple(shape[a] for a in axes))
        return torch.where(inside.to(content.device), content, before)


def _taken(t: Tensor, axis: int, at: Tensor) -> Tensor:
    """Positions `at` (rows, size) of a tensor (1 or rows, ...) along an axis that it may not have."""
    if t.shape[axis] == 1:
        return t
    t = t.expand(len(at), *t.shape[1:])
    index = at.view(len(at), *(at.shape[1] if d == axis else 1 for d in range(1, t.ndim))).to(t.device)
    return t.gather(axis, index.expand(*t.shape[:axis], at.shape[1], *t.shape[axis + 1 :]))


class _Spliced:
    """A value with every row's box put into the value without edits."""

    def __init__(self, plan: Plan, reference: Reference, ref: Ref, pieces: list[Piece]) -> None:
        self.whole, self.shape = reference.whole(ref), reference.values[ref].shape[1:]
        self.merged = reference.values[ref].shape[0]
        self.axes, self.domain, self.pieces = plan.known.axes[ref], domain(ref, plan.known), pieces

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) in full."""
        out = self.whole.repeat(stop - start, *[1] * (self.whole.ndim - 1))
        first = 0
        for p in self.pieces:
            a, b = max(first, start), min(first + p.rows, stop)
            if a < b and p.value is not None:
                self._put(
                    out[a - start : b - start],
                    p.value[a - first : b - first],
                    p.starts[a - first : b - first],
                )
            first += p.rows
        return out.reshape((stop - start) * self.merged, *self.shape)

    def _put(self, out: Tensor, value: Tensor, starts: Tensor) -> None:
        """Boxes into their places; what lies beyond the ends is left out."""
        for lo in starts.unique(dim=0):
            same = (starts == lo).all(1).nonzero()[:, 0].to(out.device)
            part, place = value[same], [slice(None)] * out.ndim
            for axis, first, (_, end) in zip(self.axes, lo.tolist(), self.domain, strict=True):
                a, b = max(first, 0), min(first + value.shape[axis], end)
                part = part.narrow(axis, a - first if b > a else 0, max(b - a, 0))
                place[axis] = slice(a, max(a, b))
            if part.numel():
                out[(same, *place[1:])] = part
