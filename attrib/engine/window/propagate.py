"""The edits of one sample in order, and their values: those without edits, the local ones, and the suffix that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from attrib.engine.batching import Batches
from attrib.engine.graph import Node, Ref
from attrib.engine.window.aggregations import Piece, product
from attrib.engine.window.dispatch import (
    WINDOW_ELEMENTS,
    block_size,
    largest_value,
    piece_elements,
    row_elements,
    snapped,
    window_elements,
)
from attrib.engine.window.plan import Plan, domain
from attrib.engine.window.program import run
from attrib.engine.window.rule import Edits, Span, in_boxes

aten = torch.ops.aten

MOST_SUFFIX_ROWS = 32

PIECE_ELEMENTS = 1 << 23  # of the pieces of a group
MOST_ROWS = 8192
SHARE = 4  # the values of a propagation take 1 / SHARE of the free elements, as its ops need memory too


class Reference:
    """The values of one sample without edits, and boxes cut from them.

    Parameters
    ----------
    plan : Plan
        The plan of the program.
    x : Tensor (1, ...)
        The sample.
    values : dict of Ref to Tensor (1, ...), optional
        All values of the program at `x`, if they are computed already.
    """

    def __init__(self, plan: Plan, x: Tensor, values: dict[Ref, Tensor] | None = None) -> None:
        self.plan, self.x, self.values = plan, x, values or plan.program.values(x)
        self._tables: dict[Ref, Tensor] = {}
        self._constants: dict[tuple[int, Ref], tuple[Tensor, Tensor]] = {}  # with their tables

    def value(self, ref: Ref) -> Tensor:
        """A value (1, ...) in the shape of its layout."""
        return self.values[ref].reshape(1, *self.plan.layout.shape[ref][1:])

    def _table(self, ref: Ref) -> Tensor:
        """A value as (positions, others), with row-major positions."""
        if ref not in self._tables:
            self._tables[ref] = self._positions_first(self.value(ref), ref)
        return self._tables[ref]

    def _positions_first(self, t: Tensor, ref: Ref) -> Tensor:
        """Values (1, ...) of the dims of `ref` as (positions, others)."""
        axes = self.plan.layout.axes[ref]
        t = t[0].movedim(tuple(a - 1 for a in axes), tuple(range(len(axes))))
        return t.reshape(-1, *t.shape[len(axes) :]).contiguous()

    def constant(self, t: Tensor, like: Ref, starts: Tensor, sizes: Sequence[int]) -> Tensor:
        """Boxes of a constant that goes with the positions of a value, as `boxes`."""
        if (id(t), like) not in self._constants:
            shape, axes = self.plan.layout.shape[like], self.plan.layout.axes[like]
            full = t.reshape(*[1] * (len(shape) - t.ndim), *t.shape)
            full = full.expand([shape[d] if d in axes else n for d, n in enumerate(full.shape)])
            self._constants[id(t), like] = t, self._positions_first(full, like)
        return self._picked(self._constants[id(t), like][1], like, starts, sizes)

    def boxes(self, ref: Ref, starts: Tensor, sizes: Sequence[int]) -> Tensor:
        """Boxes (starts, *sizes, others) of equal size; their values beyond the ends are arbitrary."""
        return self._picked(self._table(ref), ref, starts, sizes)

    def _picked(self, table: Tensor, ref: Ref, starts: Tensor, sizes: Sequence[int]) -> Tensor:
        """Boxes of a table at positions of a value."""
        ends = [hi for _, hi in domain(ref, self.plan.layout)]
        index = torch.zeros(len(starts), *[1] * len(ends), dtype=torch.long)
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            along = (starts[:, k, None] + torch.arange(size)).clamp_(0, end - 1)
            shape = [len(starts), *(size if m == k else 1 for m in range(len(ends)))]
            index = index * end + along.view(shape)
        positions = table.index_select(0, index.flatten().to(table.device))
        return positions.view(*index.shape, *table.shape[1:])

    def arranged(self, ref: Ref, boxes: Tensor) -> Tensor:
        """Boxes with their axes at the dims of the value."""
        axes = self.plan.layout.axes[ref]
        return boxes.movedim(tuple(range(1, len(axes) + 1)), axes)


class Propagation:
    """The local values of some edits of one sample, computed together.

    Parameters
    ----------
    reference : Reference
        The sample without edits.
    rows : Tensor (rows, ...)
        The edited boxes of the input.
    starts : Tensor (rows, k)
        Starts of the boxes; they differ by multiples of the plan's period.
    """

    def __init__(self, reference: Reference, rows: Tensor, starts: Tensor) -> None:
        self.reference, self.plan, self.rows = reference, reference.plan, len(rows)
        self.shifts = starts - starts[0]
        self.distinct_shifts, self.shift_numbers, self.each = _distinct(self.shifts)
        layout, source = self.plan.layout, self.plan.program.input
        box = tuple(
            (lo, lo + rows.shape[a]) for lo, a in zip(starts[0].tolist(), layout.axes[source], strict=True)
        )
        self.least, self.most = self.shifts.amin(0).tolist(), self.shifts.amax(0).tolist()
        self.spans = self.plan.spans(box, self.least, self.most)
        self.values: dict[Ref, Tensor] = {source: rows}
        self._changes: dict[Ref, Tensor] = {}

    def compute(self) -> None:
        """Compute every local value."""
        for r, done in zip(self.plan.rules, self.plan.last_reads, strict=True):
            out = r.node.writes[0]
            if out in self.spans:
                self.values[out] = r.compute(self, self.spans[out])
            for ref in done:
                self.values.pop(ref, None)
                self._changes.pop(ref, None)

    def span(self, ref: Ref) -> Span | None:
        """The box of a value, in the first row; None if it does not change."""
        return self.spans.get(ref)

    def axes(self, ref: Ref) -> tuple[int, ...]:
        """The dims of a value's box."""
        return self.plan.layout.axes[ref]

    def unedited(self, ref: Ref) -> Tensor:
        """A value without edits (1, ...)."""
        return self.reference.value(ref) if ref in self.plan.layout.form else self.reference.values[ref]

    def starts(self, ref: Ref) -> Tensor:
        """First position of each row's box (rows, k)."""
        return self._at(ref, self.spans[ref], self.shifts)

    def _at(self, ref: Ref, span: Span, shifts: Tensor) -> Tensor:
        stride = torch.tensor(self.plan.strides[ref])
        return torch.tensor([lo for lo, _ in span]) + shifts.div(stride, rounding_mode="floor")

    def _boxes(self, ref: Ref, span: Span) -> Tensor:
        """A value without the edits over a box, for each distinct shift (shifts, *sizes, others)."""
        starts = self._at(ref, span, self.distinct_shifts)
        return self.reference.boxes(ref, starts, [hi - lo for lo, hi in span])

    def before(self, ref: Ref, span: Span) -> Tensor:
        """A value without the edits over a box (rows, ...), as a copy with positions first in memory."""
        return self._for_rows(ref, self._boxes(ref, span))

    def constant(self, t: Tensor, like: Ref, span: Span) -> Tensor:
        """A constant, whose entries differ along the axes of the value `like`, over a box of it (rows, ...)."""
        starts = self._at(like, span, self.distinct_shifts)
        return self._for_rows(like, self.reference.constant(t, like, starts, [hi - lo for lo, hi in span]))

    def _for_rows(self, ref: Ref, boxes: Tensor) -> Tensor:
        """Boxes of each distinct shift as boxes of each row, with their axes at the dims of the value."""
        if self.each == 1:
            return self.reference.arranged(ref, boxes)
        if self.each:
            rows = boxes.unsqueeze(1).expand(-1, self.each, *boxes.shape[1:])
            rows = rows.reshape(-1, *boxes.shape[1:]).contiguous()
        else:
            rows = boxes.index_select(0, self.shift_numbers.to(boxes.device))
        return self.reference.arranged(ref, rows)

    def add_before(self, ref: Ref, span: Span, t: Tensor, factor: int = 1) -> Tensor:
        """Add `factor` times the value without the edits to `t` (rows, ...) over a box, in place."""
        boxes = self.reference.arranged(ref, self._boxes(ref, span))
        if self.each:
            t.unflatten(0, (-1, self.each)).add_(boxes.unsqueeze(1), alpha=factor)
        else:
            t.add_(boxes.index_select(0, self.shift_numbers.to(boxes.device)), alpha=factor)
        return t

    def change(self, ref: Ref) -> Tensor:
        """The change by the edits over the value's own box; zero beyond the ends."""
        if ref not in self._changes:
            span, after = self.spans[ref], self.values[ref]
            if self.each:
                boxes = self.reference.arranged(ref, self._boxes(ref, span)).unsqueeze(1)
                difference = (after.unflatten(0, (-1, self.each)) - boxes).flatten(0, 1)
            else:
                difference = self.add_before(ref, span, after.clone(), -1)
            self._changes[ref] = self._without_outside(ref, span, difference, 0.0, True)
        return self._changes[ref]

    def take(self, ref: Ref, span: Span) -> tuple[Tensor, bool]:
        """A value after the edits over a box (rows, ...), and whether it may be overwritten."""
        t, fresh = self._over(ref, span)
        return t, fresh or ref in self.plan.overwritable

    def read(self, ref: Ref, span: Span, fill: float | None = None) -> Tensor:
        """A value after the edits over a box (rows, ...)."""
        t, fresh = self._over(ref, span)
        return t if fill is None else self._without_outside(ref, span, t, fill, fresh)

    def _over(self, ref: Ref, span: Span) -> tuple[Tensor, bool]:
        """A value after the edits over a box, and whether it is a copy."""
        box = self.spans.get(ref)
        if box is None:
            return self.before(ref, span), True
        axes, edited = self.plan.layout.axes[ref], self.values[ref]
        both = tuple((max(a, c), max(min(b, d), a, c)) for (a, b), (c, d) in zip(box, span, strict=True))
        if both != box:
            edited = _narrowed(edited, axes, both, box)
        if both == span:
            return edited, False
        out = self.before(ref, span)
        if edited.numel():
            _narrowed(out, axes, both, span).copy_(edited)
        return out, True

    def _without_outside(self, ref: Ref, span: Span, t: Tensor, fill: float, fresh: bool) -> Tensor:
        """`t` over a box with `fill` at positions outside the value; `t` is overwritten if it is `fresh`."""
        axes, starts = self.plan.layout.axes[ref], None
        strides, ends = self.plan.strides[ref], [hi for _, hi in domain(ref, self.plan.layout)]
        for k, (axis, (lo, hi), end) in enumerate(zip(axes, span, ends, strict=True)):
            if lo + self.least[k] // strides[k] >= 0 and hi + self.most[k] // strides[k] <= end:
                continue
            starts = self._at(ref, span, self.shifts) if starts is None else starts
            over = ((starts[:, k] < 0) | (starts[:, k] + hi - lo > end)).nonzero()[:, 0]
            at = starts[over, k, None] + torch.arange(hi - lo)
            shape = [1] * t.ndim
            shape[0], shape[axis] = at.shape
            outside, rows = ((at < 0) | (at >= end)).view(shape).to(t.device), over.to(t.device)
            t, fresh = (t if fresh else t.clone()), True
            t.index_copy_(0, rows, t.index_select(0, rows).masked_fill_(outside, fill))
        return t

    def pieces(self) -> dict[Ref, Piece]:
        """What the suffix needs: a piece for each splice, and one for each aggregation, under its result."""
        pieces = {}
        for a in self.plan.aggregations:
            changed = a.source in self.spans
            pieces[a.node.writes[0]] = self._piece(a.source, a.piece(self) if changed else None)
        for ref in self.plan.splices:
            pieces[ref] = self._piece(ref, self.values.get(ref))
        return pieces

    def _piece(self, source: Ref, value: Tensor | None) -> Piece:
        starts = self.shifts[:, :0] if value is None else self.starts(source)
        return Piece(self.rows, starts, value)


