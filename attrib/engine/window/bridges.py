"""Ops that gather all positions, whose result is updated from the box that changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

from attrib.engine.graph import Node, Ref
from attrib.engine.window.channels import reduced
from attrib.engine.window.rule import FLAT, LOCAL, Known, Reader, bound

aten = torch.ops.aten

FEW_FEATURES = 32  # in a box: then rows of the weight are added up one by one


class Piece(NamedTuple):
    """What a bridge keeps of some rows; `value` is None where nothing changed."""

    rows: int
    starts: Tensor
    value: Tensor | None


class Gathers(Reader, Protocol):
    """What a bridge sees while some rows are computed."""

    rows: int

    def starts(self, ref: Ref) -> Tensor:
        """First position of each row's box (rows, k)."""
        ...

    def whole(self, ref: Ref) -> Tensor:
        """A value without edits (1, ...)."""
        ...


class Bridge(Protocol):
    """An op that gathers all positions."""

    @property
    def node(self) -> Node:
        """The op."""
        ...

    @property
    def source(self) -> Ref:
        """What it gathers."""
        ...

    @property
    def keeps_box(self) -> bool:
        """Whether a piece is as large as the box."""
        ...

    def piece(self, at: Gathers) -> Tensor:
        """What to keep of the rows whose source changed."""
        ...

    def result(self, before: Tensor, pieces: list[Piece]) -> Tensor:
        """The op's result (rows, ...) from its result without edits (1, ...)."""
        ...

    def work(self, width: int) -> float:
        """Multiplications per row for a box of so many positions."""
        ...


Builder = Callable[[Node, Known], Bridge | None]
BRIDGES: dict[OpOverloadPacket, Builder] = {}


def bridge(*ops: OpOverloadPacket) -> Callable[[Builder], Builder]:
    """Register how to update some ops' results."""

    def register(build: Builder) -> Builder:
        BRIDGES.update(dict.fromkeys(ops, build))
        return build

    return register


def _joined(before: Tensor, pieces: list[Piece]) -> Tensor:
    """Results of pieces that are results already."""
    return torch.cat(
        [before.expand(p.rows, *before.shape[1:]) if p.value is None else p.value for p in pieces]
    )


@dataclass(frozen=True)
class Total:
    """Sum or mean over dims with all axes of the box: the change is added."""

    node: Node
    source: Ref
    dims: tuple[int, ...]
    keepdim: bool
    factor: float
    keeps_box: bool = False

    def piece(self, at: Gathers) -> Tensor:
        """The result after the edits."""
        change = at.change(self.source).sum(self.dims, keepdim=self.keepdim)
        return at.whole(self.node.writes[0]) + change * self.factor

    def result(self, before: Tensor, pieces: list[Piece]) -> Tensor:
        """The pieces, joined."""
        return _joined(before, pieces)

    def work(self, width: int) -> float:
        """None."""
        return 0.0


@dataclass(frozen=True)
class Largest:
    """Maximum over dims with the one axis of the box: of the box, and of what lies before and behind it."""

    node: Node
    source: Ref
    dims: tuple[int, ...]
    keepdim: bool
    axis: int
    keeps_box: bool = False

    def piece(self, at: Gathers) -> Tensor:
        """The result after the edits."""
        span = at.span(self.source)
        assert span is not None  # pieces are asked for where the source changes
        t = at.read(self.source, span, -math.inf).amax(self.dims, keepdim=True)
        others = [d for d in self.dims if d != self.axis]
        along = at.whole(self.source).movedim(self.axis, 0)  # (L, 1, ...)
        starts = at.starts(self.source)[:, 0].to(t.device)
        width = span[0][1] - span[0][0]
        before, behind = along.cummax(0)[0], along.flip(0).cummax(0)[0].flip(0)
        left, right = starts - 1, starts + width
        for part, index, inside in ((before, left, left >= 0), (behind, right, right < len(along))):
            picked = part[index.clamp(0, len(along) - 1), 0].unsqueeze(self.axis)
            picked = picked.amax(others, keepdim=True) if others else picked
            lowest = torch.full_like(picked, -math.inf)
            t = torch.maximum(t, torch.where(inside.view(-1, *[1] * (t.ndim - 1)), picked, lowest))
        return t if self.keepdim else t.squeeze(self.dims)

    def result(self, before: Tensor, pieces: list[Piece]) -> Tensor:
        """The pieces, joined."""
        return _joined(before, pieces)

    def work(self, width: int) -> float:
        """None."""
        return 0.0


@bridge(aten.mean, aten.sum, aten.amax)
def over_positions(node: Node, known: Known) -> Bridge | None:
    """Over all axes of the box, and not over the samples."""
    source, b = node.args[0], bound(node)
    if (
        not known.local(source)
        or not b.get("dim")
        or source not in known.floating
        or b.get("dtype") is not None
    ):
        return None
    dims, axes, shape = reduced(b["dim"], known.shape[source]), known.axes[source], known.shape[source]
    if 0 in dims or not set(axes) <= set(dims):
        return None
    if node.op.overloadpacket is aten.amax:
        return Largest(node, source, tuple(dims), b["keepdim"], axes[0]) if len(axes) == 1 else None
    count = math.prod(shape[d] for d in dims) if node.op.overloadpacket is aten.mean else 1
    return Total(node, source, tuple(dims), b["keepdim"], 1 / count)


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
