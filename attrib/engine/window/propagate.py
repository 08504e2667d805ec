"""The values that some rows of edits change, computed together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.aggregations import Piece
from attrib.engine.window.linear import product
from attrib.engine.window.plan import Plan, domain
from attrib.engine.window.program import run
from attrib.engine.window.rule import Span


class Reference:
    """The values of one sample without edits, and boxes cut from them.

    Parameters
    ----------
    plan : Plan
    x : Tensor (1, ...)
        The sample.
    values : dict of Ref to Tensor, optional
        Every value of the program there, where they are known.

    Attributes
    ----------
    values : dict of Ref to Tensor (1, ...)
        Every value of the program.
    """

    def __init__(self, plan: Plan, x: Tensor, values: dict[Ref, Tensor] | None = None) -> None:
        self.plan, self.x, self.values = plan, x, values or plan.program.values(x)
        self._tables: dict[Ref, Tensor] = {}

    def whole(self, ref: Ref) -> Tensor:
        """A value (1, ...) in the shape that its box has."""
        return self.values[ref].reshape(1, *self.plan.known.shape[ref][1:])

    def _table(self, ref: Ref) -> Tensor:
        """A value as (positions, others): its positions, row-major, first."""
        if ref not in self._tables:
            axes = self.plan.known.axes[ref]
            t = self.whole(ref)[0].movedim(tuple(a - 1 for a in axes), tuple(range(len(axes))))
            self._tables[ref] = t.reshape(-1, *t.shape[len(axes) :]).contiguous()
        return self._tables[ref]

    def boxes(self, ref: Ref, starts: Tensor, sizes: Sequence[int]) -> Tensor:
        """Boxes (starts, *sizes, others) of equal size; what they have beyond the ends means nothing."""
        table = self._table(ref)
        ends = [hi for _, hi in domain(ref, self.plan.known)]
        index = torch.zeros(len(starts), *[1] * len(ends), dtype=torch.long)
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            along = (starts[:, k, None] + torch.arange(size)).clamp_(0, end - 1)
            shape = [len(starts), *(size if m == k else 1 for m in range(len(ends)))]
            index = index * end + along.view(shape)
        found = table.index_select(0, index.flatten().to(table.device))
        return found.view(*index.shape, *table.shape[1:])

    def arranged(self, ref: Ref, boxes: Tensor) -> Tensor:
        """Boxes with their axes where the value has them."""
        axes = self.plan.known.axes[ref]
        return boxes.movedim(tuple(range(1, len(axes) + 1)), axes)


class Pass:
    """Some rows of one sample.

    Parameters
    ----------
    reference : Reference
    rows : Tensor (rows, ...)
        The edited boxes of the input.
    starts : Tensor (rows, k)
        Where they begin; a multiple of the plan's period apart.
    """

    def __init__(self, reference: Reference, rows: Tensor, starts: Tensor) -> None:
        self.reference, self.plan, self.rows = reference, reference.plan, len(rows)
        self.shifts = starts - starts[0]
        self.places, self.place, self.each = _places(self.shifts)
        known, source = self.plan.known, self.plan.program.input
        box = tuple(
            (lo, lo + rows.shape[a]) for lo, a in zip(starts[0].tolist(), known.axes[source], strict=True)
        )
        self.least, self.most = self.shifts.amin(0).tolist(), self.shifts.amax(0).tolist()
        self.spans = self.plan.spans(box, self.least, self.most)
        self.values: dict[Ref, Tensor] = {source: rows}
        self._changes: dict[Ref, Tensor] = {}

    def compute(self) -> None:
        """Every local value."""
        for r, done in zip(self.plan.rules, self.plan.last, strict=True):
            out = r.node.writes[0]
            if out in self.spans:
                self.values[out] = r.compute(self, self.spans[out])
            for ref in done:
                self.values.pop(ref, None)
                self._changes.pop(ref, None)

    def span(self, ref: Ref) -> Span | None:
        """The box of a value, in the first row; None where it does not change."""
        return self.spans.get(ref)

    def axes(self, ref: Ref) -> tuple[int, ...]:
        """The dims of a value's box."""
        return self.plan.known.axes[ref]

    def whole(self, ref: Ref) -> Tensor:
        """A value without edits (1, ...)."""
        return self.reference.whole(ref) if ref in self.plan.known.form else self.reference.values[ref]

    def starts(self, ref: Ref) -> Tensor:
        """First position of each row's box (rows, k)."""
        return self._at(ref, self.spans[ref], self.shifts)

    def _at(self, ref: Ref, span: Span, shifts: Tensor) -> Tensor:
        stride = torch.tensor(self.plan.strides[ref])
        return torch.tensor([lo for lo, _ in span]) + shifts.div(stride, rounding_mode="floor")

    def _boxes(self, ref: Ref, span: Span) -> Tensor:
        """A value without the edits over a box, once for each place (places, *sizes, others)."""
        starts = self._at(ref, span, self.places)
        return self.reference.boxes(ref, starts, [hi - lo for lo, hi in span])

    def before(self, ref: Ref, span: Span) -> Tensor:
        """A value without the edits over a box (rows, ...), in memory of its own, positions before the others."""
        boxes = self._boxes(ref, span)
        if self.each == 1:
            return self.reference.arranged(ref, boxes)
        if self.each:
            rows = boxes.unsqueeze(1).expand(-1, self.each, *boxes.shape[1:])
            rows = rows.reshape(-1, *boxes.shape[1:]).contiguous()
        else:
            rows = boxes.index_select(0, self.place.to(boxes.device))
        return self.reference.arranged(ref, rows)

    def add_before(self, ref: Ref, span: Span, t: Tensor, factor: int = 1) -> Tensor:
        """`t` (rows, ...) over a box, plus `factor` times the value without the edits, in place."""
        boxes = self.reference.arranged(ref, self._boxes(ref, span))
        if self.each:
            t.unflatten(0, (-1, self.each)).add_(boxes.unsqueeze(1), alpha=factor)
        else:
            t.add_(boxes.index_select(0, self.place.to(boxes.device)), alpha=factor)
        return t

    def change(self, ref: Ref) -> Tensor:
        """Value minus value without the edits over the value's own box, zero beyond the ends."""
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
        """A value as `read` gives it, and whether nothing else needs its memory, so that it may be overwritten."""
        own = self.spans.get(ref)
        if own is None:
            return self.before(ref, span), True
        t, fresh = self._over(ref, span, own)
        return t, fresh or ref in self.plan.passing

    def read(self, ref: Ref, span: Span, fill: float | None = None) -> Tensor:
        """A value after the edits over a box (rows, ...)."""
        own = self.spans.get(ref)
        if own is None:
            t, fresh = self.before(ref, span), True
        else:
            t, fresh = self._over(ref, span, own)
        return t if fill is None else self._without_outside(ref, span, t, fill, fresh)

    def _over(self, ref: Ref, span: Span, own: Span) -> tuple[Tensor, bool]:
        """A changed value over another box than its own, and whether its memory is new."""
        axes, inner = self.plan.known.axes[ref], self.values[ref]
        both = tuple((max(a, c), max(min(b, d), a, c)) for (a, b), (c, d) in zip(own, span, strict=True))
        if both == own == span:
            return inner, False
        place = out = inner if both == span else self.before(ref, span)
        if both != own:
            inner = _narrowed(inner, axes, both, own)
        if both == span:
            return inner, False
        if inner.numel():
            place = _narrowed(place, axes, both, span)
            place.copy_(inner)
        return out, True

    def _without_outside(self, ref: Ref, span: Span, t: Tensor, fill: float, fresh: bool) -> Tensor:
        """`t` over a box with `fill` at positions that the value does not have; only in rows that reach there."""
        axes, starts = self.plan.known.axes[ref], None
        strides, ends = self.plan.strides[ref], [hi for _, hi in domain(ref, self.plan.known)]
        for k, (axis, (lo, hi), end) in enumerate(zip(axes, span, ends, strict=True)):
            if lo + self.least[k] // strides[k] >= 0 and hi + self.most[k] // strides[k] <= end:
                continue
            starts = self._at(ref, span, self.shifts) if starts is None else starts
            over = ((starts[:, k] < 0) | (starts[:, k] + hi - lo > end)).nonzero()[:, 0]
            at = starts[over, k, None] + torch.arange(hi - lo)
            shape = [1] * t.ndim
            shape[0], shape[axis] = at.shape
            outside, some = ((at < 0) | (at >= end)).view(shape).to(t.device), over.to(t.device)
            t, fresh = (t if fresh else t.clone()), True
            t.index_copy_(0, some, t.index_select(0, some).masked_fill_(outside, fill))
        return t

    def pieces(self) -> dict[Ref, Piece]:
        """What the rest of the program needs: for every bridge by its result, and for every splice."""
        found = {}
        for b in self.plan.bridges:
            changed = b.source in self.spans
            found[b.node.writes[0]] = self._piece(b.source, b.piece(self) if changed else None)
        for ref in self.plan.splices:
            found[ref] = self._piece(ref, self.values.get(ref))
        return found

    def _piece(self, source: Ref, value: Tensor | None) -> Piece:
        starts = self.shifts[:, :0] if value is None else self.starts(source)
        return Piece(self.rows, starts, value)