def _narrowed(t: Tensor, axes: tuple[int, ...], inner: Span, outer: Span) -> Tensor:
    """The part of values over the box `outer` that lies in the box `inner`."""
    for axis, (a, b), (first, _) in zip(axes, inner, outer, strict=True):
        t = t.narrow(axis, a - first if b > a else 0, b - a)
    return t


def _distinct(shifts: Tensor) -> tuple[Tensor, Tensor, int]:
    """The distinct shifts, in order; the number of each row's shift among them; and how many rows each has, 0 if that differs."""
    new = torch.ones(len(shifts), dtype=torch.bool)
    new[1:] = (shifts[1:] != shifts[:-1]).any(1)
    distinct, number = shifts[new], new.cumsum(0) - 1
    each = len(shifts) // len(distinct)
    return distinct, number, each if bool((torch.bincount(number) == each).all()) else 0


class Suffix:
    """The ops that are computed in full, for rows of edits in the order of their pieces.

    Parameters
    ----------
    plan : Plan
        The plan of the program.
    reference : Reference
        The sample without edits.
    pieces : dict of Ref to list of Piece
        The pieces of the propagations.
    free : int
        Elements that aggregations may hold besides their results.
    """

    def __init__(self, plan: Plan, reference: Reference, pieces: dict[Ref, list[Piece]], free: int) -> None:
        self.plan = plan
        self.values = {}
        for a in plan.aggregations:
            out = a.node.writes[0]
            self.values[out] = a.result(reference.values[out], pieces.pop(out), free)
        self.spliced = {ref: _Spliced(plan, reference, ref, pieces[ref]) for ref in plan.splices}

    def output(self, start: int, stop: int) -> Tensor:
        """The model's output for rows [start, stop)."""
        values = self.plan.program.constants_for(stop - start)
        values.update({ref: t[start:stop] for ref, t in self.values.items()})
        values.update({ref: s.rows(start, stop) for ref, s in self.spliced.items()})
        for node in self.plan.suffix:
            if not _run_linear_layer(node, self.plan, values):
                run(node, values, stop - start)
        return values[self.plan.program.output]


