"""The order in which the edits of one sample are computed: groups of rows, and propagations of boxes that are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.graph import Ref
from attrib.engine.window.aggregations import Piece
from attrib.engine.window.boxes import Edits, in_boxes
from attrib.engine.window.cost import (
    WINDOW_ELEMENTS,
    block_size,
    largest_value,
    piece_elements,
    row_elements,
    snapped,
    window_elements,
)
from attrib.engine.window.plan import Plan
from attrib.engine.window.propagate import Propagation, Reference, Suffix, suffix_rows

PIECE_ELEMENTS = 1 << 23  # of the pieces of a group
MOST_ROWS = 8192
SHARE = 4  # the values of a propagation take 1 / SHARE of the free elements, as its ops need memory too


class Windows:
    """The model's outputs for edits, sample by sample.

    Parameters
    ----------
    plan : Plan
        The plan of the model.
    edits : Edits
        The edits; each is a box.
    batches : Batches
        The rows of the suffix in a chunk, and the progress.

    Attributes
    ----------
    free : int
        Elements in all values of one chunk of rows of the model: the most that a propagation, the pieces of a group, or a
        block of weights may have.
    """

    def __init__(self, plan: Plan, edits: Edits, batches: Batches) -> None:
        self.plan, self.edits, self.batches = plan, edits, batches
        self.free = batches.chunk() * row_elements(plan)

    def outputs(self, reference: Reference, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of edits and their outputs (rows, ...), in chunks, for edits `r` of one sample."""
        rows = _Rows(reference.x, r, self.edits, self.plan)
        elements = max(1, piece_elements(self.plan, rows.lo, rows.hi))
        group = max(1, min(max(64, PIECE_ELEMENTS // elements), self.free // elements))
        for first in range(0, len(r), group):
            yield from self._group(reference, rows.part(slice(first, first + group)))

    def _group(self, reference: Reference, rows: _Rows) -> Iterator[tuple[Tensor, Tensor]]:
        """Propagate all rows of a group, then compute the suffix."""
        order: list[Tensor] = []
        pieces: dict[Ref, list[Piece]] = {}
        for members in self._alike(rows.lo, rows.hi):
            alike = rows.part(members)
            batches = Batches(self._limit(alike), reference.x.device)
            for part in batches.run(len(members), alike.propagation(reference)):
                for ref, piece in part.items():
                    pieces.setdefault(ref, []).append(piece)
            order.append(alike.r)
        suffix, r = Suffix(self.plan, reference, pieces, self.free), torch.cat(order)

        def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
            return r[start:stop], suffix.output(start, stop)

        yield from self.batches.run(len(r), work, light=suffix_rows(self.plan))

    def _limit(self, rows: _Rows) -> int:
        """Rows of one propagation: as many as fit into the cache, and all rows of a box, as these share values without edits."""
        limit = min(MOST_ROWS, max(8, WINDOW_ELEMENTS // largest_value(self.plan, rows.lo, rows.hi)))
        middle = len(rows.lo) // 2
        box = tuple(zip(rows.lo[middle].tolist(), rows.hi[middle].tolist(), strict=True))
        limit = min(limit, max(1, self.free // (SHARE * window_elements(self.plan, box))))
        each = len(rows.lo) // (int((rows.lo[1:] != rows.lo[:-1]).any(1).sum()) + 1)
        return limit // each * each or limit

    def _alike(self, lo: Tensor, hi: Tensor) -> list[Tensor]:
        """Rows whose boxes have equal sizes and lie a multiple of the period apart, each in order of position."""
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
        k = plan.followed_axes(edits.axes)
        lo, hi = (t[:, k] for t in edits.box(r))
        self.lo, self.hi = snapped(plan, lo, hi, block_size(plan, lo, hi))

    def part(self, index: Tensor | slice) -> _Rows:
        """A part of the rows."""
        part = object.__new__(_Rows)
        part.x, part.edits, part.plan = self.x, self.edits, self.plan
        part.r, part.lo, part.hi = self.r[index], self.lo[index], self.hi[index]
        return part

    def propagation(self, reference: Reference) -> Callable[[int, int], dict[Ref, Piece]]:
        """A function that propagates rows [start, stop), whose boxes are alike, and returns their pieces."""

        def work(start: int, stop: int) -> dict[Ref, Piece]:
            rows = self.part(slice(start, stop))
            propagation = Propagation(reference, rows.values(reference), rows.lo)
            propagation.compute()
            return propagation.pieces()

        return work

    def values(self, reference: Reference) -> Tensor:
        """The input after the edits, over the boxes (rows, ...)."""
        ref, axes = self.plan.program.input, self.plan.layout.axes[self.plan.program.input]
        content = self.edits.content(self.r).to(self.x.device, self.x.dtype)
        lo, hi = (t.clone() for t in self.edits.box(self.r))
        shape = [len(self.r), *self.x.shape[1:]]
        for k, axis in enumerate(axes):
            shape[axis] = int(self.hi[0, k] - self.lo[0, k])
            content = _along(content, axis, self.lo[:, k, None] + torch.arange(shape[axis]))
            along = self.edits.axes.index(axis)
            lo[:, along] -= self.lo[:, k]
            hi[:, along] -= self.lo[:, k]
        sizes = torch.tensor([shape[axis] for axis in self.edits.axes])
        if bool((lo == 0).all()) and bool((hi == sizes).all()):
            return content.expand(shape)
        inside = in_boxes(lo, hi, self.edits.axes, shape[1:], content.device)
        before = reference.arranged(ref, reference.boxes(ref, self.lo, [shape[a] for a in axes]))
        return torch.where(inside, content, before)


def _along(t: Tensor, axis: int, at: Tensor) -> Tensor:
    """Positions `at` (rows, size) of a tensor (1 or rows, ...) along an axis that it may not have."""
    if t.shape[axis] == 1:
        return t
    t = t.expand(len(at), *t.shape[1:])
    index = at.view(len(at), *(at.shape[1] if d == axis else 1 for d in range(1, t.ndim))).to(t.device)
    return t.gather(axis, index.expand(*t.shape[:axis], at.shape[1], *t.shape[axis + 1 :]))