def _narrowed(t: Tensor, axes: tuple[int, ...], inner: Span, outer: Span) -> Tensor:
    """The part of a box [outer] of values that lies in a box [inner]."""
    for axis, (a, b), (first, _) in zip(axes, inner, outer, strict=True):
        t = t.narrow(axis, a - first if b > a else 0, b - a)
    return t


def _places(shifts: Tensor) -> tuple[Tensor, Tensor, int]:
    """The different shifts, in order; which of them each row has; and how many rows each has, 0 where they differ."""
    new = torch.ones(len(shifts), dtype=torch.bool)
    new[1:] = (shifts[1:] != shifts[:-1]).any(1)
    places, place = shifts[new], new.cumsum(0) - 1
    each = len(shifts) // len(places)
    return places, place, each if bool((torch.bincount(place) == each).all()) else 0


# FOLDED attrib/engine/window/propagate.py: """What follows the windows: the ops that are computed for every edit as the model would."""
aten = torch.ops.aten

MOST_LIGHT = 32


class Tail:
    """The ops behind bridges and splices, for rows of edits in the order of their pieces.

    Parameters
    ----------
    plan : Plan
    reference : Reference
    pieces : dict of Ref to list of Piece
        What the windows kept.
    room : int
        Numbers that may be held besides.
    """

    def __init__(self, plan: Plan, reference: Reference, pieces: dict[Ref, list[Piece]], room: int) -> None:
        self.plan = plan
        self.values = {}
        for b in plan.bridges:
            out = b.node.writes[0]
            self.values[out] = b.result(reference.values[out], pieces.pop(out), room)
        self.spliced = {ref: _Spliced(plan, reference, ref, pieces[ref]) for ref in plan.splices}

    def output(self, start: int, stop: int) -> Tensor:
        """The model's output for rows [start, stop)."""
        found = self.plan.program.constants_for(stop - start)
        found.update({k: v[start:stop] for k, v in self.values.items()})
        found.update({ref: s.rows(start, stop) for ref, s in self.spliced.items()})
        for node in self.plan.tail:
            if not _dense_layer(node, self.plan, found):
                run(node, found, stop - start)
        return found[self.plan.program.output]