def suffix_rows(plan: Plan) -> int:
    """Rows of the suffix that take the memory of one row of the model."""
    refs = [*(node.writes[0] for node in plan.suffix), *plan.splices]
    elements = sum(math.prod(plan.layout.shape[ref]) for ref in refs)
    return max(1, min(MOST_SUFFIX_ROWS, row_elements(plan) // max(1, elements)))


def _run_linear_layer(node: Node, plan: Plan, values: dict[Ref, Tensor]) -> bool:
    """Run the node by `product` and return True, if it is a linear layer with constant weights."""
    if node.op.overloadpacket not in (aten.addmm, aten.mm) or node.kwargs:
        return False
    *bias, source, weight = node.args
    constants = plan.program.constants
    if source in constants or any(r not in constants or r in plan.program.per_row for r in (*bias, weight)):
        return False
    result = product(values[source], values[weight].T)
    values[node.writes[0]] = result.add_(values[bias[0]]) if bias else result
    return True


class _Spliced:
    """A value without edits into which each row's box is copied."""

    def __init__(self, plan: Plan, reference: Reference, ref: Ref, pieces: list[Piece]) -> None:
        self.value, self.shape = reference.value(ref), reference.values[ref].shape[1:]
        self.merged = reference.values[ref].shape[0]
        self.axes, self.domain, self.pieces = plan.layout.axes[ref], domain(ref, plan.layout), pieces

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) in full."""
        out = self.value.repeat(stop - start, *[1] * (self.value.ndim - 1))
        first = 0
        for p in self.pieces:
            a, b = max(first, start), min(first + p.rows, stop)
            if a < b and p.value is not None:
                self._copy(
                    out[a - start : b - start],
                    p.value[a - first : b - first],
                    p.starts[a - first : b - first],
                )
            first += p.rows
        return out.reshape((stop - start) * self.merged, *self.shape)

    def _copy(self, out: Tensor, value: Tensor, starts: Tensor) -> None:
        """Copy boxes to their positions, without the parts beyond the ends."""
        new = torch.ones(len(starts), dtype=torch.bool)
        new[1:] = (starts[1:] != starts[:-1]).any(1)
        cuts = [*new.nonzero()[:, 0].tolist(), len(starts)]
        for first, last in pairwise(cuts):
            part, target = value[first:last], out[first:last]
            for axis, lo, (_, end) in zip(self.axes, starts[first].tolist(), self.domain, strict=True):
                a, b = max(lo, 0), max(min(lo + value.shape[axis], end), 0, lo)
                part = part.narrow(axis, a - lo if b > a else 0, max(b - a, 0))
                target = target.narrow(axis, a if b > a else 0, max(b - a, 0))
            target.copy_(part)


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
