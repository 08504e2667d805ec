"""What follows the windows: the ops that are computed for every edit as the model would."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.bridges import Piece
from attrib.engine.window.passes import Reference
from attrib.engine.window.plan import Plan, domain
from attrib.engine.window.products import product
from attrib.engine.window.program import run

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