def row_elements(plan: Plan) -> int:
    """Numbers in all values of one row of the model."""
    return sum(math.prod(plan.known.shape[node.writes[0]]) for node in plan.program.nodes)


def light(plan: Plan) -> int:
    """Rows of the tail that need the memory of one row of the model."""
    shapes = plan.known.shape
    whole = row_elements(plan)
    tail = [*(node.writes[0] for node in plan.tail), *plan.splices]
    return max(1, min(MOST_LIGHT, whole // max(1, sum(math.prod(shapes[ref]) for ref in tail))))


def _dense_layer(node: Node, plan: Plan, values: dict[Ref, Tensor]) -> bool:
    """Whether the node is a linear layer with constant weights, which is then computed."""
    if node.op.overloadpacket not in (aten.addmm, aten.mm) or node.kwargs:
        return False
    *bias, source, weight = node.args
    constants = plan.program.constants
    if source in constants or any(r not in constants or r in plan.program.per_row for r in (*bias, weight)):
        return False
    found = product(values[source], values[weight].T)
    values[node.writes[0]] = found.add_(values[bias[0]]) if bias else found
    return True


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
        new = torch.ones(len(starts), dtype=torch.bool)
        new[1:] = (starts[1:] != starts[:-1]).any(1)
        cuts = [*new.nonzero()[:, 0].tolist(), len(starts)]
        for first, last in pairwise(cuts):
            part, place = value[first:last], out[first:last]
            for axis, lo, (_, end) in zip(self.axes, starts[first].tolist(), self.domain, strict=True):
                a, b = max(lo, 0), max(min(lo + value.shape[axis], end), 0, lo)
                part, place = (
                    part.narrow(axis, a - lo if b > a else 0, max(b - a, 0)),
                    place.narrow(axis, a if b > a else 0, max(b - a, 0)),
                )
            place.copy_(part)
