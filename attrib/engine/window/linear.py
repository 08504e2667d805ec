"""A linear layer on all positions, updated from the box that changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.bridges import Bridge, Gathers, Piece, bridge
from attrib.engine.window.rule import FLAT, LOCAL, Known

aten = torch.ops.aten

FEW_FEATURES = 32  # in a box: then rows of the weight are added up one by one


class Linear:
    """A linear layer on all positions: the change times the rows of the weight that belong to the box.

    Parameters
    ----------
    node : Node
    source : Ref
        Of shape (1, ...), flattened for the layer if it has more dims than two.
    shape, axes : tuple of int
        The source's.
    weight : Tensor (features, out)
    """

    keeps_box = True

    def __init__(
        self, node: Node, source: Ref, shape: tuple[int, ...], axes: tuple[int, ...], weight: Tensor
    ) -> None:
        self.node, self.source, self.axes, self.weight = node, source, axes, weight
        self.others = tuple(d for d in range(1, len(shape)) if d not in axes)
        self.shape = shape
        self.channels = math.prod(shape[d] for d in self.others)
        self._table: Tensor | None = None

    @property
    def table(self) -> Tensor:
        """The weight as (positions along each axis, channels, out): a box is a block of rows."""
        if self._table is None:
            w = self.weight.reshape(*self.shape[1:], -1)
            w = w.permute(*(a - 1 for a in self.axes), *(d - 1 for d in self.others), -1)
            sizes = [self.shape[a] for a in self.axes]
            self._table = w.reshape(*sizes, self.channels, w.shape[-1]).contiguous()
        return self._table

    def piece(self, at: Gathers) -> Tensor:
        """The change (rows, positions along each axis, channels)."""
        change = at.change(self.source).permute(0, *self.axes, *self.others)
        return change.reshape(*change.shape[: len(self.axes) + 1], self.channels)

    def result(self, before: Tensor, pieces: list[Piece]) -> Tensor:
        """Rows whose boxes are the same in one product."""
        out = before.repeat(sum(p.rows for p in pieces), 1)
        first = 0
        groups: dict[tuple[int, ...], list[tuple[int, Tensor, Tensor]]] = {}
        for p in pieces:
            if p.value is not None:
                groups.setdefault(tuple(p.value.shape[1:]), []).append((first, p.starts, p.value))
            first += p.rows
        for sizes, parts in groups.items():
            rows = torch.cat([torch.arange(a, a + len(s)) for a, s, _ in parts])
            starts, change = torch.cat([s for _, s, _ in parts]), torch.cat([v for *_, v in parts])
            few = len(self.axes) == 1 and math.prod(sizes) <= FEW_FEATURES
            (self._row_by_row if few else self._box_by_box)(out, rows, starts, change)
        return out

    def _row_by_row(self, out: Tensor, rows: Tensor, starts: Tensor, change: Tensor) -> None:
        """Every feature of the boxes in turn, each row with its own row of the weight."""
        added = torch.zeros(len(rows), out.shape[1], dtype=out.dtype, device=out.device)
        for j in range(change.shape[1]):
            at = (
                (starts[:, 0] + j).clamp(0, len(self.table) - 1).to(out.device)
            )  # the change is zero beyond the ends
            for c in range(self.channels):
                added.addcmul_(change[:, j, c, None], self.table[:, c].index_select(0, at))
        out[rows.to(out.device)] += added

    def _box_by_box(self, out: Tensor, rows: Tensor, starts: Tensor, change: Tensor) -> None:
        """The rows of every box in one product."""
        boxes, member = starts.unique(dim=0, return_inverse=True)
        order = member.argsort(stable=True)
        counts = torch.bincount(member, minlength=len(boxes)).tolist()
        for box, some in zip(boxes.tolist(), order.split(counts), strict=True):
            block, part = self.table, change[some.to(change.device)]
            for k, lo in enumerate(box):
                size, width = block.shape[k], part.shape[k + 1]
                a, b = max(lo, 0), min(lo + width, size)
                block, part = (
                    block.narrow(k, a, max(b - a, 0)),
                    part.narrow(k + 1, a - lo if b > a else 0, max(b - a, 0)),
                )
            out[rows[some].to(out.device)] += part.reshape(len(some), -1) @ block.reshape(-1, block.shape[-1])

    def work(self, width: int) -> float:
        """The box's features times the layer's outputs."""
        return float(width * self.channels * self.weight.shape[1])


@bridge(aten.addmm, aten.mm)
def linear(node: Node, known: Known) -> Bridge | None:
    """A constant weight on a flattened value, or on vectors of features."""
    *bias, source, weight = node.args[:3]
    if node.kwargs or len(node.args) > 3 or any(type(r) is not Ref for r in node.args):
        return None
    if any(r not in known.constants for r in (*bias, weight)):
        return None
    if not (known.local(source, FLAT) or (known.local(source, LOCAL) and len(known.shape[source]) == 2)):
        return None
    return Linear(node, source, known.shape[source], known.axes[source], known.constants[weight])
