"""Aggregations: ops over all positions, whose result is updated from the box that changed."""

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
from attrib.engine.window.rule import Layout, Reader, bound

aten = torch.ops.aten


class Piece(NamedTuple):
    """Rows of one propagation: their number, the starts of their boxes, and a value; None if nothing changed."""

    rows: int
    starts: Tensor
    value: Tensor | None


class AggregationReader(Reader, Protocol):
    """The values that an aggregation reads while some rows are computed."""

    rows: int

    def starts(self, ref: Ref) -> Tensor:
        """First position of each row's box (rows, k)."""
        ...

    def unedited(self, ref: Ref) -> Tensor:
        """A value without edits (1, ...)."""
        ...


class Aggregation(Protocol):
    """An op over all positions."""

    @property
    def node(self) -> Node:
        """The op."""
        ...

    @property
    def source(self) -> Ref:
        """The value that it reads."""
        ...

    @property
    def keeps_box(self) -> bool:
        """Whether a piece is as large as the box."""
        ...

    def piece(self, at: AggregationReader) -> Tensor:
        """The tensor to keep of rows whose source changed."""
        ...

    def result(self, before: Tensor, pieces: list[Piece], free: int) -> Tensor:
        """The op's result (rows, ...) from that without edits (1, ...), in memory of `free` more elements."""
        ...

    def work(self, width: int) -> float:
        """Multiplications of one row for a box of `width` positions."""
        ...


Builder = Callable[[Node, Layout], Aggregation | None]
AGGREGATIONS: dict[OpOverloadPacket, Builder] = {}


def aggregation(*ops: OpOverloadPacket) -> Callable[[Builder], Builder]:
    """Register a builder of aggregations for ops; it returns None for a node that is none."""

    def register(build: Builder) -> Builder:
        AGGREGATIONS.update(dict.fromkeys(ops, build))
        return build

    return register


def _joined(before: Tensor, pieces: list[Piece]) -> Tensor:
    """The results of all rows, for pieces that hold results."""
    rows = [before.expand(p.rows, *before.shape[1:]) if p.value is None else p.value for p in pieces]
    return torch.cat(rows)


@dataclass(frozen=True)
class Total:
    """A sum or mean over dims that include all axes of the box: the change is added."""

    node: Node
    source: Ref
    dims: tuple[int, ...]
    keepdim: bool
    factor: float
    keeps_box: bool = False

    def piece(self, at: AggregationReader) -> Tensor:
        """The result after the edits."""
        change = at.change(self.source).sum(self.dims, keepdim=self.keepdim)
        return at.unedited(self.node.writes[0]) + change * self.factor

    def result(self, before: Tensor, pieces: list[Piece], free: int) -> Tensor:
        """The pieces, joined."""
        return _joined(before, pieces)

    def work(self, width: int) -> float:
        """No multiplications."""
        return 0.0


@dataclass(frozen=True)
class Largest:
    """A maximum over dims that include the only axis of the box: of the box, of the part before it and of that after it."""

    node: Node
    source: Ref
    dims: tuple[int, ...]
    keepdim: bool
    axis: int
    keeps_box: bool = False

    def piece(self, at: AggregationReader) -> Tensor:
        """The result after the edits."""
        span = at.span(self.source)
        assert span is not None  # `piece` is called only where the source changes
        t = at.read(self.source, span, -math.inf).amax(self.dims, keepdim=True)
        others = [d for d in self.dims if d != self.axis]
        along = at.unedited(self.source).movedim(self.axis, 0)  # (L, 1, ...)
        starts = at.starts(self.source)[:, 0].to(t.device)
        width = span[0][1] - span[0][0]
        before, after = along.cummax(0)[0], along.flip(0).cummax(0)[0].flip(0)
        left, right = starts - 1, starts + width
        for part, index, inside in ((before, left, left >= 0), (after, right, right < len(along))):
            picked = part[index.clamp(0, len(along) - 1), 0].unsqueeze(self.axis)
            picked = picked.amax(others, keepdim=True) if others else picked
            lowest = torch.full_like(picked, -math.inf)
            t = torch.maximum(t, torch.where(inside.view(-1, *[1] * (t.ndim - 1)), picked, lowest))
        return t if self.keepdim else t.squeeze(self.dims)

    def result(self, before: Tensor, pieces: list[Piece], free: int) -> Tensor:
        """The pieces, joined."""
        return _joined(before, pieces)

    def work(self, width: int) -> float:
        """No multiplications."""
        return 0.0


@aggregation(aten.mean, aten.sum, aten.amax)
def over_positions(node: Node, layout: Layout) -> Aggregation | None:
    """A reduction over all axes of the box, and not over the samples."""
    source, b = node.args[0], bound(node)
    if (
        not layout.local(source)
        or not b.get("dim")
        or source not in layout.floating
        or b.get("dtype") is not None
    ):
        return None
    dims, axes, shape = reduced(b["dim"], layout.shape[source]), layout.axes[source], layout.shape[source]
    if 0 in dims or not set(axes) <= set(dims):
        return None
    if node.op.overloadpacket is aten.amax:
        return Largest(node, source, tuple(dims), b["keepdim"], axes[0]) if len(axes) == 1 else None
    count = math.prod(shape[d] for d in dims) if node.op.overloadpacket is aten.mean else 1
    return Total(node, source, tuple(dims), b["keepdim"], 1 / count)
