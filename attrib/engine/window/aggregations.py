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
from attrib.engine.window.rule import Known, Reader, bound

aten = torch.ops.aten


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

    def result(self, before: Tensor, pieces: list[Piece], room: int) -> Tensor:
        """The op's result (rows, ...) from its result without edits (1, ...), with memory for `room` numbers besides."""
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

    def result(self, before: Tensor, pieces: list[Piece], room: int) -> Tensor:
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

    def result(self, before: Tensor, pieces: list[Piece], room: int) -> Tensor:
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
