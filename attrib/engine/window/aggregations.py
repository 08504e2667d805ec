"""Ops over all positions, means, sums, maxima and linear layers, whose result is updated from the box that changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

from attrib.engine.graph import Node, Ref
from attrib.engine.window.pointwise import reduced
from attrib.engine.window.rule import FLAT, LOCAL, Layout, Reader, bound

aten = torch.ops.aten

BLOCK_ELEMENTS = 1 << 22  # of the weights in one block
CACHED_ELEMENTS = 1 << 18
FEW_FEATURES = 32  # in the box of a vector: then each row takes its own rows of the weight
LEAST_ROWS, LEAST_PRODUCTS = 24, 1 << 20  # below these, the start of a convolution takes longer than it saves


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


def product(a: Tensor, w: Tensor) -> Tensor:
    """`a @ w.T`, for `a` (m, k) and `w` (n, k).

    In single precision on a CPU it is a convolution of width 1: PyTorch runs convolutions by oneDNN, but matrix products
    by MKL, which takes twice the time on processors that are not Intel's.
    """
    (m, k), n = a.shape, len(w)
    if not convolvable(a) or m < LEAST_ROWS or m * k * n < LEAST_PRODUCTS:
        return a @ w.T
    pixels = a.contiguous().view(1, 1, m, k).permute(0, 3, 1, 2)
    # F.conv2d would run small images by MKL
    convolved = torch.mkldnn_convolution(pixels, w[:, :, None, None], None, [0, 0], [1, 1], [1, 1], 1)
    return convolved.permute(0, 2, 3, 1).reshape(m, n)


def convolvable(t: Tensor) -> bool:
    """Whether oneDNN convolves such values."""
    single = t.dtype == torch.float32 and t.device.type == "cpu"
    return single and torch.backends.mkldnn.is_available() and hasattr(torch, "mkldnn_convolution")


class Linear:
    """A linear layer on all positions; its result changes by the change in the box times the weights of the box.

    Parameters
    ----------
    node : Node
    source : Ref
        A value (1, ...), flattened for the layer if it has more than two dims.
    shape, axes : tuple of int
        The source's shape, and the dims of its box.
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

    def blocks(self, positions: Sequence[int], free: int = BLOCK_ELEMENTS) -> Iterator[Tensor]:
        """The weights (out, channels) of some positions, given as ascending row-major numbers.

        They are copied some at a time, into memory that the next ones overwrite.
        """
        k = len(self.axes)
        w = self.weight.T.unflatten(1, self.shape[1:]).movedim(self.axes, tuple(range(-k, 0))).flatten(-k)
        w = w.flatten(1, -2) if w.ndim > 2 else w.unsqueeze(1)
        size = max(1, min(len(positions), min(free, BLOCK_ELEMENTS) // w[..., 0].numel()))
        block = w.new_empty(size, *w.shape[:2])
        for first in range(0, len(positions), size):
            at = list(positions[first : first + size])
            contiguous = at[-1] - at[0] + 1 == len(at)
            _copy_positions_first(w[..., at[0] : at[-1] + 1] if contiguous else w[..., at], block[: len(at)])
            yield from block[: len(at)]

    def piece(self, at: AggregationReader) -> Tensor:
        """The change (rows, positions along each axis, channels)."""
        change = at.change(self.source).permute(0, *self.axes, *self.others)
        return change.reshape(*change.shape[: len(self.axes) + 1], self.channels)

    def result(self, before: Tensor, pieces: list[Piece], free: int) -> Tensor:
        """The result without edits plus the change of each row times the weights of its positions."""
        out, first, large = before.repeat(sum(p.rows for p in pieces), 1), 0, []
        for p in pieces:
            if p.value is not None and len(self.shape) == 2 and p.value.shape[1] <= FEW_FEATURES:
                self._row_by_row(out[first : first + p.rows], p.starts, p.value)
            elif p.value is not None:
                large.append((first, p.starts, p.value))
            first += p.rows
        self._position_by_position(out, large, free)
        return out

    def _row_by_row(self, out: Tensor, starts: Tensor, change: Tensor) -> None:
        """Add feature by feature of the boxes; each row takes its own row of the weight."""
        for j in range(change.shape[1]):
            # the change is zero beyond the ends
            at = (starts[:, 0] + j).clamp(0, self.shape[1] - 1).to(out.device)
            out.addcmul_(change[:, j], self.weight.index_select(0, at))

    def _position_by_position(self, out: Tensor, parts: list[tuple[int, Tensor, Tensor]], free: int) -> None:
        """Add position by position, for all rows whose box has it, so that each weight is copied once."""
        ends = [self.shape[a] for a in self.axes]
        members: dict[int, list[tuple[int, Tensor, Tensor, Tensor]]] = {}
        for first, starts, change in parts:
            for position, box, number in _by_position(starts, change.shape[1:-1], ends):
                members.setdefault(position, []).append((first, change.flatten(1, -2), box, number))
        positions = sorted(members)
        for position, block in zip(positions, self.blocks(positions, free), strict=True):
            rows = torch.cat([first + box for first, _, box, _ in members[position]])
            changes = [t[box.to(t.device), number.to(t.device)] for _, t, box, number in members[position]]
            out.index_add_(0, rows.to(out.device), product(torch.cat(changes), block))

    def work(self, width: int) -> float:
        """Multiplications: the box's features times the layer's outputs."""
        return float(width * self.channels * self.weight.shape[1])


def _copy_positions_first(w: Tensor, block: Tensor) -> None:
    """Copy (out, channels, positions) to (positions, out, channels), in parts that fit into the cache."""
    size = max(1, CACHED_ELEMENTS // (w.stride(0) or 1))
    for first in range(0, len(w), size):
        part = w[first : first + size]
        block[:, first : first + len(part)].copy_(part.permute(2, 0, 1))


def _by_position(
    starts: Tensor, sizes: Sequence[int], ends: Sequence[int]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each position that boxes have, as a row-major number; the boxes that have it; and its number in each of them."""
    offsets = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes))
    at = starts[:, None] + offsets  # (boxes, positions, k)
    index = torch.zeros(at.shape[:2], dtype=torch.long)
    inside = torch.ones(at.shape[:2], dtype=torch.bool)
    for k, end in enumerate(ends):
        inside &= (at[..., k] >= 0) & (at[..., k] < end)
        index = index * end + at[..., k]
    box, number = inside.nonzero().unbind(1)
    ordered, order = index[box, number].sort(stable=True)
    positions, counts = ordered.unique_consecutive(return_counts=True)
    parts = (t[order].split(counts.tolist()) for t in (box, number))
    yield from zip(positions.tolist(), *parts, strict=True)


@aggregation(aten.addmm, aten.mm)
def linear(node: Node, layout: Layout) -> Aggregation | None:
    """A constant weight on a flattened value, or on vectors of features."""
    *bias, source, weight = node.args[:3]
    if node.kwargs or len(node.args) > 3 or any(type(r) is not Ref for r in node.args):
        return None
    if any(r not in layout.constants for r in (*bias, weight)):
        return None
    if not (layout.local(source, FLAT) or (layout.local(source, LOCAL) and len(layout.shape[source]) == 2)):
        return None
    return Linear(node, source, layout.shape[source], layout.axes[source], layout.constants[weight])
